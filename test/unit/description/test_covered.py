"""Masks: what they cover is neither segment nor feature nor keypoint, whatever is there."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from segvlad_ros.description.covered import painted, uncovered
from segvlad_ros.description.describer import Describer
from segvlad_ros.description.keypoints import KeypointDetector
from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.description.vocabulary import Vocabulary, no_words
from segvlad_ros.features import whole_image
from segvlad_ros.features.root_sift import RootSiftExtractor
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.segmentation.classic import FelzenszwalbSegmenter, PatchSegmenter
from segvlad_ros.segmentation.completion import CompletedSegmenter
from segvlad_ros.types import Frame, Keypoints, Masks, SegvladError, Status

SIZE = 160, 120
EXTRACTOR = RootSiftExtractor(16, (4, 8), 1.0)
GRAPH = FelzenszwalbSegmenter(100.0, 0.8, 20, 100)


def texture(seed=1, width=320, height=240):
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def body():
    """The lower third, as of a bonnet or an arm, with a slanted edge."""
    usable = np.ones((240, 320), bool)
    for row in range(240):
        usable[row, :max(0, 2 * row - 250)] = False
    return usable


def describer(segmenter=GRAPH, extractor=EXTRACTOR, vocabulary=None):
    words = vocabulary or Vocabulary(np.random.default_rng(0).random((6, EXTRACTOR.dimension)) * 0.1)
    return Describer(segmenter, extractor, words, SeededProjection(len(words), extractor.dimension, 48), order=1,
                     image_size=SIZE, find_keypoints=KeypointDetector(200))


class HalfMasks:
    """The left half alone, so that something is filled."""

    def segment(self, rgb):
        masks = np.zeros((1, *rgb.shape[:2]), bool)
        masks[:, :, :rgb.shape[1] // 2] = True
        return Masks(masks, np.ones(1, np.float32))


class MeanColour:
    """A descriptor of the whole image that sees every pixel."""

    cell, dimension = 120, 3

    def extract(self, rgb):
        return whole_image(rgb.mean(axis=(0, 1)).astype(np.float32), rgb.shape, self.cell)


@pytest.mark.parametrize('pipeline', [
    (GRAPH,), (PatchSegmenter(3, 4),), (CompletedSegmenter(HalfMasks(), GRAPH),),
    (PatchSegmenter(1, 1), MeanColour(), no_words(3))], ids=['graph', 'patches', 'completed', 'whole'])
def test_nothing_under_the_mask_changes_a_description(pipeline):
    usable, described = body(), []
    for seed in (5, 6, 7):
        rgb = texture()
        rgb[~usable] = texture(seed)[~usable]
        described.append(describer(*pipeline).describe(rgb, usable=usable))
    first, *others = described
    assert len(first) > 0
    assert len(first.keypoints.positions) > 20
    for other in others:
        assert np.array_equal(first.descriptors, other.descriptors)
        assert np.array_equal(first.boxes, other.boxes)
        assert np.array_equal(first.pixels, other.pixels)
        assert np.array_equal(first.keypoints.positions, other.keypoints.positions)
        assert np.array_equal(first.keypoints.descriptors, other.keypoints.descriptors)
    plain = [describer(*pipeline).describe(np.where(usable[..., None], texture(), texture(seed))) for seed in (5, 6)]
    assert not np.array_equal(plain[0].descriptors, plain[1].descriptors)


def test_no_segment_and_no_keypoint_lies_on_the_mask():
    usable = body()
    found = describer(PatchSegmenter(3, 4)).describe(texture(), usable=usable)
    columns, rows = np.rint(found.keypoints.positions).astype(int).T
    assert usable[rows, columns].all()
    whole = describer(PatchSegmenter(3, 4)).describe(texture())
    assert len(found.keypoints.positions) < len(whole.keypoints.positions)
    assert found.pixels.sum() == pytest.approx(usable.sum(), rel=0.01)  # patches tile what is seen
    usable = np.ones((240, 320), bool)
    usable[160:, :] = False
    assert (found := describer(PatchSegmenter(3, 4)).describe(texture(), usable=usable))
    assert len(found) == 8  # the last row of patches is gone
    assert (found.boxes[:, 1] + found.boxes[:, 3]).max() <= 160


def test_a_mask_that_covers_nothing_changes_nothing():
    free = describer().describe(texture(), usable=np.ones((240, 320), bool))
    plain = describer().describe(texture())
    assert np.array_equal(free.descriptors, plain.descriptors)
    assert np.array_equal(free.keypoints.descriptors, plain.keypoints.descriptors)


@pytest.mark.parametrize(('rows', 'said'), [(0, 'the mask covers 100% of the image'), (6, 'the mask covers 98%')])
def test_an_image_that_is_covered_is_unusable(rows, said):
    usable = np.zeros((240, 320), bool)
    usable[:rows] = True
    found = describer().describe(texture(), usable=usable)
    assert len(found) == 0
    assert said in found.rejected
    assert '0 covers, anything else is used' in found.rejected


@pytest.mark.fault('image', 'a dark image with something bright under the mask', 'dark all the same')
def test_light_under_the_mask_does_not_make_a_dark_image_bright():
    usable, rgb = body(), np.full((240, 320, 3), 5, np.uint8)
    rgb[~usable] = 255
    assert 'dark' in describer().describe(rgb, usable=usable).rejected
    assert describer().describe(rgb).rejected == ''


def test_paint_is_soft_and_of_the_colours_around_it():
    usable, rgb = body(), np.full((240, 320, 3), (200, 100, 50), np.uint8)
    rgb[~usable] = (0, 255, 0)
    assert np.abs(painted(rgb, usable).astype(int) - (200, 100, 50)).max() <= 1
    halves = np.zeros((240, 320, 3), np.uint8)
    halves[:, 160:] = 250
    middle = np.ones((240, 320), bool)
    middle[:, 100:220] = False
    row = painted(halves, middle)[120, :, 0].astype(int)
    assert (np.diff(row[101:219]) >= 0).all()
    assert np.abs(np.diff(row)).max() < 60  # and no step of 250


def test_keypoints_at_the_edge_go_too():
    usable = np.ones((240, 320), bool)
    usable[:, :100] = False
    positions = np.array([[50, 50], [101, 50], [103, 50], [110, 50], [319, 239], [0, 0]], np.float32)
    left = uncovered(Keypoints(positions, np.zeros((6, 4), np.uint8), np.arange(6, dtype=np.float32)), usable)
    assert left.depths.tolist() == [3.0, 4.0]
    none = uncovered(Keypoints(positions[:0], np.zeros((0, 4), np.uint8), np.zeros(0, np.float32)), usable)
    assert len(none.positions) == 0


def test_front_door():
    places = PlaceRecognizer('classic')
    usable = np.ones((240, 320), bool)
    usable[120:] = False
    for seed in range(5):
        places.add(Frame(texture(seed), seed + 1))
    mixed = texture(2)
    mixed[120:] = texture(4)[120:]
    answer = places.recognize(Frame(mixed, 10, mask=usable), independent=True)
    assert answer.candidates[0].entry == 2
    assert places.recognize(Frame(mixed, 11, mask=~usable), independent=True).candidates[0].entry == 4
    covered = places.recognize(Frame(mixed, 12, mask=np.zeros((240, 320), bool)))
    assert covered.status == Status.QUERY_REJECTED
    assert 'the mask covers' in covered.reason
    with pytest.raises(SegvladError, match='bool and of the size of the image'):
        places.add(Frame(mixed, 13, mask=usable[:100]))
    with pytest.raises(SegvladError, match='bool and of the size of the image'):
        places.add(Frame(mixed, 14, mask=usable.astype(np.uint8)))
