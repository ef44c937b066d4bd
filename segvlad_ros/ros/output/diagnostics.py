"""What /diagnostics says of a node: one status a concern, whose level comes from the worst that was found."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.ros.output.node_statistics import MapFacts, Snapshot

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Finding = tuple[bytes, str]
"""A level, and one line for people."""


@dataclass(frozen=True)
class Awaited:
    """What an active node waits for.

    :ivar what: 'images' or 'keyframes'
    :ivar topic: resolved name
    :ivar waiting_s: since the last one, or since the node became active
    :ivar may_rest: nothing is wrong if none comes
    :ivar hint: what to look at where none comes
    :ivar against_loss: what to do where too many are lost on their way, by what: 'images', 'depth_images'
    """

    what: str
    topic: str
    waiting_s: float
    may_rest: bool = False
    hint: str = ''
    against_loss: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrivals:
    """How inputs come, found once a tick: the log and /diagnostics say the same.

    :ivar topic: resolved name, '' while nothing is awaited
    :ivar silence: whether any come
    :ivar losses: whether too many never arrive, by what: 'images', 'depth_images'
    """

    topic: str = ''
    silence: Finding = (OK, 'not active')
    losses: dict[str, Finding] = field(default_factory=dict)


def arrivals(awaited: Awaited | None, snapshot: Snapshot, parameters: Any) -> Arrivals:
    """How what a node waits for comes.

    :param awaited: None while it is not active
    :param parameters: the node's parameters, by name
    """
    if awaited is None:
        return Arrivals()
    losses = {what: _loss(what, advice, snapshot, parameters) for what, advice in awaited.against_loss.items()}
    return Arrivals(awaited.topic, silence(awaited, parameters['diagnostics.no_images_warn_s']), losses)


def input_status(node: str, found: Arrivals, snapshot: Snapshot, parameters: Any,
                 others: Sequence[Finding] = ()) -> DiagnosticStatus:
    """How images, or keyframes of another node, come in.

    :param parameters: the node's parameters, by name
    :param others: what else is found of the inputs
    """
    counts = snapshot.counts
    drops = (_level(snapshot.drop_ratio, parameters, 'diagnostics.drop_ratio'),
             f'{snapshot.drop_ratio:.0%} of the images are dropped')
    return _status(f'{node}: input', found.silence[1], [found.silence, drops, *found.losses.values(), *others], {
        'topic': found.topic,
        'input rate [Hz]': snapshot.input_rate_hz, 'drop ratio': snapshot.drop_ratio,
        'lost ratio': snapshot.lost_ratios.get('images', math.nan),
        'lost ratio of depth images': snapshot.lost_ratios.get('depth_images', math.nan),
        'missing ratio by stamps': snapshot.missing_ratio,
        'images received': counts.images_received, 'images dropped': counts.images_dropped,
        'images lost': counts.images_lost, 'depth images lost': counts.depth_images_lost,
        'images rejected': counts.images_rejected, 'images with a missing input': counts.incomplete,
        'backwards clock jumps': counts.clock_jumps, 'odometry leaps': counts.odometry_leaps,
        'descriptors rejected': counts.descriptors_rejected,
        'keyframes missed': counts.gaps, 'closures accepted by the back-end': counts.closures_accepted,
        'closures rejected by the back-end': counts.closures_rejected,
        'closures the back-end could not judge': counts.closures_unusable})


def silence(awaited: Awaited, warn_s: float) -> Finding:
    """Whether inputs come: the finding that people search for when nothing happens.

    :param warn_s: how long none may come
    """
    if awaited.waiting_s <= warn_s:
        return OK, f'{awaited.what} arrive'
    found = f'no {awaited.what} for {awaited.waiting_s:.0f} s on {awaited.topic}'
    return (OK, f'{found}: the robot seems to be standing still') if awaited.may_rest else (WARN, found)


def _loss(what: str, advice: str, snapshot: Snapshot, parameters: Any) -> Finding:
    """Whether too many images, or depth images, never arrive; by their stamps where nobody counts them."""
    guessed = snapshot.missing_ratio if what == 'images' and what not in snapshot.lost_ratios else math.nan
    ratio = snapshot.lost_ratios.get(what, guessed)
    share = f'{ratio:.0%}' if math.isnan(guessed) else f'by their stamps, about {ratio:.0%}'
    return (WARN if ratio > parameters['diagnostics.lost_ratio_warn'] else OK,
            f'{share} of the {what.replace("_", " ")} are lost before they reach this node: {advice}')


def worker_status(node: str, snapshot: Snapshot, parameters: Any, *, errors: int, in_a_row: int,
                  last_error: str) -> DiagnosticStatus:
    """How the work goes.

    :param errors: failures of the worker so far
    :param in_a_row: failures without a success in between
    """
    p95 = snapshot.latency_p95_s
    late = (_level(p95, parameters, 'diagnostics.latency', '_s'), f'95 % of the results come within {p95:.1f} s')
    failing = failures('image', in_a_row, last_error, parameters)
    values = {'latency p50 [s]': snapshot.latency_p50_s, 'latency p95 [s]': p95, 'errors': errors,
              'errors in a row': in_a_row, 'last error': last_error,
              'keyframes processed': snapshot.counts.keyframes_processed}
    for name, (p50, stage_p95) in snapshot.stages.items():
        values[f'{name} p50 [s]'], values[f'{name} p95 [s]'] = p50, stage_p95
    return _status(f'{node}: worker', 'working', [late, failing], values)


def failures(what: str, in_a_row: int, last_error: str, parameters: Any) -> Finding:
    """Whether the worker fails.

    :param what: its input, 'image'
    :param in_a_row: failures without a success in between
    """
    if in_a_row >= parameters['diagnostics.worker_errors_error']:
        return ERROR, f'{in_a_row} failures in a row: {last_error}'
    return WARN if in_a_row else OK, f'the last {what} failed: {last_error}'


def map_status(node: str, snapshot: Snapshot, facts: MapFacts, state: str) -> DiagnosticStatus:
    """What the map holds."""
    return _status(f'{node}: map', f'{facts.keyframes} keyframes', [], {
        'state': state, 'map id': facts.map_id, 'keyframes': facts.keyframes, 'segments': facts.segments,
        'bytes': facts.bytes, 'bytes per keyframe': facts.bytes_per_keyframe,
        'bytes per hour': facts.bytes_per_hour,
        'keyframes explained by the map': snapshot.counts.keyframes_explained,
        'keyframes without room': snapshot.counts.keyframes_refused,
        'keyframes evicted': snapshot.counts.keyframes_evicted,
        'keyframe subscribers': facts.keyframe_subscribers, 'matches published': snapshot.counts.matches_published,
        'last match age [s]': snapshot.match_age_s})


def decision_status(node: str, preset: Preset) -> DiagnosticStatus:
    """What makes a candidate a match."""
    return _status(f'{node}: decision', preset.decides_by, [], {'preset': preset.name})


def pose_graph_status(node: str, snapshot: Snapshot, findings: list[Finding], *, problem: str, failed: bool,
                      nodes: int, waiting: int, accepted: int, rejected: int, foreign: int,
                      strays: int) -> DiagnosticStatus:
    """How the pose graph is.

    :param findings: beside the problem
    :param problem: what is wrong now, '' if nothing
    :param failed: whether it cannot work at all
    :param waiting: closures that odometry has not reached
    :param foreign: closures of other sessions or robots, which are none of the graph's
    :param strays: odometry messages whose stamp was far off the others
    """
    trouble = [*_trouble(problem, failed), *findings]
    return _status(f'{node}: pose graph', f'{nodes} nodes, {accepted} loop closures', trouble, {
        'nodes': nodes, 'closures waiting': waiting, 'closures accepted': accepted, 'closures rejected': rejected,
        'closures of other sessions or robots': foreign, 'odometry leaps': snapshot.counts.odometry_leaps,
        'backwards clock jumps': snapshot.counts.clock_jumps, 'odometry with a wrong stamp': strays})


def bridge_status(node: str, *, target: str, problem: str, failed: bool, silence: str, sent: int, waiting: int,
                  given_up: int) -> DiagnosticStatus:
    """How a bridge hands its inputs over.

    :param problem, failed: as of :func:`pose_graph_status`
    :param silence: which inputs nobody publishes, '' if none
    :param waiting: inputs whose keyframes the back-end does not know yet
    :param given_up: inputs that could not be handed over
    """
    found = [*_trouble(problem, failed), *_trouble(silence, failed=False)]
    return _status(f'{node}: bridge', f'{sent} forwarded', found, {
        'target': target, 'forwarded': sent, 'waiting': waiting, 'given up': given_up})


def fleet_status(node: str, *, uri: str, site: str, problem: str, failing_s: float, sent: int,
                 waiting: int) -> DiagnosticStatus:
    """How the map reaches the place database of many robots; an unreachable one costs the robot nothing.

    :param problem: why nothing can be sent now, '' if it can
    :param failing_s: since when
    :param sent, waiting: keyframes
    """
    trouble = f'{waiting} keyframes have been waiting for {failing_s:.0f} s: {problem}' if problem else ''
    return _status(f'{node}: fleet', f'{sent} keyframes sent', _trouble(trouble, failed=False), {
        'place database': uri, 'site': site, 'keyframes sent': sent, 'keyframes waiting': waiting})


def _level(value: float, parameters: Any, name: str, unit: str = '') -> bytes:
    """By the two thresholds of a value."""
    if value > parameters[f'{name}_error{unit}']:
        return ERROR
    return WARN if value > parameters[f'{name}_warn{unit}'] else OK


def _trouble(problem: str, failed: bool) -> list[tuple[bytes, str]]:
    return [(ERROR if failed else WARN, problem)] if problem else []


def _status(name: str, all_well: str, findings: list[tuple[bytes, str]], values: dict[str, Any]) -> DiagnosticStatus:
    """A status that says all that is wrong by its findings (level and sentence), the worst first."""
    wrong = sorted((finding for finding in findings if finding[0] != OK), key=lambda finding: finding[0], reverse=True)
    level, message = (wrong[0][0], '; '.join(sentence for _, sentence in wrong)) if wrong else (OK, all_well)
    return DiagnosticStatus(name=name, hardware_id='segvlad_ros', level=level, message=message,
                            values=[KeyValue(key=key, value=_shown(value)) for key, value in values.items()])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return 'unknown' if math.isnan(value) else f'{value:.4g}'
    return str(value)
