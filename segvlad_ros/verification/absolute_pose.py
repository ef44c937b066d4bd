"""Metric pose between two cameras from points of known depth, and its covariance.

Robust start by P3P and RANSAC (OpenCV), then least squares over everything that is known: points with a depth in the
match, seen in the query, and the reverse. Weights are Huber's, and every residual is expected to be as large as the
detector's noise and the depth's error make it. The covariance reckons with that noise in both images, and with a pair
that has depths on both sides once: half of it in each direction.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.geometry import exponential
from segvlad_ros.verification.view import Correspondences, View, normalised

# Noise of a keypoint's position, share of the image's width (1 pixel of 640).
_POSITION_ERROR = 0.0015
# A pose is an inlier's up to this many times the error that an epipolar line may have: it binds both coordinates.
_PIXEL_FACTOR = 1.5
_HUBER = 1.345  # residuals above this many sigmas weigh less (95% efficiency on normal noise)
_STEPS = 10
_CONVERGED = 1e-4  # share of the cost that a last step still wins


@dataclass(frozen=True)
class MetricPose:
    """Pose of the query's camera in the match's camera.

    :ivar match_from_query: (4, 4), optical frames, metres
    :ivar covariance: (6, 6) of x in ``match_from_query exp(-x)``, translation first
    :ivar inliers: (C,) bool, correspondences that agree, in each direction in which their depth allows the test
    :ivar tested: correspondences with a depth on either side
    :ivar scale_source: where most of the depths come from, see :class:`~segvlad_ros.verification.view.View`
    """

    match_from_query: np.ndarray
    covariance: np.ndarray
    inliers: np.ndarray
    tested: int
    scale_source: str


@dataclass(frozen=True)
class Observations:
    """Points of known depth in one camera, and where the other camera saw them.

    :ivar points: (n, 3) float64 metres, in the optical frame of the camera that knows the depth
    :ivar pixels: (n, 2) float64, ideal pixels of the other camera
    :ivar matrix: (3, 3) K of the other camera
    :ivar depth_error: (n,) standard deviation of the depth as a share of it
    :ivar stretch: (n,) ideal pixels to a pixel of the other camera's image
    :ivar share: (n,) 1/2 where the other camera knows the depth as well, so that the pair is observed twice; else 1
    """

    points: np.ndarray
    pixels: np.ndarray
    matrix: np.ndarray
    depth_error: np.ndarray
    stretch: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, kept: np.ndarray) -> Observations:
        return Observations(self.points[kept], self.pixels[kept], self.matrix, self.depth_error[kept],
                            self.stretch[kept], self.share[kept])

    def errors(self, camera_from_points: np.ndarray) -> np.ndarray:
        """(n,) pixels of the image between projection and observation; infinite behind the camera."""
        seen = self.points @ camera_from_points[:3, :3].T + camera_from_points[:3, 3]
        depth = np.where(seen[:, 2] > 0, seen[:, 2], np.nan)
        projected = seen[:, :2] / depth[:, None] * np.diag(self.matrix)[:2] + self.matrix[:2, 2]
        return np.nan_to_num(np.linalg.norm(projected - self.pixels, axis=1), nan=np.inf) / self.stretch


def back_project(pixels: np.ndarray, depths: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 3) points in the optical frame of (n, 2) ideal pixels and (n,) depths."""
    return np.column_stack([normalised(pixels, matrix), np.ones(len(pixels))]) * depths[:, None]


def metric_pose(query: View, match: View, pairs: Correspondences, max_error: float) -> MetricPose | None:
    """The pose that agrees with the most points of known depth; None if there is none.

    :param max_error: of an epipolar inlier, pixels
    """
    in_query, from_match = _observe(match, pairs.match, query, pairs.query)
    in_match, from_query = _observe(query, pairs.query, match, pairs.match)
    limit = _PIXEL_FACTOR * max_error
    forward = len(in_query) >= len(in_match)
    pose = robust_pose(in_query if forward else in_match, limit)
    if pose is None:
        return None
    pose = pose if forward else np.linalg.inv(pose)
    sigma = _POSITION_ERROR * query.size[0]
    before: tuple[np.ndarray, ...] = ()
    for _ in range(2):  # the second time with the inliers of the refined pose, where these are others
        agree = in_query.errors(pose) < limit, in_match.errors(np.linalg.inv(pose)) < limit
        if agree[0].sum() + agree[1].sum() < 4:
            return None
        if before and all(map(np.array_equal, before, agree)):
            break
        pose, covariance = refine_pose(pose, in_query[agree[0]], in_match[agree[1]], sigma)
        before = agree
    tested, inliers = np.zeros((2, len(pairs)), bool)
    tested[from_match] = tested[from_query] = True
    inliers[from_match[in_query.errors(pose) < limit]] = True
    inliers[from_query[in_match.errors(np.linalg.inv(pose)) < limit]] = True
    measured = match if agree[0].sum() >= agree[1].sum() else query
    along = np.concatenate([pose[:3, 3], np.zeros(3)])  # if all depths are wrong by one factor, so is the translation
    covariance = covariance + measured.scale_error ** 2 * np.outer(along, along)
    return MetricPose(np.linalg.inv(pose), covariance, inliers, int(tested.sum()), measured.scale_source)


def _observe(knower: View, known_rows: np.ndarray, observer: View,
             seen_rows: np.ndarray) -> tuple[Observations, np.ndarray]:
    """What the observer sees of the points whose depth the other view knows, and their numbers."""
    depths = knower.keypoints.depths[known_rows].astype(np.float64)
    known = np.flatnonzero(np.isfinite(depths))
    errors = np.zeros(len(known)) if knower.depth_error is None else knower.depth_error[known_rows[known]]
    points = back_project(knower.pixels(known_rows[known]), depths[known], knower.camera_model.matrix)
    seen_rows = seen_rows[known]
    share = np.where(np.isfinite(observer.keypoints.depths[seen_rows]), 0.5, 1.0)
    return Observations(points, observer.pixels(seen_rows), observer.camera_model.matrix, errors,
                        observer.stretch(seen_rows), share), known


def robust_pose(observations: Observations, max_error: float) -> np.ndarray | None:
    """The (4, 4) pose ``camera_from_points`` with the most inliers, which are ``max_error`` pixels off, or None.

    OpenCV has one limit for all points: that of the middle one's stretch.
    """
    if len(observations) < 4:
        return None
    limit = max_error * float(np.median(observations.stretch))
    try:
        found, rotation, translation, _ = cv2.solvePnPRansac(
            observations.points, observations.pixels, observations.matrix, None, iterationsCount=300,
            reprojectionError=limit, confidence=0.999, flags=cv2.SOLVEPNP_AP3P)
    except cv2.error:  # OpenCV asserts, where others find nothing
        return None
    if not found or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation[:, 0]
    return pose


def refine_pose(query_from_match: np.ndarray, in_query: Observations, in_match: Observations,
                sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over both directions: Levenberg-Marquardt with Huber's weights.

    :param query_from_match: (4, 4) start, camera frames
    :param in_query: points with a depth in the match, seen by the query
    :param in_match: points with a depth in the query, seen by the match
    :param sigma: noise of a position, pixels of the image
    :return: the refined pose T, and the (6, 6) covariance of x in ``exp(x) T``, translation first
    """
    pose, damping = query_from_match.copy(), 1e-4
    residuals, jacobian = _linearise(pose, in_query, in_match, sigma)
    cost = _cost(residuals)
    for _ in range(_STEPS):
        weights = _huber(residuals)
        weighted = (jacobian * weights[:, None]).T
        normal = weighted @ jacobian
        step = -np.linalg.lstsq(normal + damping * np.diag(np.diag(normal)), weighted @ residuals, rcond=None)[0]
        candidate = exponential(step) @ pose
        there, slope = _linearise(candidate, in_query, in_match, sigma)
        gain = cost - _cost(there)
        if gain > 0:
            pose, residuals, jacobian, cost, damping = candidate, there, slope, cost - gain, damping / 10
        else:
            damping *= 10
        if abs(gain) <= _CONVERGED * cost:
            break
    return pose, _covariance(pose, in_query, in_match, sigma)


def _covariance(query_from_match: np.ndarray, in_query: Observations, in_match: Observations,
                sigma: float) -> np.ndarray:
    """(6, 6) of x in ``exp(x) query_from_match``, see :func:`refine_pose`.

    The noise of both images: who knows a point's depth is as unsure of its position as who sees it. The pose itself was
    found by that of one, of which Huber's limit is the narrower.
    """
    residuals, jacobian = _linearise(query_from_match, in_query, in_match, math.sqrt(2) * sigma)
    shares = np.repeat(np.concatenate([in_query.share, in_match.share]), 2)
    weights = shares * _huber(residuals)
    # never better than the noise model says, worse where the residuals say so
    variance = max(1.0, float((weights * residuals ** 2).sum()) / max(float(shares.sum()) - 6, 1))
    normal = (jacobian * weights[:, None]).T @ jacobian
    # a direction that nothing observes gets a huge variance, not the zero that a pseudo-inverse would give it
    return variance * np.linalg.inv(normal + 1e-6 * np.eye(6))


def _linearise(query_from_match: np.ndarray, in_query: Observations, in_match: Observations,
               sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals in sigmas and their derivative by x in ``exp(x) query_from_match``."""
    match_from_query = np.linalg.inv(query_from_match)
    forward, by_seen = _project(query_from_match, in_query, sigma)
    backward, by_matched = _project(match_from_query, in_match, sigma)
    seen = in_query.points @ query_from_match[:3, :3].T + query_from_match[:3, 3]
    jacobian = np.concatenate([_by_motion(by_seen, seen),
                               _by_motion(-by_matched @ match_from_query[:3, :3], in_match.points)])
    return np.concatenate([forward, backward]).ravel(), jacobian.reshape(-1, 6)


def _by_motion(by_point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 2, 6) derivative by x in ``exp(x) points``, from that by the points: ``[I, -skew(p)]`` behind each row."""
    return np.concatenate([by_point, np.cross(points[:, None], by_point)], axis=2)


def _project(camera_from_points: np.ndarray, observations: Observations,
             sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) residuals in sigmas, and (n, 2, 3) their derivative by the point in the observing camera's frame."""
    turned = observations.points @ camera_from_points[:3, :3].T
    x, y, z = (turned + camera_from_points[:3, 3]).T
    z = np.maximum(z, 1e-3)
    focal = np.diag(observations.matrix)[:2]
    projected = np.stack([x / z, y / z], 1) * focal + observations.matrix[:2, 2]
    derivative = np.zeros((len(z), 2, 3))
    derivative[:, 0, 0], derivative[:, 0, 2] = focal[0] / z, -focal[0] * x / z ** 2
    derivative[:, 1, 1], derivative[:, 1, 2] = focal[1] / z, -focal[1] * y / z ** 2
    by_depth = np.einsum('nij,nj->ni', derivative, turned) * observations.depth_error[:, None]
    scale = np.sqrt((sigma * observations.stretch) ** 2 + (by_depth ** 2).sum(axis=1) / 2)
    return (projected - observations.pixels) / scale[:, None], derivative / scale[:, None, None]


def _huber(residuals: np.ndarray) -> np.ndarray:
    """Weight of every residual; both coordinates of an observation share one."""
    size = np.linalg.norm(residuals.reshape(-1, 2), axis=1)
    return np.repeat(np.minimum(1.0, _HUBER / np.maximum(size, 1e-12)), 2)


def _cost(residuals: np.ndarray) -> float:
    size = np.linalg.norm(residuals.reshape(-1, 2), axis=1)
    return float(np.where(size < _HUBER, size ** 2 / 2, _HUBER * (size - _HUBER / 2)).sum())
