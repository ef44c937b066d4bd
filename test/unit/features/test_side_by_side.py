"""Two kinds of features of the same cells."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.features.root_sift import RootSiftExtractor
from segvlad_ros.features.side_by_side import SideBySide
from segvlad_ros.types import FeatureGrid, Keypoints, SegvladError

POINTS = Keypoints(np.zeros((1, 2), np.float32), np.zeros((1, 64), np.uint8), np.zeros(1, np.float32))


class Ones:
    cell, dimension = 16, 4

    def extract(self, rgb):
        rows, cols = rgb.shape[0] // 16, rgb.shape[1] // 16
        return FeatureGrid(np.full((rows * cols, 4), 0.5, np.float32), rows, cols, POINTS)


def test_both_kinds_weigh_alike_and_keypoints_are_kept():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    rgb[:, :32] = 90  # no gradient: only the other kind tells of these cells
    gradients = RootSiftExtractor(16, (4,), 1.0)
    both = SideBySide([gradients, Ones()])
    grid = both.extract(rgb)
    assert (both.cell, both.dimension, grid.rows, grid.cols) == (16, 132, 4, 6)
    assert grid.keypoints is POINTS
    np.testing.assert_allclose(grid.features[:, :128] * 2 ** 0.5, gradients.extract(rgb).features, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(grid.features[[0, 5]], axis=1), [0.5 ** 0.5, 1], rtol=1e-5)


def test_cells_of_two_sizes_are_refused():
    with pytest.raises(SegvladError, match='cells of one size'):
        SideBySide([RootSiftExtractor(8, (4,), 1.0), Ones()])
