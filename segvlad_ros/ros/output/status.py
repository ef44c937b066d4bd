"""How a node says how it is: ~/status, /diagnostics, and one warning when no images come."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import to_status, to_time
from segvlad_ros.ros.output.statistics import Snapshot

PERIOD_S = 1.0


@dataclass(frozen=True)
class MapFacts:
    """What status and diagnostics say about the map.

    :ivar bytes: size of the file, 0 without one
    """

    map_id: str = ''
    keyframes: int = 0
    segments: int = 0
    bytes: int = 0


class StatusReporter:
    """Publishes a node's status and diagnostics.

    The status goes out every second, at every transition, and whenever the worker has handled what waited. Its
    ``images_received`` counts images whose fate is known (dropped, rejected, passed by the gate, described), so
    whoever paces a recording may send an image, wait until that number has grown by one, and send the next.

    :param node: the :class:`~segvlad_ros.ros.node.base_node.SegvladNode`
    :ivar failure: why the last transition failed, '' if it did not
    :ivar problem: what was wrong with the last input, '' if nothing
    :ivar last_error: the worker's last exception
    """

    def __init__(self, node) -> None:
        self._node = node
        self.failure = self.problem = self.last_error = ''
        self._active_since_s = math.nan
        self._silence_reported = False
        self._publisher = node.create_publisher(SegVladStatus, '~/status', qos.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', qos.reliable())
        node.create_timer(PERIOD_S, self._tick, clock=node.steady_clock)

    def forget(self) -> None:
        """Begin anew, at configure."""
        self.failure = self.problem = self.last_error = ''

    def activated(self) -> None:
        """Inputs are awaited from now on."""
        self._active_since_s, self._silence_reported = self._node.steady_s(), False

    def publish(self, loading: str = '') -> None:
        """Say how the node is.

        :param loading: what is being loaded, '' if nothing
        """
        node = self._node
        if not node.context.ok():
            return
        state, message = (SegVladStatus.LOADING, loading) if loading else self._state()
        facts, device = node.map_facts(), node.parameters.get('device', '')
        self._publisher.publish(to_status(
            node.statistics.snapshot(), now_ns=node.now_ns(), state=state, message=message, map_id=facts.map_id,
            fingerprint=node.fingerprint, device=device, keyframes=facts.keyframes, segments=facts.segments,
            map_bytes=facts.bytes))

    def _state(self) -> tuple[int, str]:
        node, worker = self._node, self._node.worker
        if self.failure:
            return SegVladStatus.ERROR, self.failure
        if worker is None:
            return SegVladStatus.UNCONFIGURED, 'not configured'
        if not node.active:
            return SegVladStatus.PAUSED, 'configured, not active'
        failures = worker.consecutive_errors
        if failures and failures >= node.parameters['diagnostics.worker_errors_error']:
            return SegVladStatus.ERROR, self.problem
        if node.paused:
            return SegVladStatus.PAUSED, 'paused by service'
        return node.ACTIVE_STATE, self.problem

    def _tick(self) -> None:
        self.publish()
        node = self._node
        snapshot = node.statistics.snapshot()
        own = node.diagnose(snapshot)
        self._diagnostics.publish(diagnostic_array(
            node.now_ns(), self._diagnose(snapshot) if own is None else own))

    def _diagnose(self, snapshot: Snapshot) -> list[DiagnosticStatus]:
        node, worker, facts = self._node, self._node.worker, self._node.map_facts()
        name, images = node.get_fully_qualified_name(), node.images
        topic, waiting_s = '', math.nan
        if images is not None and node.active and not node.paused:
            topic = images.topic
            waiting_s = min(node.steady_s() - self._active_since_s, snapshot.input_age_s)
            self._report_silence(waiting_s, topic)
        return [
            input_status(name, topic, snapshot, node.parameters, waiting_s),
            worker_status(name, snapshot, node.parameters, errors=worker.errors if worker else 0,
                                      in_a_row=worker.consecutive_errors if worker else 0,
                                      last_error=self.last_error),
            map_status(name, snapshot, state=self._state()[1], map_id=facts.map_id,
                                   keyframes=facts.keyframes, segments=facts.segments, map_bytes=facts.bytes)]

    def _report_silence(self, waiting_s: float, topic: str) -> None:
        silent = waiting_s > self._node.parameters['diagnostics.no_images_warn_s']
        if silent and not self._silence_reported:
            self._node.get_logger().warning(
                f'{no_images(waiting_s, topic)}: is the camera running, is the topic remapped?')
        self._silence_reported = silent


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Findings:
    """Collects findings; the worst one names the status.

    :param all_well: the message without a finding
    """

    def __init__(self, all_well: str) -> None:
        self.level, self.message = OK, all_well

    def add(self, level: bytes, message: str) -> None:
        """Keep a finding if it is worse than what was found before."""
        if level > self.level:
            self.level, self.message = level, message


def input_status(node: str, topic: str, snapshot: Snapshot, parameters: Any, waiting_s: float) -> DiagnosticStatus:
    """How images come in.

    :param topic: resolved name
    :param parameters: the node's parameters, by name
    :param waiting_s: since the last image, or since the node became active; NaN while it is not active
    """
    counts, findings = snapshot.counts, Findings('images arrive' if waiting_s >= 0 else 'not active')
    if waiting_s > parameters['diagnostics.no_images_warn_s']:
        findings.add(WARN, no_images(waiting_s, topic))
    if snapshot.drop_ratio > parameters['diagnostics.drop_ratio_error']:
        findings.add(ERROR, f'{snapshot.drop_ratio:.0%} of the images are dropped')
    elif snapshot.drop_ratio > parameters['diagnostics.drop_ratio_warn']:
        findings.add(WARN, f'{snapshot.drop_ratio:.0%} of the images are dropped')
    return _status(f'{node}: input', findings, {
        'topic': topic, 'input rate [Hz]': snapshot.input_rate_hz, 'drop ratio': snapshot.drop_ratio,
        'images received': counts.images_received, 'images dropped': counts.images_dropped,
        'images rejected': counts.images_rejected, 'images with a missing input': counts.incomplete,
        'backwards clock jumps': counts.clock_jumps, 'odometry leaps': counts.odometry_leaps,
        'descriptors rejected': counts.descriptors_rejected,
        'keyframes missed': counts.gaps, 'closures accepted by the back-end': counts.closures_accepted,
        'closures rejected by the back-end': counts.closures_rejected,
        'closures the back-end could not judge': counts.closures_unusable})


def no_images(waiting_s: float, topic: str) -> str:
    """The sentence that people search for when nothing happens."""
    return f'no images for {waiting_s:.0f} s on {topic}'


def worker_status(node: str, snapshot: Snapshot, parameters: Any, *, errors: int, in_a_row: int,
                  last_error: str) -> DiagnosticStatus:
    """How the work goes.

    :param errors: failures of the worker so far
    :param in_a_row: failures without a success in between
    """
    findings, p95 = Findings('working'), snapshot.latency_p95_s
    if p95 > parameters['diagnostics.latency_error_s']:
        findings.add(ERROR, f'95 % of the results come within {p95:.1f} s')
    elif p95 > parameters['diagnostics.latency_warn_s']:
        findings.add(WARN, f'95 % of the results come within {p95:.1f} s')
    if in_a_row >= parameters['diagnostics.worker_errors_error']:
        findings.add(ERROR, f'{in_a_row} failures in a row: {last_error}')
    elif in_a_row:
        findings.add(WARN, f'the last image failed: {last_error}')
    values = {'latency p50 [s]': snapshot.latency_p50_s, 'latency p95 [s]': p95, 'errors': errors,
              'errors in a row': in_a_row, 'last error': last_error,
              'keyframes processed': snapshot.counts.keyframes_processed}
    for name, (p50, stage_p95) in snapshot.stages.items():
        values[f'{name} p50 [s]'], values[f'{name} p95 [s]'] = p50, stage_p95
    return _status(f'{node}: worker', findings, values)


def map_status(node: str, snapshot: Snapshot, *, state: str, map_id: str, keyframes: int, segments: int,
               map_bytes: int) -> DiagnosticStatus:
    """What the map holds.

    :param state: the node's state in words
    """
    return _status(f'{node}: map', Findings(f'{keyframes} keyframes'), {
        'state': state, 'map id': map_id, 'keyframes': keyframes, 'segments': segments, 'bytes': map_bytes,
        'matches published': snapshot.counts.matches_published, 'last match age [s]': snapshot.match_age_s})


def pose_graph_status(node: str, *, problem: str, failed: bool, nodes: int, waiting: int, accepted: int,
                      rejected: int) -> DiagnosticStatus:
    """How the pose graph is.

    :param problem: what is wrong now, '' if nothing
    :param failed: whether it cannot work at all
    :param waiting: closures that odometry has not reached
    """
    findings = Findings(f'{nodes} nodes, {accepted} loop closures')
    if problem:
        findings.add(ERROR if failed else WARN, problem)
    return _status(f'{node}: pose graph', findings, {
        'nodes': nodes, 'closures waiting': waiting, 'closures accepted': accepted, 'closures rejected': rejected})


def bridge_status(node: str, *, target: str, problem: str, failed: bool, sent: int, waiting: int,
                  given_up: int) -> DiagnosticStatus:
    """How a bridge hands its inputs over.

    :param problem: what is wrong now, '' if nothing
    :param failed: whether it cannot work at all
    :param waiting: inputs whose keyframes the back-end does not know yet
    :param given_up: inputs that could not be handed over
    """
    findings = Findings(f'{sent} handed over')
    if problem:
        findings.add(ERROR if failed else WARN, problem)
    return _status(f'{node}: bridge', findings, {
        'target': target, 'handed over': sent, 'waiting': waiting, 'given up': given_up})


def diagnostic_array(stamp_ns: int, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message for /diagnostics."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = to_time(stamp_ns)
    return message


def _status(name: str, findings: Findings, values: dict[str, Any]) -> DiagnosticStatus:
    return DiagnosticStatus(name=name, hardware_id='segvlad_ros', level=findings.level, message=findings.message,
                            values=[KeyValue(key=key, value=_shown(value)) for key, value in values.items()])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return 'unknown' if math.isnan(value) else f'{value:.4g}'
    return str(value)
