"""Pictures of matched segments."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.evaluation.pictures import draw_matched_segments, matched_pairs, segment_masks
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.simulation.robot import SimulatedRobot
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import Candidate, KeyframeId, SegmentMatch


@pytest.fixture(scope='module')
def describer():
    return build_describer(load_preset('classic'), 'cpu')


@pytest.fixture(scope='module')
def image():
    return SimulatedRobot(load_scenario('demo')).frame(40).rgb


def blob(left):
    mask = np.zeros((120, 160), bool)
    mask[40:80, left:left + 40] = True
    return mask


def test_a_pair_has_the_same_colour_on_both_sides_and_another_pair_another():
    grey = np.full((120, 160, 3), 120, np.uint8)
    picture = draw_matched_segments(grey, grey, [(blob(10), blob(100)), (blob(100), blob(10))], 'two of them')
    right = 160 + 6
    first, second = picture[60, 30], picture[60, 120]
    np.testing.assert_array_equal(first, picture[60, right + 120])
    np.testing.assert_array_equal(second, picture[60, right + 30])
    assert np.abs(first.astype(int) - second).max() > 60
    assert picture[125:].min() < 100  # the caption


def test_a_match_without_pairs_is_drawn_too():
    grey = np.full((120, 160, 3), 120, np.uint8)
    assert draw_matched_segments(grey, grey, []).shape[1] == 326


def test_described_segments_are_found_again(describer, image):
    description = describer.describe(image)
    masks = segment_masks(describer, image, description)
    assert len(masks) == len(description)
    right = sum(abs(int(mask.sum()) - pixels) <= 0.02 * pixels + 40 for mask, pixels in zip(masks, description.pixels))
    assert right >= 0.95 * len(masks)
    for mask, (x, y, width, _) in zip(masks, description.boxes):
        assert mask.shape == image.shape[:2]
        assert not mask[:max(0, y - 2)].any()
        assert not mask[:, x + width + 2:].any()


def test_the_most_similar_large_segments_are_shown_once_each(describer, image):
    description = describer.describe(image)
    order = [int(number) for number in np.argsort(-description.pixels)]
    first, second, third, smallest = order[0], order[1], order[2], order[-1]
    assert description.pixels[smallest] < 0.003 * image[..., 0].size < description.pixels[third]
    evidence = (SegmentMatch(second, second, 0.7), SegmentMatch(first, first, 0.9), SegmentMatch(third, first, 0.8),
                SegmentMatch(smallest, smallest, 0.95))
    candidate = Candidate(0, KeyframeId(0, 's', 1, 1), 0.5, 0.1, 4, evidence=evidence)
    pairs = matched_pairs(describer, (image, image), (description, description), candidate)
    assert len(pairs) == 2
    for (query, match), number in zip(pairs, (first, second)):
        np.testing.assert_array_equal(query, match)
        assert abs(int(query.sum()) - description.pixels[number]) <= 0.02 * description.pixels[number] + 40
