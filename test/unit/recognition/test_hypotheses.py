"""Sightings that agree by odometry: what was proven outweighs what looked alike, and only that vetoes."""
from __future__ import annotations

import math

import numpy as np
import pytest

from segvlad_ros.mapping.odometry import OdometrySettings, OdometryTracks
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.recognition.hypotheses import ANCHOR_QUERIES, Hypotheses, place_motion
from segvlad_ros.types import Keyframe, KeyframeId, PlaceDescription, Pose

SECOND = 1_000_000_000
DRIFT = OdometrySettings(drift_m_per_m=0.05, drift_rad_per_m=math.radians(0.5))
ROWS = PlaceDescription(np.ones((2, 4), np.float32), np.zeros((2, 4), np.int32), np.ones(2, np.int64))


def pose(x, y=0.0, yaw=0.0):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]), 'odom')


class Robot:
    """A map of keyframes, and a robot that asks about it."""

    def __init__(self, map_poses, misses=0):
        self.tracks = OdometryTracks()
        self.map = SearchedMap(PlaceSettings(2, 1.0), DRIFT)
        for index, each in enumerate(map_poses, 1):
            identity = KeyframeId(0, 'map', index, index * SECOND)
            self.map.make_room()
            self.map.add(Keyframe(identity, ROWS, pose=each), self.tracks.mark(identity, each))
        self.hypotheses = Hypotheses(self.map, DRIFT, misses)
        self.index = 0

    def sees(self, entry, at=None, proven=False, session='query', keep=True):
        """What is known of a query that seems to show a map keyframe (None: nothing), at a pose by odometry."""
        self.index += 1
        identity = KeyframeId(0, session, self.index + 1000 * (session == 'map'), (1000 + self.index) * SECOND)
        mark = self.tracks.mark(identity, at)
        support = None if entry is None else self.hypotheses.weigh(mark, entry, place_motion(), proven)
        if keep:
            self.hypotheses.add(identity, mark, entry, place_motion(), proven)
        return support

    def agreements(self, entries, **options):
        return [None if support is None else support.agreement
                for support in (self.sees(entry, **options) for entry in entries)]


STRAIGHT = [pose(2.0 * number) for number in range(40)]


def test_agreement_counts_neighbouring_candidates_in_either_direction():
    assert Robot([None] * 50).agreements([10, 11, 12, 12, 13]) == [1, 2, 3, 4, 5]
    assert Robot([None] * 50).agreements([13, 12, 11]) == [1, 2, 3]


def test_agreement_breaks_where_the_candidate_jumps_or_is_missing():
    assert Robot([None] * 50).agreements([10, 11, 30, 31, 10]) == [1, 2, 1, 2, 1]
    assert Robot([None] * 50).agreements([10, None, 11]) == [1, None, 1]


def test_an_agreement_survives_as_many_misses_as_it_may():
    assert Robot([None] * 50, misses=1).agreements([10, 11, None, 12, 30, 13]) == [1, 2, None, 3, 1, 4]
    assert Robot([None] * 50, misses=1).agreements([10, 11, None, None, 12]) == [1, 2, None, None, 1]


def test_sightings_agree_when_the_candidates_move_as_odometry_does():
    def run(entries, step):
        robot = Robot(STRAIGHT)
        return [robot.sees(entry, at=pose(step * number, 50)).agreement for number, entry in enumerate(entries)]
    assert run([5, 8, 11], 6.0) == [1, 2, 3]
    assert run([5, 15, 25], 6.0) == [1, 1, 1]  # three times as fast as the robot
    assert run([11, 8, 5], 6.0) == [1, 1, 1]  # the wrong way
    assert run([20, 17, 14], -6.0) == [1, 2, 3]  # backwards


def test_a_proven_sighting_rules_out_what_contradicts_it_by_odometry():
    robot = Robot(STRAIGHT)
    robot.sees(5, at=pose(0, 50), proven=True)
    there = robot.sees(8, at=pose(6, 50), keep=False)
    assert (there.expected, there.contradiction) == (True, '')
    elsewhere = robot.sees(25, at=pose(6, 50), keep=False)
    assert elsewhere.expected is False
    assert 'by odometry the robot is 34.0 m' in elsewhere.contradiction


def test_unproven_sightings_veto_nothing_however_many_agree():
    """Two look-alikes in a row once had fourteen right matches refused."""
    robot = Robot(STRAIGHT)
    for number in range(5):
        assert robot.sees(25 + number, at=pose(2 * number, 50)).agreement == number + 1
    right = robot.sees(10, at=pose(10, 50), proven=True)
    assert right.contradiction == ''
    assert robot.sees(11, at=pose(12, 50)).expected is True  # and now the look-alikes are ruled out
    assert robot.sees(31, at=pose(12, 50)).expected is False


def test_what_is_proven_more_often_wins():
    robot = Robot(STRAIGHT)
    for number in range(3):
        robot.sees(10 + number, at=pose(2 * number, 50), proven=True)
    once = robot.sees(30, at=pose(6, 50), proven=True)  # a twin that geometry takes for the place
    assert once.expected is False
    statuses = [robot.sees(31 + number, at=pose(8 + 2 * number, 50), proven=True).expected for number in range(8)]
    assert statuses[0] is False and statuses[-1] is True  # the robot was carried, and odometry did not notice


def test_the_way_that_was_driven_rules_out_a_twin():
    """Along the first corridor, round the corner and back along the second one, which looks alike."""
    corridors = ([pose(x) for x in range(14)] + [pose(13, y, math.pi / 2) for y in range(1, 7)]
                 + [pose(x, 6, math.pi) for x in range(13, -1, -1)])
    robot = Robot(corridors)
    assert robot.sees(4, at=pose(4, 6, math.pi), session='map', proven=True, keep=False).expected is False
    assert robot.sees(24, at=pose(9, 6, math.pi), session='map').expected is True


def test_odometry_that_has_drifted_far_supports_nothing():
    robot = Robot([pose(x) for x in range(0, 400, 4)])
    assert robot.sees(0, at=pose(4), session='map', keep=False).expected is None  # 800 m of driving


def test_an_anchor_is_a_proven_sighting_of_the_last_few_queries():
    robot = Robot(STRAIGHT)
    robot.sees(5, at=pose(0, 50), proven=True)
    supports = [robot.sees(6 + number, at=pose(2 + 2 * number, 50)) for number in range(ANCHOR_QUERIES + 2)]
    assert [support.anchored for support in supports] == [True] * ANCHOR_QUERIES + [False] * 2
    assert not robot.sees(30, at=pose(20, 50)).anchored


@pytest.mark.parametrize(('entries', 'advancing'), [([10, 11, 12, 13], True), ([10, 10, 11, 10], False),
                                                    ([13, 12, 11, 10], False), ([10], True)])
def test_a_chain_that_moves_as_the_robot_does_may_only_trail_it(entries, advancing):
    robot = Robot([None] * 50)
    assert [robot.sees(entry).advancing for entry in entries][-1] is advancing


def test_withdrawn_and_forgotten_sightings_say_nothing():
    robot = Robot(STRAIGHT)
    robot.sees(5, at=pose(0, 50), proven=True)
    robot.hypotheses.withdraw(KeyframeId(0, 'query', 1, 1001 * SECOND), 5)
    assert robot.sees(25, at=pose(6, 50), keep=False).expected is None
    robot.sees(5, at=pose(6, 50), proven=True)
    robot.hypotheses.forget()
    assert robot.sees(25, at=pose(8, 50)).agreement == 1
