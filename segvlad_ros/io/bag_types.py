"""What the bag reader and writer share: message definitions, and poses to message fields and back."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from segvlad_ros.geometry import is_finite, unit_quaternion
from segvlad_ros.types import Pose, SegvladError

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
ODOMETRY = 'nav_msgs/msg/Odometry'
POSE_STAMPED = 'geometry_msgs/msg/PoseStamped'
POSE_WITH_COVARIANCE_STAMPED = 'geometry_msgs/msg/PoseWithCovarianceStamped'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'
CLOCK = 'rosgraph_msgs/msg/Clock'


@lru_cache(maxsize=1)
def typestore():
    """The message definitions of ROS 2 Jazzy, from rosbags; no ROS installation is needed."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SegvladError(f'rosbags cannot be imported ({error}); install it: pip install rosbags') from error
    return get_typestore(Stores.ROS2_JAZZY)


def pose_of(message, frame: str, covariance: np.ndarray | None = None) -> Pose | None:
    """The pose of a geometry_msgs Pose or Transform.

    :param covariance: (36,) as in the message; all zeros mean unknown
    :returns: None where the numbers are no pose (NaN, an unfilled quaternion)
    """
    place = message.translation if hasattr(message, 'translation') else message.position
    turn = message.rotation if hasattr(message, 'rotation') else message.orientation
    try:
        quaternion = unit_quaternion(np.array([turn.x, turn.y, turn.z, turn.w]))
    except SegvladError:
        return None
    if covariance is not None:
        covariance = np.asarray(covariance, np.float64).reshape(6, 6)
        if not np.isfinite(covariance).all() or not covariance.any():
            covariance = None
    pose = Pose(np.array([place.x, place.y, place.z], np.float64), quaternion, frame, covariance)
    return pose if is_finite(pose) else None
