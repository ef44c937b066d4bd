"""Fixed patches: tile the image, each pixel once."""
import numpy as np
import pytest

from segvlad_ros.segmentation.classic import PatchSegmenter
from segvlad_ros.types import SegvladError


@pytest.mark.parametrize('rows, cols, height, width', [(1, 1, 5, 7), (3, 4, 240, 320), (5, 3, 17, 11), (4, 4, 4, 4)])
def test_patches_tile_the_image(rows, cols, height, width):
    masks = PatchSegmenter(rows, cols).segment(np.zeros((height, width, 3), np.uint8))
    assert masks.masks.shape == (rows * cols, height, width)
    assert masks.masks.dtype == bool
    assert (masks.masks.sum(axis=0) == 1).all()
    assert masks.masks.any(axis=(1, 2)).all()
    assert (masks.quality == 1).all()
    assert len(masks) == rows * cols


def test_patches_are_numbered_row_by_row():
    masks = PatchSegmenter(2, 3).segment(np.zeros((20, 30, 3), np.uint8)).masks
    assert masks[1, 0, 15] and masks[3, 15, 0] and masks[5, 19, 29]


@pytest.mark.parametrize('rows, cols', [(0, 1), (1, 0), (-2, 3)])
def test_no_patches_are_refused(rows, cols):
    with pytest.raises(SegvladError, match='patches'):
        PatchSegmenter(rows, cols)


def test_image_smaller_than_the_grid_is_refused():
    with pytest.raises(SegvladError, match='too small'):
        PatchSegmenter(4, 4).segment(np.zeros((3, 10, 3), np.uint8))
