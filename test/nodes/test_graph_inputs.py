"""What pose_graph makes of closures and odometry that do not belong together; the node is in this process."""
import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry

from segvlad_ros.msg import KeyframeId, LoopClosure, LoopClosureFeedback, PlaceMatchArray
from segvlad_ros.ros.output.conversions import fill_pose, to_pose_with_covariance, to_time
from segvlad_ros.ros.output.graph_messages import ClosureBook
from segvlad_ros.ros.output.path_bytes import path_arrays
from segvlad_ros.slam.consensus import Judgement, Verdict
from segvlad_ros.types import Pose

pytestmark = pytest.mark.slam
if not os.environ.get('SEGVLAD_REQUIRE_SLAM'):
    pytest.importorskip('gtsam')

SECOND = 10**9
HERE = np.array([0.0, 0.0, 0.0, 1.0])
ACCEPTED, UNUSABLE = LoopClosureFeedback.ACCEPTED, LoopClosureFeedback.UNUSABLE
DRIVE = tuple(k / 10 for k in range(401))


def at(second):
    """20 m along x and back, at 1 m/s, without turning."""
    return second if second < 20 else 40 - second


class Talk:
    """Messages to a pose_graph, and what it answers."""

    def __init__(self, node):
        self.node, self.told = node, []
        node._feedback.publish = self.told.append

    def odometry(self, seconds, child='', frame='odom', stands_at=None):
        for second in seconds:
            message = Odometry(child_frame_id=child)
            message.header.stamp, message.header.frame_id = to_time(self.ns(second)), frame
            fill_pose(message.pose.pose, Pose(
                np.array([at(second) if stands_at is None else stands_at, 0.0, 0.0]), HERE, frame))
            self.node._take(message)

    def keyframe(self, second, session):
        """The localizer answers a keyframe."""
        self.node._take_answer(PlaceMatchArray(query=KeyframeId(session_id=session, stamp=to_time(self.ns(second)))))

    def closure(self, match, query, base='base_link', sessions=('today', 'today')):
        """A true one, and what it is answered."""
        ends = [KeyframeId(session_id=session, index=round(10 * second) + 1, stamp=to_time(self.ns(second)))
                for second, session in zip((match, query), sessions)]
        seen = Pose(np.array([at(query) - at(match), 0.0, 0.0]), HERE, '', np.eye(6) * 1e-4)
        self.node._take(LoopClosure(match=ends[0], query=ends[1], base_frame=base,
                                    query_pose_in_match=to_pose_with_covariance(seen)))
        self.work()
        return self.told[-1].verdict, self.told[-1].reason

    def work(self):
        self.node._call_worker()
        assert self.node.worker.flush(60)

    @staticmethod
    def ns(second):
        return 100 * SECOND + round(second * SECOND)


@pytest.fixture
def talk(in_process):
    from segvlad_ros.nodes.pose_graph import PoseGraphNode
    return lambda **parameters: Talk(in_process(PoseGraphNode, **parameters))


@pytest.mark.fault('odometry', 'odometry of another body than the loop closures (a tracking camera, an IMU)',
                   'the closures are unusable; a line says which frames, and what to set')
@pytest.mark.parametrize(('child', 'base', 'fits'), [
    ('tracking_camera', 'base_link', False), ('robot1/base_link', 'robot2/base_link', False),
    ('/base_link', 'base_link', True), ('', 'base_link', True), ('body', '', True), ('body', 'body', True),
    ('base_footprint', 'base_link', True), ('robot1/base_footprint', 'robot1/base_link', True)])
def test_closures_of_another_body_than_the_odometry_do_not_bend_its_path(talk, child, base, fits):
    talk = talk()
    talk.odometry(DRIVE, child)
    verdict, reason = talk.closure(5.0, 35.0, base)
    assert verdict == (ACCEPTED if fits else UNUSABLE), reason
    assert fits == (not talk.node.status.problem)
    if not fits:
        assert repr(child) in reason and repr(base) in reason and 'set base_frame' in reason
        assert talk.node.status.problem.endswith(reason)


def test_a_map_builder_that_is_started_again_does_not_lose_the_first_part_of_the_drive(talk):
    """Its session is another one then; odometry and graph go on. A session of another day is none of the graph's."""
    talk = talk()
    talk.odometry(DRIVE)
    talk.keyframe(5.0, 'before')
    talk.keyframe(35.0, 'after')
    assert talk.closure(5.0, 35.0, sessions=('before', 'after'))[0] == ACCEPTED
    verdict, reason = talk.closure(6.0, 34.0, sessions=('yesterday', 'after'))
    assert (verdict, "'yesterday'" in reason) == (UNUSABLE, True)


@pytest.mark.fault('clock', 'the clock jumps back under a pose graph while the localizer is behind',
                   'closures of the session that has ended are unusable; none is judged by the new odometry')
def test_closures_of_a_session_that_has_ended_are_not_judged_by_the_odometry_of_the_next(talk):
    talk = talk()
    talk.odometry(DRIVE)
    talk.keyframe(39.0, 'first')
    talk.work()
    talk.odometry(DRIVE)
    talk.keyframe(39.5, 'first')  # the localizer is behind
    talk.keyframe(0.5, 'second')
    verdict, reason = talk.closure(5.0, 35.0, sessions=('first', 'first'))
    assert (verdict, "'first'" in reason) == (UNUSABLE, True)
    assert talk.closure(5.0, 35.0, sessions=('first', 'second'))[0] == UNUSABLE
    assert talk.closure(5.0, 35.0, sessions=('second', 'second'))[0] == ACCEPTED


def test_keyframes_that_outrun_the_odometry_of_a_new_clock_are_of_the_new_session(talk):
    talk = talk()
    talk.odometry(DRIVE)
    talk.keyframe(39.0, 'first')
    talk.keyframe(0.6, 'second')
    talk.work()
    talk.odometry(DRIVE)
    assert talk.closure(5.0, 35.0, sessions=('second', 'second'))[0] == ACCEPTED
    assert talk.closure(6.0, 34.0, sessions=('first', 'first'))[0] == UNUSABLE


def test_odometry_whose_frame_changes_ends_no_session(talk):
    talk = talk()
    talk.odometry(DRIVE[:200])
    talk.keyframe(10.0, 'today')
    talk.odometry([*DRIVE[200:], *(k / 10 for k in range(401, 600))], frame='odom2')
    verdict, reason = talk.closure(25.0, 39.0)
    assert verdict == ACCEPTED, reason


def test_one_wrong_stamp_is_said_and_not_broadcast(talk):
    talk = talk()
    broadcast = []
    talk.node._map_to_odom = SimpleNamespace(broadcast=broadcast.append, correct=lambda *correction: None,
                                             close=lambda: None)
    for seconds in (DRIVE[:100], [1000.0], DRIVE[100:110]):
        talk.odometry(seconds)
        talk.work()
    assert broadcast == [talk.ns(9.9), talk.ns(9.9), talk.ns(10.9)]
    assert 'far off those before and after' in talk.node.status.problem
    talk.odometry([500.0, 500.1])  # a clock that was set: the next agrees
    talk.work()
    assert broadcast[-1] == talk.ns(500.1)


@pytest.mark.parametrize('goes_on', [False, True])
def test_the_path_goes_out_to_the_end_of_a_drive(talk, goes_on):
    """Whether odometry ends there, or goes on to say that the robot stands."""
    talk, paths = talk(), []
    talk.node._path.publish = lambda path: paths.append(path_arrays(bytes(path))[1])
    for tenths in range(100):
        talk.odometry([tenths / 10])
        talk.work()
    count = len(paths)
    assert count < 20  # one a second
    if goes_on:
        for tenths in range(100, 300):
            talk.odometry([tenths / 10], stands_at=9.9)
            talk.work()
    else:
        now_s = talk.node.steady_s()
        talk.node.steady_s = lambda: now_s + 2.0
        for _ in range(20):
            talk.work()
    assert paths[-1][-1] >= talk.ns(9.9)
    assert len(paths) <= count + 3


def said(talk):
    """Level, message and values of /diagnostics."""
    status, = talk.node.diagnose(talk.node.statistics.snapshot())
    return status.level, status.message, {pair.key: pair.value for pair in status.values}


@pytest.mark.fault('odometry', 'no odometry comes to a pose graph, as where `odom` is remapped to another topic',
                   'a warning with the topic after five seconds')
def test_odometry_that_never_comes_is_named(talk):
    talk, start_s = talk(), 0.0
    talk.node.steady_s = lambda: start_s
    assert said(talk)[0] == DiagnosticStatus.OK  # not active
    assert talk.node.trigger_activate().name == 'SUCCESS'
    assert said(talk)[0] == DiagnosticStatus.OK
    start_s = 8.0
    level, message, values = said(talk)
    assert (level, 'no odometry for 8 s on /odom' in message) == (DiagnosticStatus.WARN, True)
    talk.odometry(DRIVE[:3])
    talk.work()
    assert said(talk)[0] == DiagnosticStatus.OK
    start_s = 20.0
    assert said(talk)[0] == DiagnosticStatus.WARN
    talk.node.paused = True
    assert said(talk)[0] == DiagnosticStatus.OK


def test_diagnostics_count_what_was_wrong_with_the_odometry(talk):
    talk = talk()
    talk.odometry([*DRIVE[:100], 1000.0, *DRIVE[100:200]])
    talk.odometry(DRIVE[200:210], stands_at=0.0)  # a driver that starts again from zero
    talk.odometry(DRIVE[:10])
    talk.work()
    values = said(talk)[2]
    assert [values[name] for name in ('odometry leaps', 'backwards clock jumps', 'odometry with a wrong stamp')] == [
        '1', '1', '1']


def test_failures_in_a_row_are_an_error_in_diagnostics(talk):
    talk = talk()

    def fail(*odometry):
        raise RuntimeError('indeterminate')
    talk.node._graph.add_odometry = fail
    for tenths, level in enumerate((DiagnosticStatus.WARN, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)):
        talk.odometry([tenths / 10])
        talk.work()
        assert (said(talk)[0], 'indeterminate' in said(talk)[1]) == (level, True)


def test_verdicts_are_counted_while_the_worker_tells_others():
    """/diagnostics counts in another thread, where a dictionary that grew meanwhile raised."""
    book, closure, ended = ClosureBook(), LoopClosure(), threading.Event()

    def tell():
        for number in range(20000):
            book.add(number, closure)
            book.news({number: Judgement(Verdict.ACCEPTED, '')})
        ended.set()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threading.Thread(target=tell, daemon=True).start()
        while not ended.is_set():
            book.count(Verdict.ACCEPTED)
    finally:
        sys.setswitchinterval(interval_s)
    assert book.count(Verdict.ACCEPTED) == 20000
