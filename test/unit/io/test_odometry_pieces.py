"""Odometry that leaps begins a new piece; odometry that is only fast, jerky or late does not."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.io.odometry_pieces import OdometryPieces
from segvlad_ros.types import Pose

SECOND = 10 ** 9


def pose(x, y=0.0, yaw=0.0, frame='odom'):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]), frame)


def fed(poses, rate_hz=20.0, **options):
    pieces = OdometryPieces(**options)
    return pieces, [pieces.add(round((number + 1) * SECOND / rate_hz), each) for number, each in enumerate(poses)]


@pytest.mark.parametrize('poses', [
    [pose(0.05 * number) for number in range(60)],
    [pose(1.5 * number) for number in range(60)],  # a car on a motorway
    [pose(0.0125 * number ** 2 / 2) for number in range(60)],  # full throttle
    [pose(0.0, yaw=0.15 * number) for number in range(60)],  # turning on the spot, 3 radians a second
    [pose(0.05 * number + 0.2 * (number == 30)) for number in range(60)]])  # a small correction
def test_a_robot_that_drives_is_one_piece(poses):
    pieces, begun = fed(poses)
    assert not any(begun)
    assert pieces.at(2 * SECOND).piece == 0


@pytest.mark.fault('odometry', 'a driver that is started again: odometry leaps to zero',
                   'a new piece; poses of two pieces are never compared')
@pytest.mark.parametrize('after', [
    [pose(0.05 * number) for number in range(20)],  # the driver counts from zero again
    [pose(3.0 + 0.05 * number, yaw=2.5) for number in range(20)],  # near, but turned
    [pose(3.0 + 0.05 * number, frame='odom_2') for number in range(20)]])
def test_a_driver_that_starts_again_begins_a_piece(after):
    pieces, begun = fed([*(pose(0.05 * number) for number in range(60)), *after])
    assert [number for number, new in enumerate(begun) if new] == [60]
    before, behind = pieces.at(59 * SECOND // 20), pieces.at(63 * SECOND // 20)
    assert (before.piece, behind.piece) == (0, 1)
    assert behind.pose.translation[0] == pytest.approx(after[2].translation[0])
    between = pieces.at(round(60.5 * SECOND / 20))  # nothing is made up between two pieces
    assert between.piece == 0 and between.pose.translation[0] == pytest.approx(59 * 0.05)


@pytest.mark.fault('odometry', 'odometry of another base', 'likewise')
def test_another_child_frame_is_another_piece():
    pieces = OdometryPieces()
    assert [pieces.add(number * SECOND // 20 + 1, pose(0.0), child) for number, child in enumerate(
        ('base_link', 'base_link', 'camera', 'camera'))] == [False, False, True, False]
    assert pieces.at(3 * SECOND // 20).child == 'camera'


def test_a_gap_alone_is_no_leap_but_a_return_to_zero_in_it_is():
    for behind, leaps in ((pose(4.2), False), (pose(0.0), True)):
        pieces, _ = fed([pose(0.05 * number) for number in range(81)])
        assert pieces.add(81 * SECOND // 20 + SECOND // 4, behind) is leaps


@pytest.mark.fault('odometry', 'poses that come out of order', 'sorted in')
def test_late_poses_are_sorted_in():
    pieces, _ = fed([pose(0.1 * number) for number in range(10)], rate_hz=10)
    assert pieces.add(SECOND * 55 // 100, pose(0.5)) is False
    assert pieces.at(SECOND * 55 // 100).pose.translation[0] == pytest.approx(0.5)


def test_a_live_node_keeps_only_what_is_new():
    pieces, _ = fed([pose(10.0 * (number % 2)) for number in range(40)], max_entries=5)
    assert pieces.at(SECOND // 20) is None
    assert pieces.at(2 * SECOND).piece == 39
    pieces.clear()
    assert pieces.at(2 * SECOND) is None and pieces.newest_stamp_ns() is None
