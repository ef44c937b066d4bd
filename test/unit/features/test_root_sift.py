"""Dense RootSIFT: the same descriptor as OpenCV's SIFT, without its cost, and honest about empty cells."""
import cv2
import numpy as np
import pytest

from segvlad_ros.features.root_sift import RootSiftExtractor, orientation_maps
from segvlad_ros.types import SegvladError


def textured(height=240, width=320, blur=4.0, seed=0):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width)), (0, 0), blur)
    grey = (noise - noise.min()) / np.ptp(noise) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize('bin_size, blur', [(8, 4.0), (16, 8.0), (4, 3.0)])
def test_agrees_with_opencv_sift(bin_size, blur):
    rgb = textured(blur=blur)
    grid = RootSiftExtractor(16, (bin_size,), 0.0).extract(rgb)
    places = [((column + 0.5) * 16 - 0.5, (row + 0.5) * 16 - 0.5)
              for row in range(grid.rows) for column in range(grid.cols)]
    # OpenCV's bins are 1.5 keypoint diameters wide and its orientations count upwards
    _, theirs = cv2.SIFT_create().compute(rgb[..., 0], [cv2.KeyPoint(x, y, bin_size / 1.5, 0.0) for x, y in places])
    theirs = theirs.reshape(-1, 16, 8)[..., -np.arange(8) % 8].reshape(-1, 128)
    theirs = np.sqrt(theirs / theirs.sum(axis=1, keepdims=True))
    cosine = (theirs * grid.features).sum(axis=1).reshape(grid.rows, grid.cols)
    assert cosine[3:-3, 3:-3].min() > 0.95


def test_grid_drops_the_remainder_and_joins_scales():
    grid = RootSiftExtractor(16, (8, 16), 0.0).extract(textured(250, 333))
    assert (grid.rows, grid.cols) == (15, 20)
    assert grid.features.shape == (300, 256)
    assert grid.features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(grid.features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(grid.features[:, :128], axis=1), 0.5 ** 0.5, atol=1e-5)


def test_light_does_not_matter():
    extractor = RootSiftExtractor(16, (8, 16), 1.0)
    bright = textured()
    dim = (bright * 0.5 + 40).astype(np.uint8)
    cosine = (extractor.extract(bright).features * extractor.extract(dim).features).sum(axis=1)
    assert np.median(cosine) > 0.98


def test_cells_without_texture_are_zero():
    rgb = textured()
    rgb[:, 160:] = 128
    features = RootSiftExtractor(16, (8,), 1.0).extract(rgb).features.reshape(15, 20, 128)
    assert not features[:, 13:].any()
    assert np.linalg.norm(features[:, :9], axis=2).min() > 0.99


@pytest.mark.parametrize('level', [0, 7, 255])
def test_blank_image_has_no_feature(level):
    assert not RootSiftExtractor(16, (8, 16), 1.0).extract(np.full((96, 128, 3), level, np.uint8)).features.any()
    assert not RootSiftExtractor(16, (8,), 0.0).extract(np.full((96, 128, 3), level, np.uint8)).features.any()


def test_sensor_noise_is_no_texture():
    noise = np.random.default_rng(3).normal(120, 1.5, (480, 640, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    features = RootSiftExtractor(16, (8, 16), 1.0).extract(noise).features
    assert (features != 0).any(axis=1).mean() < 0.05


def test_orientation_maps_split_the_gradient():
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 3, (32, 1))
    maps = orientation_maps(ramp)
    np.testing.assert_allclose(maps[8:-8, 8:-8, 0], 3.0, atol=1e-4)
    assert abs(maps[8:-8, 8:-8, 1:]).max() < 1e-4
    np.testing.assert_allclose(orientation_maps(ramp.T)[8:-8, 8:-8, 2], 3.0, atol=1e-3)
    np.testing.assert_allclose(orientation_maps(ramp[:, ::-1])[8:-8, 8:-8, 4], 3.0, atol=1e-3)


def test_image_below_one_cell_is_refused():
    with pytest.raises(SegvladError, match='use a larger image'):
        RootSiftExtractor(16, (8,), 1.0).extract(textured(15, 40))


@pytest.mark.parametrize('arguments', [(1, (8,), 1.0), (16, (), 1.0), (16, (2,), 1.0), (16, (8,), -1.0)])
def test_settings_are_checked(arguments):
    with pytest.raises(SegvladError, match='RootSIFT'):
        RootSiftExtractor(*arguments)


def test_orientation_maps_do_not_depend_on_where_arrays_lie():
    """Once seen with OpenCV 4.6: other descriptors for the same image, by the alignment of what OpenCV allocated."""
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (120, 160), dtype=np.uint8)
    first, between = orientation_maps(grey), []
    for _ in range(40):
        between.append(np.zeros(rng.integers(1, 100000), np.uint8))
        assert np.array_equal(orientation_maps(grey), first)
