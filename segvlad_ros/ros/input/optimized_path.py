"""The poses a SLAM back-end has optimised, for the keyframes of a map."""
from __future__ import annotations

import array
import logging
from collections.abc import Callable, Iterable
from itertools import compress

import numpy as np

from segvlad_ros.geometry import interpolated
from segvlad_ros.ros.input.timelines import Timelines
from segvlad_ros.ros.output.path_bytes import path_arrays
from segvlad_ros.types import KeyframeId, OptimizedPose, Pose

logger = logging.getLogger(__name__)

MAX_GAP_S = 2.0  # back-ends keep a node every second or metre; across longer gaps a straight line would be a guess
STOOD_M, STOOD_RAD = 0.03, 0.03  # but not between two nodes that are this near to each other: there the robot stood
MAX_EXTRAPOLATION_S = 0.05
MOVED = 1e-3  # metres, and units of a quaternion; smaller corrections are not written
AT_ONCE = 100
"""Keyframes that are moved in one step of the worker: a closure may move a whole map, and images do not wait for it."""


class OptimizedPath:
    """Follows a nav_msgs/Path of base poses and says which keyframes have moved.

    Poses are matched by stamp, the only key that every back-end has, and interpolated between the path's nodes. Where a
    clock begins anew in each session (simulation, a bag that is played again), stamps lie in several: see
    :class:`~segvlad_ros.ros.input.timelines.Timelines` for those that follow. A path has thousands of poses and comes
    every second: its nodes are compared at once, as arrays, and only keyframes beside nodes that have moved are looked
    at, a few at a time.

    :param keyframes: gives the map's keyframes, asked when the first path comes
    """

    def __init__(self, keyframes: Callable[[], Iterable[KeyframeId]]) -> None:
        self._keyframes = keyframes
        self._timelines = Timelines()
        self.restart()

    def restart(self) -> None:
        """Other keyframes are there from now on, or the same ones are to be told of again."""
        self._ids: list[KeyframeId] | None = None
        self._gone: set[KeyframeId] = set()  # of these, that were removed
        self._keyframe_stamps, self._keyframe_sessions = array.array('q'), array.array('q')
        self._follows = np.zeros(0, bool)  # by number of the session
        self._begin('')

    def _begin(self, frame: str) -> None:
        self._frame = frame
        self._stamps, self._poses = np.zeros(0, np.int64), np.zeros((0, 7))  # of the newest path
        self._followed = self._poses  # the poses of its nodes that the keyframes have followed, to within MOVED
        self._known = np.zeros((0, 7))  # of the keyframes
        self._waiting = np.zeros(0, bool)

    @property
    def waiting(self) -> int:
        """Keyframes that :meth:`moved` has yet to look at."""
        return int((self._waiting & self._on_path()).sum())

    def _on_path(self) -> np.ndarray:
        """(n,) bool, the keyframes so far at the last path, of sessions that are on its clock."""
        return self._follows[np.array(self._keyframe_sessions, np.int64)[:len(self._waiting)]]

    def run(self, keyframe: KeyframeId) -> None:
        """Take note of a keyframe that was seen just now, whether or not it is of the map."""
        self._timelines.run(keyframe)

    def add(self, keyframe: KeyframeId) -> None:
        """Follow one more keyframe."""
        if keyframe in self._gone:
            self._forget_gone()
        if self._ids is not None:
            self._ids.append(keyframe)
            self._keyframe_stamps.append(keyframe.stamp_ns)
            self._keyframe_sessions.append(self._timelines.number(keyframe))

    def __len__(self) -> int:
        return 0 if self._ids is None else len(self._ids)

    def remove(self, keyframes: Iterable[KeyframeId]) -> None:
        """Follow some no longer; those that are not followed are passed over."""
        if self._ids is not None:
            self._gone.update(keyframes)
            if len(self._gone) > max(AT_ONCE, len(self._ids) // 4):
                self._forget_gone()

    def _forget_gone(self) -> None:
        kept = np.array([keyframe not in self._gone for keyframe in self._ids], bool)
        known = kept[:len(self._known)]  # those behind came after the last path
        self._known, self._waiting = self._known[known], self._waiting[known]
        self._ids = list(compress(self._ids, kept))
        self._keyframe_stamps = array.array('q', compress(self._keyframe_stamps, kept))
        self._keyframe_sessions = array.array('q', compress(self._keyframe_sessions, kept))
        self._gone.clear()

    def take(self, path: bytes) -> None:
        """Take a path; :meth:`moved` tells what comes of it.

        :param path: serialised, see :func:`~segvlad_ros.ros.output.path_bytes.path_arrays`
        """
        if self._ids is None:
            self._ids = []
            for keyframe in self._keyframes():
                self.add(keyframe)
        frame, stamps, poses = path_arrays(path)
        if (frame or 'map') != self._frame:
            self._begin(frame or 'map')
        stamps, poses = _usable(stamps, poses)
        if not len(stamps):
            return
        fresh = len(self._ids) - len(self._known)
        self._known = np.concatenate([self._known, np.full((fresh, 7), np.nan)])
        self._waiting = np.concatenate([self._waiting, np.ones(fresh, bool)])
        wanted = np.array(self._keyframe_stamps)
        self._follows = self._timelines.on_path(np.array(self._keyframe_sessions), wanted, int(stamps[-1]))
        before = _rows_of(stamps, self._stamps, self._followed)
        moved = ~_same(before, poses)
        after = np.searchsorted(stamps, wanted).clip(0, len(stamps) - 1)
        self._waiting |= moved[after] | moved[(after - 1).clip(0)]
        self._stamps, self._poses, self._followed = stamps, poses, np.where(moved[:, None], poses, before)

    def moved(self, most: int = AT_ONCE) -> dict[KeyframeId, OptimizedPose]:
        """The optimised poses of those keyframes that have moved, of the next ``most`` to be looked at."""
        looked_at = np.flatnonzero(self._waiting & self._on_path())[:most]
        self._waiting[looked_at] = False
        wanted = np.array([self._keyframe_stamps[number] for number in looked_at], np.int64)
        after = np.searchsorted(self._stamps, wanted).clip(0, len(self._stamps) - 1)
        stood = _near(self._poses[(after - 1).clip(0)], self._poses[after])
        known, places, turns = interpolated(
            self._stamps, self._poses[:, :3], self._poses[:, 3:], wanted,
            max_gap=np.where(stood, np.iinfo(np.int64).max, round(MAX_GAP_S * 1e9)),
            max_extrapolation=round(MAX_EXTRAPOLATION_S * 1e9))
        poses = np.hstack([places, turns])
        moved = known & ~_same(self._known[looked_at], poses)
        self._known[looked_at[moved]] = poses[moved]
        return {self._ids[number]: OptimizedPose(Pose(pose[:3], pose[3:], self._frame))
                for number, pose in zip(looked_at[moved], poses[moved]) if self._ids[number] not in self._gone}


def _same(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n,) bool, poses (n, 7) that have not moved; none of those that were NaN."""
    return ((np.abs(before[:, :3] - after[:, :3]).max(axis=1) <= MOVED)
            & (1.0 - np.abs((before[:, 3:] * after[:, 3:]).sum(axis=1)) <= MOVED))


def _near(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) bool, poses (n, 7) that are at one place, as those of a robot that stands."""
    cosines = np.abs((first[:, 3:] * second[:, 3:]).sum(axis=1))  # of half the angles
    return ((np.linalg.norm(first[:, :3] - second[:, :3], axis=1) <= STOOD_M)
            & (2 * np.arccos(cosines.clip(0, 1)) <= STOOD_RAD))


def _rows_of(stamps: np.ndarray, known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows (n, 7) of some stamps in a table with ascending stamps ``known``; NaN where it has none."""
    if not len(known):
        return np.full((len(stamps), 7), np.nan)
    at = np.searchsorted(known, stamps).clip(0, len(known) - 1)
    return np.where((known[at] == stamps)[:, None], rows[at], np.nan)


def _usable(stamps: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (n,) in ascending order, each once, and poses (n, 7) with unit quaternions, of a path as it came."""
    lengths = np.linalg.norm(poses[:, 3:], axis=1)
    good = np.isfinite(poses).all(axis=1) & (lengths > 1e-6)
    if not good.all():
        logger.warning('%d of %d poses of the optimised path ignored: no finite numbers, or no unit quaternion',
                       len(good) - good.sum(), len(good))
    order = np.flatnonzero(good)[np.argsort(stamps[good], kind='stable')]
    order = order[np.append(np.diff(stamps[order]) != 0, True)] if len(order) else order
    poses = poses[order]
    poses[:, 3:] /= lengths[order, None]
    return stamps[order], poses
