"""The reference's votes against a literal loop."""
import numpy as np
import pytest

from segvlad_ros.evaluation.reference_voting import RULES, image_scores, similarity_weights, vote_reference
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


@pytest.mark.parametrize('count', [1, 5, 90])
def test_the_leading_of_many_images(count):
    similarities, images, query_image = retrieval(7, rows=60, neighbours=25, images=333)
    ranked, _ = literal_vote(similarities, images, query_image, count)
    np.testing.assert_array_equal(vote_reference(similarities, images, query_image, count=count), ranked)


IMAGE_RULES = [rule for rule in RULES if rule != 'max_seg_topk_wt_borda']  # that one counts segments


@pytest.mark.parametrize('rule', IMAGE_RULES)
def test_images_may_be_looked_up_while_voting(rule):
    similarities, segments, query_image = retrieval(8, images=100)
    image_of = np.random.default_rng(0).integers(0, 9, 100)
    np.testing.assert_array_equal(vote_reference(similarities, segments, query_image, rule, image_of=image_of),
                                  vote_reference(similarities, image_of[segments], query_image, rule))


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


def test_each_map_segment_counts_once():
    segments = np.array([[0, 1], [0, 2], [0, 3], [4, 5]])
    image_of = np.array([7, 2, 2, 2, 5, 5])  # image 7 has one segment, which is found thrice
    similarities, query = np.ones((4, 2), np.float32), np.zeros(4, int)
    ranked = vote_reference(similarities, segments, query, 'max_seg_topk_wt_borda', image_of=image_of)
    np.testing.assert_array_equal(ranked, [[2, 5, 7, -1, -1]])
    with pytest.raises(SegvladError, match='counts map segments'):
        vote_reference(similarities, segments, query, 'max_seg_topk_wt_borda')


def test_of_equally_similar_candidates_the_later_comes_first():
    images = np.array([[0], [0], [0], [1], [1], [2]])
    ranked = vote_reference(np.ones((6, 1), np.float32), images, np.zeros(6, int), 'max_seg_sim')
    np.testing.assert_array_equal(ranked, [[2, 1, 0, -1, -1]])


def test_six_candidates_are_reordered():
    images = np.repeat(np.arange(8), [8, 7, 6, 5, 4, 3, 2, 1])[:, None]
    similarities = (images / 8).astype(np.float32)
    got = vote_reference(similarities, images, np.zeros(len(images), int), 'max_seg_sim', count=8)
    np.testing.assert_array_equal(got, [[5, 4, 3, 2, 1, 0, -1, -1]])


def test_an_unknown_rule_is_named():
    with pytest.raises(SegvladError, match='borda'):
        vote_reference(np.zeros((1, 1)), np.zeros((1, 1), int), np.zeros(1, int), 'borda')


@pytest.mark.parametrize('rule', RULES)
def test_a_map_without_segments_is_voted_for_by_none(rule):
    similarities, segments, queries = np.zeros((3, 0), np.float32), np.zeros((3, 0), np.int64), np.array([0, 0, 1])
    ranked = vote_reference(similarities, segments, queries, rule, image_of=np.zeros(0, np.int64))
    np.testing.assert_array_equal(ranked, np.full((2, 5), -1))
