"""The poses a SLAM back-end has optimised, given to the keyframes of a map."""
from __future__ import annotations

import logging
from typing import Any

import numpy as np

from segvlad_ros.io.geometry import PoseHistory
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.conversions import from_pose
from segvlad_ros.ros.stamp_cache import stamp_ns
from segvlad_ros.types import KeyframeId, Pose, SegvladError

logger = logging.getLogger(__name__)

MAX_GAP_S = 2.0  # back-ends keep a node every second or metre; across longer gaps a straight line would be a guess
MOVED = 1e-3  # metres, and units of a quaternion; smaller corrections are not written


class OptimizedPath:
    """Follows a nav_msgs/Path of base poses and stores what has moved.

    Poses are matched by stamp, the only key that every back-end has, and interpolated between the path's nodes.
    """

    def __init__(self) -> None:
        self._stored: dict[KeyframeId, Pose] = {}

    def apply(self, path: Any, place_map: PlaceMap) -> int:
        """Give the map's keyframes their optimised poses.

        :param path: nav_msgs/Path
        :return: number of keyframes that were moved
        :raises SegvladError: the map cannot be written
        """
        history = PoseHistory(max_gap_s=MAX_GAP_S)
        for stamped in path.poses:
            try:
                history.add(stamp_ns(stamped), from_pose(stamped.pose, path.header.frame_id or 'map'))
            except SegvladError as error:
                logger.warning('pose of the optimised path ignored: %s', error)
        found = {identity: history.at(identity.stamp_ns) for identity in place_map.ids()}
        moved = {identity: pose for identity, pose in found.items()
                 if pose is not None and self._has_moved(self._stored.get(identity), pose)}
        self._stored.update(moved)
        return place_map.update_poses(moved) if moved else 0

    @staticmethod
    def _has_moved(before: Pose | None, now: Pose) -> bool:
        return before is None or before.frame != now.frame or max(
            np.abs(before.translation - now.translation).max(),
            1.0 - abs(float(before.quaternion @ now.quaternion))) > MOVED
