"""What odometry knows of the way between two keyframes, and how far it may be wrong.

Odometry cannot prove that two images show one place, but it can refute it: a robot that has turned round and driven
20 metres does not look along the first of two twin corridors again, however much it seems so.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.geometry import angle_of, to_matrix
from segvlad_ros.settings import setting
from segvlad_ros.types import KeyframeId, Pose

# Estimates further apart than this many standard deviations cannot both be right.
REFUTING_SIGMAS = 3.0
# Faster than this nothing drives that carries this package: odometry was restarted, or the robot was carried.
_MAX_SPEED_M_S = 40.0
# Odometry that has drifted further than this rules little out, and what it allows is no support.
_USEFUL_POSITION_M = 4.0
_USEFUL_ANGLE_RAD = math.radians(30)


@dataclass(frozen=True)
class OdometrySettings:
    """How far odometry may be wrong, as standard deviations; three of them refute a match.

    :ivar drift_m_per_m: error of the travelled length, metres a metre; larger: odometry contradicts less, and keyframes
        count as near each other over a shorter way
    :ivar drift_rad_per_m: error of the heading, radians a metre; likewise
    """

    drift_m_per_m: float = setting(0.05, low=0.0, high=1.0)
    drift_rad_per_m: float = setting(0.0087, low=0.0, high=1.6)


@dataclass(frozen=True)
class Motion:
    """A relative pose and how far it may be wrong; or a stack of n of them, which all operations take as well.

    :ivar matrix: (4, 4) or (n, 4, 4) float64, first_from_second, base frames, metres
    :ivar position_m: standard deviation of the position
    :ivar angle_rad: standard deviation of the orientation
    """

    matrix: np.ndarray
    position_m: float | np.ndarray
    angle_rad: float | np.ndarray

    @property
    def useful(self) -> bool | np.ndarray:
        """Whether it is known well enough to support anything."""
        return (self.position_m <= _USEFUL_POSITION_M) & (self.angle_rad <= _USEFUL_ANGLE_RAD)

    def then(self, following: Motion) -> Motion:
        """One motion, and another one that begins where it ends."""
        lever = self.angle_rad * np.linalg.norm(following.matrix[..., :3, 3], axis=-1)
        return Motion(self.matrix @ following.matrix, np.hypot(np.hypot(self.position_m, following.position_m), lever),
                      np.hypot(self.angle_rad, following.angle_rad))

    def difference(self, other: Motion) -> tuple[float | np.ndarray, float | np.ndarray]:
        """Metres and radians between two estimates of one relative pose."""
        between = np.linalg.inv(self.matrix) @ other.matrix
        return np.linalg.norm(between[..., :3, 3], axis=-1), angle_of(between)

    def sigmas(self, other: Motion) -> float | np.ndarray:
        """How far two estimates of one relative pose lie apart, in standard deviations of their difference.

        Position and orientation are compared each for itself; the larger one counts.
        """
        distance, angle = self.difference(other)
        return np.maximum(distance / np.maximum(np.hypot(self.position_m, other.position_m), 1e-9),
                          angle / np.maximum(np.hypot(self.angle_rad, other.angle_rad), 1e-9))

    def agrees(self, other: Motion) -> bool | np.ndarray:
        """Whether two estimates of one relative pose can both be right."""
        return self.sigmas(other) <= REFUTING_SIGMAS


@dataclass(frozen=True)
class OdometryMark:
    """Where a keyframe lies on an unbroken run of odometry; or a stack of n keyframes.

    :ivar run: number of the run; there is no way from one run to another
    :ivar base: (4, 4) or (n, 4, 4) pose of the base, as measured
    :ivar length_m: travelled since the run began
    :ivar moment: (3,) or (n, 3) integral of the position over the travelled length
    """

    run: int | np.ndarray
    base: np.ndarray
    length_m: float | np.ndarray = 0.0
    moment: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @classmethod
    def stack(cls, marks: Sequence[OdometryMark | None]) -> OdometryMark:
        """Several marks as one; what has no odometry is on run -1, which is not a run."""
        known = [cls(-1, np.eye(4)) if mark is None else mark for mark in marks]
        return cls(*(np.array([getattr(mark, name) for mark in known])
                     for name in ('run', 'base', 'length_m', 'moment')))


def way(first: OdometryMark, second: OdometryMark, drift: OdometrySettings) -> Motion:
    """``first_from_second`` by odometry, of marks on one run."""
    length = np.subtract(second.length_m, first.length_m)
    return Motion(np.linalg.inv(first.base) @ second.base,
                  position_error(length, second.base[..., :3, 3], second.moment - first.moment, drift),
                  drift.drift_rad_per_m * np.abs(length))


def position_error(length_m: np.ndarray, end: np.ndarray, moment: np.ndarray, drift: OdometrySettings) -> np.ndarray:
    """Standard deviation of the position after a way, metres.

    Errors are those of wheels: the length of the way is wrong by a share, and the heading drifts. A heading that drifts
    by b radians a metre turns the path about its own mean, so that after L metres the end is off by
    ``b L |end - mean position|``: much on a straight line, little on a way that winds about.

    :param length_m: (...) of the way
    :param end: (..., 3) position
    :param moment: (..., 3) integral of the position over the way's length
    """
    swept = np.linalg.norm(np.expand_dims(length_m, -1) * end - moment, axis=-1)
    return np.hypot(drift.drift_rad_per_m * swept, drift.drift_m_per_m * length_m)


def between(first: OdometryMark | None, second: OdometryMark | None, drift: OdometrySettings) -> Motion | None:
    """``first_from_second`` of two keyframes, None where odometry does not connect them."""
    return None if first is None or second is None or first.run != second.run else way(first, second, drift)


@dataclass
class _Session:
    """The end of one session's odometry; ``ahead`` is the newest keyframe that was asked about ahead of it."""

    index: int = 0
    ahead: int = 0
    stamp_ns: int = 0
    frame: str = ''
    mark: OdometryMark | None = None
    interrupted: bool = True


class OdometryTracks:
    """Follows the odometry of every session, and keeps no more than its end."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, str], _Session] = {}
        self._runs = 0

    def mark(self, identity: KeyframeId, pose: Pose | None, ahead: bool = False) -> OdometryMark | None:
        """Take the next keyframe of a session.

        :param ahead: keyframes before it are still to come, and it comes again after them: how far the robot has
            travelled is not known yet
        :return: its mark, also when the same keyframe comes again; None without odometry, or where it comes late or
            ahead
        """
        session = self._sessions.setdefault(identity.session, _Session())
        if ahead:
            session.ahead = max(session.ahead, identity.index)
            return None
        if identity.index == session.index:
            return None if session.interrupted else session.mark
        if session.index and (identity.stamp_ns < session.stamp_ns or identity.index < session.index):
            return None
        before, seconds = session.mark, (identity.stamp_ns - session.stamp_ns) * 1e-9
        session.index, session.stamp_ns = identity.index, identity.stamp_ns
        if pose is None:
            session.interrupted = True
            return None
        base = to_matrix(pose)
        step = 0.0 if before is None else float(np.linalg.norm(base[:3, 3] - before.base[:3, 3]))
        if (session.interrupted or before is None or pose.frame != session.frame
                or step > _MAX_SPEED_M_S * max(seconds, 0.1)):
            self._runs += 1
            session.mark = OdometryMark(self._runs, base)
        else:
            middle = (base[:3, 3] + before.base[:3, 3]) / 2
            session.mark = OdometryMark(before.run, base, before.length_m + step, before.moment + step * middle)
        session.frame, session.interrupted = pose.frame, False
        return session.mark

    def interrupt(self) -> None:
        """What comes is not connected with what was: the robot was carried, or the clock jumped."""
        for session in self._sessions.values():
            session.interrupted = True
            session.index = max(session.index, session.ahead)  # what comes late lies before the interruption
