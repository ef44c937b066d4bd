"""The transform map -> odom on /tf: by how much odometry has drifted."""
from __future__ import annotations

from typing import Any

from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.ros.output.conversions import to_time, to_transform
from segvlad_ros.types import Pose

DEPTH = 100  # as tf2_ros has it


class MapToOdom:
    """Broadcasts the newest correction with the stamps of odometry, as odometry broadcasts odom -> base.

    :param node: a ``SegvladNode``
    :raises SegvladError: tf2_msgs is not installed
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._message_type, = interfaces('tf2_msgs', 'sudo apt install ros-$ROS_DISTRO-tf2-msgs', 'msg/TFMessage')
        self._publisher = node.create_publisher(self._message_type, '/tf', qos.reliable(DEPTH))
        self._correction: tuple[Pose, str] | None = None
        self._told_ns = 0

    def close(self) -> None:
        """Broadcast no more."""
        self._node.destroy_publisher(self._publisher)

    def correct(self, map_from_odom: Pose, odom_frame: str) -> None:
        """Take another correction; one of an odometry without a frame, or in ``map`` itself, is of no use to TF."""
        usable = odom_frame and odom_frame != map_from_odom.frame
        self._correction = (map_from_odom, odom_frame) if usable else None

    def broadcast(self, odometry_ns: int) -> None:
        """Tell the correction, where it was not told yet for this odometry.

        :param odometry_ns: stamp of the newest odometry, in nanoseconds
        """
        correction = self._correction  # another thread may bring the next one
        if correction is None or odometry_ns == self._told_ns:
            return
        self._told_ns = odometry_ns
        tolerance_ns = round(self._node.parameters['transform_tolerance_s'] * 1e9)
        self._publisher.publish(self._message_type(transforms=[
            to_transform(*correction, to_time(odometry_ns + tolerance_ns))]))
