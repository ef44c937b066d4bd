"""The keyframe table: what is known about every keyframe by itself, once, a row each.

Numbers that are asked of all keyframes at once are columns. What a keyframe brought is in the
:class:`~segvlad_ros.mapping.keyframe_store.KeyframeStore`, and its segments are in the
:class:`~segvlad_ros.mapping.segment_index.SegmentIndex`, under the same entry.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from segvlad_ros.mapping.growing_columns import GrowingColumns
from segvlad_ros.mapping.odometry import OdometryMark
from segvlad_ros.types import Keyframe, KeyframeId, KeyframeKey, OptimizedPose, Pose, SessionKey

_FACTS = np.dtype([
    ('session', np.int32), ('index', np.int64), ('stamp_ns', np.int64),
    ('run', np.int32), ('length_m', np.float64), ('position', np.float64, 3), ('moment', np.float64, 3),
    ('measured', np.float64, 7), ('measured_frame', np.int32),
    ('frame', np.int32), ('optimized', np.float64, 3), ('removed', bool)])


class KeyframeTable:
    """Every keyframe by its entry, counted from 0 in the order in which they came. Not thread-safe.

    A keyframe that is removed keeps its entry until :meth:`select`; it is never found again.
    """

    def __init__(self) -> None:
        self._table = GrowingColumns(_FACTS)
        self._removed = 0
        self._identities: list[KeyframeId] = []
        self._optimized: dict[int, OptimizedPose] = {}
        self._marks: list[OdometryMark | None] = []
        self._entries: dict[KeyframeKey, int] = {}
        self._sessions: dict[SessionKey, int] = {}
        self._of_session: list[list[int]] = []
        self._frames: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._identities)

    @property
    def count(self) -> int:
        """Keyframes that are in the map."""
        return len(self) - self._removed

    @property
    def removed(self) -> np.ndarray:
        """(entries,) bool, the keyframes that are no longer in the map."""
        return self._column('removed')

    @property
    def ids(self) -> list[KeyframeId]:
        """Identities of the keyframes that are in the map, in the order of their entries."""
        return [self._identities[entry] for entry in np.flatnonzero(~self.removed)]

    def identity(self, entry: int) -> KeyframeId:
        """Which keyframe it is, or was."""
        return self._identities[entry]

    def pose(self, entry: int) -> Pose | None:
        """As it was measured, without its covariance."""
        frame, values = self._table['measured_frame'][entry], self._table['measured'][entry].copy()
        if frame < 0:
            return None
        return Pose(values[:3], values[3:], list(self._frames)[frame])

    def optimized(self, entry: int) -> OptimizedPose | None:
        """What a back-end has made of its pose last, None where there is none."""
        return self._optimized.get(entry)

    def mark(self, entry: int) -> OdometryMark | None:
        """Where it lies on its session's odometry."""
        return self._marks[entry]

    def entry(self, identity: KeyframeId) -> int | None:
        """The entry of a keyframe, None if it is not in the map."""
        return self._entries.get(identity.key)

    def make_room(self) -> None:
        """For one more keyframe, before :meth:`add`: memory may run out while nothing has changed yet."""
        self._table.hold(len(self) + 1)

    def add(self, keyframe: Keyframe, mark: OdometryMark | None) -> int:
        """Append a keyframe, of which the identity and the poses count, and return its entry.

        There is room for it by :meth:`make_room`.

        :param mark: where it lies on its session's odometry
        """
        entry = len(self)
        self._identities.append(keyframe.id)
        self._marks.append(mark)
        self._entries[keyframe.id.key] = entry
        facts = self._table
        facts['session'][entry] = session = self._sessions.setdefault(keyframe.id.session, len(self._sessions))
        if session == len(self._of_session):
            self._of_session.append([])
        self._of_session[session].append(entry)
        facts['index'][entry], facts['stamp_ns'][entry] = keyframe.id.index, keyframe.id.stamp_ns
        facts['run'][entry] = facts['frame'][entry] = facts['measured_frame'][entry] = -1
        if keyframe.pose is not None:
            facts['measured'][entry] = *keyframe.pose.translation, *keyframe.pose.quaternion
            facts['measured_frame'][entry] = self._frames.setdefault(keyframe.pose.frame, len(self._frames))
        if mark is not None:
            facts['run'][entry], facts['length_m'][entry], facts['moment'][entry] = mark.run, mark.length_m, mark.moment
            facts['position'][entry] = mark.base[:3, 3]
        if keyframe.optimized is not None:
            self._set_optimized(entry, keyframe.optimized)
        return entry

    def remove(self, identity: KeyframeId) -> int | None:
        """Take a keyframe out of the map, and return its entry; None if it is not in the map."""
        entry = self._entries.pop(identity.key, None)
        if entry is not None:
            self._table['removed'][entry] = True
            self._removed += 1
        return entry

    def select(self, entries: Sequence[int]) -> None:
        """Keep some entries, ascending, and give them the numbers from 0; none that is left out may be in the map."""
        numbers = {entry: number for number, entry in enumerate(entries)}
        self._removed = int(self.removed[entries].sum())  # first: who asks for `count` meanwhile has no lock
        self._table.select(np.asarray(entries, np.int64))
        self._identities = [self._identities[entry] for entry in entries]
        self._marks = [self._marks[entry] for entry in entries]
        self._optimized = {numbers[entry]: pose for entry, pose in self._optimized.items() if entry in numbers}
        self._entries = {key: numbers[entry] for key, entry in self._entries.items()}
        self._of_session = [[numbers[entry] for entry in group if entry in numbers] for group in self._of_session]

    def update_poses(self, poses: Mapping[KeyframeId, OptimizedPose]) -> None:
        """Take a back-end's poses; those of keyframes that are not in the map are passed over."""
        for identity, pose in poses.items():
            entry = self.entry(identity)
            if entry is not None:
                self._set_optimized(entry, pose)

    def _set_optimized(self, entry: int, pose: OptimizedPose) -> None:
        self._optimized[entry] = pose
        frame = pose.map_from_base.frame
        self._table['frame'][entry] = self._frames.setdefault(frame, len(self._frames))
        self._table['optimized'][entry] = pose.map_from_base.translation

    # what is left out of a search

    def recent(self, query: KeyframeId, mark: OdometryMark | None, time_s: float, distance_m: float) -> np.ndarray:
        """(entries,) bool, those of the query's session that were seen too shortly before it, or not before it at all.

        :param time_s: younger entries are recent
        :param distance_m: entries with less travel since are recent; where odometry does not connect them, the time
            alone counts
        """
        age_s = (query.stamp_ns - self._column('stamp_ns')) * 1e-9
        recent = (age_s <= 0) | (age_s < time_s)
        if mark is not None:
            travel = mark.length_m - self._column('length_m')
            recent |= (self._column('run') == mark.run) & (travel < distance_m)
        return recent & self._same_session(query)

    def last_frames(self, query: KeyframeId, frames: int) -> np.ndarray:
        """(entries,) bool, those of the query's session that are fewer than this many keyframes older than it."""
        return self._same_session(query) & (query.index - self._column('index') < frames)

    def outside(self, sessions: Collection[str]) -> np.ndarray:
        """(entries,) bool, those of other sessions than these."""
        wanted = [number for (_, session_id), number in self._sessions.items() if session_id in sessions]
        return ~np.isin(self._column('session'), wanted)

    def newest(self, query: KeyframeId, excluded: np.ndarray) -> int | None:
        """Its session's youngest keyframe that is searched, if younger ones are not; ``excluded``: (entries,) bool."""
        own = self._same_session(query)
        searched = np.flatnonzero(own & ~excluded)
        return int(searched[-1]) if len(searched) and (own & excluded)[searched[-1]:].any() else None

    def _same_session(self, query: KeyframeId) -> np.ndarray:
        return self._column('session') == self._sessions.get(query.session, -1)

    def _column(self, name: str) -> np.ndarray:
        return self._table[name][:len(self)]
