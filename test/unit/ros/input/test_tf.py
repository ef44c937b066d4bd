"""How frames lie to each other, by /tf_static."""
from types import SimpleNamespace

import pytest
from geometry_msgs.msg import TransformStamped

from segvlad_ros.ros.input.tf import Transforms


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


def test_static_transforms_are_chained(without_tf2):
    transforms = Transforms(Quiet(), 0.2)
    assert transforms.lookup('base_link', 'camera_optical', 5) is None
    transforms.take_static(SimpleNamespace(transforms=[
        transform('base_link', 'camera', 1.0), transform('x', 'broken', 1.0, w=0.0)]))
    transforms.take_static(SimpleNamespace(transforms=[transform('camera', 'camera_optical', 0.5)]))
    pose = transforms.lookup('base_link', 'camera_optical', 5)
    assert pose.translation[0] == 1.5
    assert pose.frame == 'base_link'
    assert transforms.lookup('base_link', 'elsewhere', 5) is None
    assert transforms.lookup('base_link', '', 5) is None
    transforms.forget_moving()
    assert transforms.lookup('base_link', 'camera_optical', 5).translation[0] == 1.5
    transforms.close()


def test_real_tf2_is_used_where_it_imports():
    pytest.importorskip('tf2_ros', reason='part of a ROS installation, not of the wheels')
    import rclpy
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('transforms', context=context)
    transforms = Transforms(node, 0.2)
    transforms._buffer.set_transform_static(transform('base_link', 'camera', 1.0), 'test')
    assert transforms.lookup('base_link', 'camera', 5).translation[0] == 1.0
    for seconds in (500, 3):  # the clock begins anew
        moving = transform('base_link', 'turret', float(seconds))
        moving.header.stamp.sec = seconds
        transforms._buffer.set_transform(moving, 'test')
        assert transforms.lookup('base_link', 'turret', seconds * 10**9).translation[0] == seconds
        assert transforms.lookup('base_link', 'camera', 5).translation[0] == 1.0
        transforms.forget_moving()
    transforms.close()
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.fault('camera', 'a transform with NaN', 'ignored and named')
def test_a_transform_that_is_not_finite_is_ignored_and_named(without_tf2, caplog):
    transforms = Transforms(Quiet(), 0.0)
    transforms.take_static(SimpleNamespace(transforms=[transform('base_link', 'camera', float('nan'))]))
    assert transforms.lookup('base_link', 'camera', 5) is None
    assert 'not finite' in caplog.text
