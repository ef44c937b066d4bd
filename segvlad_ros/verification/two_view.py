"""Robust models of two views of one scene, without depth: homography, fundamental and essential matrix.

The estimators are OpenCV's USAC with MAGSAC++ (D. Barath et al., CVPR 2020). Their random numbers begin anew at every
call, so that the same correspondences give the same model. Points are (C, 2) float, ideal (undistorted) pixels; the
models map the query to the match. Every estimator is given the ``max_error`` of an inlier in pixels, and returns the
model, (3, 3) or None, and the inliers as (C,) bool.

OpenCV has one limit for all points. Where lenses bend the image, ``stretch`` says how many ideal pixels a pixel of the
image is at each point, (C,) of the query and of the match: the model is then sought with the limit of the middle one,
and the inliers are those whose error is small in pixels of the images.
"""
from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np

_CONFIDENCE = 0.999
_MAX_ITERATIONS = 2000
_ESTIMATED = tuple[np.ndarray | None, np.ndarray]
Stretch = tuple[np.ndarray, np.ndarray]


def homography(query: np.ndarray, match: np.ndarray, max_error: float, stretch: Stretch | None = None) -> _ESTIMATED:
    """The plane, or the turn without parallax, that explains the most correspondences."""
    limit = max_error * _middle(stretch)
    model, inliers = _robust(4, query, match, lambda: cv2.findHomography(
        query, match, cv2.USAC_MAGSAC, limit, None, _MAX_ITERATIONS, _CONFIDENCE))
    if model is None or not _bent(stretch):
        return model, inliers
    with np.errstate(divide='ignore', invalid='ignore'):
        mapped = np.column_stack([query, np.ones(len(query))]) @ model.T
        errors = np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - match, axis=1) / stretch[1]
    return model, errors < max_error


def fundamental(query: np.ndarray, match: np.ndarray, max_error: float) -> _ESTIMATED:
    """The epipolar geometry of two uncalibrated views."""
    return _robust(8, query, match, lambda: cv2.findFundamentalMat(
        query, match, cv2.USAC_MAGSAC, max_error, _CONFIDENCE, _MAX_ITERATIONS))


def essential(query: np.ndarray, match: np.ndarray, query_matrix: np.ndarray, match_matrix: np.ndarray,
              max_error: float, *, stretch: Stretch | None = None) -> _ESTIMATED:
    """The epipolar geometry of two calibrated views, whose K are given, (3, 3)."""
    undistorted, limit = np.zeros(0), max_error * _middle(stretch)
    model, inliers = _robust(6, query, match, lambda: cv2.findEssentialMat(
        query, match, query_matrix, undistorted, match_matrix, undistorted, cv2.USAC_MAGSAC, _CONFIDENCE, limit))
    if model is None or not _bent(stretch):
        return model, inliers
    of_pixels = np.linalg.inv(match_matrix).T @ model @ np.linalg.inv(query_matrix)
    return model, _epipolar_errors(of_pixels, query, match, stretch) < max_error


def _epipolar_errors(fundamental_matrix: np.ndarray, query: np.ndarray, match: np.ndarray,
                     stretch: Stretch) -> np.ndarray:
    """(C,) pixels of the images, of P. Sampson's distance with the noise that each point has."""
    ones = np.ones(len(query))
    query, match = np.column_stack([query, ones]), np.column_stack([match, ones])
    lines, back = query @ fundamental_matrix.T, match @ fundamental_matrix
    noise = (stretch[1] ** 2 * (lines[:, :2] ** 2).sum(axis=1) + stretch[0] ** 2 * (back[:, :2] ** 2).sum(axis=1))
    return np.abs((match * lines).sum(axis=1)) / np.sqrt(np.maximum(noise, 1e-24))


def _bent(stretch: Stretch | None) -> bool:
    return stretch is not None and any((each != 1).any() for each in stretch)


def _middle(stretch: Stretch | None) -> float:
    return float(np.median(np.concatenate(stretch))) if _bent(stretch) else 1.0


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
