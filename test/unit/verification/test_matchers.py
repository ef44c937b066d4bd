"""Pairs of keypoints by a network, by a stand-in of a few lines of numpy; the real one: test/deep."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.description.upright import quarter_turns
from segvlad_ros.features.xfeat_keypoints import unit_vectors
from segvlad_ros.types import Keypoints, Pose, SegvladError
from segvlad_ros.verification.matchers import LearnedMatcher
from segvlad_ros.verification.view import View

WIDTH, HEIGHT = 320, 200


def view(numbers, seed=0):
    """Some of forty keypoints of one scene, in an image whose segments reach over all of it."""
    random = np.random.default_rng(seed)
    positions = random.uniform(0, (WIDTH, HEIGHT), (40, 2)).astype(np.float32)
    descriptors = random.normal(128, 32, (40, 64)).clip(0, 255).astype(np.uint8)
    keypoints = Keypoints(positions[numbers], descriptors[numbers], np.full(len(numbers), np.nan, np.float32))
    return View(keypoints, np.array([[0, 0, WIDTH, HEIGHT]], np.int32))


def alike(points, features, other_points, other_features):
    """How far the cosines of descriptors are above those of chance."""
    assert {array.dtype for array in (points, features, other_points, other_features)} == {np.dtype(np.float32)}
    return np.maximum(features @ other_features.T - 0.6, 0)


def test_pairs_are_mutual_likely_and_the_surest_first():
    likely = np.array([[0.9, 0.2, 0.0], [0.6, 0.5, 0.0], [0.0, 0.0, 0.05], [0.0, 0.95, 0.0]], np.float32)
    pairs = LearnedMatcher(lambda *_: likely, 10)(view(range(4)), view(range(3)))
    assert (pairs.query.tolist(), pairs.match.tolist()) == ([3, 0], [1, 0])


def test_keypoints_are_found_again_by_what_a_map_keeps_of_them():
    first, second = view(np.arange(30)), view(np.arange(39, 9, -1))
    kept = View(unpack_keypoints(pack_keypoints(second.keypoints)), second.boxes)
    pairs = LearnedMatcher(alike, 40)(first, kept)
    assert sorted(zip(pairs.query, pairs.match)) == [(number, 39 - number) for number in range(10, 30)]


def test_positions_are_shares_of_the_longer_side_from_the_middle():
    seen = []
    LearnedMatcher(lambda *arrays: seen.extend(arrays) or np.zeros((5, 7), np.float32), 40)(
        view(range(5)), view(range(7)))
    np.testing.assert_allclose(seen[2] * WIDTH / 2 + (WIDTH / 2, HEIGHT / 2), view(range(7)).keypoints.positions,
                               atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(seen[1], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(('turns', 'mount'), [(1, [0.707107, 0, 0.707107, 0]), (2, [0.5, 0.5, 0.5, 0.5]),
                                              (3, [0, 0.707107, 0, 0.707107])])
def test_the_network_sees_turned_cameras_upright(turns, mount):
    """It was taught with upright images, as features were."""
    upright, seen = view(range(5)), []
    sensor = upright.keypoints.positions - (WIDTH / 2, HEIGHT / 2)
    for _ in range(turns):  # what has to be turned to the left lies turned to the right
        sensor = np.column_stack([-sensor[:, 1], sensor[:, 0]])
    size = np.array([[WIDTH, HEIGHT], [HEIGHT, WIDTH]][turns % 2])
    turned = View(replace(upright.keypoints, positions=(sensor + size / 2).astype(np.float32)),
                  np.array([[0, 0, *size]], np.int32), base_from_camera=Pose(np.zeros(3), np.array(mount), 'base_link'))
    assert quarter_turns(turned.base_from_camera) == turns
    LearnedMatcher(lambda *arrays: seen.extend(arrays) or np.zeros((5, 5), np.float32), 40)(upright, turned)
    np.testing.assert_allclose(seen[2], seen[0], atol=1e-5)


def test_the_network_is_shown_the_best_keypoints_only():
    pairs = LearnedMatcher(alike, 20)(view(np.arange(30)), view(np.arange(5, 40)))
    assert sorted(zip(pairs.query, pairs.match)) == [(number, number - 5) for number in range(5, 20)]


def test_an_image_without_keypoints_has_no_pairs_and_asks_nobody():
    nothing = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 0), np.uint8), np.zeros(0, np.float32))
    empty = View(nothing, np.zeros((0, 4), np.int32))
    for views in ((empty, view(range(5))), (view(range(5)), empty)):
        assert len(LearnedMatcher(None, 10)(*views)) == 0


def test_other_keypoints_are_refused():
    sift = View(Keypoints(np.zeros((3, 2), np.float32), np.zeros((3, 128), np.uint8), np.zeros(3, np.float32)),
                np.zeros((0, 4), np.int32))
    with pytest.raises(SegvladError, match='takes keypoints of XFeat, with descriptors of 64 values, not of 128'):
        LearnedMatcher(alike, 40)(view(range(5)), sift)


def test_what_the_network_says_goes_wrong_is_one_line():
    def failing(*arrays):
        raise RuntimeError('bad\nshape')

    with pytest.raises(SegvladError, match='does not take these keypoints .*bad shape'):
        LearnedMatcher(failing, 10)(view(range(5)), view(range(5)))


def test_bytes_become_the_vectors_that_they_were_made_of():
    vectors = unit_vectors(np.array([[128, 128, 228], [28, 128, 128], [128, 128, 128]], np.uint8))
    np.testing.assert_array_equal(vectors, [[0, 0, 1], [-1, 0, 0], [0, 0, 0]])
