"""~/markers of a running node: whole for whoever comes, and then what has changed."""
import pytest
from nav_msgs.msg import Odometry
from node_harness import EVERY_IMAGE, LATCHED, image_message, real_images, stamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

VOLATILE = QoSProfile(depth=10, durability=DurabilityPolicy.VOLATILE)  # RViz's default


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 40, 80, 120])


class Viewer:
    """What RViz shows."""

    def __init__(self, peer, topic, qos):
        self.messages = []
        self.node, self.peer = peer.node, peer
        self.subscription = peer.node.create_subscription(MarkerArray, topic, self.messages.append, qos)

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
