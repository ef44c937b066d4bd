"""What a camera has seen, and where it was."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pose:
    """A rigid transform ``parent_from_child``.

    :ivar translation: (3,) float64, metres
    :ivar quaternion: (4,) float64, x y z w, unit
    :ivar frame: name of the parent frame; '' if unknown
    :ivar covariance: (6, 6) float64 in the order x y z roll pitch yaw, or None if unknown
    """

    translation: np.ndarray
    quaternion: np.ndarray
    frame: str = ''
    covariance: np.ndarray | None = None


@dataclass(frozen=True)
class OptimizedPose:
    """A base pose in the frame of a SLAM back-end: never compared with odometry, which is in another frame."""

    map_from_base: Pose


@dataclass(frozen=True)
class CameraModel:
    """Pinhole intrinsics of the camera's image (CameraInfo).

    :ivar width, height: pixels
    :ivar matrix: (3, 3) float64, K
    :ivar distortion: (n,) float64 coefficients of the distortion model, in ROS's order; empty for a rectified image
    :ivar distortion_model: 'plumb_bob', 'rational_polynomial' or 'equidistant' (see :mod:`segvlad_ros.io.camera_info`)
    """

    width: int
    height: int
    matrix: np.ndarray
    distortion: np.ndarray
    distortion_model: str = 'plumb_bob'

    @property
    def straight(self) -> bool:
        """Whether straight lines stay straight; never by an equidistant lens, however small its coefficients are."""
        return not np.any(self.distortion) and (self.distortion_model != 'equidistant' or not len(self.distortion))


@dataclass(frozen=True)
class Frame:
    """One camera image and what is known about it.

    :ivar rgb: (height, width, 3) uint8
    :ivar stamp_ns: header stamp of the image, nanoseconds
    :ivar camera: camera's name, '' with a single camera
    :ivar frame_id: optical frame of the image
    :ivar pose: pose of the robot's base in its odometry or map frame, or None
    :ivar depth: (height, width) float32 metres along the optical axis, NaN where unknown, or None
    :ivar base_from_camera: pose of the optical frame in the base frame (``frame`` names the base frame), or None
    :ivar odometry_piece: number of the unbroken piece of odometry that ``pose`` is of; poses of two pieces, before and
        after a driver was restarted, say nothing about each other; None where that is not known
    :ivar descriptor: (D,) float32, what describes the whole image, for presets with ``features.kind: given``
    :ivar mask: (height, width) bool, False where the image shows what belongs to no place, as the robot's own body or
        people, or None
    """

    rgb: np.ndarray
    stamp_ns: int
    camera: str = ''
    frame_id: str = ''
    pose: Pose | None = None
    depth: np.ndarray | None = None
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    odometry_piece: int | None = None
    descriptor: np.ndarray | None = None
    mask: np.ndarray | None = None
