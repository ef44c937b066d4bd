"""Where the camera sits on the robot: a parameter, tf2_ros where it imports, or our own reading of /tf_static."""
from __future__ import annotations

import logging
from typing import Any

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from segvlad_ros.geometry import StaticTransforms, unit_quaternion
from segvlad_ros.ros.conversions import from_transform
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)


class CameraMount:
    """Gives ``base_from_camera`` of an image. Call :meth:`lookup` off the executor: tf2 may wait a moment.

    :param node: the node whose subscriptions listen to TF
    :param base_frame: frame of the robot's base
    :param fixed: x y z (metres), quaternion x y z w of the camera in the base; all zero: look it up in TF
    :param timeout_s: how long a moving mount's transform at the image's stamp is waited for
    """

    def __init__(self, node, base_frame: str, fixed: list[float], timeout_s: float) -> None:
        self._node = node
        self._base_frame = base_frame
        self._timeout_s = timeout_s
        self._fixed: Pose | None = None
        self._listener: Any = None
        self._buffer: Any = None
        self._static = StaticTransforms()
        self._subscription: Any = None
        self._reported: set[str] = set()
        if any(fixed):
            self._fixed = Pose(np.array(fixed[:3]), unit_quaternion(np.array(fixed[3:])), base_frame)
        else:
            self._listen()

    def lookup(self, frame_id: str, stamp_ns: int) -> Pose | None:
        """The pose of an optical frame in the base frame, or None if nobody knows it (said once).

        :param frame_id: header.frame_id of the image
        :param stamp_ns: stamp of the image
        """
        pose = self._fixed
        if pose is None and frame_id:
            pose = self._static.lookup(self._base_frame, frame_id) if self._buffer is None else (
                self._from_buffer(frame_id, stamp_ns))
        if pose is None and frame_id not in self._reported:
            self._reported.add(frame_id)
            logger.info("no transform from %r to %r: the camera's place on the robot is unknown; publish it on "
                           '/tf_static or set base_from_camera', frame_id, self._base_frame)
        return pose

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        if self._listener is not None:
            self._listener.unregister()
        self._subscription = self._listener = None

    def take_static(self, message: Any) -> None:
        """Keep the transforms of a /tf_static message.

        :param message: tf2_msgs/TFMessage
        """
        for transform in message.transforms:
            try:
                self._static.add(from_transform(transform), transform.child_frame_id)
            except SegvladError as error:
                logger.warning('transform of %r ignored: %s', transform.child_frame_id, error)

    def _listen(self) -> None:
        try:
            from tf2_ros import Buffer, TransformListener
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, self._node)
            return
        except ImportError:
            self._buffer = None
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            logger.debug('neither tf2_ros nor tf2_msgs is installed: base_from_camera is the parameter or unknown')
            return
        latched = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE,
                             durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscription = self._node.create_subscription(TFMessage, '/tf_static', self.take_static, latched)

    def _from_buffer(self, frame_id: str, stamp_ns: int) -> Pose | None:
        from rclpy.clock import ClockType
        from rclpy.duration import Duration
        from rclpy.time import Time
        from tf2_ros import TransformException
        try:
            if not self._buffer.can_transform(self._base_frame, frame_id, Time()):
                return None
            return from_transform(self._buffer.lookup_transform(
                self._base_frame, frame_id, Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME),
                Duration(seconds=self._timeout_s)))
        except (TransformException, SegvladError):
            return None
