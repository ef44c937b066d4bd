"""What a database of many robots' places must do; it hands out ids, and the vote stays with who asks."""
from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segvlad_ros.types import Keyframe, KeyframeId, KeyframeKey, Pose, SessionKey


@dataclass(frozen=True)
class FoundSegments:
    """The nearest segments of every query segment.

    :ivar similarities: (M, k) float32, cosines, best first; -inf where nothing was found
    :ivar owners: (M, k) int64, position in ``keyframes`` of the keyframe that the segment belongs to, or -1
    :ivar keyframes: (E,) the keyframes that something was found of
    """

    similarities: np.ndarray
    owners: np.ndarray
    keyframes: list[KeyframeKey]


@dataclass(frozen=True)
class KeyframeFacts:
    """What the database knows of a keyframe beside its segments.

    :ivar pose: where its robot was when it was sent, in that robot's own frame; None if unknown
    """

    id: KeyframeId
    pose: Pose | None


class PlaceDatabase(Protocol):
    """The keyframes of one site. All methods raise SegvladError where the database cannot be reached or refuses."""

    def upsert(self, keyframe: Keyframe) -> None:
        """Store a keyframe's segments, in place of those that it had; they are found when this returns, in a cluster a
        moment later.
        """

    def search(self, descriptors: np.ndarray, neighbours: int,
               leave_out: Collection[SessionKey] = ()) -> FoundSegments:
        """Find the most similar segments.

        :param descriptors: (M, d) float32 unit rows
        :param neighbours: k, for every query segment
        :param leave_out: sessions that are not searched
        """

    def delete(self, keyframes: Iterable[KeyframeKey]) -> None:
        """Remove keyframes; those that are not there are passed over."""

    def count(self, sessions: Collection[SessionKey]) -> int:
        """How many keyframes of these sessions are there."""

    def keyframes(self, sessions: Collection[SessionKey]) -> set[KeyframeKey]:
        """Which keyframes of these sessions are there."""

    def facts(self, keyframes: Iterable[KeyframeKey]) -> dict[KeyframeKey, KeyframeFacts]:
        """What is known of keyframes; those that are not there are left out."""
