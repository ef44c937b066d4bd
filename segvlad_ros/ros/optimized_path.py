"""The poses a SLAM back-end has optimised, for the keyframes of a map."""
from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from segvlad_ros.geometry import PoseHistory
from segvlad_ros.ros.conversions import from_pose
from segvlad_ros.ros.stamp_cache import stamp_ns
from segvlad_ros.types import KeyframeId, OptimizedPose, Pose, SegvladError

logger = logging.getLogger(__name__)

MAX_GAP_S = 2.0  # back-ends keep a node every second or metre; across longer gaps a straight line would be a guess
MOVED = 1e-3  # metres, and units of a quaternion; smaller corrections are not written


class OptimizedPath:
    """Follows a nav_msgs/Path of base poses and says which keyframes have moved.

    Poses are matched by stamp, the only key that every back-end has, and interpolated between the path's nodes.
    """

    def __init__(self) -> None:
        self._known: dict[KeyframeId, Pose] = {}

    def moved(self, path: Any, keyframes: Iterable[KeyframeId]) -> dict[KeyframeId, OptimizedPose]:
        """The optimised poses of those keyframes that have moved since the path before.

        :param path: nav_msgs/Path
        """
        history = PoseHistory(max_gap_s=MAX_GAP_S)
        for stamped in path.poses:
            try:
                history.add(stamp_ns(stamped), from_pose(stamped.pose, path.header.frame_id or 'map'))
            except SegvladError as error:
                logger.warning('pose of the optimised path ignored: %s', error)
        keyframes = list(keyframes)
        found = zip(keyframes, history.at_many([identity.stamp_ns for identity in keyframes]))
        moved = {identity: pose for identity, pose in found
                 if pose is not None and self._has_moved(self._known.get(identity), pose)}
        self._known.update(moved)
        return {identity: OptimizedPose(pose) for identity, pose in moved.items()}

    @staticmethod
    def _has_moved(before: Pose | None, now: Pose) -> bool:
        return before is None or before.frame != now.frame or max(
            np.abs(before.translation - now.translation).max(),
            1.0 - abs(float(before.quaternion @ now.quaternion))) > MOVED
