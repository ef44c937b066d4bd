"""Where the robot truly was: from a topic of a bag, a trajectory file, satellite fixes, or what a map file knows."""
from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from segvlad_ros.geometry import PoseHistory, compose, distance, inverse, rotation_angle
from segvlad_ros.io.bags import NAV_SAT_FIX, bag_info, read_poses
from segvlad_ros.io.satellite_fixes import east_north, read_fixes
from segvlad_ros.io.stamps import spans_apart
from segvlad_ros.io.trajectory_files import read_trajectory
from segvlad_ros.types import Keyframe, Pose, SegvladError

if TYPE_CHECKING:
    from segvlad_ros.io.bag_frames import FrameReader

logger = logging.getLogger(__name__)

DENSE_S = 0.5
SPARSE_S, SPARSE_M, SPARSE_RAD = 2.0, 3.0, math.radians(60)
"""Between two true poses further apart than :data:`DENSE_S` a straight line is taken up to this time, way and turn.

A robot that drives an arc of 3 m and 60 degrees is at most way x angle / 8 = 0.4 m beside its chord, one that speeds up
by 1 m/s^2 for 2 s at most a t^2 / 8 = 0.5 m behind or before: half the distance within which two poses are one place.
"""
_UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
# What no pose file begins with: mcap, SQLite and zstd files do.
_MAGIC = (b'\x89MCAP', b'SQLite format 3', b'\x28\xb5\x2f\xfd')


class TruePose(NamedTuple):
    """Where a keyframe truly was taken.

    :ivar base: pose of the robot's base
    :ivar view: pose of the camera's optical frame; either is None where nobody knows how the two lie to each other
    """

    base: Pose | None
    view: Pose | None

    @classmethod
    def of_base(cls, base: Pose, mount: Pose | None) -> TruePose:
        """Of a pose of the base, and where the camera sits on it."""
        return cls(base, None if mount is None else compose(base, mount))

    @classmethod
    def of_view(cls, view: Pose, mount: Pose | None) -> TruePose:
        """Of a pose of the camera, likewise."""
        return cls(None if mount is None else compose(view, inverse(mount)), view)


class Truth(Protocol):
    """True poses of keyframes.

    :ivar name: what a sentence calls it
    :ivar frame: of the poses, '' where nothing names it
    :ivar oriented: False of positions, whose rotation means nothing
    :ivar origin: (2,) degrees of latitude and longitude where satellites tell, else None
    """

    name: str
    frame: str
    oriented: bool
    origin: np.ndarray | None

    def of(self, keyframe: Keyframe) -> TruePose | None:
        """Where the keyframe was taken; None where that is not known."""


@dataclass(frozen=True)
class TruePoses:
    """True poses by stamp, a :class:`Truth`.

    :ivar stamps: (n,) int64 nanoseconds, ascending
    :ivar poses: (n,), of the base, or (``of_camera``) of the camera's optical frame
    :raises SegvladError: the poses are in several frames
    """

    name: str
    stamps: np.ndarray
    poses: Sequence[Pose]
    oriented: bool = True
    origin: np.ndarray | None = None
    of_camera: bool = False

    def __post_init__(self) -> None:
        frames = sorted({pose.frame for pose in self.poses})
        if len(frames) > 1:
            raise SegvladError(f'{self.name}: is in several frames, {" and ".join(frames)}; true poses are in one')

    @property
    def frame(self) -> str:
        """See :class:`Truth`."""
        return self.poses[0].frame.lstrip('/')

    def of(self, keyframe: Keyframe) -> TruePose | None:
        """See :class:`Truth`."""
        pose, mount = self.at(keyframe.id.stamp_ns), keyframe.base_from_camera
        if pose is None:
            return None
        return TruePose.of_view(pose, mount) if self.of_camera else TruePose.of_base(pose, mount)

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp; None where it would be a guess."""
        after = bisect.bisect_left(self.stamps, stamp_ns)
        around = range(max(after - 1, 0), min(after + 1, len(self.poses)))
        begin, end = self.poses[around[0]], self.poses[around[-1]]
        is_straight = distance(begin, end) <= SPARSE_M and rotation_angle(begin, end) <= SPARSE_RAD
        history = PoseHistory(max_gap_s=SPARSE_S if is_straight else DENSE_S)
        for entry in around:
            history.add(int(self.stamps[entry]), self.poses[entry])
        return history.at(stamp_ns)


@dataclass(frozen=True)
class OptimizedTruth:
    """The poses that a map holds beside odometry, a :class:`Truth`: of a back-end, or of images with known poses."""

    name: str
    frame: str
    oriented: bool = True
    origin: None = None

    def of(self, keyframe: Keyframe) -> TruePose | None:
        """See :class:`Truth`."""
        pose = None if keyframe.optimized is None else keyframe.optimized.map_from_base
        return None if pose is None else TruePose.of_base(pose, keyframe.base_from_camera)


@dataclass(frozen=True)
class TruthSettings:
    """How what lies in files is to be read.

    :ivar topic: of bags: poses, odometry or satellite fixes
    :ivar of_camera: the poses of files are of the camera's optical frame, not of the base; None: not said. Those of
        topics are of the base
    :ivar max_sigma_m: fixes that claim a larger standard deviation are not ground truth
    """

    topic: str = '/ground_truth/pose'
    of_camera: bool | None = None
    max_sigma_m: float = math.inf


def read_true_poses(path: str | Path, settings: TruthSettings = TruthSettings(), *,
                    image_stamps: Sequence[int] | None = None, origin: np.ndarray | None = None) -> TruePoses:
    """Read true poses from a bag or from a TUM or KITTI file.

    :param image_stamps: of the images in order, to which the lines of a KITTI file without ``times.txt`` belong
    :param origin: (2,) degrees that fixes are put in metres around; None takes the first fix
    :raises SegvladError: neither; no such topic; no pose in it; or lines that belong to nothing
    """
    path = Path(path)
    if is_pose_file(path):
        return _of_file(path, settings, image_stamps)
    topic = settings.topic
    if any(each.name == topic and each.msgtype == NAV_SAT_FIX for each in bag_info(path).topics):
        return _of_fixes(path, settings, origin)
    stamps, poses = read_poses(path, topic)
    if not poses:
        raise SegvladError(f'{path}: no message on {topic} is a pose (NaN, or a rotation that is none)')
    return TruePoses(_name(path, settings), stamps, poses)


def is_pose_file(path: Path) -> bool:
    """Whether it can be a pose file: a bag has zeros in its first bytes, or is a folder."""
    if not path.is_file() or path.name == 'metadata.yaml':
        return False
    with path.open('rb') as file:
        head = file.read(4096)
    return b'\0' not in head and not head.startswith(_MAGIC)


def _of_file(path: Path, settings: TruthSettings, image_stamps: Sequence[int] | None) -> TruePoses:
    read = read_trajectory(path)
    if settings.of_camera is None:
        raise SegvladError(f'{path}: a pose file does not say whose poses it holds: give --pose-files-of base, or '
                           'camera where they are of its optical frame (x right, y down, z ahead)')
    stamps, beside = read.stamps, "put KITTI's file of times beside it, as times.txt"
    if stamps is None and image_stamps is None:
        raise SegvladError(f'{path}: KITTI poses have no stamps: {beside}')
    if stamps is None:
        if len(image_stamps) != len(read.poses):
            raise SegvladError(f'{path}: has {len(read.poses)} poses for {len(image_stamps)} images; KITTI has one '
                               f'each, in order: {beside}, with the stamps of the bag')
        stamps = sorted(image_stamps)
    return TruePoses(f'the truth in {path}', np.array(stamps, np.int64), read.poses,
                     of_camera=settings.of_camera)


def _of_fixes(path: Path, settings: TruthSettings, origin: np.ndarray | None) -> TruePoses:
    fixes = read_fixes(path, settings.topic)
    good = fixes.sigma_m <= settings.max_sigma_m
    if not good.any():
        raise SegvladError(
            f'{path}: none of {len(fixes)} fixes on {settings.topic} is exact enough to tell places {_metres(settings)}'
            f' apart: the best claims a standard deviation of {fixes.sigma_m.min():.2g} m; raise --true-distance-m'
            if len(fixes) else f'{path}: no message on {settings.topic} has a fix')
    if not good.all():
        logger.warning('%s: %d of %d fixes on %s claim a standard deviation of more than %s and are left out', path,
                       (~good).sum(), len(good), settings.topic, _metres(settings))
    origin = fixes.degrees[good][0] if origin is None else origin
    frame = f'metres east and north of {origin[0]:.7f} {origin[1]:.7f}'
    poses = [Pose(np.array([*place, 0.0]), _UPRIGHT, frame) for place in east_north(fixes.degrees[good], origin)]
    return TruePoses(_name(path, settings), fixes.stamps[good], poses, oriented=False, origin=origin)


def _name(path: Path, settings: TruthSettings) -> str:
    return f'the truth on {settings.topic} of {path.name}'


def _metres(settings: TruthSettings) -> str:
    return f'{settings.max_sigma_m:g} m'


def check_one_clock(frames: FrameReader, truth: TruePoses) -> None:
    """See that truth and images can belong to each other.

    :raises SegvladError: their stamps do not meet
    """
    apart = spans_apart(truth.name, truth.stamps, f'the images on {frames.topics.image}', frames.stamps)
    if apart:
        raise SegvladError(f'{frames.path}: {apart}; let both drivers stamp with one clock')


def check_one_frame(first: Truth, second: Truth, trusted: bool) -> None:
    """See that poses of two days can be compared.

    :param trusted: the user says so, whatever the names of the frames
    :raises SegvladError: they are in different frames, or in one that begins anew with each run
    """
    if (first.origin is None) != (second.origin is None):
        raise SegvladError(f'{first.name} and {second.name} cannot be compared: one is by satellite, the other is not')
    known = {frame for frame in (first.frame, second.frame) if frame}
    if trusted:
        return
    if len(known) > 1:
        raise SegvladError(f'{first.name} is in frame {first.frame}, {second.name} in {second.frame}: poses of the map '
                           'and of the bag must be in one frame; --same-frame says that these are one')
    if drifting := [frame for frame in known if frame.rpartition('/')[2] == 'odom']:
        raise SegvladError(f'{first.name} and {second.name}: a frame {drifting[0]} begins anew with each run (REP '
                           '105), so that poses of two runs cannot be compared; --same-frame says that these can')
