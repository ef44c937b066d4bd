"""The searched map: which keyframes show one place, what is recent, and what a back-end may change."""
from __future__ import annotations

import math

import numpy as np
import pytest

from segvlad_ros.mapping.odometry import OdometrySettings, OdometryTracks
from segvlad_ros.mapping.places import PlaceSettings, Sight
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, PlaceDescription, Pose

SECOND = 1_000_000_000
ROWS = PlaceDescription(np.ones((2, 4), np.float32), np.zeros((2, 4), np.int32), np.ones(2, np.int64))


def identity(index, session='a', robot=0, seconds=None):
    return KeyframeId(robot, session, index, round((index if seconds is None else seconds) * SECOND))


def at(x, y=0.0, frame='odom'):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame)


PERFECT = OdometrySettings(0.0, 0.0)


class Drive:
    """A map and the odometry that fills it."""

    def __init__(self, near_keyframes=2, near_distance_m=1.0, drift=PERFECT):
        self.map = SearchedMap(PlaceSettings(near_keyframes, near_distance_m), drift)
        self.tracks = OdometryTracks()

    def add(self, index, pose=None, session='a', *, robot=0, seen=(), seconds=None):
        identity_ = identity(index, session, robot, seconds)
        self.map.make_room()
        return self.map.add(Keyframe(identity_, ROWS, pose=pose), self.tracks.mark(identity_, pose), seen)

    def near(self, entry):
        return np.flatnonzero(self.map.around(entry)).tolist()


def drive(poses, **settings):
    made = Drive(**settings)
    for index, pose in enumerate(poses, 1):
        made.add(index, pose)
    return made


def test_places_in_sequence_stay_in_the_session():
    made = Drive()
    for session in 'ab':
        for index in range(1, 6):
            made.add(index, session=session)
    assert {2, 3} <= set(made.near(2)) <= {0, 1, 2, 3, 4}
    assert set(made.near(5)) <= {5, 6, 7, 8}


def test_same_session_name_of_another_robot_is_another_session():
    made = Drive()
    made.add(1, at(0), robot=0)
    made.add(2, at(0), robot=1)
    assert made.near(0) == [0]


def test_a_place_has_a_bounded_extent_however_long_the_robot_crawls():
    made = drive([at(0.1 * step) for step in range(200)], near_keyframes=1)
    for place in set(made.map.places.tolist()):
        members = np.flatnonzero(made.map.places == place)
        assert np.ptp(members) * 0.1 <= 1.0 + 1e-9  # half a radius on both sides of its founder
    near = made.near(100)
    assert 85 <= min(near) <= 95 and 105 <= max(near) <= 115  # between half a radius and one and a half
    assert near == list(range(min(near), max(near) + 1))


def test_unbroken_odometry_joins_the_visits_of_a_place_until_it_has_drifted():
    loop = [at(0), at(5), at(5, 5), at(0, 5), at(0.2)]
    assert 4 in drive(loop, near_keyframes=1).near(0)
    tired = OdometrySettings(drift_m_per_m=0.2, drift_rad_per_m=0.0)
    assert 4 not in drive(loop, near_keyframes=1, drift=tired).near(0)
    broken = [*loop[:2], None, *loop[3:]]
    assert 4 not in drive(broken, near_keyframes=1).near(0)


def test_an_accepted_match_brings_a_later_visit_into_the_place():
    made = Drive(near_keyframes=1)
    for index in range(1, 7):
        made.add(index)
    again = made.add(100, seen=[Sight(2)])
    assert made.map.places[again] == made.map.places[2]
    other = made.add(1, session='b', seen=[Sight(2, distance_m=0.3)])
    assert made.map.places[other] == made.map.places[2]
    far = made.add(50, session='c', seen=[Sight(2, distance_m=0.9)])  # the same scene, from another place nearby
    assert made.map.places[far] != made.map.places[2]
    assert {2, again, other, far} <= set(made.near(2))


def test_the_tenth_visit_makes_no_new_place():
    """Ten laps, each recognised in the one before: the map has the places of one lap."""
    made, laps, length = Drive(near_keyframes=1), 10, 12
    for number in range(laps * length):
        before = number - length
        made.add(number + 1, seen=[Sight(before)] if before >= 0 else ())
    assert len(made.map._places) <= 1.5 * length
    assert len(made.near(5)) >= laps


def test_a_rejected_closure_parts_a_place_again():
    made = Drive(near_keyframes=1)
    for index in range(1, 7):
        made.add(index)
    again = made.add(100, seen=[Sight(2)])
    follower = made.add(101, seen=[Sight(again)])
    assert {again, follower} <= set(made.near(2))
    made.map.unlink(again, 2)
    assert not {again, follower} & set(made.near(2))
    assert made.map.places[again] == made.map.places[follower]
    assert set(made.near(again)) == {again, follower}


def test_a_link_between_known_places_can_be_taken_back():
    made = Drive(near_keyframes=1)
    for index in (1, 10, 20):
        made.add(index)
    assert made.near(0) == [0]
    made.map.link(0, Sight(2))
    assert made.near(0) == [0, 2]
    made.map.unlink(0, 2)
    assert made.near(0) == [0]


def test_a_back_ends_poses_join_places_and_never_meet_odometry():
    made = Drive(near_keyframes=1)
    for index, pose in ((1, at(7)), (12, at(17)), (23, at(27)), (34, None), (45, at(10))):
        made.add(index, pose)
    assert made.near(1) == [1]
    made.map.update_poses({identity(12): OptimizedPose(at(7.0, frame='map')),
                           identity(45): OptimizedPose(at(7.5, frame='map')),
                           identity(99): OptimizedPose(at(0, frame='map'))})
    assert made.near(1) == [1, 4]  # and not the first one: its 7 is one of odometry
    made.map.update_poses({identity(45): OptimizedPose(at(7.5, frame='other_map'))})
    assert 4 not in made.near(1)
    assert made.map.pose(1).frame == 'odom'
    assert made.map.pose(1).translation[0] == 17
    assert made.map.optimized(1).map_from_base.frame == 'map'
    assert made.map.pose(3) is made.map.optimized(3) is None


def test_what_is_known_to_lie_apart():
    made = drive([at(0), at(10), None, at(0)], near_keyframes=1)
    assert made.map.known_apart(0, [0, 1, 2, 3]).tolist() == [False, True, False, False]  # 3: odometry was interrupted
    tired = drive([at(0), at(10)], drift=OdometrySettings(0.4, 0.0))
    assert not tired.map.known_apart(0, [1]).any()
    made.map.update_poses({identity(1): OptimizedPose(at(0, frame='map')), identity(4): OptimizedPose(
        at(8, frame='map'))})
    assert made.map.known_apart(0, [3]).all()
    assert not made.map.known_apart(3, [3]).any()


def test_neighbourhoods_cost_the_same_in_a_long_map():
    """What lies around a place does not grow with the laps of a robot that recognises its way."""
    made, length = Drive(near_keyframes=3), 20
    for number in range(60 * length):
        made.add(number + 1, seen=[Sight(number - length)] if number >= length else ())
    assert len(made.map._places) < 3 * length
    assert len(made.map._places.around(int(made.map.places[-1]))) < length


def history(places, session='a'):
    made = Drive()
    for index, (seconds, pose) in enumerate(places, 1):
        made.add(index, pose, session, seconds=seconds)
    return made


def recent(made, query, pose, time_s, distance_m):
    return np.flatnonzero(made.map.recent(query, made.tracks.mark(query, pose), time_s, distance_m)).tolist()


def test_recent_is_young_in_time():
    made = history([(0, None), (10, None), (20, None)])
    assert recent(made, identity(4, seconds=25), None, 10.0, 5.0) == [2]
    assert recent(made, identity(4, seconds=25), None, 15.1, 5.0) == [1, 2]


@pytest.mark.fault('clock', 'keyframes of the future in the same session', 'never an answer')
def test_what_is_not_older_than_the_query_is_recent_even_without_a_window():
    made = history([(0, None), (10, None), (20, None)])
    assert recent(made, identity(2, seconds=10), None, 0.0, 0.0) == [1, 2]


@pytest.mark.parametrize(('distance_m', 'expected'), [(15.0, [3]), (25.0, [2, 3])])
def test_recent_is_near_in_travelled_distance_not_in_space(distance_m, expected):
    made = history([(0, at(0)), (100, at(10)), (200, at(20)), (300, at(10))])
    # 10 m of travel since the last entry, 20 m since the turn, although it stands on the first one
    assert recent(made, identity(5, seconds=400), at(0), 1.0, distance_m) == expected


def test_standing_still_for_long_is_no_revisit():
    made = history([(0, at(0)), (1, at(1))])
    assert recent(made, identity(3, seconds=1000), at(1), 30.0, 5.0) == [0, 1]


def test_another_session_is_never_recent():
    made = history([(0, at(0)), (1, at(1))])
    assert recent(made, identity(3, 'b', seconds=1), at(1), 30.0, 5.0) == []
    assert not made.map.last_frames(identity(3, 'b'), 10).any()
    assert made.map.outside(['b']).all() and not made.map.outside(['a']).any()


def test_last_frames_counts_keyframes_and_the_newest_searched_is_at_their_edge():
    made = history([(0, None)] * 10)
    assert np.flatnonzero(made.map.last_frames(identity(11), 3)).tolist() == [8, 9]
    assert made.map.newest(identity(11), made.map.last_frames(identity(11), 3)) == 7
    assert made.map.newest(identity(11), np.zeros(10, bool)) is None
    assert made.map.newest(identity(11, 'b'), np.zeros(10, bool)) is None


def test_entries_and_identities():
    made = drive([at(0)])
    assert made.map.identity(0) == identity(1)
    assert made.map.entry(identity(1)) == 0 and made.map.entry(identity(2)) is None
    assert math.isclose(made.map.between(0, 0).position_m, 0.0)
