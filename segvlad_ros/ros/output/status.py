"""How a node is, and how it says so: what it counts and measures, ~/status, /diagnostics, a warning without images."""
from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import to_status, to_time
from segvlad_ros.types import KeyframeId

PERIOD_S = 1.0
WINDOW = 100  # images or keyframes that percentiles and ratios are taken over
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Counts:
    """Counters since the node was configured; names as in msg/SegVladStatus.

    :ivar images_received: images whose fate is known: dropped, rejected, passed by the gate, or made a keyframe. An
        image in hand is not counted yet, so that a player may wait for this number before it sends the next image
    :ivar incomplete: images that went on without an input that somebody publishes
    :ivar odometry_leaps: how often odometry began anew, as after a restart of its driver
    :ivar clock_jumps: how often the stamps jumped back
    :ivar gaps: keyframes of another node that never came
    :ivar closures_accepted, closures_rejected, closures_unusable: loop closures that the SLAM back-end reported back
    """

    images_received: int = 0
    images_dropped: int = 0
    images_rejected: int = 0
    keyframes_processed: int = 0
    matches_published: int = 0
    keyframes_explained: int = 0
    keyframes_refused: int = 0
    keyframes_evicted: int = 0
    incomplete: int = 0
    odometry_leaps: int = 0
    clock_jumps: int = 0
    descriptors_rejected: int = 0
    gaps: int = 0
    closures_accepted: int = 0
    closures_rejected: int = 0
    closures_unusable: int = 0


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment.

    :ivar input_rate_hz: images (or keyframes) a second over the last ones, NaN if unknown
    :ivar drop_ratio: share of the last images that were replaced before they were processed
    :ivar latency_p50_s, latency_p95_s: receipt to result, NaN if unknown
    :ivar stages: name to (p50, p95) seconds
    :ivar input_age_s: since the last input, infinite if there was none
    :ivar match_age_s: since the last match, NaN if there was none
    """

    counts: Counts
    input_rate_hz: float
    drop_ratio: float
    latency_p50_s: float
    latency_p95_s: float
    stages: dict[str, tuple[float, float]]
    input_age_s: float
    match_age_s: float


class Statistics:
    """Thread-safe counters, latencies and ages.

    :param now_s: steady clock, seconds
    """

    def __init__(self, now_s=time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._counts = Counts()
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._dropped: deque[bool] = deque(maxlen=WINDOW)
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._stages: dict[str, deque[float]] = {}
        self._last_match_s = math.nan

    def count(self, **amounts: int) -> None:
        """Add to counters, all at once: ``count(images_received=1, images_rejected=1)``."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._counts, name, getattr(self._counts, name) + amount)

    def arrived(self) -> float:
        """Note an input now.

        :return: the time, as :meth:`handled` wants it
        """
        with self._lock:
            self._arrivals.append(self._now_s())
            return self._arrivals[-1]

    def dropped(self) -> None:
        """Note an image that was replaced before it was processed."""
        with self._lock:
            self._counts.images_received += 1
            self._counts.images_dropped += 1
            self._dropped.append(True)

    def passed(self) -> None:
        """Note an image that was looked at: it is not dropped, whatever becomes of it."""
        with self._lock:
            self._dropped.append(False)

    def handled(self, received_s: float, timings: dict[str, float]) -> None:
        """Note a processed keyframe.

        :param received_s: steady time of its receipt, as :meth:`arrived` returned it
        :param timings: seconds by stage
        """
        with self._lock:
            self._counts.keyframes_processed += 1
            self._latencies.append(self._now_s() - received_s)
            for name, seconds in timings.items():
                self._stages.setdefault(name, deque(maxlen=WINDOW)).append(seconds)

    def matched(self) -> None:
        """Note a published match."""
        with self._lock:
            self._counts.matches_published += 1
            self._last_match_s = self._now_s()

    def snapshot(self) -> Snapshot:
        """The statistics now."""
        with self._lock:
            now = self._now_s()
            span = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0.0
            return Snapshot(
                Counts(**vars(self._counts)),
                (len(self._arrivals) - 1) / span if span > 0 else math.nan,
                sum(self._dropped) / len(self._dropped) if self._dropped else 0.0, *_percentiles(self._latencies),
                {name: _percentiles(seconds) for name, seconds in self._stages.items()},
                now - self._arrivals[-1] if self._arrivals else math.inf, now - self._last_match_s)


def _percentiles(seconds: deque[float]) -> tuple[float, float]:
    if not seconds:
        return math.nan, math.nan
    return tuple(np.percentile(np.fromiter(seconds, float), (50, 95)).tolist())


@dataclass(frozen=True)
class MapFacts:
    """What status and diagnostics say about the map.

    :ivar bytes: size of the file, 0 without one
    :ivar bytes_per_keyframe: 0 if unknown
    :ivar bytes_per_hour: what it has grown by over the last hour of images, NaN if unknown
    :ivar evicted: the last keyframes that had to make room, the newest last
    :ivar keyframe_subscribers: who takes its keyframes as they are made
    """

    map_id: str = ''
    keyframes: int = 0
    segments: int = 0
    bytes: int = 0
    bytes_per_keyframe: int = 0
    bytes_per_hour: float = math.nan
    evicted: tuple[KeyframeId, ...] = ()
    keyframe_subscribers: int = 0


class StatusReporter:
    """Publishes a node's status and diagnostics.

    The status goes out every second, at every transition, and whenever the worker has handled what waited.

    :ivar failure: why the last transition failed, '' if it did not
    :ivar problem: what was wrong with the last input, '' if nothing
    :ivar last_error: the worker's last exception
    """

    def __init__(self, node) -> None:
        self._node = node
        self.failure = self.problem = self.last_error = self._loading = ''
        self._active_since_s = math.nan
        self._silence_reported = False
        self._publishing = threading.Lock()
        self._publisher = node.create_publisher(SegVladStatus, '~/status', qos.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', qos.reliable())
        node.create_timer(PERIOD_S, self._tick, clock=node.steady_clock)

    def forget(self) -> None:
        """Begin anew, at configure."""
        self.failure = self.problem = self.last_error = ''

    def activated(self) -> None:
        """Inputs are awaited from now on."""
        self._active_since_s, self._silence_reported = self._node.steady_s(), False

    @contextmanager
    def loading(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Say that something is being loaded, and how far it is: the callable is told what is done, and of how much."""
        outer, shown = self._loading, -1

        def progress(done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // total
            if percent > shown:
                self._loading, shown = f'{what}: {percent} %', percent
                self.publish()
        self._loading = what
        self.publish()
        try:
            yield progress
        finally:
            self._loading = outer

    def publish(self) -> None:
        """Say how the node is."""
        node = self._node
        if not node.context.ok():
            return
        with self._publishing:  # several threads tell; an older state must not go out behind a newer one
            state, message = self._state()
            self._publisher.publish(to_status(
                node.statistics.snapshot(), node.map_facts(), stamp=to_time(node.now_ns()), state=state,
                message=message, model_fingerprint=node.fingerprint, device=node.parameters.get('device', '')))

    def _state(self) -> tuple[int, str]:
        node, worker = self._node, self._node.worker
        if self._loading and not node.active:
            return SegVladStatus.LOADING, self._loading
        if self.failure:
            return SegVladStatus.ERROR, self.failure
        if worker is None:
            return SegVladStatus.UNCONFIGURED, 'not configured'
        if not node.active:
            return SegVladStatus.PAUSED, 'configured, not active'
        failures = worker.consecutive_errors
        if failures and failures >= node.parameters['diagnostics.worker_errors_error']:
            return SegVladStatus.ERROR, self.problem or f'the worker failed: {self.last_error}'
        if node.paused:
            return SegVladStatus.PAUSED, 'paused by service'
        return node.ACTIVE_STATE, self.problem or self._loading

    def _tick(self) -> None:
        self.publish()
        node = self._node
        snapshot = node.statistics.snapshot()
        own = node.diagnose(snapshot)
        message = DiagnosticArray(status=self._diagnose(snapshot) if own is None else own)
        message.header.stamp = to_time(node.now_ns())
        self._diagnostics.publish(message)

    def _diagnose(self, snapshot: Snapshot) -> list[DiagnosticStatus]:
        node, worker, images = self._node, self._node.worker, self._node.images
        name, topic, waiting_s = node.get_fully_qualified_name(), '', math.nan
        if images is not None and node.active and not node.paused:
            topic = images.topic
            waiting_s = min(node.steady_s() - self._active_since_s, snapshot.input_age_s)
            self._report_silence(waiting_s, topic)
        return [
            input_status(name, topic, snapshot, node.parameters, waiting_s),
            worker_status(name, snapshot, node.parameters, errors=worker.errors if worker else 0,
                          in_a_row=worker.consecutive_errors if worker else 0, last_error=self.last_error),
            map_status(name, snapshot, node.map_facts(), state=self._state()[1]), *node.diagnose_more()]

    def _report_silence(self, waiting_s: float, topic: str) -> None:
        silent = waiting_s > self._node.parameters['diagnostics.no_images_warn_s']
        if silent and not self._silence_reported:
            self._node.get_logger().warning(
                f'{no_images(waiting_s, topic)}: is the camera running, is the topic remapped?')
        self._silence_reported = silent


def input_status(node: str, topic: str, snapshot: Snapshot, parameters: Any, waiting_s: float) -> DiagnosticStatus:
    """How images come in.

    :param topic: resolved name
    :param parameters: the node's parameters, by name
    :param waiting_s: since the last image, or since the node became active; NaN while it is not active
    """
    counts = snapshot.counts
    silence = (WARN if waiting_s > parameters['diagnostics.no_images_warn_s'] else OK, no_images(waiting_s, topic))
    drops = (_level(snapshot.drop_ratio, parameters, 'diagnostics.drop_ratio'),
             f'{snapshot.drop_ratio:.0%} of the images are dropped')
    all_well = 'images arrive' if waiting_s >= 0 else 'not active'
    return _status(f'{node}: input', all_well, [silence, drops], {
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
    p95 = snapshot.latency_p95_s
    late = (_level(p95, parameters, 'diagnostics.latency', '_s'), f'95 % of the results come within {p95:.1f} s')
    if in_a_row >= parameters['diagnostics.worker_errors_error']:
        failing = (ERROR, f'{in_a_row} failures in a row: {last_error}')
    else:
        failing = (WARN if in_a_row else OK, f'the last image failed: {last_error}')
    values = {'latency p50 [s]': snapshot.latency_p50_s, 'latency p95 [s]': p95, 'errors': errors,
              'errors in a row': in_a_row, 'last error': last_error,
              'keyframes processed': snapshot.counts.keyframes_processed}
    for name, (p50, stage_p95) in snapshot.stages.items():
        values[f'{name} p50 [s]'], values[f'{name} p95 [s]'] = p50, stage_p95
    return _status(f'{node}: worker', 'working', [late, failing], values)


def map_status(node: str, snapshot: Snapshot, facts: MapFacts, state: str) -> DiagnosticStatus:
    """What the map holds."""
    return _status(f'{node}: map', f'{facts.keyframes} keyframes', [], {
        'state': state, 'map id': facts.map_id, 'keyframes': facts.keyframes, 'segments': facts.segments,
        'bytes': facts.bytes, 'bytes a keyframe': facts.bytes_per_keyframe, 'bytes an hour': facts.bytes_per_hour,
        'keyframes explained by the map': snapshot.counts.keyframes_explained,
        'keyframes without room': snapshot.counts.keyframes_refused,
        'keyframes evicted': snapshot.counts.keyframes_evicted,
        'keyframe subscribers': facts.keyframe_subscribers, 'matches published': snapshot.counts.matches_published,
        'last match age [s]': snapshot.match_age_s})


def decision_status(node: str, preset: Preset) -> DiagnosticStatus:
    """What makes a candidate a match."""
    return _status(f'{node}: decision', preset.decides_by, [], {'preset': preset.name})


def pose_graph_status(node: str, *, problem: str, failed: bool, nodes: int, waiting: int, accepted: int,
                      rejected: int) -> DiagnosticStatus:
    """How the pose graph is.

    :param problem: what is wrong now, '' if nothing
    :param failed: whether it cannot work at all
    :param waiting: closures that odometry has not reached
    """
    return _status(f'{node}: pose graph', f'{nodes} nodes, {accepted} loop closures', _trouble(problem, failed), {
        'nodes': nodes, 'closures waiting': waiting, 'closures accepted': accepted, 'closures rejected': rejected})


def bridge_status(node: str, *, target: str, problem: str, failed: bool, sent: int, waiting: int,
                  given_up: int) -> DiagnosticStatus:
    """How a bridge hands its inputs over.

    :param problem, failed: as of :func:`pose_graph_status`
    :param waiting: inputs whose keyframes the back-end does not know yet
    :param given_up: inputs that could not be handed over
    """
    return _status(f'{node}: bridge', f'{sent} handed over', _trouble(problem, failed), {
        'target': target, 'handed over': sent, 'waiting': waiting, 'given up': given_up})


def fleet_status(node: str, *, uri: str, site: str, problem: str, failing_s: float, sent: int,
                 waiting: int) -> DiagnosticStatus:
    """How the map reaches the place database of many robots; an unreachable one costs the robot nothing.

    :param problem: why nothing can be sent now, '' if it can
    :param failing_s: since when
    :param sent, waiting: keyframes
    """
    trouble = f'{waiting} keyframes wait since {failing_s:.0f} s: {problem}' if problem else ''
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
    """A status that says the worst of its findings (level and sentence), the first of equals."""
    level, message = max([(OK, all_well), *findings], key=lambda finding: finding[0])
    return DiagnosticStatus(name=name, hardware_id='segvlad_ros', level=level, message=message,
                            values=[KeyValue(key=key, value=_shown(value)) for key, value in values.items()])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return 'unknown' if math.isnan(value) else f'{value:.4g}'
    return str(value)
