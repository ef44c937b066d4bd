"""XFeat's features on the grid and keypoints of its maps, by a network of a few lines of numpy."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.features.xfeat import XFeatExtractor
from segvlad_ros.features.xfeat_keypoints import PointMaps
from segvlad_ros.types import SegvladError

SIZE = (96, 64)


def stand_in(image):
    """Features are the grey levels of each cell's pixels, heat is the grey level, all cells are reliable."""
    grey = image.mean(axis=1)[0]
    rows, cols = grey.shape[0] // 8, grey.shape[1] // 8
    cells = grey.reshape(rows, 8, cols, 8).transpose(1, 3, 0, 2).reshape(1, 64, rows, cols) + np.float32(1e-3)
    return [cells / np.linalg.norm(cells, axis=1, keepdims=True), grey[None, None],
            np.ones((1, 1, rows, cols), np.float32)]


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def bump(column, row, shape=(64, 96)):
    """Heat of one keypoint."""
    down, right = np.indices(shape)
    return np.exp(-((right - column) ** 2 + (down - row) ** 2) / 4).astype(np.float32)


def maps(heat, reliability=None):
    cells = heat.shape[0] // 8, heat.shape[1] // 8
    features = np.random.default_rng(1).standard_normal((*cells, 64)).astype(np.float32)
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return PointMaps(features, heat, np.ones(cells, np.float32) if reliability is None else reliability)


def test_a_cell_has_the_mean_of_the_networks_cells():
    fine, coarse = (XFeatExtractor(stand_in, SIZE, cell).extract(image()) for cell in (8, 16))
    assert (fine.rows, fine.cols, coarse.rows, coarse.cols) == (8, 12, 4, 6)
    mean = fine.features.reshape(8, 12, 64)[2:4, 4:6].mean(axis=(0, 1))
    np.testing.assert_allclose(coarse.features.reshape(4, 6, 64)[1, 2], mean / np.linalg.norm(mean), atol=1e-6)


def test_what_is_left_over_belongs_to_no_cell():
    grid = XFeatExtractor(stand_in, SIZE, 24).extract(image())
    assert (grid.rows, grid.cols, len(grid.features)) == (2, 4, 8)


def test_keypoints_come_only_where_they_are_asked_for():
    assert XFeatExtractor(stand_in, SIZE, 8).extract(image()).keypoints is None
    points = XFeatExtractor(stand_in, SIZE, 8, 20).extract(image()).keypoints
    assert points.positions.shape == (20, 2) and points.descriptors.shape == (20, 64)
    assert points.descriptors.dtype == np.uint8 and np.isnan(points.depths).all()


@pytest.mark.parametrize(('size', 'cell', 'message'), [
    (SIZE, 12, 'multiple of 8'), (SIZE, 4, 'multiple of 8'), ((100, 64), 8, 'multiples of 32'),
    ((96, 64), 72, 'multiples of 32')])
def test_sizes_that_the_network_does_not_take_are_refused(size, cell, message):
    with pytest.raises(SegvladError, match=message):
        XFeatExtractor(stand_in, size, cell)


def test_another_network_is_refused():
    with pytest.raises(SegvladError, match='is not XFeat'):
        XFeatExtractor(lambda image: stand_in(image)[:2], SIZE, 8)

    def failing(image):
        raise RuntimeError('bad\nshape')

    with pytest.raises(SegvladError, match='bad shape'):
        XFeatExtractor(failing, SIZE, 8)


def test_positions_are_finer_than_pixels():
    found = maps(bump(40.3, 20.8) + bump(70.0, 50.4)).keypoints(10).positions
    np.testing.assert_allclose(sorted(found.tolist()), [[40.3, 20.8], [70.0, 50.4]], atol=0.06)


def test_a_descriptor_is_the_feature_between_the_centres_of_cells():
    points = maps(bump(35.5, 27.5))
    first = points.keypoints(1)
    np.testing.assert_allclose(first.positions, [[35.5, 27.5]], atol=0.05)
    wanted = points.features[3, 4]  # that cell's centre
    np.testing.assert_allclose((first.descriptors[0] - 128.0) / 256, wanted, atol=0.02)


def test_the_weaker_of_two_neighbours_is_no_keypoint():
    assert len(maps(np.maximum(bump(40, 20), 0.9 * bump(42, 21))).keypoints(10).depths) == 1
    assert len(maps(np.maximum(bump(40, 20), 0.9 * bump(46, 20))).keypoints(10).depths) == 2


def test_keypoints_that_are_found_again_come_first():
    reliability = np.full((8, 12), 0.1, np.float32)
    reliability[2, 5] = 1
    heat = np.maximum(bump(42, 20), bump(90, 60))
    assert maps(heat, reliability).keypoints(1).positions[0, 0] < 50


def test_a_flat_or_cold_map_has_no_keypoints_at_its_edges_or_at_all():
    assert len(maps(np.full((64, 96), 0.01, np.float32)).keypoints(10).depths) == 0
    found = maps(np.full((64, 96), 0.5, np.float32)).keypoints(5).positions
    assert np.isfinite(found).all() and (found >= 1).all() and (found <= (94, 62)).all()
