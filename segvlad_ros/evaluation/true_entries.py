"""Where the keyframes of a searched map truly are: the robot's base, and its cameras where there are several."""
from __future__ import annotations

import numpy as np

from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, truth_of_pose
from segvlad_ros.geometry import compose, distance, rotation_angle
from segvlad_ros.types import Keyframe, Pose, SegvladError

# Cameras nearer to each other than this, metres and radians, are one.
_SAME_M, _SAME_RAD = 0.05, 0.05


class TrueEntries:
    """The true poses of keyframes by their entries, counted from 0.

    Where all cameras sit at one place of the robot, poses of its base tell which keyframes show one place. Where they
    do not - several cameras, or another one than on the day of the map - those of the cameras do: a rear camera sees
    nothing of what the front camera sees, wherever the base is.

    :param limits: when two poses show one place
    :param several: the queries are of several cameras
    """

    def __init__(self, limits: PoseLimits, several: bool = False) -> None:
        self._limits, self._several = limits, several
        self._poses: list[Pose | None] = []
        self._views: list[Pose | None] = []
        self._mounts: list[Pose] = []

    def __len__(self) -> int:
        return len(self._poses)

    def __getitem__(self, entry: int) -> Pose | None:
        """The true pose of the base; None where it is not known."""
        return self._poses[entry]

    @property
    def unknown(self) -> int:
        """How many have no true pose."""
        return sum(pose is None for pose in self._poses)

    def add(self, keyframe: Keyframe, pose: Pose | None) -> None:
        """Append a keyframe with the true pose of the base."""
        mount = keyframe.base_from_camera
        self._poses.append(pose)
        self._views.append(None if pose is None or mount is None else compose(pose, mount))
        if mount is not None and not any(_same(mount, known) for known in self._mounts):
            self._mounts.append(mount)

    def truth(self, query: Keyframe, pose: Pose, usable: np.ndarray) -> PlaceTruth:
        """The truth about a query.

        :param pose: of its base
        :param usable: (entries,) bool, see :func:`~segvlad_ros.evaluation.truth.truth_of_pose`
        :raises SegvladError: there are several cameras, and nobody knows where that of the query sits
        """
        if self._limits == self._limits.by_distance():  # no matter which way anything looks
            return truth_of_pose(pose, self._poses, usable, self._limits)
        mount = query.base_from_camera
        several = self._several or len(self._mounts) > 1
        if several and mount is None:
            raise SegvladError(f'there are several cameras, and nothing tells where {query.frame_id!r} sits and which '
                               'way it looks: record /tf_static')
        if not several and all(mount is None or _same(mount, known) for known in self._mounts):
            return truth_of_pose(pose, self._poses, usable, self._limits)
        return truth_of_pose(compose(pose, mount), self._views, usable, self._limits)


def _same(one: Pose, other: Pose) -> bool:
    return distance(one, other) <= _SAME_M and rotation_angle(one, other) <= _SAME_RAD
