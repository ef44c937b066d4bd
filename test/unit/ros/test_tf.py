"""Where the camera sits: the parameter, or the transforms of /tf_static."""
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped

from segvlad_ros.ros.tf import CameraMount
from segvlad_ros.types import SegvladError


class Quiet:
    """A node that nothing is published to."""

    def __init__(self):
        self.subscriptions = []

    def create_subscription(self, *arguments):
        self.subscriptions.append(arguments)
        return arguments

    def destroy_subscription(self, subscription):
        self.subscriptions.remove(subscription)


@pytest.fixture
def without_tf2(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)


def transform(parent, child, x, w=1.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x, message.transform.rotation.w = x, w
    return message


def test_the_parameter_wins():
    mount = CameraMount(Quiet(), 'base_link', [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 2.0], 0.2)
    pose = mount.lookup('camera', 5)
    np.testing.assert_allclose(pose.translation, [1, 2, 3])
    np.testing.assert_allclose(pose.quaternion, [0, 0, 0, 1])
    assert pose.frame == 'base_link'
    mount.close()


def test_a_parameter_without_rotation_is_refused():
    with pytest.raises(SegvladError, match='rotation'):
        CameraMount(Quiet(), 'base_link', [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0], 0.2)


def test_static_transforms_are_chained(without_tf2):
    mount = CameraMount(Quiet(), 'base_link', [0.0] * 7, 0.2)
    assert mount.lookup('camera_optical', 5) is None
    mount.take_static(SimpleNamespace(transforms=[
        transform('base_link', 'camera', 1.0), transform('x', 'broken', 1.0, w=0.0)]))
    mount.take_static(SimpleNamespace(transforms=[transform('camera', 'camera_optical', 0.5)]))
    pose = mount.lookup('camera_optical', 5)
    assert pose.translation[0] == 1.5
    assert pose.frame == 'base_link'
    assert mount.lookup('elsewhere', 5) is None
    assert mount.lookup('', 5) is None
    mount.close()


def test_real_tf2_is_used_where_it_imports():
    pytest.importorskip('tf2_ros', reason='part of a ROS installation, not of the wheels')
    import rclpy
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('mount', context=context)
    mount = CameraMount(node, 'base_link', [0.0] * 7, 0.2)
    mount._buffer.set_transform_static(transform('base_link', 'camera', 1.0), 'test')
    assert mount.lookup('camera', 5).translation[0] == 1.0
    mount.close()
    node.destroy_node()
    context.try_shutdown()
