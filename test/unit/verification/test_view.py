"""Correspondences: mutual, unambiguous, first inside matched segments."""
import numpy as np
import pytest

from segvlad_ros.types import Keypoints
from segvlad_ros.verification.view import View, find_correspondences, same_segments, squared_distances


def looks(count, seed=0):
    return np.random.default_rng(seed).integers(0, 120, (count, 128)).astype(np.uint8)


def keypoints(positions, descriptors):
    return Keypoints(np.asarray(positions, np.float32), descriptors, np.full(len(descriptors), np.nan, np.float32))


def places(count, seed=1):
    return np.random.default_rng(seed).uniform(0, 600, (count, 2))


def test_distances_are_exact():
    first, second = looks(30), looks(40, 5)
    expected = ((first[:, None].astype(int) - second.astype(int)) ** 2).sum(axis=2)
    assert np.array_equal(squared_distances(first, second), expected)


def test_a_shuffled_copy_is_found_point_by_point():
    order = np.random.default_rng(3).permutation(60)
    descriptors, positions = looks(60), places(60)
    pairs = find_correspondences(keypoints(positions, descriptors), keypoints(positions[order], descriptors[order]))
    assert len(pairs) == 60
    assert np.array_equal(order[pairs.match], pairs.query)


def test_what_looks_alike_twice_is_left_out():
    descriptors = looks(20)
    doubled = np.concatenate([descriptors, descriptors[:5]])  # the first five are there once more
    pairs = find_correspondences(keypoints(places(20), descriptors), keypoints(places(25), doubled))
    assert sorted(pairs.query) == list(range(5, 20))


def test_matched_segments_tell_doubles_apart():
    descriptors = looks(20)
    query = View(keypoints(places(20), descriptors), np.array([[0, 0, 600, 600]], np.int32))
    left, right = places(20, 4) / [2, 1], places(20, 5) / [2, 1] + [400, 0]
    match = View(keypoints(np.concatenate([left, right]), np.concatenate([descriptors, descriptors])),
                 np.array([[0, 0, 300, 600], [400, 0, 300, 600]], np.int32))
    assert len(find_correspondences(query.keypoints, match.keypoints)) == 0
    inside = same_segments(query, match, np.array([[0, 1]]))
    pairs = find_correspondences(query.keypoints, match.keypoints, inside)
    assert len(pairs) == 20
    assert inside[pairs.query, pairs.match].all()
    assert np.array_equal(pairs.match, pairs.query + 20)


def test_what_segments_leave_over_is_sought_in_the_whole_image():
    descriptors, positions = looks(40), places(40)
    view = View(keypoints(positions, descriptors), np.array([[0, 0, 300, 600]], np.int32))
    inside = same_segments(view, view, np.array([[0, 0]]))
    pairs = find_correspondences(view.keypoints, view.keypoints, inside)
    assert len(pairs) == 40
    assert np.array_equal(pairs.match, pairs.query)


def test_one_point_with_two_orientations_is_one_correspondence():
    descriptors, positions = looks(20), places(20)
    positions[10:] = positions[:10]
    assert len(find_correspondences(keypoints(positions, descriptors), keypoints(positions, descriptors))) == 10


@pytest.mark.parametrize('counts', [(0, 0), (0, 9), (9, 0), (1, 1), (5, 1)])
def test_too_few_to_compare_are_none(counts):
    first, second = (keypoints(places(n), looks(n)) for n in counts)
    assert len(find_correspondences(first, second)) == 0
