"""bridge as a process: one initial pose a relocalisation over DDS, and a back-end that is not installed."""
import importlib.util
import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from rclpy.event_handler import SubscriptionEventCallbacks
from std_srvs.srv import Trigger

from segvlad_ros.msg import KeyframeId, PlaceMatch, PlaceMatchArray, SegVladStatus
from segvlad_ros.ros.output.conversions import fill_pose, to_pose_with_covariance, to_time
from segvlad_ros.types import Pose

SPREAD = np.diag([0.01, 0.04, 0.09, 0.001, 0.002, 0.003])
QUARTER = np.array([0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)])  # to the left


def answer(seconds, status=PlaceMatchArray.MATCHED, frame='map'):
    """The query is 2 m in front of a keyframe that lies at (10, 5) and looks along the map's y axis."""
    stamp = to_time(seconds * 10**9 + 123456789)
    best = PlaceMatch(query=KeyframeId(index=seconds, stamp=stamp), match=KeyframeId(index=1), has_relative_pose=True,
                      scale_source='depth')
    best.query_pose_in_match = to_pose_with_covariance(Pose(np.array([2.0, 0.0, 0.0]), QUARTER, '', SPREAD))
    best.match_pose.header.frame_id = frame
    fill_pose(best.match_pose.pose, Pose(np.array([10.0, 5.0, 0.0]), QUARTER, frame))
    message = PlaceMatchArray(query=best.query, status=status, matches=[best], base_frame='base_link')
    message.header.stamp = stamp
    return message


class Conversation:
    """Sends answers and waits until the bridge has looked at each."""

    def __init__(self, robot):
        self.robot, self.seconds, self.poses, matched = robot, 0, [], []
        robot.peer.node.create_subscription(
            PoseWithCovarianceStamped, 'initialpose', self.poses.append, 10,
            event_callbacks=SubscriptionEventCallbacks(matched=matched.append))
        robot.peer.wait(lambda: matched and matched[-1].current_count, 'the output')  # nothing that comes is lost now
        self.publisher = robot.peer.publisher(PlaceMatchArray, 'matches')
        robot.peer.matched(self.publisher)

    def send(self, **changes):
        self.seconds += 1
        before = self.robot.statuses[-1].keyframes_processed
        self.publisher.publish(answer(self.seconds, **changes))
        self.robot.status(lambda s: s.keyframes_processed > before, 'the answer to be looked at')

    def first_pose(self):
        for _ in range(100):  # until the bridge sees us listen, the pose waits
            self.send()
            if self.robot.statuses[-1].matches_published:
                return self.pose(1)
        raise AssertionError('no pose')

    def pose(self, count):
        return self.robot.peer.wait(lambda: len(self.poses) >= count and self.poses[count - 1], f'pose {count}')


@pytest.fixture
def conversation(robot):
    def start(**parameters):
        return Conversation(robot('bridge', {'target': 'initial_pose', **{
            f'initial_pose.{name}': value for name, value in parameters.items()}}))
    return start


def test_one_pose_at_the_start_one_when_lost_one_when_triggered(conversation):
    talk = conversation(lost_after_keyframes=2, map_position_std_m=0.0, map_angle_std_rad=0.0)
    talk.send(frame='odom')
    talk.robot.status(lambda s: 'odom' in s.message, 'the wrong frame')
    first = talk.first_pose()
    # in front of the keyframe is along the map's y; the robot looks back along x
    assert (first.header.frame_id, first.header.stamp.nanosec) == ('map', 123456789)
    where, turn = first.pose.pose.position, first.pose.pose.orientation
    np.testing.assert_allclose([where.x, where.y, where.z], [10, 7, 0], atol=1e-9)
    np.testing.assert_allclose(np.abs([turn.x, turn.y, turn.z, turn.w]), [0, 0, 1, 0], atol=1e-9)
    turned = np.diag([0.04, 0.01, 0.09, 0.002, 0.001, 0.003])
    np.testing.assert_allclose(np.reshape(first.pose.covariance, (6, 6)), turned, atol=1e-12)

    talk.send()
    talk.send(status=PlaceMatchArray.NO_MATCH_GEOMETRIC)
    talk.send()
    for _ in range(2):
        talk.send(status=PlaceMatchArray.NO_MATCH_LOW_SCORE)
    talk.send()
    assert talk.pose(2).header.stamp.sec == talk.seconds  # none in between: messages keep their order
    talk.send()
    called = talk.robot.peer.call(Trigger, 'bridge/trigger_localization')
    assert called.success, called.message
    talk.send()
    assert talk.pose(3).header.stamp.sec == talk.seconds
    talk.send()
    status = talk.robot.status(lambda s: s.matches_published == 3, 'the count')
    assert len(talk.poses) == 3
    assert (status.state, status.message) == (SegVladStatus.LOCALIZING, '')


def test_nothing_goes_out_while_the_node_is_inactive_or_nobody_listens(robot):
    running = robot('bridge', {'target': 'initial_pose'})
    publisher = running.peer.publisher(PlaceMatchArray, 'matches')
    running.peer.matched(publisher)
    publisher.publish(answer(1))
    running.status(lambda s: 'nobody listens on' in s.message, 'the warning')
    assert running.statuses[-1].matches_published == 0
    assert running.transition(Transition.TRANSITION_DEACTIVATE)
    running.abandon(publisher)
    assert running.transition(Transition.TRANSITION_ACTIVATE)
    running.running()
    talk = Conversation(running)
    assert talk.first_pose().header.frame_id == 'map'


def test_after_a_reset_the_pose_is_told_anew(conversation):
    """AMCL, which a lifecycle manager resets with the bridge, has forgotten it."""
    talk = conversation()
    talk.first_pose()
    running = talk.robot
    assert running.transition(Transition.TRANSITION_DEACTIVATE)
    running.abandon(talk.publisher)
    for transition in (Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert running.transition(transition)
    running.status(lambda s: s.state == SegVladStatus.LOCALIZING and s.matches_published == 0, 'the node after it')
    assert Conversation(running).first_pose()


@pytest.mark.fault('topic', 'nobody publishes what a bridge hands on', 'a warning with the topic after five seconds')
def test_diagnostics_name_an_input_that_nobody_publishes(robot):
    running = robot('bridge', {'target': 'initial_pose'})

    def worst():
        return max((status.level, status.message) for status in running.diagnostics[-1].status)
    told = running.peer.wait(lambda: running.diagnostics and worst()[0] == DiagnosticStatus.WARN and worst()[1],
                             'the warning')
    assert f'nobody publishes on {running.peer.node.get_namespace()}/matches' in told
    publisher = running.peer.publisher(PlaceMatchArray, 'matches')
    running.peer.matched(publisher)
    running.peer.wait(lambda: worst()[0] == DiagnosticStatus.OK, 'all well')


@pytest.mark.fault('node', 'a bridge to a back-end that is not installed',
                   'one line with the package and how to get it')
@pytest.mark.parametrize(('target', 'package'), [
    ('pose_graph_tools', 'pose_graph_tools_msgs'), ('rtabmap', 'rtabmap_msgs'), ('cslam', 'cslam_common_interfaces')])
def test_a_back_end_that_is_not_installed_ends_the_start_with_one_line(launch, target, package):
    if importlib.util.find_spec(package):
        pytest.skip(f'{package} is installed')
    node = launch('bridge', {'target': target})
    assert node.wait() == 1
    lines = [line for line in node.text().splitlines() if package in line]
    assert len(lines) == 1, node.text()
    assert f'the ROS package {package} is missing: ' in lines[0]
    assert 'Traceback' not in node.text()


def test_under_a_manager_a_missing_back_end_is_a_status_and_a_diagnostic(robot):
    if importlib.util.find_spec('rtabmap_msgs'):
        pytest.skip('rtabmap_msgs is installed')
    waiting = robot('bridge', {'target': 'rtabmap', 'autostart': False}, wait=False)
    assert not waiting.transition(Transition.TRANSITION_CONFIGURE)
    failed = waiting.status(lambda s: s.state == SegVladStatus.ERROR, 'the failure')
    assert 'the ROS package rtabmap_msgs is missing: sudo apt install ros-' in failed.message
    assert waiting.state() == 'unconfigured'

    def told():
        return [status for message in waiting.diagnostics for status in message.status
                if status.level == DiagnosticStatus.ERROR and 'rtabmap_msgs' in status.message]
    assert waiting.peer.wait(told, 'the diagnostic')
