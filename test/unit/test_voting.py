"""Votes: the reference's rules against a literal loop, and the online vote against its definition."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.recognition.voting import compare, image_scores, similarity_weights, vote_online, vote_reference
from segvlad_ros.types import SegvladError


def literal_vote(similarities, images, query_image, count):
    """segvlad-spec.md 10.1, vote by vote."""
    low, high = similarities.min(), similarities.max()
    ranked, tables = [], []
    for query in range(query_image[-1] + 1):
        table = {}
        for rank in range(similarities.shape[1]):
            for row in np.flatnonzero(query_image == query):
                weight = (similarities[row, rank] - low) / (high - low)
                table[images[row, rank]] = table.get(images[row, rank], 0.0) + float(weight)
        order = sorted(table, key=lambda image: -table[image])[:count]
        ranked.append(order + [-1] * (count - len(order)))
        tables.append(table)
    return ranked, tables


def retrieval(seed, rows=40, neighbours=9, images=8, levels=None):
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(0, 2, (rows, neighbours)).astype(np.float32)
    if levels:
        similarities = np.round(similarities * levels) / np.float32(levels)
    similarities = -np.sort(-similarities, axis=1)
    return similarities, rng.integers(0, images, (rows, neighbours)), np.sort(rng.integers(0, 5, rows))


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('levels', [None, 4, 1], ids=['distinct', 'ties', 'many ties'])
def test_weighted_rule_is_the_literal_loop(seed, levels):
    similarities, images, query_image = retrieval(seed, levels=levels)
    ranked, tables = literal_vote(similarities, images, query_image, 5)
    np.testing.assert_array_equal(vote_reference(similarities, images, query_image), ranked)
    scores = image_scores(similarities, images, query_image, 8)
    for query, table in enumerate(tables):
        for image in range(8):
            if image in table:
                assert scores[query, image] == table[image]
            else:
                assert np.isnan(scores[query, image])


def test_fewer_images_than_asked_for():
    got = vote_reference(np.array([[2.0, 1.0]], np.float32), np.array([[3, 3]]), np.array([1]))
    np.testing.assert_array_equal(got, [[-1] * 5, [3, -1, -1, -1, -1]])  # query 0 has no segments


def test_no_segments_at_all():
    none = np.zeros((0, 4))
    assert vote_reference(none, none.astype(int), np.zeros(0, int)).shape == (0, 5)


def test_equal_similarities_all_weigh_one():
    np.testing.assert_array_equal(similarity_weights(np.full((2, 3), 1.5)), np.ones((2, 3)))


def test_other_rules():
    similarities = np.array([[1.9, 0], [1.2, 0], [1.1, 0], [1.8, 0], [1.0, 0]], np.float32)
    images = np.array([[4, 7], [2, 7], [2, 7], [9, 7], [0, 7]])
    query = np.zeros(5, int)
    expected = {'max_sim': [4, 9, 2, 0, -1], 'max_seg': [2, 9, 4, 0, -1], 'max_seg_sim': [4, 9, 2, 0, -1],
                'max_seg_topk': [7, 2, 9, 4, 0]}
    for rule, ranked in expected.items():
        np.testing.assert_array_equal(vote_reference(similarities, images, query, rule), [ranked])


def test_six_candidates_are_reordered():
    images = np.repeat(np.arange(8), [8, 7, 6, 5, 4, 3, 2, 1])[:, None]
    similarities = (images / 8).astype(np.float32)
    got = vote_reference(similarities, images, np.zeros(len(images), int), 'max_seg_sim', count=8)
    np.testing.assert_array_equal(got, [[5, 4, 3, 2, 1, 0, -1, -1]])


def test_an_unknown_rule_is_named():
    with pytest.raises(SegvladError, match='borda'):
        vote_reference(np.zeros((1, 1)), np.zeros((1, 1), int), np.zeros(1, int), 'borda')


def test_one_vote_a_segment_and_keyframe():
    similarities = np.array([[0.9, 0.8, 0.5], [0.9, 0.2, 0.1]], np.float32)
    owners = np.array([[1, 1, 0], [1, 0, -1]])
    votes = vote_online(similarities, owners, np.arange(3), 0.4, np.ones(3))
    np.testing.assert_allclose(votes.scores, [(0.1 / 0.6) / 2, 0.5 / 0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(votes.shares, votes.scores)  # every place has one keyframe
    np.testing.assert_array_equal(votes.champions, [0, 1, -1])
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
    np.testing.assert_array_equal(votes.champions, [1, 2])
    doubted = vote_online(similarities, owners, places, 0.4, np.array([1.0, 0.5, 1.0]))
    np.testing.assert_allclose(doubted.shares, votes.shares * [1, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(doubted.scores, votes.scores)


def test_two_images_compare_alike_whatever_else_is_in_the_map():
    rng = np.random.default_rng(0)
    query, match = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.normal(size=(2, 7, 16)))
    alike = compare(query.astype(np.float32), match.astype(np.float32), 0.2)
    cosines = query @ match.T
    np.testing.assert_allclose(alike.similarities, cosines.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(alike.segments, cosines.argmax(axis=1))
    np.testing.assert_allclose(alike.weights, np.clip((cosines.max(axis=1) - 0.2) / 0.8, 0, 1), atol=1e-6)
    pairs = alike.pairs()
    assert [pair.similarity for pair in pairs] == sorted((pair.similarity for pair in pairs), reverse=True)
    assert {pair.query_segment for pair in pairs} == set(np.flatnonzero(alike.weights).tolist())
    assert compare(query.astype(np.float32), np.zeros((0, 16), np.float32), 0.2).pairs() == ()


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
    trust = rng.uniform(0.5, 1, 4)
    votes = vote_online(similarities, owners, places, floor, trust)
    weights = np.clip((similarities.astype(float) - floor) / (1 - floor), 0, 1)
    for entry in range(4):
        best = np.where(owners == entry, weights, 0).max(axis=1)
        assert votes.shares[entry] == pytest.approx(trust[entry] * best.mean())
    for place in set(places.tolist()):
        best = np.where((np.append(places, -1)[owners] == place), weights, 0).max(axis=1)
        assert votes.scores[place] == pytest.approx(best.mean())
        np.testing.assert_allclose(votes.weights(place), best)
