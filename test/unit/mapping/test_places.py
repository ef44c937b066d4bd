"""Places, and the edges between them."""
import numpy as np
import pytest

from segvlad_ros.mapping.places import Places


def chain(count):
    places = Places()
    for entry in range(count):
        places.found(entry)
    return places


def test_what_a_back_end_moves_together_is_near_until_it_says_otherwise():
    places = chain(6)
    assert places.around(2) == [2]
    places.move(np.array([2, 3, 4, 0, 5]), np.array([[0.0, 0], [0.4, 0], [-0.9, 0], [0, 10], [0.2, 10]]))
    assert places.around(2) == [2, 3, 4]
    assert places.around(3) == [2, 3]  # 4 lies 0.4 + 0.9 away
    assert places.around(5) == [0, 5]
    places.move(np.array([2, 1]), np.array([[0.0], [0.5]]))
    assert [places.around(place) for place in range(6)] == [[0], [1, 2], [1, 2], [3], [4], [5]]
    places.move(np.zeros(0, int), np.zeros((0, 2)))
    assert places.around(1) == [1]


@pytest.mark.parametrize('seed', range(60))
def test_near_is_the_same_from_both_ends(seed):
    """Where the lengths of a way add up to the reach, rounding told by the order in which they were added."""
    lengths = np.random.default_rng(seed).dirichlet(np.ones(4))
    ends, moved = chain(5), chain(2)
    for place, length in enumerate(lengths):
        ends.connect(place, place + 1, float(length))
    assert (4 in ends.around(0)) == (0 in ends.around(4))
    start = np.random.default_rng(seed).random(3)
    way = np.random.default_rng(seed + 1000).standard_normal(3)
    moved.move(np.arange(2), np.array([start, start + way / np.linalg.norm(way)]))
    assert (1 in moved.around(0)) == (0 in moved.around(1))


def test_links_of_keyframes():
    places = chain(4)
    for link in ((0, 1), (2, 0), (3, 2)):
        places.tie(*link, 0.1, link)
    assert places.ties({0}) == [(0, 1), (2, 0)]
    assert places.ties({1, 3}) == [(0, 1), (3, 2)]
    assert places.untie((2, 0)) == 0.1
    assert places.ties({0, 2}) == [(0, 1), (3, 2)]
    assert places.untie((2, 0)) == np.inf
    assert places.around(0, reach=0.5) == [0, 1]


def test_places_that_have_lost_their_keyframes_go_and_what_lay_near_by_way_of_them_stays_near():
    places = chain(6)
    for place in range(5):
        places.connect(place, place + 1, 0.4)
    places.tie(0, 5, 0.1, (0, 5))
    numbers = places.select({0: 0, 2: 1, 4: 2, 5: 3})
    assert numbers == {0: 0, 2: 1, 4: 2, 5: 3}
    assert [places.members(place) for place in range(4)] == [[0], [1], [2], [3]]
    assert places.around(1, reach=0.8) == [0, 1, 2]  # by way of the places of the keyframes 1 and 3
    assert places.around(1, reach=0.79) == [1]
    assert places.around(0, reach=0.1) == [0, 3]
    assert places.untie((0, 3)) == 0.1  # a match whose two ends are there can still be taken back
    assert places.around(0, reach=0.1) == [0]


def test_a_match_that_has_lost_an_end_can_no_longer_be_taken_back():
    places = Places()
    for entry in range(3):
        places.found(entry)
    places.join(1, 3)
    places.tie(0, 1, 0.2, (0, 1))
    assert places.select({0: 0, 3: 1, 2: 2}) == {0: 0, 1: 1, 2: 2}
    assert places.around(0) == [0, 1]
    assert places.ties([0, 1]) == []
