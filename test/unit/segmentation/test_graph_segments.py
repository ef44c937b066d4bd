"""Felzenszwalb's graph-based segments, by two libraries: disjoint, the largest first, at changes of colour."""
import cv2
import numpy as np
import pytest

from segvlad_ros.segmentation.classic import FelzenszwalbSegmenter, GraphSegmenter
from segvlad_ros.types import SegvladError

# the least blur of each
LIBRARIES = pytest.mark.parametrize(('segmenter', 'sharp'), [(FelzenszwalbSegmenter, 0.0), (GraphSegmenter, 0.1)])


def scene():
    rgb = np.full((120, 160, 3), (200, 190, 160), np.uint8)
    rgb[20:60, 20:70] = (180, 30, 30)
    rgb[70:110, 90:150] = (20, 60, 160)
    rgb[30:45, 110:130] = (30, 120, 40)
    return rgb


@LIBRARIES
def test_finds_the_patches_of_a_scene(segmenter, sharp):
    rgb = scene()
    masks = segmenter(100, sharp, 20, 50).segment(rgb).masks
    assert masks.shape == (4, 120, 160)
    assert (masks.sum(axis=0) == 1).all()
    areas = masks.sum(axis=(1, 2))
    assert list(areas) == sorted(areas, reverse=True)
    np.testing.assert_array_equal(masks[1], (rgb == (20, 60, 160)).all(axis=2))
    np.testing.assert_array_equal(masks[3], (rgb == (30, 120, 40)).all(axis=2))


@LIBRARIES
def test_keeps_only_the_largest(segmenter, sharp):
    masks = segmenter(100, sharp, 20, 2).segment(scene())
    assert len(masks) == 2
    assert list(masks.masks.sum(axis=(1, 2))) == [14500, 2400]


@LIBRARIES
def test_small_ones_are_joined(segmenter, sharp):
    masks = segmenter(100, sharp, 500, 50).segment(scene())
    assert len(masks) == 3


@LIBRARIES
def test_uniform_image_is_one_segment(segmenter, sharp):
    masks = segmenter(100, 0.8, 100, 50).segment(np.full((60, 80, 3), 90, np.uint8))
    assert len(masks) == 1 and masks.masks.all()


@LIBRARIES
def test_view_of_an_image_gives_the_same(segmenter, sharp):
    rgb = scene()
    segmenter = segmenter(100, 0.8, 50, 50)
    reversed_channels = np.ascontiguousarray(rgb[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(segmenter.segment(reversed_channels).masks, segmenter.segment(rgb).masks)


@LIBRARIES
@pytest.mark.parametrize('settings', [(0, 0.8, 100, 50), (100, -1.0, 100, 50), (100, 0.8, 0, 50), (100, 0.8, 100, 0)])
def test_settings_are_checked(segmenter, sharp, settings):
    with pytest.raises(SegvladError, match='segmenter: '):
        segmenter(*settings)


@pytest.mark.parametrize(('segmenter', 'segments'), [(FelzenszwalbSegmenter, 1), (GraphSegmenter, 30)])
def test_a_pixel_has_eight_neighbours_in_one_library_and_four_in_the_other(segmenter, segments):
    """Which is why their segments differ, and no setting of one gives those of the other."""
    rgb, along = np.zeros((40, 40, 3), np.uint8), np.arange(5, 35)
    rgb[along, along] = 255
    masks = segmenter(1, 0.1, 1, 100).segment(rgb).masks
    assert masks[:, along, along].any(axis=1).sum() == segments


def test_opencv_cannot_do_without_a_blur():
    with pytest.raises(SegvladError, match='sigma is 0.0; set it to 0.1 or more'):
        GraphSegmenter(100, 0.0, 100, 50)


def test_an_opencv_without_contrib_is_named(monkeypatch):
    monkeypatch.delattr(cv2, 'ximgproc')
    with pytest.raises(SegvladError, match='install opencv-contrib-python-headless in place of opencv-python-headless'):
        GraphSegmenter(100, 0.8, 100, 50)
