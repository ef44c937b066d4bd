"""~/markers of a running node: whole for whoever comes, and then what has changed."""
from dataclasses import replace

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from map_samples import make_keyframe
from nav_msgs.msg import Odometry
from node_harness import EVERY_IMAGE, LATCHED, image_message, real_images, stamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import KeyframeId, SegVladStatus
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.srv import LoadMap, RemoveKeyframes
from segvlad_ros.types import Pose

VOLATILE = QoSProfile(depth=10, durability=DurabilityPolicy.VOLATILE)  # RViz's default


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 40, 80, 120])


class Viewer:
    """What RViz shows."""

    def __init__(self, peer, topic, qos):
        self.messages = []
        self.node, self.peer = peer.node, peer
        self.matched = []
        self.subscription = peer.node.create_subscription(
            MarkerArray, topic, self.messages.append, qos,
            event_callbacks=SubscriptionEventCallbacks(matched=self.matched.append))

    def wait_for_the_node(self):
        self.peer.wait(lambda: self.matched and self.matched[-1].current_count, 'the publisher')

    def wholes(self):
        return sum(message.markers[0].action == Marker.DELETEALL for message in list(self.messages))

    def xs(self):
        shown = {}
        for marker in (marker for message in list(self.messages) for marker in message.markers):
            if marker.action == Marker.DELETEALL:
                shown.clear()
            elif marker.action == Marker.ADD:
                shown[marker.ns, marker.id] = [round(point.x) for point in marker.points]
        return sorted(x for xs in shown.values() for x in xs)

    def wait(self, xs):
        self.peer.wait(lambda: self.messages and self.xs() == xs, f'dots at {xs}, has {self.xs()}')


@pytest.fixture
def loaded(tmp_path):
    """The folder of two maps whose keyframes stand at x 1, 2, 3 and 1, 2."""
    for name, count in (('office', 3), ('hall', 2)):
        with PlaceMap.create(tmp_path / f'{name}.segvlad', load_preset('classic').fingerprint(), 512) as place_map:
            for index in range(1, count + 1):
                pose = Pose(np.array([index, 0.0, 0.0]), np.array([0, 0, 0, 1.0]), 'map')
                place_map.append(replace(make_keyframe(index, dimension=512, session=name), pose=pose))
    return tmp_path


@pytest.mark.parametrize('qos', [LATCHED, VOLATILE])
@pytest.mark.parametrize('when', ['before it is configured', 'before it is active', 'later'])
def test_a_loaded_map_is_seen_at_once(robot, loaded, qos, when):
    """Whenever the viewer comes, and no keyframe has to come first."""
    running = robot('localizer', {'map_directory': loaded, 'map': 'office', 'autostart': False}, wait=False)
    running.status(lambda s: s.state == SegVladStatus.UNCONFIGURED, 'an unconfigured node')
    viewer = Viewer(running.peer, 'localizer/markers', qos) if when == 'before it is configured' else None
    if viewer is not None:
        viewer.wait_for_the_node()
    assert running.transition(Transition.TRANSITION_CONFIGURE)
    if when == 'before it is active':
        viewer = Viewer(running.peer, 'localizer/markers', qos)
        viewer.wait_for_the_node()
    assert running.transition(Transition.TRANSITION_ACTIVATE)
    viewer = viewer or Viewer(running.peer, 'localizer/markers', qos)
    viewer.wait([1, 2, 3])
    call = running.peer.call
    assert call(LoadMap, 'localizer/load_map', name='hall', read_only=True).success
    viewer.wait([1, 2])
    assert call(LoadMap, 'localizer/load_map', name='office', read_only=True, append=True).success
    viewer.wait([1, 1, 2, 2, 3])
    assert call(Trigger, 'localizer/reset_map').success
    viewer.wait([])
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
                       Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert running.transition(transition)
    viewer.wait([1, 2, 3])


def test_a_map_builder_shows_the_map_that_it_goes_on_in(robot, loaded):
    running = robot('map_builder', {'map_directory': loaded, 'map': 'office', 'append': True, 'allow_removal': True})
    viewer = Viewer(running.peer, 'map_builder/markers', VOLATILE)
    viewer.wait([1, 2, 3])
    call = running.peer.call
    first = KeyframeId(robot_id=0, session_id='office', index=1)
    removed = call(RemoveKeyframes, 'map_builder/remove_keyframes', keyframes=[first])
    assert (removed.success, removed.removed) == (True, 1), removed.message
    viewer.wait([2, 3])
    assert call(LoadMap, 'map_builder/load_map', name='hall').success
    viewer.wait([1, 2])
    assert call(Trigger, 'map_builder/reset_map').success
    viewer.wait([])


@pytest.mark.parametrize('qos', [LATCHED, VOLATILE])
def test_who_comes_late_sees_the_whole_map(robot, namespace, pictures, qos):
    topics = ('image', 'odom')
    robot = robot('map_builder', {**EVERY_IMAGE, 'map': 'office', **{
        f'qos_overrides.{namespace}/{topic}.subscription.reliability': 'reliable' for topic in topics}})
    camera, odometry = robot.camera(), robot.peer.publisher(Odometry, 'odom')
    robot.peer.matched(odometry)

    def drive(second):
        message = stamped(Odometry(child_frame_id='base_link'), second, 'odom')
        message.pose.pose.position.x, message.pose.pose.orientation.w = float(second), 1.0
        odometry.publish(message)
        robot.send(camera, image_message(pictures[second % 4], second))
        robot.keyframe(second)

    drive(1)
    drive(2)
    first = Viewer(robot.peer, 'map_builder/markers', qos)
    first.wait([1, 2])  # while the robot stands
    drive(3)
    first.wait([1, 2, 3])
    assert first.wholes() == 1
    second = Viewer(robot.peer, 'map_builder/markers', qos)
    second.wait([1, 2, 3])
    drive(4)
    for viewer in (first, second):
        viewer.wait([1, 2, 3, 4])
    assert first.wholes() <= 2
    assert not any(marker.action == Marker.DELETEALL for marker in first.messages[-1].markers)
    assert robot.peer.call(Trigger, 'map_builder/reset_map').success
    drive(5)
    for viewer in (first, second):
        viewer.wait([5])
