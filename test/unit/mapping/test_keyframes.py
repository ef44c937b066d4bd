from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.mapping.keyframes import GateSettings, KeyframeGate
from segvlad_ros.types import Pose, SegvladError

START = 1_700_000_000_000_000_000


def ns(seconds: float) -> int:
    return START + round(seconds * 1e9)


def pose(x: float = 0.0, yaw: float = 0.0, frame: str = 'odom') -> Pose:
    return Pose(np.array([x, 0.0, 0.0]), Rotation.from_euler('z', yaw).as_quat(), frame)


@pytest.fixture
def gate() -> KeyframeGate:
    return KeyframeGate(GateSettings(min_interval_s=0.5, min_distance_m=1.0, min_angle_rad=0.5,
                                     no_odometry_interval_s=2.0))


def ask(gate, seconds, *args, **kwargs):
    answer = gate.check(ns(seconds), pose(*args, **kwargs))
    return answer.accept, answer.reason


def test_distance_and_angle_from_the_last_keyframe(gate):
    assert ask(gate, 0, 0.0) == (True, 'first')
    assert ask(gate, 1, 0.6) == (False, 'standing')
    assert ask(gate, 2, 1.1) == (True, 'moved')
    assert ask(gate, 3, 1.6) == (False, 'standing')  # 0.5 m from the keyframe at 1.1
    assert ask(gate, 4, 1.1, 0.4) == (False, 'standing')
    assert ask(gate, 5, 1.1, 0.6) == (True, 'turned')


def test_not_too_soon_however_fast(gate):
    ask(gate, 0)
    assert ask(gate, 0.4, 5.0) == (False, 'too_soon')
    assert ask(gate, 0.5, 6.0) == (True, 'moved')


def test_an_hour_of_standing_makes_no_keyframes(gate):
    ask(gate, 0)
    rng = np.random.default_rng(0)
    assert not any(gate.check(ns(s), pose(*rng.normal(0, 0.01, 2))).accept for s in range(1, 3601))


def test_without_odometry_by_time(gate):
    accepted = [s for s in np.arange(0, 10, 0.1) if gate.check(ns(s)).accept]
    assert accepted == pytest.approx([0, 2, 4, 6, 8])


def test_settings_that_change_count_from_the_next_frame():
    now = [GateSettings(0.0, 1.0, 1.0, 1.0)]
    gate = KeyframeGate(lambda: now[0])
    assert ask(gate, 0, 0.0) == (True, 'first')
    assert ask(gate, 1, 0.6) == (False, 'standing')
    now[0] = GateSettings(0.0, 0.5, 1.0, 1.0)
    assert ask(gate, 2, 0.6) == (True, 'moved')


@pytest.mark.fault('odometry', 'poses with NaN, another frame, odometry that goes and comes',
                   'the gate counts seconds until poses can be compared again')
def test_odometry_that_comes_goes_or_changes_its_frame(gate):
    assert gate.check(ns(0)).reason == 'first'
    assert ask(gate, 1, 50.0) == (False, 'too_soon')  # nothing to compare with yet
    assert ask(gate, 2, 50.0) == (True, 'interval')
    assert ask(gate, 3, 51.5) == (True, 'moved')
    assert ask(gate, 4, 99.0, frame='map') == (False, 'too_soon')
    assert ask(gate, 5, 99.0, frame='map') == (True, 'interval')
    assert gate.check(ns(7), Pose(np.array([np.nan, 0, 0]), np.array([0, 0, 0, 1.0]))).reason == 'interval'


@pytest.mark.fault('clock', 'a driver that does not know the time: stamps of zero', 'no keyframe')
def test_zero_stamps_are_refused(gate):
    answer = gate.check(0, pose())
    assert (answer.accept, answer.reason) == (False, 'zero_stamp')
    assert ask(gate, 0) == (True, 'first')


@pytest.mark.fault('clock', 'the clock jumps back (a bag that is played again, a new time server)',
                   'a new session begins, the map stays')
def test_the_clock_goes_back(gate):
    ask(gate, 100, 0.0)
    assert ask(gate, 101, 2.0) == (True, 'moved')
    assert ask(gate, 100.9, 9.0) == (False, 'out_of_order')
    assert ask(gate, 101, 9.0) == (False, 'out_of_order')
    assert ask(gate, 3, 2.0) == (True, 'clock_jump')
    assert ask(gate, 4, 2.1) == (False, 'standing')  # and goes on from there
    assert ask(gate, 5, 3.1) == (True, 'moved')


@pytest.mark.fault('clock', 'the clock jumps back between keyframes', 'noticed all the same')
def test_refused_frames_count_for_the_clock(gate):
    ask(gate, 0)
    ask(gate, 10)
    assert ask(gate, 6, 5.0) == (True, 'clock_jump')


def test_reset(gate):
    ask(gate, 0)
    gate.reset()
    assert ask(gate, 0.1) == (True, 'first')


@pytest.mark.parametrize('name', ['min_interval_s', 'min_distance_m', 'min_angle_rad', 'no_odometry_interval_s'])
@pytest.mark.parametrize('value', [-0.1, float('nan')])
def test_settings_are_checked(name, value):
    with pytest.raises(SegvladError, match=name):
        GateSettings(**{name: value})
