"""Neighbourhoods of segments (segvlad-spec.md 6)."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import QhullError

from segvlad_ros.description.segments import neighbours
from segvlad_ros.types import SegvladError

LINE = np.array([[4.0, 4], [1, 1], [0, 0], [3, 3], [2, 2]])


@pytest.mark.parametrize('count', range(6))
@pytest.mark.parametrize('rule', ['robust', 'reference'])
def test_order_zero_leaves_every_segment_alone(count, rule):
    np.testing.assert_array_equal(neighbours(np.zeros((count, 2)), 0, rule), np.eye(count))


@pytest.mark.parametrize('count', range(4))
def test_up_to_three_segments_are_described_together(count):
    points = np.arange(2.0 * count).reshape(count, 2)
    assert neighbours(points, 1).all()
    assert neighbours(points, 1).shape == (count, count)


def test_the_reference_never_describes_the_third_of_three():
    np.testing.assert_array_equal(neighbours(np.eye(3)[:, :2], 3, 'reference'), [[1, 1, 0]] * 3)


def test_a_line_is_a_chain_and_order_counts_its_links():
    apart = np.abs(LINE[:, None, 0] - LINE[None, :, 0])
    for order in (1, 2, 4):
        np.testing.assert_array_equal(neighbours(LINE, order), apart <= order)
    with pytest.raises(QhullError):
        neighbours(LINE, 1, 'reference')


def test_equal_centroids_share_their_neighbours():
    points = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10], [4, 5], [4, 5]])
    robust, reference = neighbours(points, 1), neighbours(points, 1, 'reference')
    assert robust[4, 5]
    np.testing.assert_array_equal(robust[4], robust[5])
    assert 1 in (reference[4].sum(), reference[5].sum())  # the one that Qhull dropped
    np.testing.assert_array_equal(robust[:4, :4], reference[:4, :4])


@pytest.mark.parametrize('points', [np.ones((7, 2)), np.repeat([[1.0, 2], [3, 4]], 3, axis=0)], ids=['one', 'two'])
def test_few_distinct_centroids_join_all(points):
    assert neighbours(points, 1).all()


def test_rules_agree_on_ordinary_segments():
    points = np.random.default_rng(0).random((60, 2)) * 300
    for order in (1, 2, 3):
        np.testing.assert_array_equal(neighbours(points, order), neighbours(points, order, 'reference'))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14), st.integers(1, 3))
def test_any_centroids_give_a_connected_symmetric_graph_that_grows_with_the_order(points, order):
    centroids = np.array(points, float).reshape(-1, 2)
    near, far = neighbours(centroids, order), neighbours(centroids, order + 1)
    np.testing.assert_array_equal(near, near.T)
    assert near.diagonal().all()
    assert not (near & ~far).any()
    assert neighbours(centroids, max(len(points), 1)).all()


@pytest.mark.parametrize(('order', 'rule'), [(-1, 'robust'), (1, 'delaunay')])
def test_wrong_settings_are_named(order, rule):
    with pytest.raises(SegvladError, match=r'-1|delaunay'):
        neighbours(LINE, order, rule)
