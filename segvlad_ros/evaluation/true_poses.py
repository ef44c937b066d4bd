"""True poses at the stamps of keyframes, also where truth comes more rarely than odometry does."""
from __future__ import annotations

import bisect
import math
from pathlib import Path

from segvlad_ros.geometry import PoseHistory, distance, rotation_angle
from segvlad_ros.io.bags import read_poses
from segvlad_ros.types import Pose, SegvladError

DENSE_S = 0.5
SPARSE_S, SPARSE_M, SPARSE_RAD = 2.0, 3.0, math.radians(60)
"""Between two true poses further apart than :data:`DENSE_S` a straight line is taken up to this time, way and turn.

A robot that drives an arc of 3 m and 60 degrees is at most way x angle / 8 = 0.4 m beside its chord, one that speeds up
by 1 m/s^2 for 2 s at most a t^2 / 8 = 0.5 m behind or before: half the distance within which two poses are one place.
"""


class TruePoses:
    """The true poses of a topic of a bag.

    :ivar stamps: (n,) int64 nanoseconds, ascending
    :raises SegvladError: no bag, or no poses on that topic
    """

    def __init__(self, path: str | Path, topic: str) -> None:
        self.stamps, self._poses = read_poses(path, topic)
        if not self._poses:
            raise SegvladError(f'{path}: no message on {topic} is a pose (NaN, or a rotation that is none)')
        self._dense, self._sparse = PoseHistory(max_gap_s=DENSE_S), PoseHistory(max_gap_s=SPARSE_S)
        for stamp, pose in zip(self.stamps, self._poses):
            self._dense.add(int(stamp), pose)
            self._sparse.add(int(stamp), pose)

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp; None where it would be a guess."""
        pose = self._dense.at(stamp_ns)
        after = bisect.bisect_left(self.stamps, stamp_ns)
        if pose is not None or not 0 < after < len(self._poses):
            return pose
        begin, end = self._poses[after - 1], self._poses[after]
        near = distance(begin, end) <= SPARSE_M and rotation_angle(begin, end) <= SPARSE_RAD
        return self._sparse.at(stamp_ns) if near else None
