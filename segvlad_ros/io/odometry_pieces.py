"""Odometry as it comes from a robot, in unbroken pieces: a driver that starts again from zero begins a new one."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from segvlad_ros.geometry import PoseHistory, distance, rotation_angle
from segvlad_ros.types import Pose

# What a robot may do beyond going on as before; odometry that does more has leapt (REP 105: it never does). A position
# that is corrected by this little is not a leap, a heading neither.
_LEAP_M, _LEAP_RAD = 0.5, 0.5
_ACCELERATION_M_S2, _TURN_RAD_S = 10.0, 10.0
# Nothing that carries this package is faster; counts where the speed before is not known.
_SPEED_M_S = 40.0


@dataclass
class _Piece:
    """Unbroken odometry of one child frame.

    :ivar number: counts from 0
    :ivar speed_m_s: over the last step, None before there was one
    """

    number: int
    start_ns: int
    child: str
    history: PoseHistory
    newest: Pose
    speed_m_s: float | None = None


@dataclass(frozen=True)
class OdometryPose:
    """What odometry says at a moment.

    :ivar child: frame whose pose it is, as the message calls it; '' if it does not
    :ivar piece: number of its unbroken piece; poses of two pieces say nothing about each other
    """

    pose: Pose
    child: str
    piece: int


class OdometryPieces:
    """Stamped odometry, asked for the pose at an image's stamp. Not thread-safe.

    :param max_entries: poses of a piece, and pieces, that are kept; None keeps all
    :param max_gap_s: two neighbours further apart than this are not interpolated
    """

    def __init__(self, max_entries: int | None = None, max_gap_s: float = 0.5) -> None:
        self._max_entries, self._max_gap_s = max_entries, max_gap_s
        self._pieces: deque[_Piece] = deque(maxlen=max_entries)
        self._count = 0

    def add(self, stamp_ns: int, pose: Pose, child: str = '') -> bool:
        """Take a pose; late ones are sorted in.

        :return: whether it begins a new piece, and is not the first
        """
        piece = self._pieces[-1] if self._pieces else None
        newest_ns = self.newest_stamp_ns()
        if piece is not None and stamp_ns <= newest_ns:
            self._of(stamp_ns).history.add(stamp_ns, pose)
            return False
        seconds = 0.0 if piece is None else (stamp_ns - newest_ns) * 1e-9
        if piece is None or _leaps(piece, pose, child, seconds):
            self._pieces.append(_Piece(self._count, stamp_ns, child, PoseHistory(self._max_entries, self._max_gap_s),
                                       pose))
            self._count += 1
        else:
            piece.speed_m_s = distance(piece.newest, pose) / seconds
        self._pieces[-1].newest = pose
        self._pieces[-1].history.add(stamp_ns, pose)
        return piece is not None and piece is not self._pieces[-1]

    def at(self, stamp_ns: int) -> OdometryPose | None:
        """What odometry says at a stamp, interpolated within one piece; None where that would be a guess."""
        if not self._pieces:
            return None
        piece = self._of(stamp_ns)
        pose = piece.history.at(stamp_ns)
        return None if pose is None else OdometryPose(pose, piece.child, piece.number)

    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest pose, or None."""
        return self._pieces[-1].history.newest_stamp_ns() if self._pieces else None

    def clear(self) -> None:
        """Forget all, e.g. after the clock jumped; what comes is another piece."""
        self._pieces.clear()

    def _of(self, stamp_ns: int) -> _Piece:
        """The piece that a stamp belongs to."""
        return next((piece for piece in reversed(self._pieces) if piece.start_ns <= stamp_ns), self._pieces[0])


def _leaps(piece: _Piece, pose: Pose, child: str, seconds: float) -> bool:
    """Whether a pose does not go on from a piece: further off than brakes, engine and steering can bring the robot."""
    if pose.frame != piece.newest.frame or child != piece.child:
        return True
    moved = distance(piece.newest, pose)
    if rotation_angle(piece.newest, pose) > _LEAP_RAD + _TURN_RAD_S * seconds:
        return True
    if piece.speed_m_s is None:
        return moved > _LEAP_M + _SPEED_M_S * seconds
    # after a long gap the speed before says more than what an engine could have done meanwhile
    faster_m = min(_ACCELERATION_M_S2 * seconds ** 2 / 2, (piece.speed_m_s + 1.0) * seconds)
    return moved > _LEAP_M + piece.speed_m_s * seconds + faster_m
