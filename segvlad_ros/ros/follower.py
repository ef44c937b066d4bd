"""Keeps the keyframes of other nodes in order, and knows which ones never came."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from segvlad_ros.types import Keyframe, KeyframeId

Session = tuple[int, str]


@dataclass
class _Stream:
    """One session: ``next_index`` is the first index that was neither added nor given up."""

    next_index: int = 1
    held: dict[int, Keyframe | None] = field(default_factory=dict)


class Follower:
    """Hands keyframes on in the order of their indices, session by session.

    Travelled distances and sequences in the map rely on that order. A keyframe whose predecessors are missing is
    held until they were fetched (:meth:`offer` again) or given up (:meth:`give_up`). Not thread-safe.

    :param add: receives each keyframe once, in order
    """

    def __init__(self, add: Callable[[Keyframe], None]) -> None:
        self._add = add
        self._streams: dict[Session, _Stream] = {}

    def offer(self, keyframe: Keyframe) -> bool:
        """Take a keyframe that was received or fetched.

        :return: False if it is known already
        """
        identity = keyframe.id
        stream = self._streams.setdefault((identity.robot_id, identity.session_id), _Stream())
        if identity.index < stream.next_index or stream.held.get(identity.index) is not None:
            return False
        stream.held[identity.index] = keyframe
        self._release(stream)
        return True

    def known(self, identity: KeyframeId) -> None:
        """Take note of a keyframe that came with a map file: it is neither fetched nor handed on."""
        stream = self._streams.setdefault((identity.robot_id, identity.session_id), _Stream())
        stream.next_index = max(stream.next_index, identity.index + 1)

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

    def clear(self) -> None:
        """Forget everything."""
        self._streams.clear()

    def _release(self, stream: _Stream) -> None:
        while stream.next_index in stream.held:
            keyframe = stream.held.pop(stream.next_index)
            stream.next_index += 1
            if keyframe is not None:
                self._add(keyframe)
