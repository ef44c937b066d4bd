"""The poses a SLAM back-end has optimised, for the keyframes of a map."""
from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from segvlad_ros.geometry import interpolated
from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.types import KeyframeId, OptimizedPose, Pose

logger = logging.getLogger(__name__)

MAX_GAP_S = 2.0  # back-ends keep a node every second or metre; across longer gaps a straight line would be a guess
MAX_EXTRAPOLATION_S = 0.05
MOVED = 1e-3  # metres, and units of a quaternion; smaller corrections are not written
_UNKNOWN = (math.nan,) * 7


class OptimizedPath:
    """Follows a nav_msgs/Path of base poses and says which keyframes have moved.

    Poses are matched by stamp, the only key that every back-end has, and interpolated between the path's nodes. A path
    has thousands of poses and comes every second: all of them are handled at once, as arrays.
    """

    def __init__(self) -> None:
        self._frame = ''
        self._known: dict[KeyframeId, tuple[float, ...]] = {}

    def moved(self, path: Any, keyframes: Iterable[KeyframeId]) -> dict[KeyframeId, OptimizedPose]:
        """The optimised poses of those keyframes that have moved since the path before."""
        frame = path.header.frame_id or 'map'
        if frame != self._frame:
            self._frame, self._known = frame, {}
        keyframes, (stamps, poses) = list(keyframes), _arrays(path)
        known, places, turns = interpolated(
            stamps, poses[:, :3], poses[:, 3:], np.array([keyframe.stamp_ns for keyframe in keyframes], np.int64),
            max_gap=round(MAX_GAP_S * 1e9), max_extrapolation=round(MAX_EXTRAPOLATION_S * 1e9))
        before = np.array([self._known.get(keyframe, _UNKNOWN) for keyframe in keyframes]).reshape(-1, 7)
        same = ((np.abs(before[:, :3] - places).max(axis=1) <= MOVED)
                & (1.0 - np.abs((before[:, 3:] * turns).sum(axis=1)) <= MOVED))
        moved = {}
        for number in np.flatnonzero(known & ~same):
            self._known[keyframes[number]] = (*places[number].tolist(), *turns[number].tolist())
            moved[keyframes[number]] = OptimizedPose(Pose(places[number], turns[number], frame))
        return moved


def _arrays(path: Any) -> tuple[np.ndarray, np.ndarray]:
    """(n,) stamps in ascending order, nanoseconds, each once, and (n, 7) poses with unit quaternions."""
    stamps = np.array([stamp_ns(stamped) for stamped in path.poses], np.int64)
    poses = np.array([(place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w) for place, turn in (
        (stamped.pose.position, stamped.pose.orientation) for stamped in path.poses)]).reshape(-1, 7)
    lengths = np.linalg.norm(poses[:, 3:], axis=1)
    good = np.isfinite(poses).all(axis=1) & (lengths > 1e-6)
    if not good.all():
        logger.warning('%d of %d poses of the optimised path ignored: no finite numbers, or no unit quaternion',
                       len(good) - good.sum(), len(good))
    order = np.flatnonzero(good)[np.argsort(stamps[good], kind='stable')]
    order = order[np.append(np.diff(stamps[order]) != 0, True)] if len(order) else order
    poses[:, 3:] /= np.where(good, lengths, 1.0)[:, None]
    return stamps[order], poses[order]
