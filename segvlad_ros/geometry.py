"""Rigid transforms: poses, their Lie algebra, their covariances, and what is asked of many of them.

A pose is ``a_from_b``; its ``frame`` names a. Quaternions are x y z w. A small motion x, a twist, is a translation (3)
and a rotation vector (3). Covariances are (6, 6) with the translation first, and there are two kinds of them:

- of a :class:`~segvlad_ros.types.Pose`, as geometry_msgs/PoseWithCovariance has it: errors x y z and rotations about
  x y z, all in the fixed axes of a;
- in the tangent space, as optimisers (GTSAM, g2o) take it: of x in ``a_from_b exp(x)``, in the axes of b.

Operations that combine two poses drop the covariance.
"""
from __future__ import annotations

import bisect
import math

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from segvlad_ros.types import Pose, SegvladError

_BASES = 'base_link', 'base_footprint'


def identity(frame: str = '') -> Pose:
    """The transform that changes nothing."""
    return Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), frame)


def unit_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """(4,) float64 of length 1 of an x y z w of any length; zeros, as in an unfilled message, raise SegvladError."""
    values = np.asarray(quaternion, np.float64).reshape(4)
    norm = float(np.linalg.norm(values))
    if not math.isfinite(norm) or norm < 1e-6:
        raise SegvladError(f'quaternion {values.tolist()} is not a rotation; publish a unit quaternion (x y z w)')
    return values / norm


def is_finite(pose: Pose) -> bool:
    """Whether all numbers of the pose's translation and rotation are finite."""
    return bool(np.isfinite(pose.translation).all() and np.isfinite(pose.quaternion).all())


def sound_pose(pose: Pose) -> Pose:
    """A pose with a quaternion of length 1, and float64 arrays of the shapes that it should have.

    :raises SegvladError: no pose, numbers that are not finite or too few, zeros for a quaternion
    """
    if not isinstance(pose, Pose):
        raise SegvladError(f'a pose is a segvlad_ros.types.Pose, not {type(pose).__name__}')
    translation, quaternion = np.asarray(pose.translation, np.float64), np.asarray(pose.quaternion, np.float64)
    covariance = None if pose.covariance is None else np.asarray(pose.covariance, np.float64)
    shapes = translation.shape, quaternion.shape, (6, 6) if covariance is None else covariance.shape
    if shapes != ((3,), (4,), (6, 6)):
        raise SegvladError(f'a pose has 3 numbers of translation, 4 of quaternion and 6 x 6 of covariance, not '
                           f'{shapes}')
    if not np.isfinite(translation).all():
        raise SegvladError(f'a pose with numbers that are not finite (NaN or infinite): {translation.tolist()}')
    return Pose(translation, unit_quaternion(quaternion), pose.frame, covariance)


def _rotation(pose: Pose) -> Rotation:
    return Rotation.from_quat(unit_quaternion(pose.quaternion))


def to_matrix(pose: Pose) -> np.ndarray:
    """The (4, 4) float64 homogeneous matrix of a pose."""
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(pose).as_matrix()
    matrix[:3, 3] = pose.translation
    return matrix


def from_matrix(matrix: np.ndarray, frame: str = '', covariance: np.ndarray | None = None) -> Pose:
    """The pose of a (4, 4) homogeneous matrix with a proper rotation; of its two quaternions the one with w >= 0.

    :raises SegvladError: not finite
    """
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all():
        raise SegvladError(f'matrix {matrix.tolist()} is not a rigid transform: not finite')
    quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    return Pose(matrix[:3, 3].copy(), quaternion, frame, covariance)


def compose(a_from_b: Pose, b_from_c: Pose) -> Pose:
    """``a_from_c``, in the frame of ``a_from_b``."""
    turn = _rotation(a_from_b)
    return Pose(a_from_b.translation + turn.apply(b_from_c.translation), (turn * _rotation(b_from_c)).as_quat(),
                a_from_b.frame)


def inverse(a_from_b: Pose, frame: str = '') -> Pose:
    """``b_from_a``; ``frame`` names b, which a pose does not know."""
    back = _rotation(a_from_b).inv()
    return Pose(-back.apply(a_from_b.translation), back.as_quat(), frame)


def relative(world_from_a: Pose, world_from_b: Pose, frame: str = '') -> Pose:
    """``a_from_b`` of two poses in one frame; ``frame`` names a."""
    return compose(inverse(world_from_a, frame), world_from_b)


def distance(first: Pose, second: Pose) -> float:
    """Metres between the origins of two poses in one frame."""
    return float(np.linalg.norm(np.subtract(second.translation, first.translation)))


def rotation_angle(first: Pose, second: Pose) -> float:
    """Angle of the rotation between two poses in one frame, radians in [0, pi]."""
    return float((_rotation(first).inv() * _rotation(second)).magnitude())


def angle_of(matrix: np.ndarray) -> np.ndarray | float:
    """Radians in [0, pi] of one or n (3, 3) or (4, 4) matrices; unlike the arccosine of the trace precise near 0."""
    return Rotation.from_matrix(np.asarray(matrix)[..., :3, :3]).magnitude()


def exponential(twist: np.ndarray) -> np.ndarray:
    """(4, 4) of a small motion (6,): the translation as it is, and the exponential of the rotation.

    Equal to the exponential of SE(3) to first order, which is all that covariances and least squares need.
    """
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec(twist[3:]).as_matrix(), twist[:3]
    return motion


def adjoint(pose: np.ndarray) -> np.ndarray:
    """(6, 6) with ``pose exp(x) pose^-1 = exp(adjoint x)`` of a (4, 4) pose, translation first."""
    rotation, result = pose[:3, :3], np.zeros((6, 6))
    result[:3, :3] = result[3:, 3:] = rotation
    result[:3, 3:] = skew(pose[:3, 3]) @ rotation
    return result


def skew(vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) matrices of the cross product with (..., 3) vectors."""
    result = np.zeros((*vectors.shape, 3))
    result[..., 2, 1], result[..., 0, 2], result[..., 1, 0] = np.moveaxis(vectors, -1, 0)
    return result - np.swapaxes(result, -1, -2)


def turn_covariance(covariance: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(6, 6) covariance in other axes, by the (3, 3) rotation ``new_from_old``."""
    axes = np.kron(np.eye(2), rotation)
    turned = axes @ covariance @ axes.T
    return (turned + turned.T) / 2


def check_covariance(covariance: np.ndarray) -> None:
    """Refuse what is not a covariance: (6, 6), finite, and without negative variances beyond rounding.

    :raises SegvladError: it is none
    """
    table = np.asarray(covariance, np.float64)
    if table.shape != (6, 6) or not np.isfinite(table).all():
        raise SegvladError('a covariance that is not 6 x 6 finite numbers')
    variances = np.linalg.eigvalsh((table + table.T) / 2)
    if variances[0] < -1e-6 * max(variances[-1], 1e-9):
        raise SegvladError('a covariance with a negative variance')


def tangent_covariance(pose: Pose) -> np.ndarray:
    """(6, 6) in the tangent space, of a pose that has a covariance."""
    return turn_covariance(pose.covariance, to_matrix(pose)[:3, :3].T)


def from_tangent(matrix: np.ndarray, tangent: np.ndarray, frame: str = '') -> Pose:
    """The pose of a (4, 4) matrix whose (6, 6) covariance is given in the tangent space."""
    return from_matrix(matrix, frame, turn_covariance(tangent, matrix[:3, :3]))


def rotation_first(covariance: np.ndarray) -> np.ndarray:
    """GTSAM's order of a (6, 6) covariance, or back: the (3, 3) blocks of translation and rotation change places."""
    order = [3, 4, 5, 0, 1, 2]
    return covariance[np.ix_(order, order)]


def interpolated(stamps: np.ndarray, translations: np.ndarray, quaternions: np.ndarray, wanted: np.ndarray, *,
                 max_gap: int | np.ndarray, max_extrapolation: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses of one frame at other stamps: straight lines and shortest rotations between neighbours.

    :param stamps: (n,) int64, ascending, any unit; translations (n, 3), quaternions (n, 4) belong to them
    :param wanted: (k,) int64
    :param max_gap: two neighbours further apart than this are not interpolated; one number, or (k,)
    :param max_extrapolation: how far from a pose that pose is still returned, unchanged, where nothing is interpolated
    :return: (k,) bool, known; (k, 3) and (k, 4), of those that are
    """
    if not len(stamps):
        return np.zeros(len(wanted), bool), np.zeros((len(wanted), 3)), np.zeros((len(wanted), 4))
    after = np.searchsorted(stamps, wanted).clip(0, len(stamps) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(wanted - stamps[before] <= stamps[after] - wanted, before, after)
    known = np.abs(stamps[nearest] - wanted) <= max_extrapolation
    places, turns = translations[nearest], quaternions[nearest]
    gap = stamps[after] - stamps[before]
    inside = np.flatnonzero((stamps[before] < wanted) & (wanted < stamps[after]) & (gap <= max_gap))
    if len(inside):
        known[inside] = True
        first, second = before[inside], after[inside]
        fractions = (wanted[inside] - stamps[first]) / gap[inside]
        ends = np.column_stack([first, second]).ravel()
        slerp = Slerp(np.arange(len(ends)), Rotation.from_quat(quaternions[ends]))
        turns[inside] = slerp(2 * np.arange(len(first)) + fractions).as_quat()
        places[inside] = (1 - fractions)[:, None] * translations[first] + fractions[:, None] * translations[second]
    return known, places, turns


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
        self._held: set[int] = set()  # stamps until which the pose before has held

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
            self._held.discard(self._stamps[0])
            del self._stamps[0], self._poses[0]

    def hold(self, stamp_ns: int) -> None:
        """Note that the newest pose held until a later stamp: a robot that stands is two poses, however long."""
        newest = self._stamps[-1]
        if newest in self._held:
            self._held.remove(newest)
            self._stamps[-1] = stamp_ns
        else:
            self._stamps.append(stamp_ns)
            self._poses.append(self._poses[-1])
        self._held.add(stamp_ns)

    def clear(self) -> None:
        """Forget all, e.g. after the clock jumped."""
        self._stamps.clear()
        self._poses.clear()
        self._held.clear()

    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest pose, or None."""
        return self._stamps[-1] if self._stamps else None

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp, interpolated between its neighbours; None where that would be a guess.

        Two frames are not interpolated. The covariance is that of the nearer neighbour.
        """
        after = bisect.bisect_left(self._stamps, stamp_ns)
        around = range(max(after - 1, 0), min(after + 1, len(self._stamps)))
        if not around:
            return None
        nearest = min(around, key=lambda i: abs(self._stamps[i] - stamp_ns))
        near = [i for i in around if self._poses[i].frame == self._poses[nearest].frame]
        held = self._stamps[around[-1]] in self._held
        known, places, turns = interpolated(
            np.array([self._stamps[i] for i in near]), np.array([self._poses[i].translation for i in near]),
            np.array([unit_quaternion(self._poses[i].quaternion) for i in near]), np.array([stamp_ns]),
            max_gap=np.iinfo(np.int64).max if held else self._max_gap_ns,
            max_extrapolation=self._max_extrapolation_ns)
        pose = self._poses[nearest]
        return Pose(places[0], turns[0], pose.frame, pose.covariance) if known[0] else None


def same_frame(first: str, second: str) -> bool:
    """Whether two names are of one frame; tf2 has no leading slash any more."""
    return first.lstrip('/') == second.lstrip('/')


def is_one_body(first: str, second: str) -> bool:
    """Whether two frames move as one, or may, since one has no name.

    ``base_footprint`` lies below ``base_link`` (REP 120): a height that stays, which no relative pose on a floor sees.
    """
    return not first or not second or _body(first) == _body(second)


def _body(frame: str) -> str:
    prefix, _, name = frame.lstrip('/').rpartition('/')
    return f'{prefix}/{_BASES[0] if name in _BASES else name}'


class StaticTransforms:
    """A tree of fixed transforms as ``/tf_static`` gives it."""

    def __init__(self):
        self._parents: dict[str, Pose] = {}

    def add(self, parent_from_child: Pose, child: str) -> None:
        """Store one transform, whose ``frame`` names the parent; a second one for the same child replaces the first."""
        self._parents[child.lstrip('/')] = parent_from_child

    def _chain(self, frame: str) -> dict[str, Pose]:
        """``ancestor -> ancestor_from_frame`` for the frame itself and all its ancestors."""
        chain = {frame: identity(frame)}
        while (step := self._parents.get(frame)) is not None:
            parent = step.frame.lstrip('/')
            if parent in chain:  # a loop is not a tree; what was reached so far still holds
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
