"""What all bridges share: subscriptions, publishers, clients, counts, and what waits for the back-end."""
from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile

from segvlad_ros.msg import KeyframeId, PlaceMatchArray
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.events import publisher_count
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

RETRY_S = 0.5
SILENT_S = 5.0  # discovery takes a second or two
MOST = 1000  # waiting, or remembered, at once; the oldest is given up for a newer one


class Bridge:
    """One way to one back-end. All callbacks run in the node's ``sensor_group``, one at a time.

    :ivar OUTPUT: the topic or service of the back-end
    :ivar given_up: how many inputs could not be handed over
    :ivar sessions: tells whether the two ends of a match are on one clock
    """

    OUTPUT = ''

    def __init__(self, node) -> None:
        self.node = node
        self.given_up = 0
        self.sessions = SessionStarts()
        self._undo: list[Callable[[], Any]] = []
        self._needed: list[_Needed] = []
        self._silence = ''

    def open(self) -> None:
        """Begin to take inputs."""
        raise NotImplementedError

    def close(self) -> None:
        """Take no more inputs."""
        self._needed, self._silence = [], ''
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

    def subscribe(self, kind: Any, topic: str, handler: Callable[[Any], None], profile: QoSProfile, *,
                  counted: bool = False, optional: bool = False) -> None:
        """Hand the messages of a topic on; what is wrong with one is reported.

        :param counted: whether these are the inputs that the bridge hands over: a paused one passes over these alone,
            since what the back-end makes meanwhile is not told twice
        :param optional: the bridge does its work without, too
        """
        def take(message: Any) -> None:
            if counted and self.node.paused:
                return
            received_s = self.node.statistics.arrived() if counted else 0.0
            self.reporting(lambda: handler(message))
            if counted:
                self.node.statistics.handled(received_s, {})
                self.node.status.publish()
        subscription = qos.subscribe(self.node, kind, topic, take, profile, callback_group=self.node.sensor_group)
        self._undo.append(lambda: self.node.destroy_subscription(subscription))
        if not optional:
            self._needed.append(_Needed(subscription, self.node.steady_s()))

    def silence(self) -> str:
        """Which topics that the bridge needs nobody publishes since some seconds, in a line; '' if none."""
        now_s, before = self.node.steady_s(), self._silence
        for needed in self._needed:
            if publisher_count(self.node, needed.subscription):
                needed.published_s = now_s
        topics = [needed.subscription.topic_name for needed in self._needed if now_s - needed.published_s > SILENT_S]
        self._silence = (f'nobody publishes on {", ".join(topics)}: start its publisher, or remap the topic'
                         if topics else '')
        if self._silence not in ('', before):
            logger.warning(self._silence)
        return self._silence

    def watch_sessions(self) -> None:
        """Take note of the beginnings of sessions: not every answer becomes a closure."""
        self.subscribe(PlaceMatchArray, 'matches', lambda answer: self.sessions.note(answer.query), qos.reliable(),
                       optional=True)

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


@dataclass
class _Needed:
    """An input, and when somebody was last seen to publish it, by the steady clock."""

    subscription: Any
    published_s: float


class LastSeen(OrderedDict):
    """The :data:`MOST` keys that were set last; one that is set again is the newest."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MOST:
            self.popitem(last=False)


class SessionStarts:
    """When each session began. Not thread-safe.

    Back-ends know keyframes by their stamps alone. Where each session's clock begins at 0 (a simulator's, a bag's), the
    stamp of yesterday's keyframe is a moment of today, too: what is seen today cannot have a match of an earlier
    session that is younger than today's beginning, unless on another clock.
    """

    def __init__(self) -> None:
        self._first_ns: LastSeen[tuple[int, str], int] = LastSeen()

    def __len__(self) -> int:
        return len(self._first_ns)

    def note(self, query: KeyframeId) -> int:
        """Take note of a keyframe that was seen just now.

        :return: the first stamp of its session that is known, nanoseconds
        """
        session, stamp_ns = (query.robot_id, query.session_id), from_time(query.stamp)
        self._first_ns[session] = first_ns = min(self._first_ns.get(session, stamp_ns), stamp_ns)
        return first_ns

    def check(self, query: KeyframeId, match: KeyframeId) -> None:
        """Whether a back-end can tell the two ends of a match apart by their stamps.

        Of another robot's sessions nobody here knows when they began, and they may run now: they are let through.

        :raises SegvladError: the match is of a session on another clock
        """
        first_ns = self.note(query)
        if match.robot_id != query.robot_id:
            return
        if match.session_id == query.session_id:
            self.note(match)
        elif from_time(match.stamp) >= first_ns:
            raise SegvladError(
                f'keyframe {match.index} of session {match.session_id!r}, the match of keyframe {query.index}, is not '
                'forwarded: that session ran on another clock, so the back-end would take it for a keyframe of today; '
                'start without known_map, or with a clock that continues from run to run')


@dataclass
class _Pending:
    item: Any
    deadline_s: float
    reason: str = ''


class PendingMessages:
    """Items that are tried again until they can be sent or their time is up. Not thread-safe.

    :param send: tries to send an item; '' if it went out, else what it waits for
    :param give_up: receives an item whose time is up, and what it waited for
    :param hold_s: longest wait
    :param now_s: steady clock, seconds
    """

    def __init__(self, send: Callable[[Any], str], give_up: Callable[[Any, str], None], hold_s: float,
                 now_s: Callable[[], float]) -> None:
        self._send, self._give_up = send, give_up
        self._hold_s, self._now_s = hold_s, now_s
        self._waiting: deque[_Pending] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Any) -> None:
        """Send an item now, or as soon as it can be sent."""
        waiting = _Pending(item, self._now_s() + self._hold_s)
        if not self._sent(waiting):
            self._waiting.append(waiting)
        if len(self._waiting) > MOST:
            oldest = self._waiting.popleft()
            self._give_up(oldest.item, f'{oldest.reason}, and {MOST} newer ones wait')

    def retry(self) -> None:
        """Try all again; what has waited too long is given up."""
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            if self._sent(waiting):
                continue
            if self._now_s() < waiting.deadline_s:
                self._waiting.append(waiting)
            else:
                self._give_up(waiting.item, f'{waiting.reason}, {self._hold_s:g} s long')

    def give_up(self, reason: str) -> None:
        """Wait no longer for anything."""
        while self._waiting:
            self._give_up(self._waiting.popleft().item, reason)

    def _sent(self, waiting: _Pending) -> bool:
        waiting.reason = self._send(waiting.item)
        return not waiting.reason
