"""How the robot's frames lie to each other: tf2_ros where it imports, or our own reading of /tf_static."""
from __future__ import annotations

import logging
import threading
from typing import Any

from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.time import Time

from segvlad_ros.geometry import StaticTransforms
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import from_transform
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)


class Transforms:
    """Gives transforms. Call :meth:`lookup` off the executor: tf2 may wait a moment.

    :param node: the node whose subscriptions listen to TF
    :param timeout_s: how long a moving transform at the stamp is waited for, and once each transform that nobody has
        published yet: the first image may come before the first /tf_static
    """

    def __init__(self, node, timeout_s: float) -> None:
        self._node = node
        self._timeout_s = timeout_s
        self._listener: Any = None
        self._buffer: Any = None
        self._static = StaticTransforms()
        self._subscription: Any = None
        self._came = threading.Condition()
        self._asked: set[tuple[str, str]] = set()
        try:
            from tf2_ros import Buffer, TransformListener
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)
        except ImportError:
            self._buffer = None
            self._listen_to_static()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """``target_from_source`` at a stamp, its ``frame`` the target; None if nobody knows it."""
        patience_s = 0.0 if (target, source) in self._asked else self._timeout_s
        self._asked.add((target, source))
        if self._buffer is not None:
            return self._from_buffer(target.lstrip('/'), source.lstrip('/'), stamp_ns, patience_s)
        with self._came:
            self._came.wait_for(lambda: self._static.lookup(target, source) is not None, patience_s)
            return self._static.lookup(target, source)

    def forget_moving(self) -> None:
        """The clock jumped back: tf2 refuses what is older than what it has, and would for as long as the jump was."""
        self._asked.clear()
        if self._buffer is not None:
            self._buffer.clear()  # static ones stay

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        if self._listener is not None:
            self._listener.unregister()
        self._subscription = self._listener = None

    def take_static(self, message: Any) -> None:
        """Keep the transforms of a /tf_static message."""
        with self._came:
            for transform in message.transforms:
                try:
                    self._static.add(from_transform(transform), transform.child_frame_id)
                except SegvladError as error:
                    logger.warning('transform of %r ignored: %s', transform.child_frame_id, error)
            self._came.notify_all()

    def _listen_to_static(self) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            logger.debug('neither tf2_ros nor tf2_msgs is installed: no transform is known')
            return
        self._subscription = self._node.create_subscription(
            TFMessage, '/tf_static', self.take_static, qos.latched(100))

    def _from_buffer(self, target: str, source: str, stamp_ns: int, patience_s: float) -> Pose | None:
        from tf2_ros import TransformException
        try:
            if not self._buffer.can_transform(target, source, Time(), Duration(seconds=patience_s)):
                return None
            return from_transform(self._buffer.lookup_transform(
                target, source, Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME),
                Duration(seconds=self._timeout_s)))
        except (TransformException, SegvladError):
            return None
