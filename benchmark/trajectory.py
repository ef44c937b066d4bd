"""Errors of a trajectory against the true one: absolute after a rigid alignment, and relative over a distance."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segvlad_ros.geometry import angle_of
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors in numbers; metres, or radians."""

    rmse: float
    mean: float
    median: float
    maximum: float

    @staticmethod
    def of(errors: np.ndarray) -> ErrorStatistics:
        """Of (n,) errors, n > 0."""
        return ErrorStatistics(float(np.sqrt(np.mean(errors ** 2))), float(np.mean(errors)),
                               float(np.median(errors)), float(np.max(errors)))


def align(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The rigid motion that brings points nearest to the true ones, without a change of scale.

    Least squares by singular values: Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", PAMI 1991, equations 34-42 with c = 1.

    :param points, truth: (n, 3) metres
    :return: (4, 4) ``truth_from_points``; where all points lie on a line the turn about it is arbitrary
    """
    points, truth = _checked(points, truth)
    centre, true_centre = points.mean(axis=0), truth.mean(axis=0)
    left, _, right = np.linalg.svd((truth - true_centre).T @ (points - centre) / len(points))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    motion = np.eye(4)
    motion[:3, :3] = (left * signs) @ right
    motion[:3, 3] = true_centre - motion[:3, :3] @ centre
    return motion


def absolute_errors(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances of the points to the true ones after :func:`align`; their root mean square is the absolute trajectory
    error (Sturm, Engelhard, Endres, Burgard and Cremers, "A benchmark for the evaluation of RGB-D SLAM systems",
    IROS 2012, equations 2-3).

    :param points, truth: (n, 3) metres, at the same stamps
    :return: (n,) metres
    """
    points, truth = _checked(points, truth)
    motion = align(points, truth)
    return np.linalg.norm(points @ motion[:3, :3].T + motion[:3, 3] - truth, axis=1)


def absolute_trajectory_error(points: np.ndarray, truth: np.ndarray) -> ErrorStatistics:
    """Statistics of :func:`absolute_errors`."""
    return ErrorStatistics.of(absolute_errors(points, truth))


def relative_pose_errors(poses: Sequence[np.ndarray], truth: Sequence[np.ndarray], distance_m: float
                         ) -> tuple[ErrorStatistics, ErrorStatistics]:
    """Errors of the motion over a distance, from each pose on (Sturm et al., IROS 2012, equation 1, with a fixed
    distance travelled in place of a fixed time, as Geiger et al., CVPR 2012, have it).

    :param poses, truth: n (4, 4) matrices at the same stamps
    :param distance_m: along the true path
    :return: of translation (metres) and of rotation (radians)
    :raises SegvladError: the path is shorter than the distance
    """
    poses, truth = np.asarray(poses, np.float64), np.asarray(truth, np.float64)
    if poses.shape != truth.shape or poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise SegvladError(f'poses of the shapes {poses.shape} and {truth.shape}: give (n, 4, 4) of both')
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1))])
    ends = np.searchsorted(travelled, travelled + distance_m)
    starts = np.flatnonzero(ends < len(truth))
    if not len(starts):
        raise SegvladError(f'the path is {travelled[-1]:.3g} m long: no motion of {distance_m:g} m in it')
    ends = ends[starts]
    true_motion = np.linalg.inv(truth[starts]) @ truth[ends]
    error = np.linalg.inv(true_motion) @ (np.linalg.inv(poses[starts]) @ poses[ends])
    return ErrorStatistics.of(np.linalg.norm(error[:, :3, 3], axis=1)), ErrorStatistics.of(angle_of(error))


def _checked(points: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, truth = np.asarray(points, np.float64), np.asarray(truth, np.float64)
    if points.shape != truth.shape or points.ndim != 2 or points.shape[1] != 3 or len(points) < 3:
        raise SegvladError(f'points of the shapes {points.shape} and {truth.shape}: give (n, 3) of both, n >= 3')
    if not (np.isfinite(points).all() and np.isfinite(truth).all()):
        raise SegvladError('points that are not finite have no trajectory error')
    return points, truth
