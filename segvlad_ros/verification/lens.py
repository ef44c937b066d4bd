"""From pixels of a lens that bends the image to ideal pixels of the same K, and how much larger these are.

Geometry reckons on the plane at depth 1. Towards the rim of a fisheye lens one pixel of the image covers ever more of
that plane, without bound at 90 degrees: errors there are told in pixels of the image, see :func:`stretch`, and what
looks further aside than :data:`MAX_ANGLE_RAD`, or behind, has no place on it.
"""
from __future__ import annotations

import math

import cv2
import numpy as np

from segvlad_ros.types import CameraModel

MAX_ANGLE_RAD = math.radians(85)
"""Between a ray that geometry uses and the optical axis: there, a pixel of a fisheye lens covers thirty ideal ones."""

# A position that does not come back to itself through the lens, pixels, is one that the model cannot undo: outside of
# what was calibrated, its polynomial folds the image over, or a fisheye lens looks backwards.
_MAX_RETURN_ERROR = 0.1
# Steps of OpenCV's fixed point, or until a position comes back so well, pixels: its own 5 are a pixel off at the rim of
# a wide lens. 100 leave out none of a lens of 94 degrees (with OpenCV 4.6 one in 700, at its very corners); 50 leave
# out its corners.
_UNTIL = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6
_STEP = 0.5  # to each side, pixels, over which the stretch is measured


def ideal_pixels(positions: np.ndarray, camera: CameraModel) -> np.ndarray:
    """(n, 2) float64, where a pinhole with the same K would see what is at (n, 2) pixels; NaN where it would not."""
    positions = np.asarray(positions, np.float64).reshape(-1, 2)
    if camera.straight or not len(positions):
        return positions
    matrix, distortion = camera.matrix, camera.distortion
    if camera.distortion_model == 'equidistant':
        ideal = cv2.fisheye.undistortPoints(positions[:, None], matrix, distortion, P=matrix)[:, 0]
    else:  # of this name and these arguments in OpenCV 4.6 and 5
        ideal = cv2.undistortImagePoints(positions[:, None], matrix, distortion, None, _UNTIL)[:, 0]
    aside = np.linalg.norm((ideal - matrix[:2, 2]) / np.diag(matrix)[:2], axis=1)
    usable = aside < math.tan(MAX_ANGLE_RAD)  # false of NaN, too
    usable[usable] = np.linalg.norm(seen_pixels(ideal[usable], camera) - positions[usable], axis=1) < _MAX_RETURN_ERROR
    return np.where(usable[:, None], ideal, np.nan)


def seen_pixels(ideal: np.ndarray, camera: CameraModel) -> np.ndarray:
    """The reverse of :func:`ideal_pixels`: (n, 2) float64 pixels of the image."""
    if camera.straight or not len(ideal):
        return ideal
    plane = (ideal - camera.matrix[:2, 2]) / np.diag(camera.matrix)[:2]
    if camera.distortion_model == 'equidistant':
        return cv2.fisheye.distortPoints(plane[:, None], camera.matrix, camera.distortion)[:, 0]
    rays = np.column_stack([plane, np.ones(len(plane))])
    return cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.matrix, camera.distortion)[0][:, 0]


def stretch(positions: np.ndarray, camera: CameraModel) -> np.ndarray:
    """(n,) float64, ideal pixels to one pixel of the image at (n, 2) positions, the mean of all directions; else 1.

    The geometric mean: of the lens's Jacobian the root of the determinant.
    """
    positions = np.asarray(positions, np.float64).reshape(-1, 2)
    if camera.straight or not len(positions):
        return np.ones(len(positions))
    right, down = ((ideal_pixels(positions + step, camera) - ideal_pixels(positions - step, camera)) / (2 * _STEP)
                   for step in _STEP * np.eye(2))
    area = np.abs(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0])
    return np.where(np.isfinite(area) & (area > 0), np.sqrt(area), 1.0)
