"""What odometry knows of the way between keyframes: drift, interruptions, and what it rules out."""
from __future__ import annotations

import math

import numpy as np
import pytest

from segvlad_ros.recognition.odometry import Motion, OdometryPaths
from segvlad_ros.recognition.temporal import Sighting, TemporalAgreement, along, place_motion
from segvlad_ros.recognition.whereabouts import Whereabouts, explain
from segvlad_ros.simulation.sensors import PlanarPath
from segvlad_ros.types import KeyframeId, Pose

SECOND = 1_000_000_000
HEADING, POSITION = math.radians(0.5), 0.05


def identity(index, session='a', seconds=None):
    return KeyframeId(0, session, index, (index if seconds is None else seconds) * SECOND)


def pose(x, y=0.0, yaw=0.0, frame='odom'):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]), frame)


def paths_of(poses, session='a', paths=None):
    paths = paths or OdometryPaths(HEADING, POSITION)
    for index, each in enumerate(poses, 1):
        paths.add(identity(index, session), each)
    return paths


def test_the_way_between_two_keyframes_is_their_relative_pose():
    paths = paths_of([pose(1, 2, math.pi / 2), pose(1, 3, math.pi / 2), pose(0, 3, math.pi)])
    motion = paths.between(identity(1), identity(3))
    assert motion.matrix[:3, 3] == pytest.approx([1, 1, 0])  # one metre ahead, one to the left
    assert motion.difference(Motion(np.eye(4), 0, 0)) == pytest.approx((math.sqrt(2), math.pi / 2))
    assert paths.between(identity(3), identity(1)).matrix == pytest.approx(np.linalg.inv(motion.matrix))
    assert motion.angle_rad == pytest.approx(HEADING * 2)


def test_a_drifting_heading_turns_the_path_about_its_mean():
    """The formula against a path that was really driven with a drifting heading."""
    rng = np.random.default_rng(0)
    steps, turns = rng.uniform(0.2, 0.6, 200), rng.normal(0, 0.2, 200)
    def drive(drift):
        yaw = np.concatenate([[0], np.cumsum(turns + drift * steps)])
        x = np.concatenate([[0], np.cumsum(steps * np.cos(yaw[:-1]))])
        y = np.concatenate([[0], np.cumsum(steps * np.sin(yaw[:-1]))])
        return PlanarPath(x, y, yaw)
    tiny = 1e-5
    true, wrong = drive(0.0), drive(tiny)
    paths = OdometryPaths(tiny, 0.0)
    for index in range(201):
        paths.add(identity(index + 1), true.pose(index, 'odom'))
    off = math.hypot(true.x[-1] - wrong.x[-1], true.y[-1] - wrong.y[-1])
    assert paths.between(identity(1), identity(201)).position_m == pytest.approx(off, rel=0.03)
    middle = paths.between(identity(101), identity(201)).position_m
    assert 0 < middle < off


def test_standing_still_adds_no_error_and_a_straight_way_much():
    still = paths_of([pose(0)] * 50).between(identity(1), identity(50))
    assert (still.position_m, still.angle_rad) == (0, 0)
    straight = paths_of([pose(x) for x in range(21)]).between(identity(1), identity(21))
    assert straight.position_m == pytest.approx(math.hypot(HEADING * 20 * 10, POSITION * 20))


@pytest.mark.parametrize('interruption', ['no pose', 'other frame', 'impossible jump', 'carried'])
def test_there_is_no_way_across_an_interruption(interruption):
    paths = paths_of([pose(0), pose(1)])
    if interruption == 'no pose':
        paths.add(identity(3), None)
    if interruption == 'carried':
        paths.interrupt()
    after = pose(1000) if interruption == 'impossible jump' else pose(2, frame='map' if 'frame' in interruption
                                                                       else 'odom')
    paths.add(identity(4), after)
    assert paths.between(identity(1), identity(2)) is not None
    assert paths.between(identity(2), identity(4)) is None
    assert paths.between(identity(2), identity(77)) is None
    assert paths.between(identity(2), identity(2, 'another session')) is None


def test_a_keyframe_that_is_known_is_passed_over():
    paths = paths_of([pose(0), pose(1)])
    paths.add(identity(2), pose(50))
    assert paths.between(identity(1), identity(2)).matrix[0, 3] == 1


def test_a_keyframe_that_comes_late_leaves_the_way_of_the_others_whole():
    paths = paths_of([pose(0), pose(1)])
    paths.add(identity(4), pose(3))
    paths.add(identity(3), pose(2))  # lost on its way, and fetched later
    paths.add(identity(5), pose(4))
    assert paths.between(identity(1), identity(5)).matrix[0, 3] == 4
    assert paths.between(identity(1), identity(3)) is None


def test_errors_add_up_along_a_chain_and_a_turn_has_a_lever():
    ahead = Motion(np.eye(4), 0.3, math.radians(10))
    ahead.matrix[0, 3] = 20.0
    both = ahead.then(ahead)
    assert both.matrix[0, 3] == 40
    assert both.position_m == pytest.approx(math.hypot(0.3, 0.3, math.radians(10) * 20))
    assert both.angle_rad == pytest.approx(math.radians(10) * math.sqrt(2))


def twin_corridors():
    """Along the first corridor, round the corner and back along the second one, which looks alike."""
    return ([pose(x) for x in range(14)] + [pose(13, y, math.pi / 2) for y in range(1, 7)]
            + [pose(x, 6, math.pi) for x in range(13, -1, -1)])


def test_the_second_of_two_twin_corridors_is_not_the_first():
    paths = paths_of(twin_corridors())
    where = Whereabouts(paths)
    assert where.possible(identity(25), identity(5), place_motion()) is False
    assert 'degrees from there' in explain(where.expected(identity(25), identity(5)), place_motion())
    assert where.possible(identity(25), identity(25), place_motion()) is True
    assert where.possible(identity(1, 'other'), identity(5), place_motion()) is None


def test_odometry_that_has_drifted_far_supports_nothing():
    where = Whereabouts(paths_of([pose(x) for x in range(0, 400, 4)]))
    assert where.possible(identity(2), identity(1), place_motion()) is False
    assert where.possible(identity(100), identity(100), place_motion()) is True
    assert where.possible(identity(100), identity(2), place_motion()) is None


def test_where_it_was_last_recognised_tells_where_it_can_be_in_another_session():
    paths = paths_of([pose(x) for x in range(30)])
    paths_of([pose(x, 100, frame='odom') for x in range(10)], 'query', paths)
    where = Whereabouts(paths)
    seen = Sighting(identity(3, 'query'), identity(10), 9, place_motion(), np.zeros(30, bool))
    assert where.possible(identity(6, 'query'), identity(13), place_motion()) is None
    where.accept(seen)
    assert where.possible(identity(6, 'query'), identity(13), place_motion()) is True
    assert where.possible(identity(6, 'query'), identity(25), place_motion()) is False
    where.withdraw(identity(3, 'query'), identity(10))
    assert where.possible(identity(6, 'query'), identity(13), place_motion()) is None


def test_sightings_agree_when_the_candidates_move_as_odometry_does():
    paths = paths_of([pose(x) for x in range(30)], 'map')
    paths_of([pose(x) for x in range(0, 30, 3)], 'query', paths)
    everywhere = np.ones(30, bool)  # covisibility would let everything pass

    def run(entries):
        agreement = TemporalAgreement(paths)
        return [agreement.update(identity(index, 'query'), Sighting(
            identity(index, 'query'), identity(entry + 1, 'map'), entry, place_motion(), everywhere))
            for index, entry in enumerate(entries, 1)]

    assert run([5, 8, 11]) == [1, 2, 3]
    assert run([5, 15, 25]) == [1, 1, 1]  # three times as fast as the robot
    assert run([11, 8, 5]) == [1, 1, 1]  # the wrong way

    backwards = paths_of([pose(-x) for x in range(0, 30, 3)], 'back', paths)
    seen = Sighting(identity(1, 'back'), identity(21, 'map'), 20, place_motion(), everywhere)
    assert along(backwards, seen, identity(2, 'back'), identity(18, 'map')).agrees(place_motion())
