"""Described keyframes of another node: received on a topic, and fetched by service where one was lost."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from segvlad_ros.msg import KeyframeId as KeyframeIdMessage
from segvlad_ros.msg import PlaceDescriptor, RemovedKeyframes
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import from_keyframe_id
from segvlad_ros.ros.output.diagnostics import Awaited
from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor
from segvlad_ros.srv import GetKeyframe
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError

POLL_S = 0.1
ASK_AGAIN_S = 1.0  # DDS may drop the answer to a client that the service has not discovered yet
PATIENCE = 50  # polls without an answer, after which missing keyframes are given up: 5 s if the worker is not busy


class KeyframeInput:
    """Follows ``keyframes`` and refills gaps through the service ``get_keyframe``.

    Every received keyframe is answered at once; it joins the map in the order of the indices.

    :param node: a ``SegvladNode``
    :param model_fingerprint: digest that the keyframes must have
    :param answer: receives each new keyframe, and whether it stands ahead of those that join the map, in the worker's
        thread, and returns seconds by stage
    :param add: receives each keyframe in order, in the worker's thread; None: keyframes do not join the map
    :param remove: receives keyframes that have left the map of the other node, in the worker's thread
    """

    def __init__(self, node, model_fingerprint: str, answer: Callable[[Keyframe, bool], dict[str, float]],
                 add: Callable[[Keyframe], None] | None, remove: Callable[[Sequence[KeyframeId]], object]) -> None:
        self._node = node
        self.topic = node.resolve_topic_name('keyframes')
        self._model_fingerprint = model_fingerprint
        self._answer = answer
        self._remove = remove
        self.follower = Follower(add) if add is not None else None
        self._subscription: Any = None
        self._removals: Any = None
        self._client: Any = None
        self._timer: Any = None
        self._asked: tuple[int, str, int] | None = None
        self._ask_again_s = 0.0
        self._patience = PATIENCE

    def open(self) -> None:
        """Subscribe."""
        node = self._node
        self._subscription = qos.subscribe(node, PlaceDescriptor, 'keyframes', self._receive,
                                           qos.reliable(qos.DESCRIPTORS_DEPTH), callback_group=node.sensor_group)
        if self.follower is not None:
            self._removals = qos.subscribe(node, RemovedKeyframes, 'removed_keyframes', self._receive_removed,
                                           qos.latched(qos.REMOVED_DEPTH), callback_group=node.sensor_group)
            self._client = node.create_client(GetKeyframe, 'get_keyframe', callback_group=node.sensor_group)
            self._timer = node.create_timer(POLL_S, self._poll, callback_group=node.sensor_group,
                                            clock=node.steady_clock)
            self._timer.cancel()

    def known(self, ids: Iterable[KeyframeId]) -> None:
        """Take note of keyframes that came with a map file: they are neither fetched nor added again."""
        self._asked = None  # perhaps for one of them
        if self.follower is not None:
            self.follower.known(ids)

    def forget(self, ids: Iterable[KeyframeId] = ()) -> None:
        """Begin anew, with a map of these keyframes."""
        self._asked = None
        if self.follower is not None:
            self.follower.restart(ids)

    def awaited(self, age_s: float, active_s: float) -> Awaited:
        """What is waited for; of a robot that stands comes nothing, but whoever makes its keyframes is there.

        :param age_s: of the newest keyframe
        :param active_s: since the node became active
        """
        return Awaited('keyframes', self.topic, min(age_s, active_s),
                       may_rest=age_s < active_s and self._node.count_publishers(self.topic) > 0,
                       hint='is the map_builder active, and does it get images; is the topic remapped?')

    def destroy(self) -> None:
        """The same as :meth:`close`."""
        self.close()

    def close(self) -> None:
        """Unsubscribe."""
        node, self._asked = self._node, None
        for destroy, entity in ((node.destroy_subscription, self._subscription),
                                (node.destroy_subscription, self._removals), (node.destroy_timer, self._timer),
                                (node.destroy_client, self._client)):
            if entity is not None:
                destroy(entity)
        self._subscription = self._removals = self._client = self._timer = None

    def _receive(self, message: PlaceDescriptor) -> None:
        if self._node.paused:
            return
        received_s = self._node.statistics.arrived()
        # where the queue is full, the gap is refilled later
        self._node.post(f'keyframe {message.keyframe.index}', lambda: self._take(message, received_s))

    def _take(self, message: PlaceDescriptor, received_s: float) -> bool:
        """In the worker's thread. :return: whether that ends a row of its failures"""
        keyframe = self._read(message)
        if keyframe is None:
            return False
        ahead = self.follower is not None and self.follower.ahead(keyframe.id)
        self._node.statistics.handled(received_s, self._answer(keyframe, ahead))
        if self.follower is not None:
            if message.passed_over:
                self.follower.removed(keyframe.id.robot_id, keyframe.id.session_id, keyframe.id.index)
            else:
                self.follower.offer(keyframe)
            if self.follower.missing() is not None and self._timer is not None and self._timer.is_canceled():
                self._patience = PATIENCE
                self._timer.reset()
        return True

    def _read(self, message: PlaceDescriptor) -> Keyframe | None:
        try:
            if message.model_fingerprint != self._model_fingerprint:
                raise SegvladError(f'it was described by another model ({message.model_fingerprint[:12]}, not '
                                   f'{self._model_fingerprint[:12]}): give both nodes the same preset')
            return from_place_descriptor(message)
        except SegvladError as error:
            self._node.statistics.count(descriptors_rejected=1)
            self._node.report(f'keyframe {message.keyframe.index} rejected: {error}')
            return None

    def _receive_removed(self, message: RemovedKeyframes) -> None:
        """Also while the node is paused: what is gone stays gone."""
        ids = [from_keyframe_id(identity) for identity in message.keyframes]
        self._node.post(f'removal of {len(ids)} keyframes', lambda: self._take_removed(ids), though_paused=True)

    def _take_removed(self, ids: Sequence[KeyframeId]) -> None:
        """In the worker's thread."""
        for identity in ids:
            self.follower.removed(identity.robot_id, identity.session_id, identity.index)
        self._remove(ids)

    def _poll(self) -> None:
        """Called by the timer while some are missing."""
        self._node.post('missing keyframes', self._refill, newest=True)

    def _refill(self) -> Literal[False]:
        """Ask for one missing keyframe, or give up. :return: that ends no row of the worker's failures"""
        missing, timer = self.follower.missing(), self._timer
        if timer is None:  # closed meanwhile
            return False
        self._patience -= 1
        if missing is None:
            timer.cancel()
            self._asked = None
        elif self._patience < 0:
            self._lost(missing, 'the service get_keyframe does not answer')
        elif (missing != self._asked or self._node.steady_s() > self._ask_again_s) and self._client.service_is_ready():
            self._asked, self._ask_again_s = missing, self._node.steady_s() + ASK_AGAIN_S
            robot_id, session_id, index = missing
            request = GetKeyframe.Request(
                keyframe=KeyframeIdMessage(robot_id=robot_id, session_id=session_id, index=index))
            self._client.call_async(request).add_done_callback(lambda future: self._fetched(missing, future))
        return False

    def _fetched(self, missing: tuple[int, str, int], future: Any) -> None:
        """In the executor."""
        response = future.result()
        if response is not None:  # where the queue is full, it is asked for again
            self._node.post(f'keyframe {missing[2]}', lambda: self._take_fetched(missing, response))

    def _take_fetched(self, missing: tuple[int, str, int], response: GetKeyframe.Response) -> None:
        if missing != self._asked:  # asked twice, answered twice; or another map was loaded meanwhile
            return
        keyframe = self._read(response.descriptor) if response.success else None
        if response.gone:
            self.follower.removed(*missing)
        elif keyframe is None or not self.follower.offer(keyframe) and self.follower.missing() == missing:
            self._lost(missing, response.message)
        self._patience = PATIENCE
        self._asked = None
        self._refill()

    def _lost(self, missing: tuple[int, str, int], reason: str) -> None:
        self._node.statistics.count(gaps=1)
        self._node.report(f'keyframe {missing[2]} never came: {reason}')
        self.follower.give_up(*missing)


@dataclass
class _KeyframeStream:
    """One session: ``next_index`` is the first index that was neither added nor given up; ``gone`` are those from there
    on that the other node's map does not hold.
    """

    next_index: int = 1
    held: dict[int, Keyframe | None] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)


class Follower:
    """Hands keyframes on in the order of their indices, session by session.

    Travelled distances and sequences in the map rely on that order. A keyframe whose predecessors are missing is
    held until they were fetched (:meth:`offer` again) or given up (:meth:`give_up`). Not thread-safe.

    :param add: receives each keyframe once, in order
    """

    def __init__(self, add: Callable[[Keyframe], None]) -> None:
        self._add = add
        self._streams: dict[tuple[int, str], _KeyframeStream] = {}

    def offer(self, keyframe: Keyframe) -> bool:
        """Take a keyframe that was received or fetched.

        :return: False if it is known already
        """
        identity = keyframe.id
        stream = self._streams.setdefault(identity.session, _KeyframeStream())
        if identity.index < stream.next_index or identity.index in stream.gone or (
                stream.held.get(identity.index) is not None):
            return False
        stream.held[identity.index] = keyframe
        self._release(stream)
        return True

    def ahead(self, identity: KeyframeId) -> bool:
        """Whether keyframes of its session before one are still to come."""
        return identity.index > self._streams.get(identity.session, _KeyframeStream()).next_index

    def known(self, ids: Iterable[KeyframeId]) -> None:
        """Take note of all keyframes that came with a map file: they, and what it lacks before them, are neither
        fetched nor handed on.
        """
        for identity in ids:
            stream = self._streams.setdefault(identity.session, _KeyframeStream())
            stream.next_index = max(stream.next_index, identity.index + 1)
        for stream in self._streams.values():
            stream.held = {index: keyframe for index, keyframe in stream.held.items() if index >= stream.next_index}
            stream.gone = {index for index in stream.gone if index >= stream.next_index}
            self._release(stream)

    def missing(self) -> tuple[int, str, int] | None:
        """Robot, session and index of the first keyframe that is missing, or None."""
        for (robot_id, session_id), stream in self._streams.items():
            if stream.held:
                return robot_id, session_id, stream.next_index
        return None

    def give_up(self, robot_id: int, session_id: str, index: int) -> None:
        """Do without a keyframe that nobody has."""
        stream = self._streams[robot_id, session_id]
        if index >= stream.next_index:
            stream.held.setdefault(index, None)
            self._release(stream)

    def removed(self, robot_id: int, session_id: str, index: int) -> None:
        """Do without a keyframe that the other node's map does not hold, whether it has come already or not."""
        stream = self._streams.setdefault((robot_id, session_id), _KeyframeStream())
        if index >= stream.next_index:
            stream.held.pop(index, None)
            stream.gone.add(index)
            self._release(stream)

    def restart(self, ids: Iterable[KeyframeId] = ()) -> None:
        """Begin anew, with a map of these keyframes: their sessions go on where they end, the others with the next
        keyframe, so that nothing comes back that the map so far had, or waited for.
        """
        ids = list(ids)
        for session in {identity.session for identity in ids}:
            self._streams.pop(session, None)
        for stream in self._streams.values():
            stream.next_index = max([stream.next_index - 1, *stream.held, *stream.gone]) + 1
            stream.held.clear()
            stream.gone.clear()
        self.known(ids)

    def _release(self, stream: _KeyframeStream) -> None:
        while stream.next_index in stream.held or stream.next_index in stream.gone:
            keyframe = stream.held.pop(stream.next_index, None)
            stream.gone.discard(stream.next_index)
            stream.next_index += 1
            if keyframe is not None:
                self._add(keyframe)
