"""Small keyframes for tests of the map."""
from __future__ import annotations

import numpy as np

from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.types import CameraModel, Keyframe, KeyframeId, Keypoints, PlaceDescription, Pose


def as_stored(rows: np.ndarray) -> np.ndarray:
    """(M, d) float32 descriptors as a map hands them back."""
    coder = quantizer(rows.shape[1])
    return coder.decode(coder.encode(rows))


def make_keyframe(
        index: int, *, segments: int = 4, dimension: int = 8, keypoints: int | None = 3, posed: bool = True,
        covariance: bool = True, camera_model: bool = True, based: bool = True, thumbnail: bytes = b'jpeg',
        robot_id: int = 0, session: str = 'session', camera: str = '', stamp_ns: int | None = None) -> Keyframe:
    """A keyframe whose content depends on its index alone."""
    rng = np.random.default_rng(abs(index))
    rows = rng.standard_normal((segments, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = None if keypoints is None else Keypoints(
        rng.random((keypoints, 2), np.float32), rng.integers(0, 256, (keypoints, 32 if keypoints else 0), np.uint8),
        np.where(rng.random(keypoints) < 0.3, np.nan, 2.5).astype(np.float32))
    description = PlaceDescription(rows, rng.integers(0, 640, (segments, 4)).astype(np.int32),
                                   rng.integers(0, 300_000, segments), keypoints=points)
    pose = Pose(np.array([index * 0.5, 1.0, 0.0]), np.array([0.0, 0.6, 0.0, 0.8]), 'odom',
                np.diag(rng.random(6)) if covariance else None)
    return Keyframe(
        KeyframeId(robot_id, session, index, index * 10**9 if stamp_ns is None else stamp_ns, camera), description,
        'camera_optical', pose if posed else None,
        CameraModel(640, 480, np.array([[500.5, 0, 320], [0, 499, 240], [0, 0, 1]]),
                    np.array([0.1, -1 / 3, 0.0, 0.0, 0.2]))
        if camera_model else None,
        Pose(np.array([0.1, 0, 1 / 3]), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link') if based else None, thumbnail)
