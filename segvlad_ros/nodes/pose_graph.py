"""pose_graph: a reference SLAM back-end. Odometry and loop closures become a path and a verdict on each closure."""
from __future__ import annotations

import math
import sys
import time
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry, Path
from visualization_msgs.msg import MarkerArray

from segvlad_ros.io.stamps import StampDoubt
from segvlad_ros.msg import KeyframeId, LoopClosure, LoopClosureFeedback, PlaceMatchArray, SegVladStatus
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.events import telling_publisher
from segvlad_ros.ros.node.run import run_node
from segvlad_ros.ros.output.conversions import from_odometry, from_pose, from_time
from segvlad_ros.ros.output.diagnostics import Awaited, Finding, failures, pose_graph_status, silence
from segvlad_ros.ros.output.graph_messages import ClosureBook, GraphSessions, of_another_body, unusable
from segvlad_ros.ros.output.map_to_odom import MapToOdom
from segvlad_ros.ros.output.marker_topic import show_soon
from segvlad_ros.ros.output.markers import graph_markers
from segvlad_ros.ros.output.node_statistics import MapFacts, Snapshot
from segvlad_ros.ros.output.path_bytes import path_bytes
from segvlad_ros.slam.consensus import Verdict
from segvlad_ros.slam.odometry_chain import PoseGraphSettings
from segvlad_ros.slam.pose_graph import FRAME, LATE_S, PoseGraph
from segvlad_ros.types import SegvladError

ODOMETRY_DEPTH = 100  # a second of fast odometry
CLOSURES_DEPTH = 100
PERIOD_S = 0.1  # odometry is taken in at this period: its single messages are not worth a call
NO_ODOMETRY_WARN_S = 5.0
FOREIGN_PERIOD_S = 60.0  # a localizer that searches a known map, too, sends foreign closures as often as others


class PoseGraphNode(SegvladNode):
    """Callbacks keep messages; a timer calls the worker, which takes in all that came, optimises, and publishes."""

    ACTIVE_STATE = SegVladStatus.MAPPING

    def __init__(self) -> None:
        super().__init__('pose_graph')
        self._graph: PoseGraph | None = None
        self._book = ClosureBook()
        self._foreign = 0  # closures of other sessions or robots
        self._inbox: deque[Odometry | KeyframeId | LoopClosure] = deque()
        self._path = telling_publisher(self, Path, '~/path', qos.latched(), self.activated)
        self._feedback = self.create_lifecycle_publisher(
            LoopClosureFeedback, '~/loop_closure_feedback', qos.reliable(CLOSURES_DEPTH))
        self._markers = telling_publisher(self, MarkerArray, '~/markers', qos.latched(), self.activated)
        self._map_to_odom: MapToOdom | None = None

    def configure(self) -> None:
        """See :class:`SegvladNode`."""
        parameters = self.parameters
        self._graph = PoseGraph(PoseGraphSettings(
            node_distance_m=parameters['node_distance_m'], node_angle_rad=parameters['node_angle_rad'],
            odometry=load_preset(parameters['preset']).odometry,
            drift_rad_per_rad=parameters['drift_rad_per_rad'],
            closure_translation_m=parameters['closure.added_m'],
            closure_rotation_rad=parameters['closure.added_rad']))
        self._book, self._foreign, self._sessions = ClosureBook(), 0, GraphSessions(parameters['robot_id'])
        self._inbox.clear()
        self._doubt, self._odometry_ns, self._odometry_s = StampDoubt(LATE_S), 0, -math.inf
        self._child = ''  # the frame whose poses the newest odometry tells
        self._published_ns, self._path_lags = 0, False
        if parameters['broadcast_map_to_odom']:
            self._map_to_odom = MapToOdom(self)

    def cleanup(self) -> None:
        """See :class:`SegvladNode`."""
        if self._map_to_odom is not None:
            self._map_to_odom.close()
        self._map_to_odom = None
        self._graph = None

    def activate(self) -> None:
        """See :class:`SegvladNode`."""
        self.listen(Odometry, 'odom', self._take, qos.sensor(ODOMETRY_DEPTH))
        self.listen(PlaceMatchArray, 'matches', self._take_answer, qos.reliable(CLOSURES_DEPTH))
        self.listen(LoopClosure, 'loop_closures', self._take, qos.reliable(CLOSURES_DEPTH))
        self.at_deactivation(self.destroy_timer, self.create_timer(
            PERIOD_S, self._call_worker, callback_group=self.sensor_group, clock=self.steady_clock))

    def activated(self) -> None:
        """See :class:`SegvladNode`. Also called when somebody subscribes: who asks for no latched path gets it, too."""
        if self.active:
            show_soon(self, lambda: self._publish(anyway=True))

    def map_facts(self) -> MapFacts:
        """See :class:`SegvladNode`."""
        graph = self._graph
        return MapFacts() if graph is None else MapFacts(keyframes=graph.nodes)

    def diagnose(self, snapshot: Snapshot) -> list[DiagnosticStatus]:
        """See :class:`SegvladNode`."""
        graph, in_a_row = self._graph, self.worker.consecutive_errors if self.worker else 0
        return [pose_graph_status(
            self.get_fully_qualified_name(), snapshot,
            [self._silence(), failures('input', in_a_row, self.status.last_error, self.parameters),
             *self.status.wrong_types()],
            problem=self.failure or ('' if in_a_row else self.status.problem), failed=bool(self.failure),
            nodes=graph.nodes if graph else 0, waiting=graph.waiting if graph else 0,
            accepted=self._book.count(Verdict.ACCEPTED), rejected=self._book.count(Verdict.REJECTED),
            foreign=self._foreign, strays=graph.strays if graph else 0)]

    def _silence(self) -> Finding:
        """Whether odometry comes; where it does not, the log says so once."""
        if not self.active or self.paused:
            return DiagnosticStatus.OK, ''
        awaited = Awaited('odometry', self.resolve_topic_name('odom'), min(self._silent_s(), self.status.active_s),
                          hint='does its driver run, is the topic remapped (odom:=...)?')
        found = silence(awaited, NO_ODOMETRY_WARN_S)
        self.status.warn_once('silence', found, awaited.hint)
        return found

    def _take_answer(self, message: PlaceMatchArray) -> None:
        self._take(message.query)

    def _take(self, message: Odometry | KeyframeId | LoopClosure) -> None:
        if isinstance(message, Odometry):
            self._odometry_s = self.steady_s()
            for stamp_ns, _ in self._doubt.believed(from_time(message.header.stamp), None):
                self._odometry_ns = stamp_ns  # a wrong one must not be broadcast
        if not self.paused:
            self._inbox.append(message)

    def _call_worker(self) -> None:
        if self._map_to_odom is not None:  # here, since the worker may take seconds to optimise
            self._map_to_odom.broadcast(self._odometry_ns)
        if self._inbox:  # what a full queue refuses waits for the next call
            self.post('odometry and loop closures', self._work, newest=True)
        elif self._silent_s() > self.parameters['path_period_s'] and self._path_lags:
            self.post('the end of the path', lambda: self._publish(anyway=True), newest=True)

    def _silent_s(self) -> float:
        """Since the last odometry."""
        return self.steady_s() - self._odometry_s

    # all below in the worker's thread

    def _work(self) -> None:
        self.status.problem = ''
        received_s, begin = self.statistics.arrived(), time.perf_counter()
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, LoopClosure):
                self._add_closure(message)
            elif isinstance(message, KeyframeId):
                self._sessions.saw(message)
            else:
                self._add_odometry(message)
        news = []
        if self._graph.waiting:
            news = self._book.news(self._graph.optimize())
            self.statistics.handled(received_s, {'optimise': time.perf_counter() - begin})
        for message in news:
            self._answer(message)
        correction = None if self._map_to_odom is None else self._graph.map_from_odometry()
        if correction is not None:
            self._map_to_odom.correct(correction, self._graph.odometry_frame)
        self._publish(bool(news))

    def _add_odometry(self, message: Odometry) -> None:
        graph, stamp_ns = self._graph, from_time(message.header.stamp)
        before_ns, leaps, strays = graph.newest_ns, graph.leaps, graph.strays
        try:
            if stamp_ns == 0:
                raise SegvladError('its stamp is zero')
            anew = graph.add_odometry(stamp_ns, from_odometry(message))
        except SegvladError as error:
            self.report(f'odometry not used: {error}')
            return
        self._child = message.child_frame_id
        if graph.strays > strays:
            self.report('odometry not used: a stamp was far off those before and after; see that one driver alone '
                        'publishes it, by one clock')
        if graph.leaps > leaps:
            self.statistics.count(odometry_leaps=1)
            self.report('odometry leaps, as if its driver was started again: the path goes on from where it was, '
                        'until a loop closure tells where that is')
        if anew:
            if stamp_ns < before_ns:
                self._sessions.end(stamp_ns)
            reason = 'the clock of the odometry jumped back, or its frame changed: a new graph was begun'
            self.statistics.count(clock_jumps=1)
            self.report(reason)
            for feedback in self._book.abandoned(reason):
                self._answer(feedback)
            self._book, self._published_ns = ClosureBook(), 0

    def _add_closure(self, message: LoopClosure) -> None:
        reason = self._sessions.foreign(message)
        if reason:
            self._pass_over(message, reason)
            return
        reason = of_another_body(message.base_frame, self._child)
        if reason:
            self.report_change('loop_closures', f'loop closure not used: {reason}')
            self._answer(unusable(message, reason))
            return
        try:
            relative = message.query_pose_in_match
            number = self._graph.add_closure(
                from_time(message.match.stamp), from_time(message.query.stamp),
                from_pose(relative.pose, message.base_frame, relative.covariance))
        except SegvladError as error:
            self._answer(unusable(message, str(error)))
            return
        self._book.add(number, message)

    def _pass_over(self, message: LoopClosure, reason: str) -> None:
        """Answer a closure that is none of this graph's: no fault, so it is counted, and said once in a while."""
        self._foreign += 1
        self.get_logger().warning(
            f'loop closures of other sessions or robots are not used here (the newest: {reason}). They are counted in '
            '/diagnostics; docs/slam.md says who can use them', throttle_duration_sec=FOREIGN_PERIOD_S)
        self._feedback.publish(unusable(message, reason))

    def _answer(self, feedback: LoopClosureFeedback) -> None:
        if feedback.verdict == LoopClosureFeedback.ACCEPTED:
            self.statistics.matched()
        ends = f'{feedback.match.index} - {feedback.query.index}'
        self.get_logger().info(f'loop closure of keyframes {ends}: verdict {feedback.verdict}, {feedback.reason}')
        self._feedback.publish(feedback)

    def _publish(self, anyway: bool) -> None:
        graph = self._graph
        newest_ns = graph.newest_ns
        if newest_ns is None:
            return
        period_ns = self.parameters['path_period_s'] * 1e9
        # at a stop it goes out once more behind its last node
        self._path_lags = self._published_ns < min(newest_ns, graph.newest_node_ns + period_ns)
        if not anyway and not (self._path_lags and newest_ns - self._published_ns >= period_ns):
            return
        self._published_ns, self._path_lags = newest_ns, False
        stamps, poses = graph.path()
        self._path.publish(path_bytes(FRAME, stamps, poses))
        self._show(stamps, poses)

    def _show(self, stamps: np.ndarray, poses: np.ndarray) -> None:
        if self._markers.get_subscription_count():
            self._markers.publish(graph_markers(FRAME, int(stamps[-1]), *(
                self._book.lines(stamps, poses, verdict) for verdict in (Verdict.ACCEPTED, Verdict.REJECTED))))


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    sys.exit(run_node(PoseGraphNode, args))


if __name__ == '__main__':
    main()
