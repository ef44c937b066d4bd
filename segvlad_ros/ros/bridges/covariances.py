"""Covariances of relative poses, in the axes and the order in which back-ends read them.

Ours, as geometry_msgs/PoseWithCovariance has it: of a pose ``a_from_b`` the errors x y z, then those of the rotation
about x y z, all in the fixed axes of a. Optimisers (GTSAM, g2o) take the error x of ``a_from_b exp(x)``, in the axes of
b: the *tangent* covariance here. The two differ by the rotation of the pose, and GTSAM puts the rotation first.
"""
from __future__ import annotations

import numpy as np

from segvlad_ros.io.geometry import from_matrix, to_matrix
from segvlad_ros.recognition.absolute_pose import adjoint
from segvlad_ros.types import Pose, SegvladError

LEAST_VARIANCE = 1e-10  # 10 micrometres or microradians; a smaller one has no finite information


def tangent(pose: Pose) -> np.ndarray:
    """(6, 6) covariance of x in ``pose exp(x)``, translation first.

    :param pose: with its covariance
    """
    axes = np.kron(np.eye(2), to_matrix(pose)[:3, :3].T)
    return axes @ pose.covariance @ axes.T


def rotation_first(covariance: np.ndarray) -> np.ndarray:
    """GTSAM's order: the (3, 3) blocks of translation and rotation exchanged."""
    order = [3, 4, 5, 0, 1, 2]
    return covariance[np.ix_(order, order)]


def inverse(a_from_b: Pose, frame: str = '') -> Pose:
    """``b_from_a`` with its covariance.

    :param frame: name of b
    """
    matrix = to_matrix(a_from_b)
    turned = adjoint(matrix)
    return _with_tangent(np.linalg.inv(matrix), frame, None if a_from_b.covariance is None
                         else turned @ tangent(a_from_b) @ turned.T)


def compose(a_from_b: Pose, b_from_c: Pose, c_from_d: Pose) -> Pose:
    """``a_from_d`` with its covariance, where only ``b_from_c`` is uncertain."""
    first, middle, last = map(to_matrix, (a_from_b, b_from_c, c_from_d))
    turned = adjoint(np.linalg.inv(last))
    return _with_tangent(first @ middle @ last, a_from_b.frame, None if b_from_c.covariance is None
                         else turned @ tangent(b_from_c) @ turned.T)


def information(covariance: np.ndarray) -> np.ndarray:
    """The inverse of a covariance; a direction without variance gets the largest information instead of infinity.

    :raises SegvladError: this is no covariance
    """
    variances, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    if variances[0] < -1e-6 * max(variances[-1], LEAST_VARIANCE):
        raise SegvladError('a covariance with negative variances')
    return (axes / np.maximum(variances, LEAST_VARIANCE)) @ axes.T


def _with_tangent(matrix: np.ndarray, frame: str, covariance: np.ndarray | None) -> Pose:
    if covariance is None:
        return from_matrix(matrix, frame)
    axes = np.kron(np.eye(2), matrix[:3, :3])
    fixed = axes @ covariance @ axes.T
    return from_matrix(matrix, frame, (fixed + fixed.T) / 2)
