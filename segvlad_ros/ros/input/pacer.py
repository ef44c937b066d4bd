"""Holds a player back until the nodes that listen have dealt with what it has published.

How it knows: by their status, which they publish when idle again. A node that takes images counts in
``images_received`` those whose fate is known, whatever it is: described, passed by the gate, rejected, dropped. A node
that takes the first one's keyframes counts ``keyframes_processed``. So one waits until the first number has grown by
one, and until the second node has processed as many keyframes as the first has made: no guess, no dead-lock on images
that are not keyframes.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import rclpy
from rclpy.node import Node

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros.node import qos
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

STATUS_TYPE = 'segvlad_ros/msg/SegVladStatus'
ACTIVE = (SegVladStatus.MAPPING, SegVladStatus.LOCALIZING)


def spin_until(node: Node, condition: Callable[[], bool], deadline_s: float,
               on_wait: Callable[[], None] = lambda: None) -> bool:
    """Handle a node's events until a condition holds.

    :param on_wait: called again and again meanwhile; may raise to give up
    :return: False if it did not hold in time
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end or not rclpy.ok():
            return False
        on_wait()
        rclpy.spin_once(node, timeout_sec=0.05)
    return True


@dataclass
class _Consumer:
    """A node that is waited for.

    :ivar maker: the node whose keyframes it takes; None: it takes images
    :ivar expected: value of :attr:`count` that means "all done"
    :ivar lost: it missed a deadline and is not waited for until it shows life
    """

    name: str
    maker: _Consumer | None = None
    status: SegVladStatus | None = None
    expected: int = 0
    lost: bool = False

    @property
    def count(self) -> int:
        """Images dealt with; or keyframes, less those that their maker has made."""
        if self.maker is None:
            return self.status.images_received
        return self.status.keyframes_processed - self.maker.status.keyframes_processed

    @property
    def active(self) -> bool:
        """Whether it takes inputs."""
        return self.status is not None and self.status.state in ACTIVE

    def take(self, status: SegVladStatus) -> None:
        """A new status came."""
        before, self.status = self.status, status
        if self.lost and (status.images_received, status.keyframes_processed) != (
                before.images_received, before.keyframes_processed):
            self.lost, self.expected = False, self.count


class Pacer:
    """Follows the status of all segvlad nodes."""

    def __init__(self, node: Node, image_topic: str, required: tuple[str, ...], deadline_s: float,
                 on_wait: Callable[[], None]) -> None:
        self._node, self._image_topic, self._deadline_s, self._on_wait = node, image_topic, deadline_s, on_wait
        self._required = {name if name.startswith('/') else f'/{name}' for name in required}
        self._nodes: dict[str, _Consumer] = {}
        self._waited: list[_Consumer] = []

    def wait_for_nodes(self, paced: bool) -> None:
        """Wait until the required nodes are active, and when paced until all that listen have a status.

        :raises SegvladError: not in time
        """
        if not (paced or self._required):
            return
        if not spin_until(self._node, lambda: self._ready(paced), self._deadline_s, self._on_wait):
            missing = sorted(self._required - {name for name, node in self._nodes.items() if node.active})
            raise SegvladError(f'{missing[0]} did not become active in {self._deadline_s:g} s' if missing else
                               f'no segvlad node takes {self._image_topic}: play without --paced')
        for consumer in self._waited:
            consumer.expected = consumer.count

    def _ready(self, paced: bool) -> bool:
        self._discover()
        if not all(name in self._nodes and self._nodes[name].active for name in self._required):
            return False
        if not paced:
            return True
        images, takers, found = self._subscribers(self._image_topic), [], True
        for maker in images:
            topic = f'{maker.name}/keyframes'
            for taker in self._subscribers(topic):
                taker.maker = maker
                takers.append(taker)
            # its keyframes are lost on those that it has not found, though we have
            found &= maker.active and maker.status.keyframe_subscribers >= self._node.count_subscribers(topic)
        self._waited = images + takers
        return (bool(images) and found and all(consumer.active for consumer in self._waited)
                and self._required <= {consumer.name for consumer in self._waited})

    def _discover(self) -> None:
        for topic, types in self._node.get_topic_names_and_types():
            name = topic.removesuffix('/status')
            if STATUS_TYPE in types and name != topic and name not in self._nodes:
                consumer = self._nodes[name] = _Consumer(name)
                self._node.create_subscription(SegVladStatus, topic, consumer.take, qos.latched(10))

    def _subscribers(self, topic: str) -> list[_Consumer]:
        names = (f'{info.node_namespace.rstrip("/")}/{info.node_name}'
                 for info in self._node.get_subscriptions_info_by_topic(topic))
        return [self._nodes[name] for name in names if name in self._nodes]

    def wait_for_answer(self) -> bool:
        """Wait until the image just published is dealt with.

        :return: False when the deadline was over first, or a node that missed one before is still silent
        """
        for consumer in self._waited:
            consumer.expected += consumer.maker is None
        # a maker publishes a keyframe before it counts it, so its taker can only be ahead
        if not spin_until(self._node, lambda: all(node.lost or node.count >= node.expected for node in self._waited),
                          self._deadline_s, self._on_wait):
            for consumer in self._waited:
                if consumer.count < consumer.expected and not consumer.lost:
                    logger.warning('%s has not dealt with an image after %g s and is not waited for until it does',
                                   consumer.name, self._deadline_s)
                    consumer.lost = True
        return not any(consumer.lost for consumer in self._waited)
