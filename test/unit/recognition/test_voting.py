"""The online vote against its definition."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.recognition.voting import Likeness, vote_online


def test_one_vote_a_segment_and_keyframe():
    similarities = np.array([[0.9, 0.8, 0.5], [0.9, 0.2, 0.1]], np.float32)
    owners = np.array([[1, 1, 0], [1, 0, -1]])
    votes = vote_online(similarities, owners, np.arange(3), 0.4, np.ones(3))
    np.testing.assert_allclose(votes.scores, [(0.1 / 0.6) / 2, 0.5 / 0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(votes.shares, votes.scores)  # every place has one keyframe
    np.testing.assert_array_equal(votes.best_keyframes, [0, 1, -1])
    np.testing.assert_array_equal(votes.ranked_places(), [1, 0])
    np.testing.assert_array_equal(votes.ranked_keyframes(np.arange(3), 5), [1, 0])
    np.testing.assert_allclose(votes.weights(0), [0.1 / 0.6, 0], rtol=1e-6)


def test_a_place_is_voted_for_by_all_its_visits():
    """Each segment is best matched in another visit: the visits share the votes, the place has them all."""
    similarities = np.array([[0.9, 0.5], [0.8, 0.5]], np.float32)
    owners, places = np.array([[0, 1], [1, 2]]), np.array([0, 0, 1])
    votes = vote_online(similarities, owners, places, 0.4, np.ones(3))
    np.testing.assert_allclose(votes.shares, [0.5 / 0.6 / 2, (0.1 + 0.4) / 0.6 / 2, 0.1 / 0.6 / 2], rtol=1e-6)
    np.testing.assert_allclose(votes.scores, [(0.5 + 0.4) / 0.6 / 2, 0.1 / 0.6 / 2], rtol=1e-6)
    np.testing.assert_array_equal(votes.best_keyframes, [1, 2])
    down_weighted = vote_online(similarities, owners, places, 0.4, np.array([1.0, 0.5, 1.0]))
    np.testing.assert_allclose(down_weighted.shares, votes.shares * [1, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(down_weighted.scores, votes.scores)


def test_two_images_compare_alike_whatever_else_is_in_the_map():
    rng = np.random.default_rng(0)
    query, match = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.normal(size=(2, 7, 16)))
    cosines = query @ match.T
    alike = Likeness.of(cosines.max(axis=1).astype(np.float32), cosines.argmax(axis=1), 0.2)
    np.testing.assert_allclose(alike.weights, np.clip((cosines.max(axis=1) - 0.2) / 0.8, 0, 1), atol=1e-6)
    pairs = alike.pairs()
    assert [pair.similarity for pair in pairs] == sorted((pair.similarity for pair in pairs), reverse=True)
    assert {pair.query_segment for pair in pairs} == set(np.flatnonzero(alike.weights).tolist())
    assert Likeness.of(np.full(7, -np.inf, np.float32), np.full(7, -1), 0.2).pairs() == ()


def test_an_identical_image_scores_one_and_rounding_stays_below():
    nowhere = np.zeros((4, 1), int)
    votes = vote_online(np.full((4, 1), 1.0000002, np.float32), nowhere, np.zeros(1, int), 0.3, np.ones(1))
    assert votes.scores == [1.0]


@pytest.mark.parametrize('rows', [0, 3])
def test_nothing_found(rows):
    votes = vote_online(np.full((rows, 2), -np.inf, np.float32), np.full((rows, 2), -1), np.arange(4), 0.2, np.ones(4))
    np.testing.assert_array_equal(votes.scores, np.zeros(4))
    assert not len(votes.ranked_places()) and not len(votes.ranked_keyframes(np.arange(4), 3))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6), st.floats(-0.5, 0.9))
def test_online_vote_is_its_definition(seed, rows, neighbours, floor):
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(-1, 1, (rows, neighbours)).astype(np.float32)  # in no order
    owners, places = rng.integers(-1, 4, (rows, neighbours)), rng.integers(0, 3, 4)
    keyframe_weights = rng.uniform(0.5, 1, 4)
    votes = vote_online(similarities, owners, places, floor, keyframe_weights)
    weights = np.clip((similarities.astype(float) - floor) / (1 - floor), 0, 1)
    for entry in range(4):
        best = np.where(owners == entry, weights, 0).max(axis=1)
        assert votes.shares[entry] == pytest.approx(keyframe_weights[entry] * best.mean())
    for place in set(places.tolist()):
        best = np.where((np.append(places, -1)[owners] == place), weights, 0).max(axis=1)
        assert votes.scores[place] == pytest.approx(best.mean())
        np.testing.assert_allclose(votes.weights(place), best)
