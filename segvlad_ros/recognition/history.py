"""What is too recent to be a revisit: a robot always sees the place where it just was."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.types import KeyframeId, Pose


@dataclass
class _Session:
    """Map entries of one session, in the order they came."""

    entries: list[int] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    travelled_m: list[float] = field(default_factory=list)
    position: np.ndarray | None = None
    total_m: float = 0.0

    def distance_to(self, pose: Pose | None) -> float:
        """Distance travelled since the session began, up to a pose after the last entry; NaN if unknown."""
        if pose is None or self.position is None:
            return np.nan
        return self.total_m + float(np.linalg.norm(pose.translation - self.position))


class SessionHistory:
    """When and after how much travel every map entry was seen, by robot and session."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, str], _Session] = {}
        self._count = 0

    def add(self, keyframe_id: KeyframeId, pose: Pose | None) -> None:
        """Append one map entry."""
        session = self._sessions.setdefault((keyframe_id.robot_id, keyframe_id.session_id), _Session())
        session.entries.append(self._count)
        session.stamps_ns.append(keyframe_id.stamp_ns)
        session.indices.append(keyframe_id.index)
        if pose is not None:
            session.total_m = 0.0 if session.position is None else session.distance_to(pose)
            session.position = np.asarray(pose.translation)
        session.travelled_m.append(np.nan if pose is None else session.total_m)
        self._count += 1

    def recent(self, query: KeyframeId, pose: Pose | None, time_s: float, distance_m: float) -> np.ndarray:
        """Entries of the query's session that were seen too shortly before it, or not before it at all.

        :param time_s: younger entries are recent, seconds
        :param distance_m: entries with less travel since are recent, metres; where either pose is unknown, the time
            alone counts
        :return: (entries,) bool
        """
        session = self._sessions.get((query.robot_id, query.session_id))
        mask = np.zeros(self._count, bool)
        if session is not None:
            age_s = (query.stamp_ns - np.array(session.stamps_ns, np.int64)) * 1e-9
            travel = session.distance_to(pose) - np.array(session.travelled_m)
            mask[session.entries] = (age_s <= 0) | (age_s < time_s) | (travel < distance_m)
        return mask

    def last_frames(self, query: KeyframeId, frames: int) -> np.ndarray:
        """Entries of the query's session that are fewer than this many keyframes older than it.

        :return: (entries,) bool
        """
        session = self._sessions.get((query.robot_id, query.session_id))
        mask = np.zeros(self._count, bool)
        if session is not None:
            mask[session.entries] = query.index - np.array(session.indices) < frames
        return mask
