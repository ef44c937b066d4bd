"""What odometry knows of the way between two keyframes, and how far it may be wrong.

Odometry cannot prove that two images show one place, but it can refute it: a robot that has turned round and driven
20 metres does not look along the first of two twin corridors again, however much it seems so.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.io.geometry import to_matrix
from segvlad_ros.types import KeyframeId, Pose

# A difference of this many standard deviations refutes.
REFUTING_SIGMAS = 3.0
# Faster than this nothing drives that carries this package: odometry was restarted, or the robot was carried.
_MAX_SPEED_M_S = 40.0


@dataclass(frozen=True)
class Motion:
    """A relative pose and how far it may be wrong.

    :ivar matrix: (4, 4) float64, first_from_second, base frames, metres
    :ivar position_m: standard deviation of the position
    :ivar angle_rad: standard deviation of the orientation
    """

    matrix: np.ndarray
    position_m: float
    angle_rad: float

    def then(self, following: Motion) -> Motion:
        """One motion, and another one that begins where it ends."""
        lever = self.angle_rad * float(np.linalg.norm(following.matrix[:3, 3]))
        return Motion(self.matrix @ following.matrix, math.hypot(self.position_m, following.position_m, lever),
                      math.hypot(self.angle_rad, following.angle_rad))

    def difference(self, other: Motion) -> tuple[float, float]:
        """Metres and radians between two estimates of one relative pose."""
        between = np.linalg.inv(self.matrix) @ other.matrix
        cosine = float(np.clip((np.trace(between[:3, :3]) - 1) / 2, -1, 1))
        return float(np.linalg.norm(between[:3, 3])), math.acos(cosine)

    def agrees(self, other: Motion) -> bool:
        """Whether two estimates of one relative pose can both be right."""
        distance, angle = self.difference(other)
        return (distance <= REFUTING_SIGMAS * math.hypot(self.position_m, other.position_m)
                and angle <= REFUTING_SIGMAS * math.hypot(self.angle_rad, other.angle_rad))


@dataclass
class _Path:
    """One session; ``row`` finds a keyframe's place in the lists.

    :ivar length_m: travelled since the path began
    :ivar moment: integral of the position over the travelled length
    :ivar piece: counts the interruptions before it; there is no way from one piece to another
    """

    row: dict[int, int] = field(default_factory=dict)
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)
    length_m: list[float] = field(default_factory=list)
    moment: list[np.ndarray] = field(default_factory=list)
    piece: list[int] = field(default_factory=list)
    interrupted: bool = False


class OdometryPaths:
    """The odometry of every session, keyframe by keyframe.

    Errors are those of wheels: the length of the way is wrong by a share, and the heading drifts. A heading that drifts
    by b radians a metre turns the path about its own mean, so that after L metres the end is off by
    ``b L |end - mean position|``: much on a straight line, little on a way that winds about.

    :param heading_drift: radians a metre, standard deviation
    :param position_drift: metres a metre, standard deviation
    """

    def __init__(self, heading_drift: float, position_drift: float) -> None:
        self._heading_drift = heading_drift
        self._position_drift = position_drift
        self._paths: dict[tuple[int, str], _Path] = {}

    def add(self, identity: KeyframeId, pose: Pose | None) -> None:
        """Take the next keyframe of a session; one that is known already, or comes late, is passed over."""
        path = self._paths.setdefault((identity.robot_id, identity.session_id), _Path())
        if identity.index in path.row or (path.stamps_ns and identity.stamp_ns < path.stamps_ns[-1]):
            return
        if pose is None:
            path.interrupted = True
            return
        piece, length, moment = 0, 0.0, np.zeros(3)
        if path.poses:
            before = path.poses[-1]
            step = float(np.linalg.norm(pose.translation - before.translation))
            seconds = (identity.stamp_ns - path.stamps_ns[-1]) * 1e-9
            broken = (path.interrupted or pose.frame != before.frame
                      or step > _MAX_SPEED_M_S * max(seconds, 0.1))
            piece = path.piece[-1] + broken
            if not broken:
                length = path.length_m[-1] + step
                moment = path.moment[-1] + step * (pose.translation + before.translation) / 2
        path.interrupted = False
        path.row[identity.index] = len(path.poses)
        path.stamps_ns.append(identity.stamp_ns)
        path.poses.append(pose)
        path.length_m.append(length)
        path.moment.append(moment)
        path.piece.append(piece)

    def interrupt(self) -> None:
        """What comes is not connected with what was: the robot was carried."""
        for path in self._paths.values():
            path.interrupted = True

    def between(self, first: KeyframeId, second: KeyframeId) -> Motion | None:
        """``first_from_second`` by odometry; None where odometry does not connect them."""
        if (first.robot_id, first.session_id) != (second.robot_id, second.session_id):
            return None
        path = self._paths.get((first.robot_id, first.session_id))
        if path is None or first.index not in path.row or second.index not in path.row:
            return None
        a, b = path.row[first.index], path.row[second.index]
        if path.piece[a] != path.piece[b]:
            return None
        length = abs(path.length_m[b] - path.length_m[a])
        moment = (path.moment[b] - path.moment[a]) * (1 if b >= a else -1)
        swept = float(np.linalg.norm(length * path.poses[b].translation - moment))
        position = math.hypot(self._heading_drift * swept, self._position_drift * length)
        matrix = np.linalg.inv(to_matrix(path.poses[a])) @ to_matrix(path.poses[b])
        return Motion(matrix, position, self._heading_drift * length)
