"""Keyframes of other nodes join the map in order, gaps are known."""
import numpy as np
import pytest

from segvlad_ros.ros.input.keyframe_input import Follower
from segvlad_ros.types import Keyframe, KeyframeId, PlaceDescription

PLACE = PlaceDescription(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.int32), np.zeros(0, np.int64))


def keyframe(index, session='a', robot=0):
    return Keyframe(KeyframeId(robot, session, index, index * 10**9), PLACE)


@pytest.fixture
def added():
    return []


@pytest.fixture
def follower(added):
    return Follower(lambda k: added.append((k.id.session_id, k.id.index)))


def test_in_order(follower, added):
    assert all(follower.offer(keyframe(index)) for index in (1, 2, 3))
    assert added == [('a', 1), ('a', 2), ('a', 3)]
    assert follower.missing() is None


def test_a_gap_holds_what_follows_until_it_is_filled(follower, added):
    for index in (1, 4, 5):
        follower.offer(keyframe(index))
    assert added == [('a', 1)]
    assert follower.missing() == (0, 'a', 2)
    follower.offer(keyframe(2))
    assert follower.missing() == (0, 'a', 3)
    follower.offer(keyframe(3))
    assert added == [('a', index) for index in range(1, 6)]
    assert follower.missing() is None


def test_a_gap_can_be_given_up(follower, added):
    follower.offer(keyframe(3))
    follower.give_up(0, 'a', 1)
    assert follower.missing() == (0, 'a', 2)
    follower.give_up(0, 'a', 2)
    assert added == [('a', 3)]
    assert not follower.offer(keyframe(2))
    follower.give_up(0, 'a', 2)
    assert added == [('a', 3)]


def test_a_keyframe_is_ahead_while_those_before_it_are_to_come(follower):
    def ahead(*indices):
        return [follower.ahead(keyframe(index).id) for index in indices]
    assert ahead(1, 2) == [False, True]
    follower.offer(keyframe(1))
    follower.offer(keyframe(4))
    assert ahead(1, 2, 3, 4, 5) == [False, False, True, True, True]
    follower.removed(0, 'a', 2)
    follower.give_up(0, 'a', 3)
    assert ahead(5, 6) == [False, True]
    follower.known([keyframe(8).id])
    assert ahead(9, 10) == [False, True]


def test_what_is_known_is_not_taken_twice(follower, added):
    assert follower.offer(keyframe(1))
    assert not follower.offer(keyframe(1))
    follower.offer(keyframe(3))
    assert not follower.offer(keyframe(3))
    assert added == [('a', 1)]


def test_keyframes_of_a_map_file_are_neither_missing_nor_added(follower, added):
    follower.known(keyframe(index).id for index in (1, 2, 4))
    assert not follower.offer(keyframe(4))
    assert follower.offer(keyframe(5))
    assert added == [('a', 5)]
    assert follower.missing() is None


def test_a_map_file_that_fills_a_gap_lets_go_what_was_held(follower, added):
    """What came with the file was held for ever, and every index to come was missing."""
    for index in (3, 5, 6, 8):
        follower.offer(keyframe(index))
    follower.removed(0, 'a', 4)
    follower.known(keyframe(index).id for index in (1, 2, 3, 5))
    assert added == [('a', 6)]
    assert follower.missing() == (0, 'a', 7)
    assert follower.offer(keyframe(7))
    assert added == [('a', 6), ('a', 7), ('a', 8)]
    assert follower.missing() is None


def test_robots_and_sessions_do_not_mix(follower, added):
    follower.offer(keyframe(1))
    follower.offer(keyframe(2, session='b'))
    follower.offer(keyframe(1, robot=1))
    assert added == [('a', 1), ('a', 1)]
    assert follower.missing() == (0, 'b', 1)


def test_a_map_that_begins_anew_begins_with_the_next_keyframe(follower, added):
    """All that the emptied map had held was fetched and added again."""
    for index in (1, 2, 5):
        follower.offer(keyframe(index))
    follower.removed(0, 'a', 7)
    follower.restart()
    assert follower.missing() is None
    assert [follower.offer(keyframe(index)) for index in (5, 7, 8)] == [False, False, True]
    assert follower.missing() is None
    follower.offer(keyframe(10))
    assert follower.missing() == (0, 'a', 9)
    assert added == [('a', 1), ('a', 2), ('a', 8)]


def test_a_session_goes_on_where_the_map_ends_that_takes_the_place_of_another(follower, added):
    """What came while that map was read is fetched again; other sessions begin with their next keyframe."""
    for index in (1, 2, 3, 4):
        follower.offer(keyframe(index))
        follower.offer(keyframe(index, session='b'))
    added.clear()
    follower.restart(keyframe(index).id for index in (1, 2))
    follower.offer(keyframe(5, session='b'))
    assert (added, follower.missing()) == ([('b', 5)], None)
    for index in (5, 3, 4):
        follower.offer(keyframe(index))
    assert added[1:] == [('a', 3), ('a', 4), ('a', 5)]


def test_what_is_removed_before_it_comes_is_not_added(follower, added):
    follower.removed(0, 'a', 2)
    for index in (1, 2, 3):
        follower.offer(keyframe(index))
    assert added == [('a', 1), ('a', 3)]
    follower.offer(keyframe(6))
    follower.removed(0, 'a', 6)
    assert follower.missing() is None
    for index in (7, 4, 5):
        follower.offer(keyframe(index))
    assert added == [('a', index) for index in (1, 3, 4, 5, 7)]


def test_removals_of_a_session_that_nobody_follows_ask_for_nothing(follower, added):
    follower.removed(0, 'old', 40)
    assert follower.missing() is None
    assert follower.offer(keyframe(1))
    assert added == [('a', 1)]
