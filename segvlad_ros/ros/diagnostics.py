"""What /diagnostics says about a node; published directly, so that nothing beside diagnostic_msgs is needed."""
from __future__ import annotations

import math
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from segvlad_ros.ros.conversions import to_time
from segvlad_ros.ros.statistics import Snapshot

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
