"""What odometry knows of the way between keyframes: drift, interruptions, and what it rules out."""
from __future__ import annotations

import math

import numpy as np
import pytest

from segvlad_ros.mapping.odometry import Motion, OdometryMark, OdometrySettings, OdometryTracks, between, way
from segvlad_ros.simulation.routes import PlanarPath
from segvlad_ros.types import KeyframeId, Pose

SECOND = 1_000_000_000
DRIFT = OdometrySettings(drift_m_per_m=0.05, drift_rad_per_m=math.radians(0.5))


def identity(index, session='a', seconds=None):
    return KeyframeId(0, session, index, (index if seconds is None else seconds) * SECOND)


def pose(x, y=0.0, yaw=0.0, frame='odom'):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]), frame)


def marks_of(poses, session='a', tracks=None):
    tracks = tracks or OdometryTracks()
    return [tracks.mark(identity(index, session), each) for index, each in enumerate(poses, 1)]


def test_the_way_between_two_keyframes_is_their_relative_pose():
    first, _, third = marks_of([pose(1, 2, math.pi / 2), pose(1, 3, math.pi / 2), pose(0, 3, math.pi)])
    motion = between(first, third, DRIFT)
    assert motion.matrix[:3, 3] == pytest.approx([1, 1, 0])  # one metre ahead, one to the left
    assert motion.difference(Motion(np.eye(4), 0, 0)) == pytest.approx((math.sqrt(2), math.pi / 2))
    assert between(third, first, DRIFT).matrix == pytest.approx(np.linalg.inv(motion.matrix))
    assert motion.angle_rad == pytest.approx(math.radians(0.5) * 2)


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
    marks = marks_of([true.pose(index, 'odom') for index in range(201)])
    drift = OdometrySettings(0.0, tiny)
    off = math.hypot(true.x[-1] - wrong.x[-1], true.y[-1] - wrong.y[-1])
    assert between(marks[0], marks[200], drift).position_m == pytest.approx(off, rel=0.03)
    assert 0 < between(marks[100], marks[200], drift).position_m < off


def test_standing_still_adds_no_error_and_a_straight_way_much():
    still = marks_of([pose(0)] * 50)
    assert (between(still[0], still[49], DRIFT).position_m, between(still[0], still[49], DRIFT).angle_rad) == (0, 0)
    straight = marks_of([pose(x) for x in range(21)])
    error = between(straight[0], straight[20], DRIFT).position_m
    assert error == pytest.approx(math.hypot(math.radians(0.5) * 20 * 10, 0.05 * 20))


@pytest.mark.parametrize('interruption', ['no pose', 'other frame', 'impossible jump', 'carried'])
def test_there_is_no_way_across_an_interruption(interruption):
    tracks = OdometryTracks()
    first, second = marks_of([pose(0), pose(1)], tracks=tracks)
    if interruption == 'no pose':
        assert tracks.mark(identity(3), None) is None
    if interruption == 'carried':
        tracks.interrupt()
    after = pose(1000) if interruption == 'impossible jump' else pose(2, frame='map' if 'frame' in interruption
                                                                       else 'odom')
    last = tracks.mark(identity(4), after)
    assert between(first, second, DRIFT) is not None
    assert between(second, last, DRIFT) is None
    assert between(second, None, DRIFT) is None
    assert between(second, tracks.mark(identity(2, 'another session'), pose(1)), DRIFT) is None


def test_a_keyframe_that_comes_again_keeps_its_mark():
    tracks = OdometryTracks()
    marks = marks_of([pose(0), pose(1)], tracks=tracks)
    assert tracks.mark(identity(2), pose(50)) is marks[1]


def test_a_keyframe_that_comes_late_leaves_the_way_of_the_others_whole():
    tracks = OdometryTracks()
    first = marks_of([pose(0), pose(1)], tracks=tracks)[0]
    tracks.mark(identity(4), pose(3))
    assert tracks.mark(identity(3), pose(2)) is None  # lost on its way, and fetched later
    assert between(first, tracks.mark(identity(5), pose(4)), DRIFT).matrix[0, 3] == 4


def test_what_is_asked_about_ahead_of_its_session_leaves_the_way_to_those_before_it():
    tracks = OdometryTracks()
    first = marks_of([pose(0), pose(1)], tracks=tracks)[0]
    assert tracks.mark(identity(4), pose(3), ahead=True) is None
    marks = [tracks.mark(identity(index), pose(index - 1)) for index in (3, 4, 5)]
    assert [between(first, mark, DRIFT).matrix[0, 3] for mark in marks] == [2, 3, 4]


def test_there_is_no_way_from_what_comes_late_across_an_interruption():
    """The robot was carried after 4, which was seen ahead; 2 and 3 lie before that, and 5 after it."""
    tracks = OdometryTracks()
    tracks.mark(identity(1), pose(0))
    tracks.mark(identity(4), pose(3), ahead=True)
    tracks.interrupt()
    assert [tracks.mark(identity(index), pose(index - 1)) for index in (2, 3, 4)] == [None] * 3
    fifth, sixth = (tracks.mark(identity(index), pose(index - 1)) for index in (5, 6))
    assert between(fifth, sixth, DRIFT).matrix[0, 3] == 1


def test_a_session_leaves_no_more_than_its_end_behind():
    """A localiser's queries never become map entries: nothing of them may stay."""
    import tracemalloc
    tracks = OdometryTracks()
    marks_of([pose(0)], tracks=tracks)
    tracemalloc.start()
    for index in range(2, 3002):
        tracks.mark(identity(index), pose(index * 0.5))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 20_000


def test_errors_add_up_along_a_chain_and_a_turn_has_a_lever():
    ahead = Motion(np.eye(4), 0.3, math.radians(10))
    ahead.matrix[0, 3] = 20.0
    both = ahead.then(ahead)
    assert both.matrix[0, 3] == 40
    assert both.position_m == pytest.approx(math.hypot(0.3, 0.3, math.radians(10) * 20))
    assert both.angle_rad == pytest.approx(math.radians(10) * math.sqrt(2))


def test_a_stack_of_ways_is_each_way_for_itself():
    rng = np.random.default_rng(1)
    marks = marks_of([pose(x, y, yaw) for x, y, yaw in np.cumsum(rng.normal(0, 0.4, (8, 3)), axis=0)])
    stacked, here = OdometryMark.stack([*marks[:5], None]), marks[6]
    assert stacked.run.tolist() == [1] * 5 + [-1]
    chained = way(here, stacked, DRIFT).then(way(stacked, marks[7], DRIFT))
    other = Motion(np.eye(4), 0.5, 0.1)
    for number, mark in enumerate(marks[:5]):
        alone = way(here, mark, DRIFT).then(way(mark, marks[7], DRIFT))
        assert chained.matrix[number] == pytest.approx(alone.matrix)
        assert (chained.position_m[number], chained.angle_rad[number]) == pytest.approx(
            (alone.position_m, alone.angle_rad))
        assert chained.sigmas(other)[number] == pytest.approx(alone.sigmas(other))
