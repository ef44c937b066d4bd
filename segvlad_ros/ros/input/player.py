"""Publishes a bag on topics, with clock: in its own time, or as fast as the nodes that listen have dealt with it."""
from __future__ import annotations

import heapq
import importlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from builtin_interfaces.msg import Time
from rclpy.exceptions import NameValidationException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from segvlad_ros.io.bags import BagMessage, BagTopic, bag_info, read_messages
from segvlad_ros.ros.input.pacer import Pacer, spin_until
from segvlad_ros.ros.node import qos
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

QUEUE = 20
CLOCK_PERIOD_S = 0.02
IMAGE_LAG_NS = 100_000_000
SETTLE_S = 0.5  # a publisher knows its subscribers a moment before they know it; best-effort ones would miss the start


@dataclass
class PlayResult:
    """What was published.

    :ivar images: those of the topic that paces
    :ivar unanswered: images that a node had not dealt with when the deadline was over; 0 unless paced
    :ivar skipped: topics of the bag whose message type is not installed
    """

    messages: int = 0
    images: int = 0
    unanswered: int = 0
    skipped: list[str] = field(default_factory=list)


class Player:
    """Plays one bag once.

    :param rate: times real time; ignored when paced
    :param paced: wait after each image until every segvlad node that got it has dealt with it
    :param image_topic: the topic that paces, as named in the bag; '' picks the colour image
    :param remaps: other names for topics of the bag
    :param wait_for: fully qualified names of nodes that must be active before the first message
    :param deadline_s: longest wait for a subscriber, a node, or an answer
    :param on_wait: called again and again while something is waited for; may raise to give up
    :ivar node: the player's ROS node; whatever else is subscribed on it is served while playing
    :raises SegvladError: not a bag, or it has no such image topic
    """

    def __init__(self, path: Path, *, rate: float = 1.0, paced: bool = False, image_topic: str = '',
                 remaps: dict[str, str] | None = None, wait_for: Iterable[str] = (), deadline_s: float = 30.0,
                 on_wait: Callable[[], None] = lambda: None) -> None:
        info = bag_info(path)
        self._path, self._rate, self._paced, self._deadline_s = path, rate, paced, deadline_s
        self._remaps, self._on_wait = remaps or {}, on_wait
        unknown = [name for name in self._remaps if name not in {topic.name for topic in info.topics}]
        if unknown:
            raise SegvladError(f'{path} has no topic {unknown[0]}; it has {", ".join(t.name for t in info.topics)}')
        self.image_topic = image_topic or _colour_topic(info.topics, path)
        self.node = Node('segvlad_player')
        self._result = PlayResult()
        self._publishers = {}
        self._types = {'/clock': 'rosgraph_msgs/msg/Clock'}
        for topic in info.topics:
            self._advertise(topic)
        if self.image_topic not in self._publishers:
            raise SegvladError(f'{path} has no image topic {self.image_topic} that can be published')
        self._clock = self.node.create_publisher(Clock, '/clock', qos.reliable(1))
        self._pacer = Pacer(self.node, self._name(self.image_topic), tuple(wait_for), deadline_s, on_wait)

    def _name(self, topic: str) -> str:
        return self._remaps.get(topic, topic)

    def _advertise(self, topic: BagTopic) -> None:
        try:
            package, _, kind = topic.msgtype.split('/')
            message_type = getattr(importlib.import_module(f'{package}.msg'), kind)
        except (ImportError, AttributeError, ValueError):
            logger.info('%s is not published: the message type %s is not installed', topic.name, topic.msgtype)
            self._result.skipped.append(topic.name)
            return
        profile = qos.latched(QUEUE) if topic.latched else qos.reliable(QUEUE)
        name = self._name(topic.name)
        other = self._types.setdefault(name, topic.msgtype)
        if other != topic.msgtype:
            raise SegvladError(f'{topic.name} of {topic.msgtype} cannot be published as {name}, which is of {other}: '
                               'give another name with --remap')
        try:
            self._publishers[topic.name] = self.node.create_publisher(message_type, name, profile)
        except (ValueError, NameValidationException, rclpy_implementation.RCLError) as error:
            raise SegvladError(f'{topic.name} cannot be published as {name}: {str(error).splitlines()[0].rstrip(":")}; '
                               'give another name with --remap') from None

    def close(self) -> None:
        """Remove the node."""
        self.node.destroy_node()

    def play(self, on_image: Callable[[int, int], None] = lambda count, stamp_ns: None) -> PlayResult:
        """Wait for subscribers, then publish everything.

        :param on_image: is told how many images are out, and the stamp of the one that goes out next
        :raises SegvladError: nobody subscribes, or a node that was waited for is not active in time
        """
        self._wait_for_subscribers()
        self._pacer.wait_for_nodes(self._paced)
        spin_until(self.node, lambda: False, SETTLE_S, self._on_wait)
        begin, first = time.monotonic(), None
        for message in self._messages():
            first = message.stamp_ns if first is None else first
            if not self._paced:
                self._wait_until(begin, first, message.stamp_ns)
            if message.topic == self.image_topic:
                on_image(self._result.images, message.stamp_ns)
                self._result.images += 1
            self._tick(message.stamp_ns)
            self._publishers[message.topic].publish(bytes(message.data))
            self._result.messages += 1
            if self._paced and message.topic == self.image_topic and not self._pacer.wait_for_answer():
                self._result.unanswered += 1
        for publisher in self._publishers.values():  # reliable subscribers take the last messages
            publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=2))
        return self._result

    def _messages(self) -> Iterator[BagMessage]:
        """The bag's messages in order; when paced, images come 0.1 s late, after the odometry around their stamp."""
        messages = (m for m in read_messages(self._path) if m.topic in self._publishers)
        if not self._paced:
            yield from messages
            return
        held: list[tuple[int, int, BagMessage]] = []
        for number, message in enumerate(messages):
            while held and held[0][0] < message.stamp_ns:
                yield heapq.heappop(held)[2]
            if message.topic == self.image_topic:
                heapq.heappush(held, (message.stamp_ns + IMAGE_LAG_NS, number, message))
            else:
                yield message
        yield from (heapq.heappop(held)[2] for _ in range(len(held)))

    def _wait_for_subscribers(self) -> None:
        image = self._publishers[self.image_topic]
        name = self._name(self.image_topic)

        def matched() -> bool:
            return image.get_subscription_count() > 0 and all(
                publisher.get_subscription_count() >= self.node.count_subscribers(self._name(topic))
                for topic, publisher in self._publishers.items())

        if not spin_until(self.node, matched, self._deadline_s, self._on_wait):
            base = name.removesuffix('/compressed')
            raise SegvladError(f'nobody subscribes to {name}: start a node with image:={base}, or use --remap')

    def _wait_until(self, begin: float, first_ns: int, stamp_ns: int) -> None:
        """Keep the bag's time; the clock ticks while nothing is published."""
        due = begin + (stamp_ns - first_ns) * 1e-9 / self._rate
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=0)
            time.sleep(min(left, CLOCK_PERIOD_S))
            ahead = round((due - time.monotonic()) * self._rate * 1e9)
            if ahead > 0:
                self._tick(stamp_ns - ahead)

    def _tick(self, stamp_ns: int) -> None:
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))


def _colour_topic(topics: Iterable[BagTopic], path: Path) -> str:
    kinds = ('sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image')
    names = [t.name for kind in kinds for t in topics if t.msgtype == kind and 'depth' not in t.name.lower()]
    if not names:
        raise SegvladError(f'{path} has no topic of images; it has {", ".join(t.name for t in topics)}')
    return min(names, key=lambda name: 'mask' in name.lower())  # the first that is not a topic of masks
