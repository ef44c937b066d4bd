"""What geometry knows of a keyframe."""
from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.types import CameraModel, Keyframe, Keypoints, Pose

# Standard deviation of a depth camera's depth, as a share of it.
DEPTH_ERROR = 0.02
_LIKELY_WIDTH_RAD = math.radians(60)


@dataclass(frozen=True)
class View:
    """The local features of one keyframe and where its camera was.

    :ivar boxes: (M, 4) int32, segments, see :class:`segvlad_ros.types.PlaceDescription`
    :ivar scale_source: 'depth', 'stereo' or 'odometry', where the keypoints' depths come from; '' if none has any
    :ivar depth_error: (P,) float64, standard deviation of each depth as a share of it
    :ivar scale_error: standard deviation of the factor that all depths may be wrong by together
    """

    keypoints: Keypoints
    boxes: np.ndarray
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    scale_source: str = ''
    depth_error: np.ndarray | None = None
    scale_error: float = 0.0

    @classmethod
    def of(cls, keyframe: Keyframe) -> View | None:
        """The view of a keyframe; None if it was described without keypoints."""
        description = keyframe.description
        keypoints = description.keypoints
        if keypoints is None:
            return None
        known = bool(np.isfinite(keypoints.depths).any())
        return cls(keypoints, description.boxes, keyframe.camera_model, keyframe.base_from_camera,
                   'depth' if known else '', np.full(len(keypoints.depths), DEPTH_ERROR))

    @property
    def size(self) -> np.ndarray:
        """(2,) width and height of the image, pixels; where no calibration names them, as far as segments reach."""
        if self.camera_model is not None:
            return np.array([self.camera_model.width, self.camera_model.height], np.float64)
        ends = np.concatenate([self.keypoints.positions, self.boxes[:, :2] + self.boxes[:, 2:], [[1, 1]]])
        return ends.max(axis=0).astype(np.float64)

    @property
    def likely_matrix(self) -> np.ndarray:
        """(3, 3) K; where no calibration names it, that of a camera 60 degrees wide."""
        if self.camera_model is not None:
            return self.camera_model.matrix
        width, height = self.size
        focal = width / 2 / math.tan(_LIKELY_WIDTH_RAD / 2)
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Positions of some keypoints without the lens's distortion.

        :param rows: (n,) numbers of keypoints
        :return: (n, 2) float64, ideal pixels of the same K
        """
        pixels = self.keypoints.positions[rows].astype(np.float64)
        camera = self.camera_model
        if camera is None or not np.any(camera.distortion) or not len(pixels):
            return pixels
        undistort = cv2.fisheye.undistortPoints if camera.distortion_model == 'equidistant' else cv2.undistortPoints
        return undistort(pixels[:, None], camera.matrix, camera.distortion, P=camera.matrix)[:, 0]

    def depths(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 metres of some keypoints, NaN where unknown."""
        return self.keypoints.depths[rows].astype(np.float64)


def normalised(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 2) coordinates at depth 1 of (n, 2) ideal pixels."""
    return (pixels - matrix[:2, 2]) / np.diag(matrix)[:2]
