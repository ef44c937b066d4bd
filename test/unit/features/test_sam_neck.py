"""The segmenter's own embedding as features of the cells."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from segvlad_ros.description.describer import Describer
from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.description.segments import segments_from_masks
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.features.sam_neck import SamNeckExtractor
from segvlad_ros.segmentation.classic import PatchSegmenter
from segvlad_ros.types import Masks, SegvladError

SIDE = 32


class Network:
    """Cuts patches, and embeds an image as its mean colours in cells of the square that it is scaled into."""

    def __init__(self) -> None:
        self.passes = 0

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        self.passes += 1
        height, width = (round(SIDE * length / max(rgb.shape[:2])) for length in rgb.shape[:2])
        embedding = np.zeros((3, SIDE, SIDE), np.float32)
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        embedding[:, :height, :width] = small.transpose(2, 0, 1)
        return embedding

    def segment(self, rgb: np.ndarray) -> Masks:
        patches = PatchSegmenter(3, 4).segment(rgb)
        return Masks(patches.masks, patches.quality, self.encode(rgb))


@pytest.fixture
def neck():
    return SamNeckExtractor(Network(), (640, 480), (320, 240), 20)


def halves() -> np.ndarray:
    """Red on the left, green on the right."""
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[:, :320, 0], rgb[:, 320:, 1] = 200, 100
    return rgb


def test_cells_have_what_the_network_saw_there(neck):
    grid = neck.extract(halves())
    assert (grid.rows, grid.cols, neck.dimension) == (24, 32, 3)
    colours = grid.features.reshape(24, 32, 3)
    np.testing.assert_allclose(colours[:, :16], np.tile([1, 0, 0], (24, 16, 1)), atol=1e-6)
    np.testing.assert_allclose(colours[:, 16:], np.tile([0, 1, 0], (24, 16, 1)), atol=1e-6)


@pytest.mark.parametrize(('size', 'segmented'), [((640, 480), (320, 240)), ((480, 640), (240, 320)),
                                                 ((300, 300), (150, 150)), ((640, 300), (320, 150))])
def test_cells_between_those_of_the_network_are_interpolated(size, segmented):
    width, height = size
    slope = np.linspace(50, 250, width)[None, :, None] + np.zeros((height, 1, 3))
    rgb = np.rint(slope + [0, 0, 5]).clip(0, 255).astype(np.uint8)
    rgb[..., 1] = 255 - rgb[..., 0]
    neck = SamNeckExtractor(Network(), size, segmented, 25)
    grid = neck.extract(rgb)
    seen = grid.features.reshape(grid.rows, grid.cols, 3)
    level = rgb[0, 12::25].astype(float)[:grid.cols]
    # the outermost cells of the network have nothing to interpolate with
    np.testing.assert_allclose(seen[:, 1:-1], np.tile((level / np.linalg.norm(level, axis=1)[:, None])[1:-1],
                                                      (grid.rows, 1, 1)), atol=0.02)


def test_masks_and_features_come_of_one_pass(neck):
    network = neck.segmenter
    words = np.eye(3, dtype=np.float32)
    describer = Describer(network, neck, Vocabulary(words), SeededProjection(3, 3, 8))
    network.passes = 0
    rgb = halves() + np.random.default_rng(0).integers(0, 50, (480, 640, 3), np.uint8)
    description = describer.describe(rgb)
    assert network.passes == 1
    assert description.rejected == ''
    assert len(description) == 12
    assert {'segments', 'features', 'description'} == set(description.timings)
    alone = neck.extract(rgb)
    segments = segments_from_masks(network.segment(rgb), describer.grid)
    rows, _ = describer.describe_segments(alone, segments)
    np.testing.assert_allclose(description.descriptors, rows, atol=1e-5)


def test_a_segmenter_without_a_network_is_refused(neck):
    with pytest.raises(SegvladError, match='set segmenter.kind to sam, mode grid'):
        neck.of_masks(PatchSegmenter(2, 2).segment(halves()))
