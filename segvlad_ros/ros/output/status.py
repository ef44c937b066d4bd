"""How a node says how it is: ~/status, /diagnostics, a warning where inputs do not come."""
from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.events import wrong_type
from segvlad_ros.ros.output.conversions import to_keyframe_id, to_time
from segvlad_ros.ros.output.diagnostics import Finding, arrivals, input_status, map_status, worker_status
from segvlad_ros.ros.output.node_statistics import MapFacts, Snapshot

PERIOD_S = 1.0


class StatusReporter:
    """Publishes a node's status and diagnostics.

    The status goes out every second, at every transition, and whenever the worker has handled what waited.

    :ivar problem: what was wrong with the last input, '' if nothing
    :ivar last_error: the worker's last exception
    """

    def __init__(self, node) -> None:
        self._node = node
        self.problem = self.last_error = self._loading = ''
        self._active_since_s = math.nan
        self._warned: set[str] = set()
        self._publishing = threading.Lock()
        self._publisher = node.create_publisher(SegVladStatus, '~/status', qos.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', qos.reliable())
        node.create_timer(PERIOD_S, self._tick, clock=node.steady_clock)

    def forget(self) -> None:
        """Reset, at configure."""
        self.problem = self.last_error = ''

    def activated(self) -> None:
        """Inputs are awaited from now on."""
        self._active_since_s, self._warned = self._node.steady_s(), set()

    @property
    def active_s(self) -> float:
        """Since the node became active, seconds; NaN before it did."""
        return self._node.steady_s() - self._active_since_s

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
                message=message, model_fingerprint=node.model_fingerprint, device=node.parameters.get('device', '')))

    def _state(self) -> tuple[int, str]:
        node, worker = self._node, self._node.worker
        if self._loading and not node.active:
            return SegVladStatus.LOADING, self._loading
        if node.failure:
            return SegVladStatus.ERROR, node.failure
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
        node, worker, source = self._node, self._node.worker, self._node.source
        name, awaited = node.get_fully_qualified_name(), None
        if source is not None and node.active and not node.paused:
            awaited = source.awaited(snapshot.input_age_s, self.active_s)
        found = arrivals(awaited, snapshot, node.parameters)
        if awaited is not None:
            self.warn_once('silence', found.silence, awaited.hint)
            for what, loss in found.losses.items():
                self.warn_once(f'loss of {what}', loss)
        return [
            input_status(name, found, snapshot, node.parameters, self.wrong_types()),
            worker_status(name, snapshot, node.parameters, errors=worker.errors if worker else 0,
                          in_a_row=worker.consecutive_errors if worker else 0, last_error=self.last_error),
            map_status(name, snapshot, node.map_facts(), state=self._state()[1]), *node.diagnose_more()]

    def wrong_types(self) -> list[Finding]:
        """Inputs that are published in another type alone, which no event tells; the log says so, too."""
        found = []
        for subscription in list(self._node.subscriptions):
            sentence = wrong_type(self._node, subscription)
            finding = (DiagnosticStatus.WARN if sentence else DiagnosticStatus.OK, sentence)
            self.warn_once(f'type of {subscription.topic_name}', finding)
            if sentence:
                found.append(finding)
        return found

    def warn_once(self, what: str, finding: Finding, hint: str = '') -> None:
        """Log what is found, and again only after it was gone."""
        level, sentence = finding
        if level == DiagnosticStatus.OK:
            self._warned.discard(what)
        elif what not in self._warned:
            self._warned.add(what)
            self._node.get_logger().warning(f'{sentence}: {hint}' if hint else sentence)


def to_status(snapshot: Snapshot, facts: MapFacts, **fields: Any) -> SegVladStatus:
    """A node's counters and its map as a message.

    :param fields: stamp, state, message, model_fingerprint, device: see msg/SegVladStatus
    """
    counts, stages = snapshot.counts, snapshot.stages
    return SegVladStatus(
        map_id=facts.map_id, keyframes=facts.keyframes, segments=facts.segments, map_bytes=facts.bytes,
        gpu_bytes=_gpu_bytes(), bytes_per_keyframe=facts.bytes_per_keyframe, map_bytes_per_hour=facts.bytes_per_hour,
        evicted=[to_keyframe_id(identity) for identity in facts.evicted],
        keyframes_explained=counts.keyframes_explained, keyframes_refused=counts.keyframes_refused,
        keyframes_evicted=counts.keyframes_evicted,
        images_received=counts.images_received, images_dropped=counts.images_dropped,
        images_rejected=counts.images_rejected, images_lost=counts.images_lost,
        keyframes_processed=counts.keyframes_processed,
        keyframe_subscribers=facts.keyframe_subscribers,
        matches_published=counts.matches_published, stages=list(stages),
        stage_p50_seconds=[p50 for p50, _ in stages.values()], stage_p95_seconds=[p95 for _, p95 in stages.values()],
        **fields)


def _gpu_bytes() -> int:
    """What PyTorch has reserved of the GPUs in this process; 0 where it is not loaded, or has not used any."""
    cuda = getattr(sys.modules.get('torch'), 'cuda', None)  # none yet while another thread imports it
    if cuda is None or not cuda.is_initialized():
        return 0
    return sum(map(cuda.memory_reserved, range(cuda.device_count())))
