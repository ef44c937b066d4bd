"""One image to its description, and every way that it can fail, with the real backends of the classic preset."""
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segvlad_ros.description.describer import Describer, resized
from segvlad_ros.description.keypoints import KeypointDetector
from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.description.segments import segments_from_masks
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.features.root_sift import RootSiftExtractor
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.segmentation.classic import PatchSegmenter
from segvlad_ros.types import FeatureGrid, Frame, Keypoints, Masks, SegvladError

SIZE = (160, 120)
EXTRACTOR = RootSiftExtractor(16, (4, 8), 1.0)
VOCABULARY = Vocabulary(np.random.default_rng(0).random((6, EXTRACTOR.dimension)) * 0.1)
PROJECTION = SeededProjection(6, EXTRACTOR.dimension, 48)


class FixedMasks:
    """A segmenter that returns what it was given."""

    def __init__(self, *boxes):
        self.boxes = boxes

    def segment(self, rgb):
        masks = np.zeros((len(self.boxes), *rgb.shape[:2]), bool)
        for mask, (x, y, width, height) in zip(masks, self.boxes):
            mask[y:y + height, x:x + width] = True
        return Masks(masks, np.ones(len(masks), np.float32))


def texture(width=640, height=480, seed=1):
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def describer(segmenter=None, extractor=EXTRACTOR, **settings):
    return Describer(segmenter or PatchSegmenter(3, 4), extractor, VOCABULARY, PROJECTION,
                     **{'order': 1, 'image_size': SIZE, **settings})


def test_an_ordinary_image():
    description = describer().describe(texture())
    assert description.rejected == ''
    assert description.descriptors.shape == (12, 48)
    assert description.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(description.descriptors, axis=1), 1, rtol=1e-5)
    assert set(description.timings) == {'segments', 'features', 'description'}
    assert min(description.timings.values()) > 0


def test_boxes_and_areas_are_in_pixels_of_the_camera_image():
    description = describer(FixedMasks((10, 5, 20, 15), (0, 0, 80, 60))).describe(texture(640, 360))
    np.testing.assert_array_equal(description.boxes, [[80, 30, 160, 90], [0, 0, 640, 360]])
    np.testing.assert_array_equal(description.pixels, [160 * 90, 640 * 360])
    assert description.boxes.dtype == np.int32
    assert description.pixels.dtype == np.int64


def test_the_segmenter_sees_half_the_size():
    seen = []

    class Watching(PatchSegmenter):
        def segment(self, rgb):
            seen.append(rgb.shape)
            return super().segment(rgb)

    describer(Watching(2, 2)).describe(texture(200, 100))
    describer(Watching(2, 2), segment_scale=1.0).describe(texture(200, 100))
    assert seen == [(60, 80, 3), (120, 160, 3)]


@pytest.mark.parametrize('count', [1, 2, 3])
def test_few_segments_are_described(count):
    boxes = [(0, 0, 30, 30), (40, 0, 30, 30), (0, 30, 30, 30)][:count]
    description = describer(FixedMasks(*boxes), order=3).describe(texture())
    assert len(description) == count
    # one, two or three segments are each other's neighbours: all describe the same union
    np.testing.assert_allclose(description.descriptors - description.descriptors[0], 0, atol=1e-5)


def test_segments_on_a_line_and_on_one_spot_are_described():
    line = describer(FixedMasks(*((x, 20, 10, 10) for x in range(0, 70, 12)))).describe(texture())
    spot = describer(FixedMasks(*((10 + k, 10 + k, 40 - 2 * k, 40 - 2 * k) for k in range(5)))).describe(texture())
    assert (len(line), len(spot)) == (6, 5)


@pytest.mark.fault('image', 'segments all on one line, where a preset has `neighbourhood.rule: reference`',
                   'one line that says to use `robust`; the image is lost, the node goes on')
def test_segments_on_a_line_are_refused_by_the_rule_of_the_reference():
    """The published code ends there, too: a line has no triangle."""
    row = FixedMasks(*((20 * number, 20, 10, 10) for number in range(6)))
    with pytest.raises(SegvladError, match='lie on a line; set neighbourhood.rule to robust'):
        describer(row, rule='reference').describe(texture())


def test_order_zero_describes_each_alone():
    whole = describer(FixedMasks((0, 0, 40, 40), (40, 0, 40, 60)), order=0).describe(texture()).descriptors
    alone = describer(FixedMasks((40, 0, 40, 60)), order=0).describe(texture()).descriptors
    np.testing.assert_allclose(whole[1], alone[0], atol=1e-6)
    assert whole[0] @ whole[1] < 0.99


@pytest.mark.parametrize(('image', 'segmenter', 'reason'), [
    (np.full((480, 640, 3), 130, np.uint8), None, 'blank'),
    (np.zeros((480, 640, 3), np.uint8), None, 'dark'),
    (texture() // 20, None, 'dark'),
    (texture(), FixedMasks(), '0 segments'),
    (texture(), FixedMasks((0, 0, 0, 0)), '0 segments'),
], ids=['blank', 'black', 'dark', 'no segments', 'empty mask'])
def test_unusable_images_are_rejected_with_the_reason(image, segmenter, reason):
    description = describer(segmenter).describe(image)
    assert reason in description.rejected
    assert description.descriptors.shape == (0, 48)
    assert description.boxes.shape == (0, 4)
    assert len(description.pixels) == 0


@pytest.mark.parametrize(('width', 'height'), [
    (1, 1), (1, 640), (640, 1), (640, 3), (3, 640), (2000, 8), (8, 2000), (15, 15), (15, 200), (16, 16), (17, 16),
    (16, 70000), (70000, 16), (24, 300)])
def test_strips_are_described_or_rejected_as_too_thin(width, height):
    noise = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = Frame(noise, 1, depth=np.ones((height, width), np.float32))
    keyframe = Mapper(describer(find_keypoints=KeypointDetector()), session_id='s').make_keyframe(frame)
    assert ('too thin' in keyframe.description.rejected) == (min(width, height) < 16)
    assert bool(len(keyframe.description)) == (min(width, height) >= 16)
    assert keyframe.thumbnail


def test_more_segments_can_be_asked_for():
    assert '4 needed' in describer(FixedMasks((0, 0, 9, 9)), min_segments=4).describe(texture()).rejected


def test_segments_without_texture_are_left_out():
    image = texture()
    image[:, 320:] = 128
    description = describer(FixedMasks((0, 0, 30, 60), (60, 20, 15, 20)), order=0).describe(image)
    assert len(description) == 1
    assert description.boxes[0, 0] == 0
    image[:, :] = np.linspace(100, 140, 640, dtype=np.uint8)[None, :, None]  # not blank, and nothing in it
    assert 'no texture' in describer(order=0).describe(image).rejected


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_features_that_are_not_finite_are_never_described(value):
    class Broken(RootSiftExtractor):
        def extract(self, rgb):
            grid = super().extract(rgb)
            grid.features[3, 5] = value
            return grid

    description = describer(extractor=Broken(16, (4, 8), 1.0)).describe(texture())
    assert 'not finite' in description.rejected
    assert len(description) == 0


def test_both_threads_stages_are_those_of_one_after_the_other():
    image, depth = texture(), np.full((480, 640), 2, np.float32)
    both = describer(find_keypoints=KeypointDetector())
    description = both.describe(image, depth)
    assert set(description.timings) == {'segments', 'features', 'keypoints', 'description'}
    segments = segments_from_masks(both.segmenter.segment(resized(image, both.segment_size)), both.grid)
    rows, _ = both.describe_segments(both.extractor.extract(resized(image, SIZE)), segments)
    # not to the last bit: NumPy 1.26 adds in another order where memory lies otherwise, in one thread, too
    np.testing.assert_allclose(description.descriptors, rows, rtol=0, atol=1e-6)
    alone = KeypointDetector()(image, depth)
    for name, values in vars(description.keypoints).items():
        np.testing.assert_array_equal(values, getattr(alone, name))


@pytest.mark.parametrize('stage', ['extractor', 'find_keypoints'])
def test_what_fails_in_the_other_thread_is_passed_on(stage):
    class Failing(RootSiftExtractor):
        def extract(self, rgb):
            raise SegvladError('nothing today')

        def __call__(self, rgb, depth):
            raise SegvladError('nothing today')

    broken = describer(**{stage: Failing(16, (4, 8), 1.0)})
    for _ in range(2):
        with pytest.raises(SegvladError, match='nothing today'):
            broken.describe(texture())


def test_running_out_of_gpu_memory_is_an_input_error():
    class OutOfMemoryError(RuntimeError):  # what torch.cuda raises is named so
        pass

    class Greedy(PatchSegmenter):
        def segment(self, rgb):
            raise OutOfMemoryError('CUDA out of memory. Tried to allocate 8 GiB')

    with pytest.raises(SegvladError, match='out of memory'):
        describer(Greedy(1, 1)).describe(texture())


def test_warming_up_uses_every_part():
    seen = []

    class Watching(PatchSegmenter):
        def segment(self, rgb):
            seen.append(rgb.std() > 20)
            return super().segment(rgb)

    describer(Watching(2, 2)).warm_up()
    assert seen == [True]


def test_keypoints_come_from_the_callable():
    keypoints = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), np.zeros(0, np.float32))
    seen = []

    def find(rgb, depth):
        seen.append((rgb.shape, depth))
        return keypoints

    description = describer(find_keypoints=find).describe(texture(), 'depth')
    assert description.keypoints is keypoints
    assert seen == [((480, 640, 3), 'depth')]
    assert 'keypoints' in description.timings


def test_keypoints_of_the_features_are_taken_to_the_cameras_image():
    class WithKeypoints(RootSiftExtractor):
        def extract(self, rgb):
            places = np.array([[-0.5, -0.5], [79.5, 30.0]], np.float32)
            return replace(super().extract(rgb), keypoints=Keypoints(
                places, np.zeros((2, 64), np.uint8), np.full(2, np.nan, np.float32)))

    def find(rgb, depth):
        raise AssertionError('not asked')

    extractor = WithKeypoints(16, (4, 8), 1.0)
    points = describer(extractor=extractor, find_keypoints=find).describe(
        texture(640, 360), np.full((180, 320), 3.5, np.float32)).keypoints
    np.testing.assert_allclose(points.positions, [[-0.5, -0.5], [319.5, 91.0]])
    np.testing.assert_allclose(points.depths, [3.5, 3.5])


@pytest.mark.parametrize('image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
                                   np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)], ids=str)
def test_other_arrays_are_no_image(image):
    with pytest.raises(SegvladError, match='uint8 RGB'):
        describer().describe(image)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(SegvladError, match='vocabulary is for 5-d'):
        Describer(PatchSegmenter(1, 1), EXTRACTOR, Vocabulary(np.ones((6, 5))), PROJECTION)
    with pytest.raises(SegvladError, match='projection is for'):
        Describer(PatchSegmenter(1, 1), EXTRACTOR, VOCABULARY, SeededProjection(7, EXTRACTOR.dimension, 48))

    class Coarse(RootSiftExtractor):
        def extract(self, rgb):
            return FeatureGrid(np.ones((1, self.dimension), np.float32), 1, 1)

    with pytest.raises(SegvladError, match='1 x 1 cells'):
        describer(extractor=Coarse(16, (4, 8), 1.0)).describe(texture())
