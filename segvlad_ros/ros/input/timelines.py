"""Which sessions of a map a path is of, where the stamps of several lie in one span of time."""
from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from segvlad_ros.types import KeyframeId

logger = logging.getLogger(__name__)

LAG_NS = 10 * 10**9
"""A path may end so long before a session that has ended: back-ends have few nodes, and think between them."""


class _CameraSession(NamedTuple):
    """What one camera of a robot has seen in one run."""

    robot_id: int
    session_id: str
    camera: str


class Timelines:
    """Sessions of a map, and those that run.

    A camera is at one place at a time: of its sessions with stamps of one span, one at most is on the clock of the
    path. The clock of the others was another one: a simulator's, which begins at 0 each time, or a bag's that is played
    again. A session that runs is on the path's clock, and a younger one rather than an older one.
    """

    def __init__(self) -> None:
        self._numbers: dict[_CameraSession, int] = {}  # the younger, the greater
        self._running: dict[_CameraSession, tuple[int, int]] = {}  # its first and last stamp
        self._told: set[_CameraSession] = set()

    def number(self, keyframe: KeyframeId) -> int:
        """Of the session of a keyframe, counted from 0."""
        return self._numbers.setdefault(_session(keyframe), len(self._numbers))

    def run(self, keyframe: KeyframeId) -> None:
        """Take note of a keyframe that was seen just now, whether or not it is of the map."""
        session, stamp = _session(keyframe), keyframe.stamp_ns
        first, last = self._running.get(session, (stamp, stamp))
        self._running[session] = min(first, stamp), max(last, stamp)

    def on_path(self, numbers: np.ndarray, stamps: np.ndarray, newest: int) -> np.ndarray:
        """The sessions of which a path is.

        :param numbers: (n,) int64, of the session of each keyframe of the map
        :param stamps: (n,) int64, their stamps, nanoseconds
        :param newest: the last stamp of the path, nanoseconds
        :return: bool by number of the session
        """
        least = np.full(len(self._numbers), np.iinfo(np.int64).max)
        most = np.full(len(self._numbers), np.iinfo(np.int64).min)
        np.minimum.at(least, numbers, stamps)
        np.maximum.at(most, numbers, stamps)
        spans = {session: (int(least[number]), int(most[number])) for session, number in self._numbers.items()
                 if session not in self._running and least[number] <= most[number] <= newest + LAG_NS}
        chosen: dict[_CameraSession, tuple[int, int]] = {}
        beside = set()
        for session, span in [*reversed(self._running.items()), *reversed(spans.items())]:
            if any(_is_same_camera(session, other) and span[0] <= last and first <= span[1]
                   for other, (first, last) in chosen.items()):
                beside.add(session)
            else:
                chosen[session] = span
        self._tell(beside & spans.keys())
        return np.array([session in chosen for session in self._numbers], bool)

    def _tell(self, beside: set[_CameraSession]) -> None:
        for session in sorted(beside - self._told):
            logger.warning('keyframes of session %s keep their poses: their stamps lie in a younger session, '
                           'whose path this is', session.session_id)
        self._told |= beside


def _session(keyframe: KeyframeId) -> _CameraSession:
    return _CameraSession(keyframe.robot_id, keyframe.session_id, keyframe.camera)


def _is_same_camera(one: _CameraSession, other: _CameraSession) -> bool:
    return (one.robot_id, one.camera) == (other.robot_id, other.camera)
