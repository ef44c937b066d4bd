"""Algebra of rigid transforms on :class:`~segvlad_ros.types.Pose`.

A pose is ``a_from_b``; its ``frame`` names a. Quaternions are x y z w. Operations that combine two poses drop the
covariance (6 x 6, x y z roll pitch yaw).
"""
from __future__ import annotations

import bisect
import math

import numpy as np

from segvlad_ros.types import Pose, SegvladError


def identity(frame: str = '') -> Pose:
    """The transform that changes nothing."""
    return Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), frame)


def unit_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Normalise a quaternion.

    :param quaternion: (4,) x y z w of any positive length
    :returns: (4,) float64 of length 1
    :raises SegvladError: all zero, as an unfilled ROS message has it, or not finite
    """
    values = np.asarray(quaternion, np.float64).reshape(4)
    norm = float(np.linalg.norm(values))
    if not math.isfinite(norm) or norm < 1e-6:
        raise SegvladError(f'quaternion {values.tolist()} is no rotation; publish a unit quaternion (x y z w)')
    return values / norm


def is_finite(pose: Pose) -> bool:
    """Whether all numbers of the pose's translation and rotation are finite."""
    return bool(np.isfinite(pose.translation).all() and np.isfinite(pose.quaternion).all())


def _rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    x, y, z, w = unit_quaternion(quaternion)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])


def _quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Quaternion x y z w, w >= 0, of a rotation matrix, by way of its largest component."""
    r = rotation
    squares = np.array([1 + r[0, 0] - r[1, 1] - r[2, 2], 1 - r[0, 0] + r[1, 1] - r[2, 2],
                        1 - r[0, 0] - r[1, 1] + r[2, 2], 1 + np.trace(r)])
    products = np.array([[0, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
                         [r[0, 1] + r[1, 0], 0, r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
                         [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 0, r[1, 0] - r[0, 1]],
                         [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 0]])
    largest = int(np.argmax(squares))
    quaternion = products[largest].copy()
    quaternion[largest] = squares[largest]
    quaternion = unit_quaternion(quaternion)
    return -quaternion if quaternion[3] < 0 else quaternion


def to_matrix(pose: Pose) -> np.ndarray:
    """The (4, 4) float64 homogeneous matrix of a pose."""
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation_matrix(pose.quaternion)
    matrix[:3, 3] = pose.translation
    return matrix


def from_matrix(matrix: np.ndarray, frame: str = '', covariance: np.ndarray | None = None) -> Pose:
    """The pose of a (4, 4) homogeneous matrix with a proper rotation."""
    matrix = np.asarray(matrix, np.float64)
    return Pose(matrix[:3, 3].copy(), _quaternion_of(matrix[:3, :3]), frame, covariance)


def _multiply(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product of two quaternions x y z w."""
    px, py, pz, pw = p
    qx, qy, qz, qw = q
    return np.array([pw * qx + px * qw + py * qz - pz * qy,
                     pw * qy - px * qz + py * qw + pz * qx,
                     pw * qz + px * qy - py * qx + pz * qw,
                     pw * qw - px * qx - py * qy - pz * qz])


def compose(a_from_b: Pose, b_from_c: Pose) -> Pose:
    """``a_from_c``, in the frame of ``a_from_b``."""
    translation = a_from_b.translation + _rotation_matrix(a_from_b.quaternion) @ b_from_c.translation
    return Pose(translation, unit_quaternion(_multiply(a_from_b.quaternion, b_from_c.quaternion)), a_from_b.frame)


def inverse(a_from_b: Pose, frame: str = '') -> Pose:
    """``b_from_a``.

    :param frame: name of b, which a pose does not know
    """
    x, y, z, w = unit_quaternion(a_from_b.quaternion)
    return Pose(-(_rotation_matrix(a_from_b.quaternion).T @ a_from_b.translation), np.array([-x, -y, -z, w]), frame)


def relative(world_from_a: Pose, world_from_b: Pose, frame: str = '') -> Pose:
    """``a_from_b`` of two poses in one frame.

    :param frame: name of a
    """
    return compose(inverse(world_from_a, frame), world_from_b)


def distance(first: Pose, second: Pose) -> float:
    """Metres between the origins of two poses in one frame."""
    return float(np.linalg.norm(np.subtract(second.translation, first.translation)))


def rotation_angle(first: Pose, second: Pose) -> float:
    """Angle of the rotation between two poses in one frame, radians in [0, pi]."""
    p, q = unit_quaternion(first.quaternion), unit_quaternion(second.quaternion)
    # by chord, since arccos of the dot product loses all digits at small angles
    chord = min(np.linalg.norm(p - q), np.linalg.norm(p + q))
    return float(4 * math.asin(min(1.0, chord / 2)))


def interpolate(first: Pose, second: Pose, fraction: float) -> Pose:
    """The pose at ``fraction`` of the way from first (0) to second (1): straight line and shortest rotation.

    The covariance is that of the nearer end.
    """
    p, q = unit_quaternion(first.quaternion), unit_quaternion(second.quaternion)
    if p @ q < 0:
        q = -q
    angle = 2 * math.asin(min(1.0, float(np.linalg.norm(p - q)) / 2))
    if angle < 1e-6:
        rotation = (1 - fraction) * p + fraction * q
    else:
        rotation = (math.sin((1 - fraction) * angle) * p + math.sin(fraction * angle) * q) / math.sin(angle)
    translation = (1 - fraction) * np.asarray(first.translation) + fraction * np.asarray(second.translation)
    covariance = first.covariance if fraction < 0.5 else second.covariance
    return Pose(translation, unit_quaternion(rotation), first.frame, covariance)


class PoseHistory:
    """Stamped poses of one frame, e.g. odometry, asked for the pose at an image's stamp. Not thread-safe.

    :param max_entries: the oldest poses beyond this number are forgotten; None keeps all
    :param max_gap_s: two neighbours further apart than this are not interpolated
    :param max_extrapolation_s: how far beyond the first or last pose that pose is still returned, unchanged
    """

    def __init__(self, max_entries: int | None = None, max_gap_s: float = 0.5, max_extrapolation_s: float = 0.05):
        self._max_entries = max_entries
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._max_extrapolation_ns = round(max_extrapolation_s * 1e9)
        self._stamps: list[int] = []
        self._poses: list[Pose] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, pose: Pose) -> None:
        """Store a pose; one with the same stamp is replaced, late ones are sorted in."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            self._poses[at] = pose
            return
        self._stamps.insert(at, stamp_ns)
        self._poses.insert(at, pose)
        if self._max_entries is not None and len(self._stamps) > self._max_entries:
            del self._stamps[0], self._poses[0]

    def clear(self) -> None:
        """Forget all, e.g. after the clock jumped."""
        self._stamps.clear()
        self._poses.clear()

    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest pose, or None."""
        return self._stamps[-1] if self._stamps else None

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp, interpolated between its neighbours; None where that would be a guess."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            return self._poses[at]
        if 0 < at < len(self._stamps):
            before, after = self._stamps[at - 1], self._stamps[at]
            if after - before <= self._max_gap_ns and self._poses[at - 1].frame == self._poses[at].frame:
                return interpolate(self._poses[at - 1], self._poses[at], (stamp_ns - before) / (after - before))
        near = [i for i in (at - 1, at) if 0 <= i < len(self._stamps)
                and abs(self._stamps[i] - stamp_ns) <= self._max_extrapolation_ns]
        return self._poses[min(near, key=lambda i: abs(self._stamps[i] - stamp_ns))] if near else None


class StaticTransforms:
    """A tree of fixed transforms as ``/tf_static`` gives it."""

    def __init__(self):
        self._parents: dict[str, Pose] = {}

    def add(self, parent_from_child: Pose, child: str) -> None:
        """Store one transform; a second one for the same child replaces the first.

        :param parent_from_child: its ``frame`` names the parent
        """
        self._parents[child.lstrip('/')] = parent_from_child

    def _chain(self, frame: str) -> dict[str, Pose]:
        """``ancestor -> ancestor_from_frame`` for the frame itself and all its ancestors."""
        chain = {frame: identity(frame)}
        while (step := self._parents.get(frame)) is not None:
            parent = step.frame.lstrip('/')
            if parent in chain:  # a loop is no tree; what was reached so far still holds
                break
            chain[parent] = compose(Pose(step.translation, step.quaternion, parent), chain[frame])
            frame = parent
        return chain

    def lookup(self, target: str, source: str) -> Pose | None:
        """``target_from_source`` with ``frame`` = target, or None when the two are not connected."""
        target, source = target.lstrip('/'), source.lstrip('/')
        from_target, from_source = self._chain(target), self._chain(source)
        common = next((frame for frame in from_source if frame in from_target), None)
        return None if common is None else relative(from_target[common], from_source[common], target)
