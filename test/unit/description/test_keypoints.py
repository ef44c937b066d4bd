"""Keypoints: where they lie, how many, and how deep."""
import cv2
import numpy as np
import pytest

from segvlad_ros.description.keypoints import KeypointDetector


def dots(centres, shape=(480, 640), radius=9):
    image = np.full((*shape, 3), 90, np.uint8)
    for x, y in centres:
        cv2.circle(image, (x, y), radius, (230, 230, 230), -1, cv2.LINE_AA)
    return image


def texture(shape=(480, 640), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (shape[0] // 8, shape[1] // 8, 3), np.uint8)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('shape', [(120, 160), (480, 640), (720, 1280)])
def test_positions_are_pixels_of_the_image_as_it_was_given(shape):
    centres = [(shape[1] // 3, shape[0] // 2), (shape[1] * 3 // 4, shape[0] // 4)]
    found = KeypointDetector()(dots(centres, shape, radius=shape[1] // 40))
    for centre in centres:
        assert np.linalg.norm(found.positions - centre, axis=1).min() < 0.1 * max(1, shape[1] / 320)


@pytest.mark.parametrize('height', [1, 2, 3, 5, 9, 2000])
@pytest.mark.parametrize('width', [1, 2, 3, 5, 9, 2000])
def test_strips_have_few_keypoints_or_none(width, height):
    shape = height, width
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    found = KeypointDetector()(noise, np.ones(shape, np.float32))
    assert found.positions.shape == (len(found.depths), 2)
    assert found.descriptors.shape == (len(found.depths), 128)


def test_depths_are_those_below_the_keypoints():
    found = KeypointDetector()(texture(), np.tile(np.linspace(2, 6, 640, dtype=np.float32), (480, 1)))
    expected = 2 + 4 * found.positions[:, 0] / 639
    assert len(found.depths) > 100
    assert np.nanmax(np.abs(found.depths - expected)) < 0.01
    assert np.isfinite(found.depths).mean() > 0.95


def test_a_depth_image_of_half_the_size_fits():
    depth = np.tile(np.linspace(2, 6, 320, dtype=np.float32), (240, 1))
    found = KeypointDetector()(texture(), depth)
    assert np.nanmax(np.abs(found.depths - (2 + 4 * found.positions[:, 0] / 639))) < 0.02


def test_no_depth_at_the_edge_of_an_object_or_where_nothing_was_measured():
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, 320:] = 5.0
    depth[:200] = np.nan
    found = KeypointDetector()(texture(), depth)
    x, y = found.positions.T
    assert np.isnan(found.depths[y < 198]).all()
    assert np.isnan(found.depths[np.abs(x - 319.5) < 1.4]).all()
    assert set(found.depths[np.isfinite(found.depths)]) == {2.0, 5.0}


def test_no_depth_image_gives_unknown_depths():
    assert np.isnan(KeypointDetector()(texture()).depths).all()


def test_a_limited_number_is_spread_over_the_image():
    image = texture()
    image[:, :320] = 90 + image[:, :320] // 12  # the left half has little contrast
    found = KeypointDetector(max_keypoints=150)(image)
    assert 150 <= len(found.positions) <= 160  # SIFT may add a second orientation
    assert (found.positions[:, 0] < 310).mean() > 0.3


def test_kinds():
    found = KeypointDetector()(texture())
    assert [array.dtype for array in (found.positions, found.descriptors, found.depths)] == [
        np.float32, np.uint8, np.float32]
    assert found.descriptors.shape == (len(found.positions), 128)


def test_a_blank_image_has_none():
    found = KeypointDetector()(np.full((240, 320, 3), 128, np.uint8), np.ones((240, 320), np.float32))
    assert found.positions.shape == (0, 2)
    assert found.descriptors.shape == (0, 128)
    assert found.depths.shape == (0,)


def test_a_tiny_image_is_no_error():
    assert len(KeypointDetector()(texture((16, 16))).depths) < 50


def test_other_light_gives_the_same_descriptors():
    image = texture()
    detector = KeypointDetector()
    bright, dark = detector(image), detector((image * 0.6 + 10).astype(np.uint8))
    near = np.linalg.norm(bright.positions[:, None] - dark.positions, axis=2)
    rows = np.flatnonzero(near.min(axis=1) < 0.5)
    assert len(rows) > 0.7 * len(bright.positions)
    first, second = bright.descriptors[rows].astype(float), dark.descriptors[near.argmin(axis=1)[rows]].astype(float)
    cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert np.median(cosine) > 0.97
