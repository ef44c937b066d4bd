"""The bond to nav2's lifecycle manager: heartbeats, by whose end it knows that a node has died."""
from __future__ import annotations

import uuid
from typing import Any

from std_msgs.msg import Header

from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.types import SegvladError

TOPIC = 'bond'
PERIOD_S, TIMEOUT_S = 0.1, 4.0  # as nav2's own nodes have them; the manager goes by its own bond_timeout
DEPTH = 5


class Bond:
    """Our end of the bond. That of the manager ends when no heartbeat has come for its ``bond_timeout``.

    What the manager sends is not looked at: a node that it manages does not stop because the manager has died.

    :param node: a ``SegvladNode``; the bond's id is its name without the namespace
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._instance = ''
        self._publisher = self._timer = None
        try:
            self._message_type, = interfaces(TOPIC, 'sudo apt install ros-$ROS_DISTRO-bond', 'msg/Status')
        except SegvladError as error:
            self._message_type = None
            node.get_logger().info(f"{error}; without it nav2's lifecycle manager needs bond_timeout: 0.0")

    def form(self) -> None:
        """Begin to send heartbeats."""
        if self._message_type is None or self._publisher is not None:
            return
        self._instance = str(uuid.uuid4())
        self._publisher = self._node.create_publisher(self._message_type, TOPIC, qos.reliable(DEPTH))
        self._timer = self._node.create_timer(PERIOD_S, lambda: self._send(active=True), clock=self._node.steady_clock)

    def end(self) -> None:
        """Say that the end is meant; may be called twice."""
        if self._publisher is None:
            return
        self._node.destroy_timer(self._timer)
        if self._node.context.ok():
            self._send(active=False)
        self._node.destroy_publisher(self._publisher)
        self._publisher = self._timer = None

    def _send(self, active: bool) -> None:
        self._publisher.publish(self._message_type(
            header=Header(stamp=self._node.get_clock().now().to_msg()), id=self._node.get_name(),
            instance_id=self._instance, active=active, heartbeat_timeout=TIMEOUT_S, heartbeat_period=PERIOD_S))
