"""map -> odom on /tf, with a stand-in for tf2_msgs, which no wheel has."""
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from segvlad_ros.ros.output.conversions import from_time, from_transform
from segvlad_ros.ros.output.map_to_odom import MapToOdom
from segvlad_ros.types import Pose, SegvladError

HERE = Pose(np.array([1.0, 2.0, 0.0]), np.array([0, 0, 0.6, 0.8]), 'map')


class Broadcaster:
    """What it needs of a node."""

    def __init__(self):
        self.parameters = {'transform_tolerance_s': 0.25}
        self.sent = []

    def create_publisher(self, kind, topic, profile):
        assert topic == '/tf'
        return SimpleNamespace(publish=self.sent.append)

    def destroy_publisher(self, publisher):
        pass


@pytest.fixture
def tf2_messages(monkeypatch):
    messages = ModuleType('tf2_msgs.msg')
    messages.TFMessage = SimpleNamespace
    monkeypatch.setitem(sys.modules, 'tf2_msgs', ModuleType('tf2_msgs'))
    monkeypatch.setitem(sys.modules, 'tf2_msgs.msg', messages)


def test_each_odometry_carries_the_newest_correction_once(tf2_messages):
    node = Broadcaster()
    to_odom = MapToOdom(node)
    to_odom.broadcast(10**9)
    assert not node.sent  # nothing is known yet
    to_odom.correct(HERE, 'odom')
    for stamp_ns in (10**9, 10**9, 2 * 10**9):
        to_odom.broadcast(stamp_ns)
    transforms = [message.transforms[0] for message in node.sent]
    assert [from_time(transform.header.stamp) for transform in transforms] == [1_250_000_000, 2_250_000_000]
    assert {(transform.header.frame_id, transform.child_frame_id) for transform in transforms} == {('map', 'odom')}
    np.testing.assert_array_equal(from_transform(transforms[0]).translation, HERE.translation)
    np.testing.assert_array_equal(from_transform(transforms[0]).quaternion, HERE.quaternion)


@pytest.mark.parametrize('frame', ['', 'map'])
def test_odometry_that_tf_cannot_hang_below_the_map_is_left_out(tf2_messages, frame):
    node = Broadcaster()
    to_odom = MapToOdom(node)
    to_odom.correct(HERE, frame)
    to_odom.broadcast(10**9)
    assert not node.sent


def test_without_tf2_msgs_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_msgs', None)
    with pytest.raises(SegvladError, match=r'tf2_msgs is missing: sudo apt install ros-\$ROS_DISTRO-tf2-msgs'):
        MapToOdom(Broadcaster())
