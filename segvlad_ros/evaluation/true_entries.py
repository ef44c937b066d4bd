"""Which keyframes of a searched map truly show a query's place: by where robots were, or where their cameras looked."""
from __future__ import annotations

import numpy as np

from segvlad_ros.evaluation.true_poses import TruePose
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, truth_of_pose
from segvlad_ros.geometry import distance, rotation_angle
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
        self._bases: list[Pose | None] = []
        self._views: list[Pose | None] = []
        self._mounts: list[Pose | None] = []  # different ones

    def base(self, entry: int) -> Pose | None:
        """The true pose of the base; None where it is not known."""
        return self._bases[entry]

    @property
    def unknown(self) -> int:
        """How many have no true pose."""
        return sum(base is None and view is None for base, view in zip(self._bases, self._views))

    def add(self, keyframe: Keyframe, true: TruePose | None) -> None:
        """Append a keyframe with its true pose, if that is known."""
        base, view = true or (None, None)
        self._bases.append(base)
        self._views.append(view)
        if not any(_same(keyframe.base_from_camera, known) for known in self._mounts):
            self._mounts.append(keyframe.base_from_camera)

    def truth(self, query: Keyframe, true: TruePose, usable: np.ndarray) -> PlaceTruth:
        """The truth about a query.

        :param usable: (entries,) bool, see :func:`~segvlad_ros.evaluation.truth.truth_of_pose`
        :raises SegvladError: cameras sit at different places, or one truth is of the base and the other of the camera,
            and nobody knows where the camera sits
        """
        pairs = [(true.base, self._bases), (true.view, self._views)]
        if self._limits != self._limits.by_distance():
            one_camera = not self._several and all(_same(query.base_from_camera, known) for known in self._mounts)
            pairs = pairs if one_camera else pairs[1:]
        for pose, others in pairs:
            if pose is not None and (self.unknown == len(others) or any(other is not None for other in others)):
                return truth_of_pose(pose, others, usable, self._limits)
        raise SegvladError(f'nothing tells where camera {query.frame_id!r} sits and which way it looks, or the same of '
                           "the map's: record /tf_static on both days, or give both truths of the camera")


def _same(one: Pose | None, other: Pose | None) -> bool:
    if one is None or other is None:
        return one is other
    return distance(one, other) <= _SAME_M and rotation_angle(one, other) <= _SAME_RAD
