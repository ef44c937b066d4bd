"""Robust models of two views of one scene, without depth: homography, fundamental and essential matrix.

The estimators are OpenCV's USAC with MAGSAC++ (D. Barath et al., CVPR 2020). Their random numbers begin anew at every
call, so that the same correspondences give the same model. Points are (C, 2) float, ideal (undistorted) pixels; the
models map the query to the match. Every estimator is given the ``max_error`` of an inlier in pixels, and returns the
model, (3, 3) or None, and the inliers as (C,) bool.
"""
from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np

_CONFIDENCE = 0.999
_MAX_ITERATIONS = 2000
_ESTIMATED = tuple[np.ndarray | None, np.ndarray]


def homography(query: np.ndarray, match: np.ndarray, max_error: float) -> _ESTIMATED:
    """The plane, or the turn without parallax, that explains the most correspondences."""
    return _robust(4, query, match, lambda: cv2.findHomography(
        query, match, cv2.USAC_MAGSAC, max_error, None, _MAX_ITERATIONS, _CONFIDENCE))


def fundamental(query: np.ndarray, match: np.ndarray, max_error: float) -> _ESTIMATED:
    """The epipolar geometry of two uncalibrated views."""
    return _robust(8, query, match, lambda: cv2.findFundamentalMat(
        query, match, cv2.USAC_MAGSAC, max_error, _CONFIDENCE, _MAX_ITERATIONS))


def essential(query: np.ndarray, match: np.ndarray, query_matrix: np.ndarray, match_matrix: np.ndarray,
              max_error: float) -> _ESTIMATED:
    """The epipolar geometry of two calibrated views, whose K are given, (3, 3)."""
    undistorted = np.zeros(0)
    return _robust(6, query, match, lambda: cv2.findEssentialMat(
        query, match, query_matrix, undistorted, match_matrix, undistorted, cv2.USAC_MAGSAC, _CONFIDENCE, max_error))


def direction(essential_matrix: np.ndarray, query: np.ndarray, match: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The motion of an essential matrix for which the points lie in front of both cameras.

    :param query, match: (C, 2) normalised coordinates of the inliers
    :return: (4, 4) match_from_query in camera frames with a translation of length 1, and (C,) bool, in front of both
    """
    front, rotation, translation, mask = cv2.recoverPose(essential_matrix, query, match, np.eye(3))
    pose = np.eye(4)
    pose[:3] = np.column_stack([rotation, translation])
    return pose, (mask.ravel() > 0) & (front > 0)


def in_front(match_from_query: np.ndarray, query: np.ndarray, match: np.ndarray, max_error: float) -> np.ndarray:
    """Which correspondences may be points in front of both cameras: (C,) bool.

    A point moves from where the query's ray would hit at infinity towards the epipole, never away from it. False
    correspondences along lines that run into the vanishing point of a street fit an epipolar geometry as well as true
    ones; to one half of them the point would lie behind the cameras.

    :param match_from_query: (4, 4), the motion
    :param query, match: (C, 2) normalised coordinates
    :param max_error: by which a point may be off, radians
    """
    infinite, seen = _rays(query) @ match_from_query[:3, :3].T, _rays(match)
    towards = match_from_query[:3, 3] - (infinite @ match_from_query[:3, 3])[:, None] * infinite
    length = np.linalg.norm(towards, axis=1)
    along = (seen * towards).sum(axis=1) / np.maximum(length, 1e-12)
    return np.arctan2(along, (seen * infinite).sum(axis=1)) > -max_error


def parallax(match_from_query: np.ndarray, query: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Angle between the two rays of every correspondence in normalised coordinates, (C,) radians."""
    rays = _rays(query) @ match_from_query[:3, :3].T
    cosine = (rays * _rays(match)).sum(axis=1)
    return np.arctan2(np.linalg.norm(np.cross(rays, _rays(match)), axis=1), cosine)


def _rays(points: np.ndarray) -> np.ndarray:
    rays = np.column_stack([points, np.ones(len(points))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _robust(least: int, query: np.ndarray, match: np.ndarray, estimate) -> _ESTIMATED:
    model = None
    if len(query) >= least:
        with suppress(cv2.error):  # OpenCV asserts, where others find nothing, e.g. on points that all lie on one line
            model, mask = estimate()
    if model is None or model.shape != (3, 3) or not np.isfinite(model).all():
        return None, np.zeros(len(query), bool)
    return model, mask.ravel() > 0
