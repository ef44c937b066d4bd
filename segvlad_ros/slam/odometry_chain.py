"""Odometry as a chain of nodes: where the robot was by odometry alone, and how uncertain that is."""
from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.geometry import PoseHistory, adjoint, angle_of, distance, from_matrix, rotation_angle, to_matrix
from segvlad_ros.io.odometry_pieces import OdometryPieces
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.types import Pose


@dataclass(frozen=True)
class PoseGraphSettings:
    """Settings of :class:`~segvlad_ros.slam.pose_graph.PoseGraph`.

    Odometry has a systematic error (a wrong wheel radius, a wrong scale) and a random one. A drift stands for both:
    after d metres their standard deviations are ``drift * d`` and ``drift * sqrt(d)``. Covariances of
    odometry messages are not used: most drivers fill in constants. How much it drifts is said once, in the preset, and
    the recogniser believes the same.

    :ivar odometry: of the preset
    :ivar node_distance_m, node_angle_rad: travel after which a node is made
    :ivar drift_rad_per_rad: error of a turn; the recogniser, which looks at ways of many metres, does without it
    :ivar closure_translation_m, closure_rotation_rad: standard deviations that are added to those of a closure, since
        measured covariances are too small more often than chance would have it; also stand for an unknown covariance
    """

    odometry: OdometrySettings = field(default_factory=OdometrySettings)
    node_distance_m: float = 0.5
    node_angle_rad: float = 0.35
    drift_rad_per_rad: float = 0.02
    closure_translation_m: float = 0.05
    closure_rotation_rad: float = 0.02


TRACK_INTERVAL_S = 0.05  # odometry is kept at this rate at most: between two poses the robot moves on a straight line
STANDING_M, STANDING_RAD = 1e-4, 1e-4  # what moves less stands
STOP_S = 0.5  # what stands for less may be between two ticks of an encoder
SLOW_NODE_S, SLOW_NODE_M, SLOW_NODE_RAD = 1.0, 0.02, 0.02  # a slow robot has a node each second in which it moved
MAX_GAP_S = 2.0  # of odometry that is interpolated; beyond its ends nobody knows how the robot moved
LEAST_STEP_M, LEAST_STEP_RAD = 1e-3, 1e-3  # standard deviations of a step in which nothing moved
LEAP_M, LEAP_RAD = 100.0, 3.0  # of a step over which nobody knows how the robot moved


@dataclass(frozen=True)
class Attachment:
    """A moment on the chain.

    :ivar node: the node nearest in time
    :ivar node_from_base: (4, 4) pose of the robot's base at that moment in the node
    :ivar covariance: (6, 6) of x in ``node_from_base exp(x)``, translation first
    """

    node: int
    node_from_base: np.ndarray
    covariance: np.ndarray


class OdometryChain:
    """Nodes, and sums along them from which the uncertainty between any two follows at once.

    A step T from one node to the next is wrong by a small motion x, translation first, in ``T exp(x)``. Its random
    part is independent from step to step; the systematic one is the same in all of them, in the axes of the robot,
    times the length of the step. Moved to the first node by its adjoint, each adds up along the chain.

    Where odometry leaps (a driver that starts again from zero) the robot counts as standing, with the uncertainty of
    not knowing: the next closure across the leap tells.

    :ivar stamps: of the nodes, nanoseconds
    :ivar poses: (4, 4) of the nodes, in the frame of the odometry before its first leap
    """

    def __init__(self, settings: PoseGraphSettings) -> None:
        self._settings = settings
        self.stamps: list[int] = []
        self.poses: list[np.ndarray] = []
        self._track = PoseHistory(max_gap_s=MAX_GAP_S)
        self._last_node: Pose | None = None
        self._last_kept: Pose | None = None
        self._kept_ns = 0
        self._random: list[np.ndarray] = []
        self._systematic: list[np.ndarray] = []
        self._pieces = OdometryPieces(max_entries=2)
        self._frame_from_odometry: np.ndarray | None = None  # None before the first leap
        self._leaps: set[int] = set()  # nodes before each of which odometry has leapt

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def leaps(self) -> int:
        """How often odometry has leapt."""
        return len(self._leaps)

    @property
    def frame_from_odometry(self) -> np.ndarray:
        """(4, 4) where the odometry of now lies in the frame of the poses: elsewhere since its first leap."""
        return np.eye(4) if self._frame_from_odometry is None else self._frame_from_odometry

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest pose that is kept, or None."""
        return self._track.newest_stamp_ns()

    def add(self, stamp_ns: int, pose: Pose) -> None:
        """Take an odometry pose that is newer than all before; it makes a node, or none, or two.

        A stop lies between two nodes of one place, so that a path through the nodes tells where the robot stood.
        """
        newest, leapt = self.newest_ns, self._pieces.add(stamp_ns, pose)
        if leapt:
            self._frame_from_odometry = to_matrix(self._last_kept) @ np.linalg.inv(to_matrix(pose))
            self._leaps.add(len(self))
        if self._frame_from_odometry is not None:
            pose = from_matrix(self._frame_from_odometry @ to_matrix(pose), pose.frame)
        if newest is not None and not leapt and stamp_ns - newest < TRACK_INTERVAL_S * 1e9:
            return
        if newest is not None and not leapt and stamp_ns - newest <= MAX_GAP_S * 1e9 and self._stands(pose):
            self._track.hold(stamp_ns)
            if stamp_ns - self._kept_ns >= STOP_S * 1e9 and self._has_moved(self._last_kept, slow=True):
                self._add_node(self._kept_ns, self._last_kept)
            return
        before = self._last_kept
        self._last_kept, self._kept_ns = Pose(pose.translation, pose.quaternion, pose.frame), stamp_ns
        self._track.add(stamp_ns, self._last_kept)
        if self._last_node is not None and not leapt:
            since_ns = stamp_ns - self.stamps[-1]
            if not self._has_moved(pose, slow=since_ns >= SLOW_NODE_S * 1e9):
                return
            if since_ns > MAX_GAP_S * 1e9 and newest > self.stamps[-1]:
                self._add_node(newest, before)
        self._add_node(stamp_ns, self._last_kept)

    def _stands(self, pose: Pose) -> bool:
        """Whether the robot is where it was; a parked robot must not fill the memory."""
        return (distance(self._last_kept, pose) < STANDING_M and rotation_angle(self._last_kept, pose) < STANDING_RAD)

    def _has_moved(self, pose: Pose, slow: bool) -> bool:
        moved, turned = distance(self._last_node, pose), rotation_angle(self._last_node, pose)
        return (moved >= self._settings.node_distance_m or turned >= self._settings.node_angle_rad
                or (slow and (moved >= SLOW_NODE_M or turned >= SLOW_NODE_RAD)))

    def _add_node(self, stamp_ns: int, pose: Pose) -> None:
        matrix = to_matrix(pose)
        if self._last_node is None:
            self._random.append(np.zeros((6, 6)))
            self._systematic.append(np.zeros((6, 6)))
        else:
            moved, turned = distance(self._last_node, pose), rotation_angle(self._last_node, pose)
            axes = adjoint(matrix)
            variances = self._variances(moved, turned) + self._leap_variances(len(self))
            self._random.append(self._random[-1] + (axes * variances) @ axes.T)
            self._systematic.append(self._systematic[-1] + axes * self._drifts(moved, turned))
        self.stamps.append(stamp_ns)
        self.poses.append(matrix)
        self._last_node = pose

    def _leap_variances(self, node: int) -> np.ndarray:
        """(6,) beside those of the way: of a step that ends in a node, where odometry has leapt."""
        return np.array([LEAP_M ** 2] * 3 + [LEAP_RAD ** 2] * 3) if node in self._leaps else np.zeros(6)

    def _variances(self, moved: float, turned: float) -> np.ndarray:
        drift, turning = self._settings.odometry, self._settings.drift_rad_per_rad
        along = drift.drift_m_per_m ** 2 * moved + LEAST_STEP_M ** 2
        around = drift.drift_rad_per_m ** 2 * moved + turning ** 2 * turned + LEAST_STEP_RAD ** 2
        return np.array([along] * 3 + [around] * 3)

    def _variances_of(self, motion: np.ndarray) -> np.ndarray:
        return self._variances(float(np.linalg.norm(motion[:3, 3])), angle_of(motion))

    def _drifts(self, moved: float, turned: float) -> np.ndarray:
        drift, turning = self._settings.odometry, self._settings.drift_rad_per_rad
        return np.array([drift.drift_m_per_m * moved] * 3 + [drift.drift_rad_per_m * moved + turning * turned] * 3)

    def between(self, first: int, second: int) -> np.ndarray:
        """(4, 4) ``first_from_second`` of two nodes, by odometry."""
        return np.linalg.inv(self.poses[first]) @ self.poses[second]

    def step_variances(self, node: int) -> np.ndarray:
        """(6,) random variances of the step from a node to the next, translation first."""
        return self._variances_of(self.between(node, node + 1)) + self._leap_variances(node + 1)

    def covariance(self, first: int, second: int) -> np.ndarray:
        """(6, 6) of x in ``between(first, second) exp(x)`` for first < second, translation first."""
        axes = adjoint(np.linalg.inv(self.poses[second]))
        systematic = axes @ (self._systematic[second] - self._systematic[first])
        random = axes @ (self._random[second] - self._random[first]) @ axes.T
        total = random + systematic @ systematic.T
        return (total + total.T) / 2

    def attach(self, stamp_ns: int) -> Attachment | None:
        """The moment of a stamp on the chain, None where there was no odometry."""
        pose = self._track.at(stamp_ns)
        if pose is None:
            return None
        after = bisect.bisect_left(self.stamps, stamp_ns)
        node = min((n for n in (after - 1, after) if 0 <= n < len(self.stamps)),
                   key=lambda n: abs(self.stamps[n] - stamp_ns))
        offset = np.linalg.inv(self.poses[node]) @ to_matrix(pose)
        return Attachment(node, offset, np.diag(self._variances_of(offset)))
