"""Which map keyframes show the same place as another one."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import KeyframeId, Pose


class Covisibility:
    """The covisible neighbourhood of every map entry.

    Two entries are *near* when they are of one robot's session and at most ``keyframes`` apart in index or, where
    both poses are known, at most ``distance_m`` apart in odometry. The covisible neighbourhood of an entry is what is
    near it, and what is reached across a link within the rest of that radius: a link is an accepted match, which
    joins the visits of one place although odometry drifts between them or is of another session.

    What is *elsewhere* is what is known to show another place: the rest of the sessions that have a part in the
    neighbourhood. A session without a link to it may well show the same place, and says nothing about it.

    :param keyframes: sequence radius, keyframes
    :param distance_m: radius in odometry, metres
    """

    def __init__(self, keyframes: int, distance_m: float) -> None:
        self._keyframes = keyframes
        self._distance_m = distance_m
        self._sessions: dict[tuple[int, str], int] = {}
        self._session = np.empty(0, np.int32)
        self._index = np.empty(0, np.int64)
        self._position = np.empty((0, 3))
        self._links: dict[int, set[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, keyframe_id: KeyframeId, pose: Pose | None) -> int:
        """Append one map entry.

        :return: its number
        """
        entry = self._count
        if entry == len(self._session):
            self._grow()
        key = (keyframe_id.robot_id, keyframe_id.session_id)
        self._session[entry] = self._sessions.setdefault(key, len(self._sessions))
        self._index[entry] = keyframe_id.index
        self._position[entry] = np.nan if pose is None else pose.translation
        self._count += 1
        return entry

    def link(self, entry: int, other: int) -> None:
        """Note that two entries were recognised as one place."""
        self._links.setdefault(entry, set()).add(other)
        self._links.setdefault(other, set()).add(entry)

    def unlink(self, entry: int, other: int) -> None:
        """Take a link back that turned out to be wrong."""
        self._links.get(entry, set()).discard(other)
        self._links.get(other, set()).discard(entry)

    def neighbourhood(self, entry: int) -> np.ndarray:
        """The covisible neighbourhood of an entry.

        :return: (entries,) bool, true for the entry itself
        """
        apart = self._apart(entry)
        near = apart <= 1
        for member in np.flatnonzero(near).tolist():
            for partner in self._links.get(member, ()):
                near |= self._apart(partner) <= 1 - apart[member]
        return near

    def elsewhere(self, neighbourhood: np.ndarray) -> np.ndarray:
        """What is known to show another place than a neighbourhood does.

        :param neighbourhood: (entries,) bool
        :return: (entries,) bool
        """
        session = self._session[:self._count]
        return ~neighbourhood & np.isin(session, session[neighbourhood])

    def same_session(self, entry: int, other: int) -> bool:
        """Whether two entries are of one robot's session."""
        return bool(self._session[entry] == self._session[other])

    def _apart(self, entry: int) -> np.ndarray:
        """How far every entry is from one, in radii: the smaller of sequence and space; infinite between sessions."""
        count = self._count
        steps = np.abs(self._index[:count] - self._index[entry]) / self._keyframes
        metres = np.linalg.norm(self._position[:count] - self._position[entry], axis=1)
        apart = np.fmin(steps, metres / max(self._distance_m, 1e-9))  # fmin passes over unknown poses
        return np.where(self._session[:count] == self._session[entry], apart, np.inf)

    def _grow(self) -> None:
        spare = max(64, self._count)
        self._session = np.concatenate([self._session, np.zeros(spare, np.int32)])
        self._index = np.concatenate([self._index, np.zeros(spare, np.int64)])
        self._position = np.concatenate([self._position, np.full((spare, 3), np.nan)])
