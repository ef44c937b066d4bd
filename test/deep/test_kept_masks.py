"""Masks that benchmarks keep: those of the network itself, which looks at an image once."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import package_weights
import pytest
from kept_masks import KeptNetwork, KeptSegmenter
from small_models import image_at, real_image

from segvlad_ros.pipeline.description_sections import SamSettings
from segvlad_ros.segmentation.sam import SamSegmenter


@pytest.mark.parametrize('thresholds', [(0.88, 0.95), (0.7, 0.85)])
def test_they_are_the_masks_of_the_segmenter(tmp_path, thresholds):
    iou, stability = thresholds
    settings = SamSettings(kind='sam', model='vit_t', weights=package_weights.mobile_sam(), image_size=512,
                           points_per_side=6, iou_threshold=iou, stability_threshold=stability)
    rgb = image_at(real_image('hololens_office/images/0100.jpg'))
    wanted = SamSegmenter.from_checkpoint(settings.weights, model='vit_t', image_size=512,
                                          settings=settings).segment(rgb)
    found = KeptSegmenter(KeptNetwork(settings, tmp_path), settings).segment(rgb)
    assert len(found) == len(wanted) >= 5
    assert (found.masks == np.asarray(wanted.masks)).all()
    np.testing.assert_allclose(found.embedding, np.asarray(wanted.embedding), atol=2e-3)
    without = replace(settings, weights=Path('/nowhere'))
    assert (KeptSegmenter(KeptNetwork(without, tmp_path), without).segment(rgb).masks == found.masks).all()
