"""Values of a map file as bytes and text, little-endian, and the digest over them."""
from __future__ import annotations

import hashlib
import json
import logging
import struct
from functools import lru_cache

import numpy as np

from segvlad_ros.geometry import sound_pose
from segvlad_ros.io.camera_info import checked
from segvlad_ros.types import CameraModel, Pose, SegvladError

logger = logging.getLogger(__name__)

DIGEST_BYTES = 16
_KINDS = {bytes: b'b', str: b's', int: b'i', type(None): b'n'}


def digest(*values: int | str | bytes | None) -> bytes:
    """BLAKE2b of values with their types and lengths, so that no two different lists look alike."""
    parts = []
    for value in values:
        data = b'' if value is None else value if isinstance(value, bytes) else str(value).encode()
        parts += [_KINDS[type(value)], struct.pack('<Q', len(data)), data]
    return hashlib.blake2b(b''.join(parts), digest_size=DIGEST_BYTES).digest()


def pack_pose(pose: Pose) -> bytes:
    """Translation and quaternion, 7 float64; what is not a pose raises SegvladError."""
    sound_pose(pose)
    return np.concatenate([pose.translation, pose.quaternion]).astype('<f8').tobytes()


def pack_covariance(pose: Pose) -> bytes | None:
    """36 float64, or None."""
    return None if pose.covariance is None else np.asarray(pose.covariance, '<f8').reshape(6, 6).tobytes()


def unpack_pose(pose: bytes, frame: str, covariance: bytes | None = None) -> Pose:
    """The pose of :func:`pack_pose` and :func:`pack_covariance`."""
    values = np.frombuffer(pose, '<f8').astype(np.float64)
    matrix = None if covariance is None else np.frombuffer(covariance, '<f8').astype(np.float64).reshape(6, 6)
    return Pose(values[:3].reshape(3), values[3:].reshape(4), frame, matrix)


def pack_camera_model(model: CameraModel) -> str:
    """JSON."""
    return json.dumps({'width': int(model.width), 'height': int(model.height),
                       'matrix': np.asarray(model.matrix, float).reshape(9).tolist(),
                       'distortion': np.asarray(model.distortion, float).reshape(-1).tolist(),
                       'distortion_model': model.distortion_model}, sort_keys=True)


@lru_cache(maxsize=64)  # a map holds thousands of keyframes of one camera
def unpack_camera_model(text: str) -> CameraModel | None:
    """The model of :func:`pack_camera_model`, None where it cannot be used: a map may have been written without the
    checks of today.
    """
    fields = json.loads(text)
    matrix, distortion = (np.array(fields[name], np.float64) for name in ('matrix', 'distortion'))
    try:
        return checked(CameraModel(int(fields['width']), int(fields['height']), matrix.reshape(3, 3),
                                   distortion.reshape(-1), str(fields['distortion_model'])))
    except SegvladError as error:
        logger.warning('%s; keyframes of the map with it match without metric poses', error)
        return None
