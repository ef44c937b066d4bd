"""Projections: what a seed fixes, what a file keeps, what is refused."""
import hashlib
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from segvlad_ros.description import projection as module
from segvlad_ros.description.projection import NoProjection, PcaProjection, SeededProjection, load_projection
from segvlad_ros.types import SegvladError


def unit_rows(count, words, dimension, seed=0):
    """Rows as segment VLAD makes them: every word's block has the same norm; energy in few coordinates."""
    blocks = np.random.default_rng(seed).standard_normal((count, words, dimension)) ** 3
    blocks /= np.linalg.norm(blocks, axis=2, keepdims=True)
    return blocks.reshape(count, -1) / words ** 0.5


@pytest.mark.parametrize(('words', 'dimension', 'target'), [(8, 96, 64), (8, 64, 64), (8, 48, 256), (32, 24, 512)])
def test_seeded_projection_keeps_lengths_and_angles(words, dimension, target):
    rows = unit_rows(60, words, dimension)
    projection = SeededProjection(words, dimension, target)
    got = projection.apply(rows)
    assert got.shape == (60, target)
    assert projection.input_dimension == words * dimension
    error = got @ got.T - rows @ rows.T
    assert abs(error.mean()) < 0.02
    assert error.std() < 1.5 / target ** 0.5  # a dense Gaussian matrix has about sqrt(1 / d)


def test_a_seed_means_the_same_numbers_everywhere():
    projection = SeededProjection(2, 3, 4, seed=7)
    got = projection.apply(np.eye(6, dtype=np.float32))
    assert hashlib.sha256(np.round(got * 1000).astype('<i4').tobytes()).hexdigest()[:16] == '417dffd1521e759b'
    np.testing.assert_array_equal(SeededProjection(2, 3, 4, seed=7).apply(np.eye(6)), got)
    assert not np.allclose(SeededProjection(2, 3, 4, seed=8).apply(np.eye(6)), got)


def test_one_word_alone_keeps_its_length_exactly_where_there_is_room():
    block = np.random.default_rng(1).standard_normal((5, 20)).astype(np.float32)
    got = SeededProjection(3, 20, 32).project_word(1, block)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), np.linalg.norm(block, axis=1), rtol=1e-5)


def test_seeded_projection_of_the_large_preset_is_small():
    projection = SeededProjection(32, 1536, 1024)
    held = sum(constant.array.nbytes for constant in vars(projection).values() if hasattr(constant, 'array'))
    assert held < 2e6


def test_seeded_projection_needs_sizes():
    with pytest.raises(SegvladError, match='at least one'):
        SeededProjection(4, 4, 0)


def test_no_projection_keeps_rows():
    rows = unit_rows(2, 3, 4)
    assert NoProjection(3, 4).apply(rows) is rows
    assert NoProjection(3, 4).dimension == NoProjection(3, 4).input_dimension == 12


@pytest.fixture
def pca():
    rng = np.random.default_rng(2)
    return PcaProjection(rng.standard_normal(12), rng.standard_normal((5, 12)), rng.uniform(1, 2, 5))


def test_pca_is_its_formula(pca):
    rows = unit_rows(7, 3, 4)
    want = (rows - pca.mean) @ pca.components.T * pca.scale
    np.testing.assert_allclose(pca.apply(rows), want, rtol=1e-6)
    summed = sum(pca.project_word(word, rows.astype(np.float32)[:, 4 * word:4 * word + 4]) for word in range(3))
    np.testing.assert_allclose(pca.finish(summed), want, atol=1e-5)
    assert pca.apply(rows.astype(np.float32)).dtype == np.float32


def test_pca_file(pca, tmp_path):
    for dtype, tolerance in (('float32', 0), ('float16', 1e-3)):
        pca.save(tmp_path / 'p.npz', dtype)
        loaded = load_projection(tmp_path / 'p.npz')
        np.testing.assert_allclose(loaded.components, pca.components, rtol=tolerance)
        np.testing.assert_array_equal(loaded.mean, pca.mean)
        np.testing.assert_array_equal(loaded.scale, pca.scale)
        assert (loaded.dimension, loaded.input_dimension) == (5, 12)


class PCA:
    """Stands for scikit-learn's in a pickle."""

    __module__ = 'sklearn.decomposition._pca'


@pytest.fixture
def pickled(pca, tmp_path, monkeypatch):
    """A function that writes a fitted PCA of scikit-learn, which then is not there any more."""
    def write(variance, protocol=4, whiten=True):
        with monkeypatch.context() as patched:
            for name in ('sklearn', 'sklearn.decomposition', 'sklearn.decomposition._pca'):
                patched.setitem(sys.modules, name, types.SimpleNamespace(PCA=PCA))
            fitted = PCA()
            vars(fitted).update(mean_=pca.mean, components_=np.asfortranarray(pca.components), whiten=whiten,
                                n_components=5, explained_variance_=variance, noise_variance_=np.float64(0.1),
                                _sklearn_version='1.3.2')
            (tmp_path / 'p.pkl').write_bytes(pickle.dumps(fitted, protocol))
        return tmp_path / 'p.pkl'
    return write


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('whiten', [True, False])
def test_pca_pickle_of_the_reference_is_read_without_scikit_learn(pca, pickled, protocol, whiten):
    loaded = load_projection(pickled(pca.scale ** -2, protocol, whiten))
    np.testing.assert_array_equal(loaded.components, pca.components)
    np.testing.assert_allclose(loaded.scale, pca.scale if whiten else np.ones(5), rtol=1e-6)


@pytest.mark.parametrize('least', [0.0, 1e-15, 1e-11, float('nan')])
@pytest.mark.fault('tool', 'a pickled PCA of scikit-learn that was fitted on rows of too low a rank',
                   'refused: its last variances are rounding, not always exactly 0, and dividing by their roots made '
                   'noise of each descriptor')
def test_pca_pickle_of_too_low_a_rank_is_refused(pickled, least):
    variance = np.array([0.04, 0.03, 0.02, 0.01, least * 0.04])
    with pytest.raises(SegvladError, match=r'p\.pkl: its PCA.*too low a rank; fit it on more images'):
        load_projection(pickled(variance))


@pytest.mark.parametrize('content', [b'', b'junk', pickle.dumps({'mean_': 1}), pickle.dumps(print)],
                         ids=['empty', 'junk', 'dictionary', 'function'])
def test_other_pickles_are_refused(tmp_path, content):
    (tmp_path / 'p.pkl').write_bytes(content)
    with pytest.raises(SegvladError, match='projection'):
        load_projection(tmp_path / 'p.pkl')


def test_damaged_files_are_refused(pca, tmp_path, monkeypatch):
    path = tmp_path / 'p.npz'
    pca.save(path)
    whole = path.read_bytes()
    for content in (b'', b'junk', whole[:len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(SegvladError, match='projection'):
            load_projection(path)
    path.unlink()
    with pytest.raises(SegvladError, match='no such file'):
        load_projection(path)
    path.write_bytes(whole)
    monkeypatch.setattr(module, 'MAX_BYTES', 10)
    with pytest.raises(SegvladError, match='too large'):
        load_projection(path)


def test_wrong_contents_are_refused(tmp_path):
    eye = np.eye(3)
    np.savez(tmp_path / 'names.npz', components=eye)
    np.savez(tmp_path / 'shapes.npz', mean=np.zeros(4), components=eye, scale=np.ones(3))
    np.savez(tmp_path / 'nan.npz', mean=np.zeros(3), components=eye * np.nan, scale=np.ones(3))
    np.savez(tmp_path / 'objects.npz', mean=np.array([{}]), components=eye, scale=np.ones(3))
    np.save(tmp_path / 'array.npy', eye)
    with zipfile.ZipFile(tmp_path / 'text.npz', 'w') as archive:
        for name in ('mean', 'components', 'scale'):
            archive.writestr(f'{name}.npy', b'text')
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(SegvladError, match=path.name) as error:
            load_projection(path)
        assert '\n' not in str(error.value)
