"""What all bridges share: their subscriptions, publishers, clients and counts."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSProfile

from segvlad_ros.ros.node import qos
from segvlad_ros.types import SegvladError

RETRY_S = 0.5


class Bridge:
    """One way to one back-end. All callbacks run in the node's ``sensor_group``, one at a time.

    :param node: the ``SegvladNode``
    :ivar OUTPUT: the topic or service of the back-end
    :ivar given_up: how many inputs could not be handed over
    """

    OUTPUT = ''

    def __init__(self, node) -> None:
        self.node = node
        self.given_up = 0
        self._undo: list[Callable[[], Any]] = []

    def open(self) -> None:
        """Begin to take inputs."""
        raise NotImplementedError

    def close(self) -> None:
        """Take no more inputs."""
        while self._undo:
            self._undo.pop()()

    def waiting(self) -> int:
        """Inputs that wait until the back-end knows their keyframes."""
        return 0

    def trigger(self) -> str:
        """Handle a call of ``~/trigger_localization``.

        :return: what comes of it, for people
        :raises SegvladError: this bridge does not localise
        """
        raise SegvladError('only the target initial_pose relocalises')

    def subscribe(self, kind: Any, topic: str, handler: Callable[[Any], None], profile: QoSProfile,
                  counted: bool = False) -> None:
        """Hand the messages of a topic on; what is wrong with one is reported.

        :param counted: whether these are the inputs that the bridge hands over
        """
        def take(message: Any) -> None:
            if self.node.paused:
                return
            received_s = self.node.statistics.arrived() if counted else 0.0
            self.reporting(lambda: handler(message))
            if counted:
                self.node.statistics.handled(received_s, {})
                self.node.status.publish()
        subscription = qos.subscribe(self.node, kind, topic, take, profile, callback_group=self.node.sensor_group)
        self._undo.append(lambda: self.node.destroy_subscription(subscription))

    def publisher(self, kind: Any, topic: str, profile: QoSProfile) -> Any:
        """A publisher that lives while the bridge is open."""
        publisher = self.node.create_publisher(kind, topic, profile)
        self._undo.append(lambda: self.node.destroy_publisher(publisher))
        return publisher

    def client(self, kind: Any, service: str) -> Any:
        """A client that lives while the bridge is open."""
        client = self.node.create_client(kind, service, callback_group=self.node.sensor_group)
        self._undo.append(lambda: self.node.destroy_client(client))
        return client

    def regularly(self, call: Callable[[], None]) -> None:
        """Call something every half second by the steady clock."""
        timer = self.node.create_timer(RETRY_S, lambda: self.reporting(call), callback_group=self.node.sensor_group,
                                       clock=self.node.steady_clock)
        self._undo.append(lambda: self.node.destroy_timer(timer))

    def reporting(self, call: Callable[[], None]) -> None:
        """Do something; input that is wrong is reported and counted."""
        try:
            call()
        except SegvladError as error:
            self.give_up(str(error))

    def give_up(self, problem: str) -> None:
        """Count and report an input that cannot be handed over."""
        self.given_up += 1
        self.node.report(problem)

    def sent(self) -> None:
        """Count an output."""
        self.node.status.problem = ''
        self.node.statistics.matched()
