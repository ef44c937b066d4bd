"""A path as bytes is what rclpy makes of the message."""
import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message

from segvlad_ros.ros.output.conversions import to_time
from segvlad_ros.ros.output.path_bytes import path_arrays, path_bytes


def drive(count):
    rng = np.random.default_rng(count)
    stamps = np.sort(rng.integers(0, 2**31 * 10**9, count))
    return stamps, rng.standard_normal((count, 7))


def message(frame, stamps, poses, frames=None):
    path = Path()
    path.header.frame_id = frame
    if len(stamps):
        path.header.stamp = to_time(int(stamps[-1]))
    for number, (stamp, values) in enumerate(zip(stamps, poses)):
        stamped = PoseStamped()
        stamped.header.frame_id = frame if frames is None else frames[number]
        stamped.header.stamp = to_time(int(stamp))
        place, turn = stamped.pose.position, stamped.pose.orientation
        place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = map(float, values)
        path.poses.append(stamped)
    return path


@pytest.mark.parametrize('frame', ['', 'm', 'ma', 'map', 'odom', 'karte', 'über/odom', 'a_longer_name'])
@pytest.mark.parametrize('count', [1, 2, 7])
def test_it_is_the_message(frame, count):
    stamps, poses = drive(count)
    path = message(frame, stamps, poses)
    assert len(path_bytes(frame, stamps, poses)) == len(serialize_message(path))  # they differ in what fills gaps
    assert deserialize_message(path_bytes(frame, stamps, poses), Path) == path
    name, read_stamps, read = path_arrays(serialize_message(path))
    assert name == frame
    np.testing.assert_array_equal(read_stamps, stamps)
    np.testing.assert_array_equal(read, poses)


@pytest.mark.parametrize('frames', [['map', 'a longer one', 'map'], ['', '', ''], ['abc', 'abcd', 'ab']])
def test_any_other_path_is_read_as_well(frames):
    stamps, poses = drive(3)
    name, read_stamps, read = path_arrays(serialize_message(message('map', stamps, poses, frames)))
    assert name == 'map'
    np.testing.assert_array_equal(read_stamps, stamps)
    np.testing.assert_array_equal(read, poses)
    name, read_stamps, read = path_arrays(serialize_message(Path()))
    assert (name, read_stamps.shape, read.shape) == ('', (0,), (0, 7))


def test_thousands_of_poses_cost_milliseconds():
    stamps, poses = drive(10_000)
    begin = time.process_time()
    read = path_arrays(path_bytes('map', stamps, poses))[2]
    assert time.process_time() - begin < 0.05  # as objects: 0.8 s
    np.testing.assert_array_equal(read, poses)
