"""What a segmenter leaves uncovered is cut by another one."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.segmentation.classic import PatchSegmenter
from segvlad_ros.segmentation.completion import GAPS, MIN_SHARE, CompletedSegmenter, filler
from segvlad_ros.types import Masks

RGB = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


class Objects:
    """A segmenter that finds what it was given."""

    def __init__(self, *masks: np.ndarray) -> None:
        self.found = Masks(np.array(masks, bool).reshape(-1, 240, 320), np.linspace(0.9, 0.8, len(masks), dtype='f'),
                           embedding=np.ones((1, 2, 2), np.float32))

    def segment(self, rgb: np.ndarray) -> Masks:
        return self.found


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((240, 320), bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize('kind', GAPS[1:])
def test_every_pixel_is_covered_but_for_scraps(kind):
    objects = Objects(rectangle(20, 170, 30, 200), rectangle(100, 120, 40, 60), rectangle(0, 90, 250, 320))
    completed = CompletedSegmenter(objects, filler(kind)).segment(RGB)
    np.testing.assert_array_equal(completed.masks[:3], objects.found.masks)
    np.testing.assert_array_equal(completed.quality[:3], objects.found.quality)
    assert len(completed) == len(completed.masks) > 4
    more = completed.masks[3:]
    assert not (more & objects.found.masks.any(0)).any()
    assert more.sum(0).max() == 1
    assert more.sum((1, 2)).min() >= MIN_SHARE * 240 * 320
    assert completed.masks.any(0).mean() > 0.95
    assert completed.embedding is objects.found.embedding


def test_no_object_at_all_leaves_the_filler():
    completed = CompletedSegmenter(Objects(), PatchSegmenter(2, 2)).segment(RGB)
    np.testing.assert_array_equal(completed.masks, PatchSegmenter(2, 2).segment(RGB).masks)


def test_a_covered_image_stays_as_it_is():
    objects = Objects(np.ones((240, 320), bool))
    assert CompletedSegmenter(objects, PatchSegmenter(2, 2)).segment(RGB) is objects.found
