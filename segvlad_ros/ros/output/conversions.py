"""Stamps, poses, cameras and ids: parts of messages to types and back."""
from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseWithCovariance, TransformStamped
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from segvlad_ros import msg as interfaces
from segvlad_ros.geometry import sound_pose
from segvlad_ros.types import CameraModel, KeyframeId, Pose, SegvladError

FARTHEST_M = 1e8  # from the origin of any frame on Earth, its centre too


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a stamp."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def from_time(stamp: Time) -> int:
    """A stamp as nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_duration(nanoseconds: int) -> Duration:
    """Nanoseconds as a duration, negative ones too."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    # a duration holds 32 bits of seconds; a bag played without its clock is decades old
    return Duration(sec=max(-(2**31), min(2**31 - 1, seconds)), nanosec=rest)


def to_keyframe_id(identity: KeyframeId) -> interfaces.KeyframeId:
    """A keyframe's identity as a message."""
    return interfaces.KeyframeId(robot_id=identity.robot_id, session_id=identity.session_id, index=identity.index,
                                 stamp=to_time(identity.stamp_ns), camera=identity.camera)


def from_keyframe_id(message: interfaces.KeyframeId) -> KeyframeId:
    """A keyframe's identity from a message."""
    return KeyframeId(message.robot_id, message.session_id, message.index, from_time(message.stamp), message.camera)


def fill_pose(target: Any, pose: Pose) -> None:
    """Write a pose into a geometry_msgs/Pose."""
    target.position.x, target.position.y, target.position.z = map(float, pose.translation)
    (target.orientation.x, target.orientation.y, target.orientation.z,
     target.orientation.w) = map(float, pose.quaternion)


def fill_transform(target: Any, pose: Pose) -> None:
    """Write a pose into a geometry_msgs/Transform."""
    move, rotation = target.translation, target.rotation
    move.x, move.y, move.z = map(float, pose.translation)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, pose.quaternion)


def from_pose(message: Any, frame: str, covariance: Any | None = None) -> Pose:
    """A geometry_msgs/Pose with the name of its frame.

    :param covariance: 36 numbers; None or all zero: unknown
    :raises SegvladError: numbers that are not a pose
    """
    matrix = None if covariance is None else np.array(covariance, np.float64).reshape(6, 6)
    if matrix is not None and not matrix.any():
        matrix = None
    return _pose(message.position, message.orientation, frame, matrix)


def _pose(position: Any, rotation: Any, frame: str, covariance: np.ndarray | None = None) -> Pose:
    return sound_pose(Pose(np.array([position.x, position.y, position.z]),
                           np.array([rotation.x, rotation.y, rotation.z, rotation.w]), frame, covariance))


def to_pose_with_covariance(pose: Pose) -> PoseWithCovariance:
    """A pose with its covariance; all zero: unknown."""
    message = PoseWithCovariance()
    fill_pose(message.pose, pose)
    if pose.covariance is not None:
        message.covariance = np.asarray(pose.covariance, np.float64).ravel()
    return message


def from_odometry(message: Any) -> Pose:
    """The base pose of a nav_msgs/Odometry; a covariance that is none is unknown.

    :raises SegvladError: numbers that are not a pose of a robot
    """
    known = np.isfinite(message.pose.covariance).all()
    pose = from_pose(message.pose.pose, message.header.frame_id or 'odom', message.pose.covariance if known else None)
    if abs(pose.translation).max() > FARTHEST_M:
        raise SegvladError(f'a position {abs(pose.translation).max():.3g} m from the origin')
    return pose


def to_camera_info(model: CameraModel, header: Header) -> CameraInfo:
    """A camera model as a message; P is K, as of a camera without rectification."""
    return CameraInfo(header=header, width=model.width, height=model.height, d=model.distortion.tolist(),
                      distortion_model=model.distortion_model, k=model.matrix.ravel(), r=np.eye(3).ravel(),
                      p=np.hstack([model.matrix, np.zeros((3, 1))]).ravel())


def from_transform(message: TransformStamped) -> Pose:
    """``header.frame_id`` from ``child_frame_id``.

    :raises SegvladError: numbers that are not a pose
    """
    return _pose(message.transform.translation, message.transform.rotation, message.header.frame_id)


def to_transform(pose: Pose, child: str, stamp: Time) -> TransformStamped:
    """A pose as a transform from its frame to ``child``."""
    message = TransformStamped(header=Header(stamp=stamp, frame_id=pose.frame), child_frame_id=child)
    fill_transform(message.transform, pose)
    return message


def to_roi(box: np.ndarray) -> RegionOfInterest:
    """Where a segment is in the image."""
    x, y, width, height = (max(0, int(value)) for value in box)
    return RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
