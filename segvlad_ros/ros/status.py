"""How a node says how it is: ~/status, /diagnostics, and one warning when no images come."""
from __future__ import annotations

import math
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros import diagnostics, qos
from segvlad_ros.ros.conversions import to_status
from segvlad_ros.ros.statistics import Snapshot

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

    :param node: the :class:`~segvlad_ros.ros.base_node.SegvladNode`
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
        self._diagnostics.publish(diagnostics.diagnostic_array(
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
            diagnostics.input_status(name, topic, snapshot, node.parameters, waiting_s),
            diagnostics.worker_status(name, snapshot, node.parameters, errors=worker.errors if worker else 0,
                                      in_a_row=worker.consecutive_errors if worker else 0,
                                      last_error=self.last_error),
            diagnostics.map_status(name, snapshot, state=self._state()[1], map_id=facts.map_id,
                                   keyframes=facts.keyframes, segments=facts.segments, map_bytes=facts.bytes)]

    def _report_silence(self, waiting_s: float, topic: str) -> None:
        silent = waiting_s > self._node.parameters['diagnostics.no_images_warn_s']
        if silent and not self._silence_reported:
            self._node.get_logger().warning(
                f'{diagnostics.no_images(waiting_s, topic)}: is the camera running, is the topic remapped?')
        self._silence_reported = silent
