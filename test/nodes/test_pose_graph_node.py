"""pose_graph as a process: odometry and loop closures go in over DDS, path and feedback come out."""
import importlib.util
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry, Path
from node_harness import DEADLINE_S, LATCHED, SECOND, Robot
from rclpy.qos import ReliabilityPolicy
from std_srvs.srv import SetBool
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.geometry import compose, distance, inverse, relative
from segvlad_ros.msg import KeyframeId, LoopClosure, LoopClosureFeedback, SegVladStatus
from segvlad_ros.ros.output.conversions import (
    fill_pose,
    from_pose,
    from_time,
    from_transform,
    to_pose_with_covariance,
    to_time,
)
from segvlad_ros.types import Pose

pytestmark = pytest.mark.slam
if not os.environ.get('SEGVLAD_REQUIRE_SLAM'):
    pytest.importorskip('gtsam')

START = 100 * SECOND
STEP = SECOND // 10
LAP = 320
ACCEPTED, REJECTED = LoopClosureFeedback.ACCEPTED, LoopClosureFeedback.REJECTED_OPTIMIZATION


def flat(x, y, yaw):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]), 'odom')


def drive(steps, drift):
    """True and reported poses round a square of 8 m whose corners are cut, 0.1 m a step."""
    true, reported = [flat(0, 0, 0)], [flat(0, 0, 0)]
    for step in range(steps):
        turn = math.pi / 8 if step % 80 >= 76 else 0.0
        true.append(compose(true[-1], flat(0.1, 0, turn)))
        reported.append(compose(reported[-1], flat(0.1, 0, turn + 0.1 * drift)))
    return true, reported


class Talk:
    """The robot's odometry and the localizer's closures."""

    def __init__(self, robot, show=True):
        peer = robot.peer
        self.robot, self.peer = robot, peer
        self.paths = peer.listen(Path, 'pose_graph/path', LATCHED)
        self.answers = peer.listen(LoopClosureFeedback, 'pose_graph/loop_closure_feedback', 100)
        self.markers = peer.listen(MarkerArray, 'pose_graph/markers', LATCHED) if show else []
        self._odometry = peer.publisher(Odometry, 'odom', depth=1000)
        self._closures = peer.publisher(LoopClosure, 'loop_closures')
        peer.matched(self._odometry)
        peer.matched(self._closures)

    def odometry(self, poses, first=0):
        for k, pose in enumerate(poses, first):
            message = Odometry()
            message.header.stamp, message.header.frame_id = to_time(START + k * STEP), pose.frame
            fill_pose(message.pose.pose, pose)
            self._odometry.publish(message)

    def closure(self, match, query, pose, *, sessions=('today', 'today'), robot=0):
        ends = [KeyframeId(robot_id=robot, session_id=session, index=abs(k) + 1, stamp=to_time(START + k * STEP))
                for k, session in zip((match, query), sessions)]
        self._closures.publish(LoopClosure(
            match=ends[0], query=ends[1], base_frame='base_link', query_pose_in_match=to_pose_with_covariance(
                Pose(pose.translation, pose.quaternion, '', np.diag([0.01 ** 2] * 3 + [0.005 ** 2] * 3)))))

    def answer(self, count):
        return self.peer.wait(lambda: len(self.answers) >= count and self.answers[count - 1], f'feedback {count}')

    def path(self, condition, what):
        """The first path that fulfils a condition, as poses by stamp."""
        def found():
            for path in reversed(self.paths):
                poses = {from_time(p.header.stamp): from_pose(p.pose, path.header.frame_id) for p in path.poses}
                if condition(poses):
                    return poses
            return None
        return self.peer.wait(found, what)

    def reaches(self, step):
        """Wait for a path up to the node before a step of odometry."""
        return self.path(lambda poses: max(poses) >= START + (step - 12) * STEP, f'the path up to step {step}')


@pytest.fixture
def talk(robot, namespace):
    def start(show=True, **parameters):
        reliable = {f'qos_overrides.{namespace}/odom.subscription.reliability': 'reliable',
                    f'qos_overrides.{namespace}/odom.subscription.depth': 1000}
        return Talk(robot('pose_graph', {**reliable, **parameters}), show)
    return start


def test_odometry_and_closures_become_a_path_and_feedback(talk):
    true, reported = drive(420, drift=0.01)
    talk = talk()
    talk.odometry(reported[:300])
    before = talk.reaches(300)
    assert all(pose.frame == 'map' for pose in before.values())
    assert max(distance(pose, reported[(stamp - START) // STEP]) for stamp, pose in before.items()) < 1e-6

    seen = relative(true[30], true[LAP + 43])  # not its own inverse
    assert distance(seen, inverse(seen)) > 1
    talk.closure(30, LAP + 43, seen)  # waits for its odometry
    talk.odometry(reported[300:], first=300)
    first = talk.answer(1)
    assert (first.verdict, first.match.index, first.query.index) == (ACCEPTED, 31, LAP + 44), first.reason
    assert first.reason
    bent = talk.path(lambda poses: max(poses) >= START + 400 * STEP and min(
        distance(pose, reported[(stamp - START) // STEP]) for stamp, pose in poses.items()
        if stamp > START + LAP * STEP) > 0.5, 'the bent path')
    ends = [bent[min(bent, key=lambda stamp: abs(stamp - START - k * STEP))] for k in (30, LAP + 43)]
    assert distance(ends[0], ends[1]) < 2.0
    assert max(distance(pose, true[(stamp - START) // STEP]) for stamp, pose in bent.items()) < 1.5

    status = talk.robot.status(lambda s: s.matches_published == 1 and s.keyframes >= len(bent) - 1, 'the counts')
    assert status.state == SegVladStatus.MAPPING

    def shown():
        return talk.markers and {m.ns for m in talk.markers[-1].markers if m.action == Marker.ADD}
    assert talk.peer.wait(lambda: 'accepted' in (shown() or ()) and shown(), 'markers') == {'accepted'}


def test_map_to_odom_is_broadcast_where_it_is_wanted(talk):
    tf2_msgs = pytest.importorskip('tf2_msgs.msg', reason='no wheel has it: see .ci/launch-tools')
    true, reported = drive(420, drift=0.01)
    talk = talk(broadcast_map_to_odom=True, transform_tolerance_s=0.3)
    told = talk.peer.listen(tf2_msgs.TFMessage, '/tf', 1000)
    talk.odometry(reported[:400])
    talk.reaches(400)
    first = talk.peer.wait(lambda: told and told[-1].transforms[0], 'a transform')
    assert (first.header.frame_id, first.child_frame_id) == ('map', 'odom')
    assert distance(from_transform(first), flat(0, 0, 0)) < 1e-6
    talk.closure(30, LAP + 43, relative(true[30], true[LAP + 43]))
    assert talk.answer(1).verdict == ACCEPTED
    talk.odometry(reported[400:], first=400)
    path = talk.reaches(420)
    last_ns = max(path)
    newest = reported[(last_ns - START) // STEP]

    def fits():
        transform = told[-1].transforms[0]
        return (from_time(transform.header.stamp) == START + 420 * STEP + 3 * SECOND // 10  # the tolerance
                and distance(compose(from_transform(transform), newest), path[last_ns]) < 1e-3 and transform)
    assert distance(from_transform(talk.peer.wait(fits, 'the correction')), flat(0, 0, 0)) > 0.5
    stamps = [from_time(message.transforms[0].header.stamp) for message in told]
    assert stamps == sorted(set(stamps))  # tf2 warns of a stamp that comes again


def test_by_default_it_broadcasts_nothing(talk):
    talk = talk()
    assert not [name for name, _ in talk.peer.node.get_topic_names_and_types() if name == '/tf']


def test_without_tf2_msgs_the_start_ends_with_one_line(launch):
    if importlib.util.find_spec('tf2_msgs'):
        pytest.skip('tf2_msgs is installed')
    node = launch('pose_graph', {'broadcast_map_to_odom': True})
    assert node.wait() == 1
    assert 'cannot configure: the ROS package tf2_msgs is missing: ' in node.text()
    assert 'Traceback' not in node.text()


def test_who_comes_later_sees_the_closures(talk):
    true, reported = drive(420, drift=0.01)
    talk = talk(show=False)
    talk.odometry(reported)
    talk.reaches(420)
    talk.closure(30, LAP + 43, relative(true[30], true[LAP + 43]))
    assert talk.answer(1).verdict == ACCEPTED
    talk.peer.wait(lambda: talk.robot.statuses[-1].matches_published == 1, 'the end of the work')
    shown = talk.peer.listen(MarkerArray, 'pose_graph/markers')  # volatile: what was latched before does not count
    talk.peer.wait(lambda: shown and [m.ns for m in shown[-1].markers if m.action == Marker.ADD] == ['accepted'],
                   'the closure')


@pytest.mark.fault('node', 'a localizer is started again while the robot stands, beside a pose graph',
                   'the path of before comes to it')
def test_who_comes_later_gets_the_path(talk):
    _, reported = drive(100, drift=0.0)
    talk = talk(show=False)
    talk.odometry(reported)
    talk.reaches(100)
    seen = len(talk.robot.statuses)
    talk.robot.status(lambda s: len(talk.robot.statuses) >= seen + 3, 'the end of the work')
    for _ in range(2):
        late = talk.peer.listen(Path, 'pose_graph/path')  # volatile, as optimized_path is subscribed
        talk.peer.wait(lambda late=late: late and len(late[-1].poses) == len(talk.paths[-1].poses), 'the path')


@pytest.mark.fault('topic', 'loop closures of other sessions, robots or moments, or false ones',
                   'each is answered with its reason')
def test_closures_that_cannot_be_used_are_answered_with_the_reason(talk):
    true, reported = drive(420, drift=0.005)
    talk = talk()
    talk.odometry(reported)
    talk.reaches(420)
    talk.closure(30, 350, relative(true[30], true[350]), sessions=('yesterday', 'today'))
    talk.closure(30, 350, relative(true[30], true[350]), robot=3)
    talk.closure(-200, 350, flat(0, 0, 0))
    talk.closure(30, 200, flat(0, 0, 0))
    answers = [talk.answer(number) for number in (1, 2, 3, 4)]
    unusable = LoopClosureFeedback.UNUSABLE  # was not judged, and down-weights no keyframe
    assert sorted(answer.verdict for answer in answers) == [REJECTED, unusable, unusable, unusable]
    words = ('session', 'robot 3', 'no odometry at the stamp of the match', 'contradicts odometry')
    for answer, word in zip(sorted(answers, key=lambda a: [w in a.reason for w in words].index(True)), words):
        assert word in answer.reason
        assert (answer.verdict == REJECTED) == (word == 'contradicts odometry')


def test_closures_against_a_known_map_are_answered_counted_and_said_once(talk):
    """A localizer that searches yesterday's map, too, sends such closures as often as others."""
    true, reported = drive(420, drift=0.005)
    talk = talk()
    talk.odometry(reported)
    talk.reaches(420)
    for k in range(340, 360):
        talk.closure(k - LAP, k, relative(true[k - LAP], true[k]), sessions=('yesterday', 'today'))
    assert talk.answer(20).verdict == LoopClosureFeedback.UNUSABLE

    def counted():
        return [status for message in talk.robot.diagnostics for status in message.status for value in status.values
                if (value.key, value.value) == ('closures of other sessions or robots', '20')]
    assert talk.peer.wait(counted, 'the count')[0].level == DiagnosticStatus.OK  # who sets known_map expects them
    said = [line for line in talk.robot.node.text().splitlines() if "'yesterday'" in line]
    assert len(said) == 1 and 'docs/slam.md' in said[0]


def test_a_verdict_that_changes_is_told_again_and_one_that_stays_is_not(talk):
    true, reported = drive(560, drift=0.005)
    talk = talk()
    talk.odometry(reported)
    talk.reaches(560)
    talk.closure(40, 360, compose(relative(true[40], true[360]), flat(1.0, 0.6, 0.1)))
    assert talk.answer(1).verdict == ACCEPTED  # odometry alone cannot tell that it is false
    for k in (20, 80, 140, 200):
        talk.closure(k, k + LAP, relative(true[k], true[k + LAP]))

    def taken_back():
        return next((a for a in talk.answers if a.verdict == REJECTED and a.query.index == 361), None)
    false = talk.peer.wait(taken_back, 'the verdict that is taken back')
    assert 'other closures' in false.reason
    talk.peer.wait(lambda: {a.query.index for a in talk.answers if a.verdict == ACCEPTED} >= {
        k + LAP + 1 for k in (20, 80, 140, 200)}, 'the true ones')
    told = [(a.query.index, a.verdict) for a in talk.answers]
    assert all(one != other for one, other in zip(
        sorted(told, key=lambda t: t[0]), sorted(told, key=lambda t: t[0])[1:]))


@pytest.mark.fault('clock', 'the clock jumps back under a pose graph',
                   'it begins anew; closures that wait are answered as unusable')
def test_a_backwards_clock_begins_anew(talk):
    _, reported = drive(200, drift=0.0)
    talk = talk()
    talk.odometry(reported[100:], first=100)
    talk.reaches(200)
    talk.closure(110, 1000, flat(0, 0, 0))  # never reached
    talk.peer.wait(lambda: any(v.key == 'closures waiting' and v.value == '1' for m in talk.robot.diagnostics
                               for s in m.status for v in s.values), 'the closure that waits')
    talk.odometry(reported[:50])
    answer = talk.answer(1)
    assert (answer.verdict, 'jumped back' in answer.reason) == (LoopClosureFeedback.UNUSABLE, True)
    poses = talk.path(lambda poses: max(poses) < START + 51 * STEP, 'a path of the new clock')
    assert min(poses) == START


@pytest.mark.fault('odometry', 'odometry that leaps under a pose graph', 'the path goes on from where it was')
def test_odometry_that_starts_again_goes_on_from_where_it_was(talk):
    _, reported = drive(200, drift=0.0)
    talk = talk()
    talk.odometry(reported[:101])
    talk.reaches(100)
    talk.odometry(reported[:100], first=101)
    poses = talk.reaches(200)
    assert 'odometry leaps' in talk.robot.node.text()
    assert distance(poses[max(poses)], compose(reported[100], reported[(max(poses) - START) // STEP - 101])) < 1e-3


def test_a_paused_node_takes_nothing_in(talk):
    _, reported = drive(200, drift=0.0)
    talk = talk()
    talk.odometry(reported[:100])
    talk.reaches(100)
    assert talk.peer.call(SetBool, 'pose_graph/pause', data=True).success
    talk.robot.status(lambda s: s.state == SegVladStatus.PAUSED, 'a paused node')

    def nodes_after_a_while():
        seen = len(talk.robot.statuses)
        talk.robot.status(lambda s: len(talk.robot.statuses) >= seen + 3, 'three more statuses')
        return talk.robot.statuses[-1].keyframes
    before = nodes_after_a_while()  # what the worker has in hand is still taken in
    talk.odometry(reported[100:], first=100)
    assert nodes_after_a_while() == before


def test_best_effort_odometry_is_taken(robot):
    talk = robot('pose_graph')
    publisher = talk.peer.publisher(Odometry, 'odom', reliability=ReliabilityPolicy.BEST_EFFORT)
    talk.peer.matched(publisher)
    message = Odometry()
    message.header.frame_id = 'odom'
    message.pose.pose.orientation.w = 1.0

    def complained(status):
        publisher.publish(message)  # again and again: a reader drops what a writer sends that it does not know yet
        return 'stamp is zero' in status.message
    talk.status(complained, 'the complaint')


@pytest.mark.fault('node', 'no GTSAM', 'one line')
def test_without_gtsam_the_start_ends_with_one_line(domain, namespace, tmp_path):
    (tmp_path / 'gtsam.py').write_text('raise ImportError("no module named gtsam")')
    command = [sys.executable, '-m', 'segvlad_ros.nodes.pose_graph', '--ros-args', '-r', f'__ns:={namespace}']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    said = ended.stdout + ended.stderr
    lines = [line for line in said.splitlines() if "pip install 'gtsam>=4.3'" in line]
    assert (ended.returncode, len(lines)) == (1, 1), said
    assert 'Traceback' not in said


def test_diagnostics_name_the_graph(talk):
    _, reported = drive(100, drift=0.0)
    talk = talk()
    talk.odometry(reported)

    def told():
        return [s for m in talk.robot.diagnostics for s in m.status if 'pose graph' in s.name
                and s.level == DiagnosticStatus.OK and 'nodes' in s.message and not s.message.startswith('0 ')]
    assert isinstance(talk.robot, Robot)
    assert talk.peer.wait(told, 'diagnostics')


def test_what_came_before_a_pause_is_taken_in_after_it(domain, context):
    """A pause between the arrival of a message and the next call of the worker once stopped the node for good."""
    import rclpy

    from segvlad_ros.nodes.pose_graph import PoseGraphNode
    rclpy.init(domain_id=domain)
    node = PoseGraphNode()
    try:
        node.trigger_configure()
        message = Odometry()
        message.header.stamp, message.header.frame_id = to_time(START), 'odom'
        fill_pose(message.pose.pose, flat(0, 0, 0))
        node._take(message)
        node.paused = True
        node._call_worker()
        node.paused = False
        node._call_worker()
        assert node.worker.flush(DEADLINE_S)
        assert node.map_facts().keyframes == 1
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
