"""Metric depths without a depth camera: two neighbouring keyframes of one session and the odometry between them.

The images give rotation and direction of the motion between the two, better than odometry does; odometry gives only
its length. Where both disagree, or the motion was too short to be seen, there are no depths.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from segvlad_ros.geometry import angle_of, to_matrix
from segvlad_ros.types import Pose
from segvlad_ros.verification import two_view
from segvlad_ros.verification.view import View, find_correspondences, normalised

SCALE_ERROR = 0.05  # standard deviation of a short way's length by odometry, as a share of it
_MIN_BASELINE_M = 0.1
_MIN_INLIERS = 25
_MAX_TURN_DIFFERENCE = math.radians(5)
_MAX_DIRECTION_DIFFERENCE = math.radians(20)
_MAX_DEPTH_ERROR = 0.15


def with_odometry_depths(view: View, neighbours: Iterable[tuple[View, Pose]], max_error: float = 0.004) -> View:
    """Triangulate the keypoints of a view with those of its neighbours.

    :param neighbours: each with ``view_from_neighbour``, pose of the neighbour's base in the view's base by odometry
    :param max_error: of a correspondence, share of the image's width
    :return: the view with depths and ``scale_source`` 'odometry'; unchanged if it has depths, or none could be found
    """
    if view.scale_source or view.camera_model is None or view.base_from_camera is None:
        return view
    depths = np.full(len(view.keypoints.depths), np.nan)
    errors = np.full(len(depths), np.inf)
    for neighbour, base_from_base in neighbours:
        rows, found, uncertain = _triangulate(view, neighbour, base_from_base, max_error)
        better = uncertain < errors[rows]
        depths[rows[better]], errors[rows[better]] = found[better], uncertain[better]
    if not np.isfinite(depths).any():
        return view
    keypoints = replace(view.keypoints, depths=depths.astype(np.float32))
    return replace(view, keypoints=keypoints, scale_source='odometry', depth_error=errors, scale_error=SCALE_ERROR)


def _triangulate(view: View, neighbour: View, base_from_base: Pose,
                 max_error: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of keypoints of the view, their depths, and their errors as shares of the depths."""
    nothing = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    if neighbour.camera_model is None or neighbour.base_from_camera is None:
        return nothing
    odometry = (np.linalg.inv(to_matrix(view.base_from_camera)) @ to_matrix(base_from_base)
                @ to_matrix(neighbour.base_from_camera))
    baseline = float(np.linalg.norm(odometry[:3, 3]))
    if baseline < _MIN_BASELINE_M:
        return nothing
    pairs = find_correspondences(neighbour.keypoints, view.keypoints).in_sight(neighbour, view)
    matrix, size = view.camera_model.matrix, view.size
    theirs, ours = neighbour.pixels(pairs.query), view.pixels(pairs.match)
    model, inliers = two_view.essential(theirs, ours, neighbour.camera_model.matrix, matrix, max_error * size[0],
                                        stretch=(neighbour.stretch(pairs.query), view.stretch(pairs.match)))
    if model is None or inliers.sum() < _MIN_INLIERS:
        return nothing
    rays = normalised(theirs[inliers], neighbour.camera_model.matrix), normalised(ours[inliers], matrix)
    motion, front = two_view.direction(model, *rays)
    if not _agree(motion, odometry):
        return nothing
    angles = two_view.parallax(motion, *rays)
    motion[:3, 3] *= baseline
    depths = _ray_depths(motion, *rays)
    noise = math.sqrt(2) * max_error / 2 * size[0] / matrix[0, 0]
    errors = noise / np.maximum(np.tan(angles), 1e-9)
    kept = front & (errors < _MAX_DEPTH_ERROR) & (depths > 0)
    return pairs.match[inliers][kept], depths[kept], errors[kept]


def _agree(motion: np.ndarray, odometry: np.ndarray) -> bool:
    """Whether images and odometry tell of the same motion, its length aside."""
    angle = angle_of(motion[:3, :3].T @ odometry[:3, :3])
    way = odometry[:3, 3] / np.linalg.norm(odometry[:3, 3])
    aside = math.acos(float(np.clip(motion[:3, 3] @ way, -1, 1)))
    return angle < _MAX_TURN_DIFFERENCE and aside < _MAX_DIRECTION_DIFFERENCE


def _ray_depths(ours_from_theirs: np.ndarray, theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Depths along our rays of the points that are nearest to both rays; NaN for parallel ones."""
    first = np.column_stack([ours, np.ones(len(ours))])
    second = np.column_stack([theirs, np.ones(len(theirs))]) @ ours_from_theirs[:3, :3].T
    offset = ours_from_theirs[:3, 3]
    aa, bb, ab = (first ** 2).sum(1), (second ** 2).sum(1), (first * second).sum(1)
    determinant = aa * bb - ab ** 2
    with np.errstate(divide='ignore', invalid='ignore'):
        return (bb * (first @ offset) - ab * (second @ offset)) / np.where(determinant > 1e-12, determinant, np.nan)
