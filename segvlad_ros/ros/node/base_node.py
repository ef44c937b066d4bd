"""What our nodes share: what they do in each transition, the worker, status, and how services answer."""
from __future__ import annotations

import concurrent.futures
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros.input.image_input import ImageInput
from segvlad_ros.ros.input.keyframe_input import KeyframeInput
from segvlad_ros.ros.input.synchroniser import Bundle
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.bond import Bond
from segvlad_ros.ros.node.lifecycle import ReportingLifecycleNode
from segvlad_ros.ros.node.log_bridge import LogBridge
from segvlad_ros.ros.node.parameters import NodeParameters
from segvlad_ros.ros.node.worker import Worker
from segvlad_ros.ros.output.node_statistics import MapFacts, Snapshot, Statistics
from segvlad_ros.ros.output.status import StatusReporter
from segvlad_ros.text import one_line, out_of_memory, said_by
from segvlad_ros.types import Frame, SegvladError

REPORT_PERIOD_S = 5.0


class SegvladNode(ReportingLifecycleNode):
    """A lifecycle node with one worker.

    :ivar ACTIVE_STATE: the SegVladStatus.state of the active node
    :ivar images: the camera, or None of a node that takes no images
    :ivar keyframes: keyframes of another node, where they take the place of images
    :ivar paused: inputs are ignored
    :ivar model_fingerprint: digest of the preset, '' while not configured
    """

    ACTIVE_STATE = SegVladStatus.MAPPING

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._bridge = LogBridge(self.get_logger())
        self.configured = self.active = self.paused = False
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.model_fingerprint = ''
        self.images: ImageInput | None = None
        self.keyframes: KeyframeInput | None = None
        self.worker: Worker | None = None
        self._bond: Bond | None = None  # of a node that a lifecycle manager looks after
        self._undo = ExitStack()  # what takes back the activation, or as much of it as there was
        self.statistics = Statistics(self.steady_s)
        self.sensor_group = MutuallyExclusiveCallbackGroup()
        self.service_group = MutuallyExclusiveCallbackGroup()
        self.parameters = NodeParameters(self, name, lambda: self.configured)
        self.status = StatusReporter(self)
        self.serve(SetBool, '~/pause', self._pause)

    # what a node fills in

    def configure(self) -> None:
        """Read parameters, build the pipeline, load the map.

        :raises SegvladError: one line that says what to do
        """

    def cleanup(self) -> None:
        """Free all that :meth:`configure` made; also called when that failed half-way."""

    def activate(self) -> None:
        """Begin to take inputs other than those of :attr:`source`; :meth:`at_deactivation` is told how to end it."""

    def process_frame(self, frame: Frame, received_s: float) -> bool:
        """Handle an image, in the worker's thread, and tell the statistics if it is a keyframe.

        :param received_s: as ``Statistics.handled`` wants it
        :return: whether that ends a row of failures: it does not where nothing was done that failed before
        """

    def forget_recent(self) -> None:
        """Clear the short-term state, after a backwards jump of the clock; runs in the worker's thread."""

    def map_facts(self) -> MapFacts:
        """The map in numbers."""
        return MapFacts()

    def diagnose(self, snapshot: Snapshot) -> list[DiagnosticStatus] | None:
        """What /diagnostics says of a node that describes and searches nothing; None: what it says of the others."""
        return None

    def diagnose_more(self) -> list[DiagnosticStatus]:
        """What /diagnostics says beside how it describes and searches."""
        return []

    # lifecycle

    def close(self) -> None:
        """Stop the worker and close the map; may be called twice."""
        self._deactivate()
        self._cleanup()

    def destroy_node(self) -> None:
        """Stop, and take the log back from the node."""
        self._bridge.close()
        super().destroy_node()

    def transition_ended(self) -> None:
        """See :class:`ReportingLifecycleNode`."""
        self.status.publish()

    def _configure(self) -> None:
        self.parameters.check()
        self.statistics = Statistics(self.steady_s)
        self._reported: dict[str, str] = {}
        self.failure = ''
        self.status.forget()
        self.paused = False
        with self.status.loading('loading'):
            self.configure()
        self.worker = Worker(self._process, on_error=self._worker_failed, on_idle=self.status.publish,
                             on_drop=lambda bundle: self.statistics.dropped())
        self.configured = True

    def _activate(self) -> None:
        self.activate()
        if self.source is not None:
            self.at_deactivation(self.source.close)
            self.source.open()
        if not self.parameters['autostart']:
            self._bond = self._bond or Bond(self)
            self.at_deactivation(self._bond.end)
            self._bond.form()
        self.status.activated()
        self.active = True

    def _deactivate(self) -> None:
        self._undo.close()
        if self.worker is not None:
            self.worker.flush()
        self.active = False

    def _cleanup(self) -> None:
        self.configured = False  # first: to stop may take seconds, and services are asked meanwhile
        if self.worker is not None:
            self.worker.stop()
        self.worker = None
        if self.source is not None:
            self.source.destroy()
        self.images = self.keyframes = None
        self.cleanup()
        self.model_fingerprint = ''

    # work

    def at_deactivation(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """Have something of the activation taken back, the last first: when the node is deactivated, and where the rest
        of the activation fails.
        """
        self._undo.callback(undo, *arguments)

    def listen(self, kind: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile,
               raw: bool = False) -> None:
        """Subscribe until the node is deactivated; see :func:`~segvlad_ros.ros.node.qos.subscribe`."""
        self.at_deactivation(self.destroy_subscription, qos.subscribe(
            self, kind, topic, callback, profile, callback_group=self.sensor_group, raw=raw))

    @property
    def source(self) -> ImageInput | KeyframeInput | None:
        """What the node works on."""
        return self.images or self.keyframes

    def steady_s(self) -> float:
        """Steady clock, seconds."""
        return self.steady_clock.now().nanoseconds * 1e-9

    def now_ns(self) -> int:
        """The node's clock, nanoseconds."""
        return self.get_clock().now().nanoseconds

    def report(self, problem: str) -> None:
        """Say what is wrong with the input, seldom in the log, always in the next status."""
        self.status.problem = problem = one_line(problem)
        self.get_logger().warning(problem, throttle_duration_sec=REPORT_PERIOD_S)

    def report_change(self, what: str, problem: str) -> None:
        """Say what is wrong with an input: in the log when it is another problem than before, always in the status.

        :param what: name of the input
        """
        if self._reported.get(what) == problem:
            self.status.problem = problem
        else:
            self._reported[what] = problem
            self.report(problem)

    def post(self, what: str, job: Callable[[], Any], *, newest: bool = False, though_paused: bool = False) -> bool:
        """Give the worker something to do with an input, and go on.

        :param what: name of the input, for the report
        :param newest: an older one of this name that still waits is passed over
        :param though_paused: a paused node does it, too
        :return: False where a full queue, a paused node or one that is being cleaned up has dropped it
        """
        worker = self.worker
        if worker is None or self.paused and not though_paused:
            return False
        try:
            worker.post(job, what if newest else '')
        except SegvladError as error:
            self.report(f'{what} not used: {error}')
            return False
        return True

    def _process(self, bundle: Bundle) -> bool:
        """Take one frame; for what it returns see :class:`~segvlad_ros.ros.node.worker.Worker`."""
        self.statistics.passed()
        self.status.problem = ''
        try:
            try:
                frame = self.images.frame(bundle)
            except SegvladError as error:
                self.statistics.count(images_rejected=1)
                self.report(f'image rejected: {error}')
                return False
            return self.process_frame(frame, bundle.received_s)
        finally:
            self.statistics.count(images_received=1)

    def _worker_failed(self, error: Exception) -> None:
        if not self.context.ok():  # publishing fails while the process shuts down
            return
        if isinstance(error, SegvladError):
            self.status.last_error, trace = str(error), ''
        else:
            self.status.last_error = said_by(error)
            trace = '' if out_of_memory(error) else '\n' + ''.join(
                traceback.format_exception(type(error), error, error.__traceback__))
        self.status.problem = f'the worker failed: {self.status.last_error}'
        self.get_logger().error(self.status.problem + trace, throttle_duration_sec=REPORT_PERIOD_S)

    # services

    def serve(self, kind: Any, name: str, handler: Callable[[Any, Any], str]) -> None:
        """Offer a service whose answer has ``success`` and ``message``.

        :param handler: fills the response and returns the message; what it raises becomes ``success: false``
        """
        def answer(request: Any, response: Any) -> Any:
            try:
                if not self.configured:
                    raise SegvladError('the node is not configured')
                response.message = one_line(handler(request, response))
                response.success = True
            except SegvladError as error:
                response.success, response.message = False, str(error)
            except concurrent.futures.CancelledError:
                response.success, response.message = False, 'the node is being stopped'
            except Exception as error:  # an answer that never comes would block the caller for good
                self.get_logger().error(traceback.format_exc())
                response.success, response.message = False, said_by(error)
            return response
        self.create_service(kind, name, answer, callback_group=self.service_group)

    def on_worker(self, job: Callable[[], Any], otherwise: Callable[[], Any] = lambda: None) -> Any:
        """Run a job in the worker's thread and wait for its result.

        :param otherwise: called where the job is never begun
        :raises SegvladError: it took longer than ``service_timeout_s``, or the node is cleaned up
        """
        timeout_s, worker, future = self.parameters['service_timeout_s'], self.worker, None
        try:
            if worker is None:
                raise SegvladError('the node is being stopped')
            future = worker.submit(job)
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            begun = not future.cancel()
            raise SegvladError(f'no answer within {timeout_s:g} s: the work '
                               f'{"goes on" if begun else "was not begun, try again"}') from None
        finally:
            if future is None or future.cancelled():
                otherwise()

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> str:
        self.paused = request.data
        self.status.publish()
        return 'paused: inputs are ignored' if self.paused else 'running'
