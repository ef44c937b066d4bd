"""Fitting a PCA: exact where rows fit, close where they stream, refused where it would ruin descriptors."""
import numpy as np
import pytest

from segvlad_ros.description.pca import PcaFit
from segvlad_ros.types import SegvladError


def sample(count, width, seed=0, rank=12, noise=0.01):
    axes = np.random.default_rng(9).standard_normal((rank, width)) * np.geomspace(3, 0.3, rank)[:, None]
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, rank)) @ axes + noise * rng.standard_normal((count, width)) + 2).astype('f')


def truth(rows, dimension):
    centred = rows.astype(float) - rows.astype(float).mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    return lengths[:dimension] ** 2 / (len(rows) - 1), axes[:dimension]


def fit_pca(batches, dimension, whiten=True, shrinkage=0.0, **settings):
    fit = PcaFit(dimension, **settings)
    for batch in [batches] if isinstance(batches, np.ndarray) else batches:
        fit.add(batch)
    return fit.finish(whiten, shrinkage)


def same_axes(components, axes, tolerance):
    np.testing.assert_allclose(np.abs(np.sum(components * axes, axis=1)), 1, atol=tolerance)


@pytest.mark.parametrize('shape', [(40, 90), (300, 30), (31, 30)], ids=str)
def test_rows_that_fit_in_memory_are_fitted_exactly(shape):
    rows = sample(*shape)
    variance, axes = truth(rows, 8)
    fit = fit_pca(rows, 8)
    np.testing.assert_allclose(fit.mean, rows.mean(axis=0, dtype=float), rtol=1e-5)
    np.testing.assert_allclose(fit.scale ** -2.0, variance, rtol=1e-4)
    same_axes(fit.components, axes, 1e-4)
    np.testing.assert_allclose(np.var(fit.apply(rows), axis=0, ddof=1), 1, rtol=1e-3)


def test_batches_make_no_difference():
    rows = sample(120, 50)
    whole, parts = fit_pca(rows, 6), fit_pca(np.array_split(rows, 17), 6)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-5)
    same_axes(parts.components, whole.components, 1e-5)


def test_more_rows_than_memory_give_nearly_the_same_axes():
    rows = np.concatenate([sample(150, 80, seed) + seed for seed in range(8)])  # the mean drifts between batches
    variance, axes = truth(rows, 10)
    fit = PcaFit(10, memory_bytes=80 * 4 * 60)
    for batch in np.array_split(rows, 13):
        fit.add(batch)
    assert fit.count == len(rows)
    got = fit.finish()
    np.testing.assert_allclose(got.mean, rows.mean(axis=0, dtype=float), rtol=1e-4)
    np.testing.assert_allclose(got.scale ** -2.0, variance, rtol=1e-3)
    same_axes(got.components, axes, 1e-3)


def test_shrinkage_goes_from_whitened_to_not():
    rows = sample(200, 30)
    variance, _ = truth(rows, 5)
    half = (variance + variance.mean()) / 2
    np.testing.assert_allclose(fit_pca(rows, 5, shrinkage=0.5).scale ** -2.0, half, rtol=1e-3)
    np.testing.assert_allclose(fit_pca(rows, 5, shrinkage=1.0).scale, variance.mean() ** -0.5, rtol=1e-3)
    np.testing.assert_array_equal(fit_pca(rows, 5, whiten=False).scale, np.ones(5))


@pytest.mark.parametrize('width', [40, 400])
def test_rows_that_span_too_few_dimensions_are_refused(width):
    rows = np.repeat(sample(9, width, noise=0.5), 30, axis=0)
    rows *= np.float32(1) + np.float32(1e-7) * np.random.default_rng(0).standard_normal(rows.shape).astype('f')
    fit_pca(rows, 8)
    with pytest.raises(SegvladError, match='span only 8 dimensions'):
        fit_pca(rows, 9)


@pytest.mark.parametrize('width', [40, 400])
def test_streamed_rows_that_span_too_few_dimensions_are_refused(width):
    axes = np.random.default_rng(1).standard_normal((8, width)) * np.geomspace(1, 0.03, 8)[:, None]
    rows = (np.random.default_rng(0).standard_normal((2000, 8)) @ axes + 1).astype('f')
    few = 4 * width * 40  # bytes of 40 rows
    assert fit_pca(np.array_split(rows, 23), 8, memory_bytes=few).dimension == 8
    with pytest.raises(SegvladError, match='span only 8 dimensions'):
        fit_pca(np.array_split(rows, 23), 9, memory_bytes=few)


def test_a_stream_of_a_slowly_decaying_spectrum_keeps_its_energy():
    """As descriptors have it: no gap anywhere, and 48 times as many rows as components."""
    rng = np.random.default_rng(4)
    rows = (rng.standard_normal((960, 300)) / np.sqrt(1 + np.arange(300))).astype('f') + 1
    variance, _ = truth(rows, 20)
    fit = fit_pca(np.array_split(rows, 7), 20, memory_bytes=1)
    centred = rows - rows.mean(axis=0)
    assert ((centred @ fit.components.T) ** 2).sum() / (len(rows) - 1) > 0.99 * variance.sum()
    np.testing.assert_allclose(fit.scale ** -2.0, variance, rtol=0.15)
    np.testing.assert_allclose(fit.components @ fit.components.T, np.eye(20), atol=1e-4)


def test_equal_rows_are_refused():
    with pytest.raises(SegvladError, match='span only 0 dimensions'):
        fit_pca(np.ones((50, 6), np.float32), 3)


def test_more_rows_than_components_are_needed():
    with pytest.raises(SegvladError, match='need more than 10 segments'):
        fit_pca(sample(10, 30), 10)
    with pytest.raises(SegvladError, match='need more than 10 segments'):
        fit_pca([], 10)


def test_broken_rows_and_settings_are_refused():
    rows = sample(50, 10)
    rows[3, 4] = np.nan
    with pytest.raises(SegvladError, match='not finite'):
        fit_pca(rows, 3)
    with pytest.raises(SegvladError, match='shrinkage'):
        fit_pca(sample(50, 10), 3, shrinkage=2)
    with pytest.raises(SegvladError, match='1 or more'):
        fit_pca(sample(50, 10), 0)


def test_the_input_is_not_changed():
    rows = sample(60, 20)
    copy = rows.copy()
    fit_pca(rows, 4)
    np.testing.assert_array_equal(rows, copy)
