"""Relative poses with their covariances, read from our messages and turned into what back-ends ask for.

The two kinds of covariance are told in :mod:`segvlad_ros.geometry`.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from segvlad_ros.geometry import adjoint, check_covariance, from_matrix, from_tangent, tangent_covariance, to_matrix
from segvlad_ros.ros.output.conversions import from_pose
from segvlad_ros.types import Pose

LEAST_VARIANCE = 1e-10  # 10 micrometres or microradians; a smaller one has no finite information


def match_from_query(message: Any) -> Pose:
    """``query_pose_in_match`` of a LoopClosure or PlaceMatch with its covariance, None if that is unknown.

    :raises SegvladError: numbers that are not a pose or not a covariance
    """
    given = message.query_pose_in_match
    pose = from_pose(given.pose, '', given.covariance)
    if pose.covariance is not None:
        check_covariance(pose.covariance)
    return pose


def inverse(a_from_b: Pose, frame: str = '') -> Pose:
    """``b_from_a`` with its covariance.

    :param frame: name of b
    """
    matrix = to_matrix(a_from_b)
    return _moved(np.linalg.inv(matrix), a_from_b, adjoint(matrix), frame)


def compose(a_from_b: Pose, b_from_c: Pose, c_from_d: Pose) -> Pose:
    """``a_from_d`` with its covariance, where only ``b_from_c`` is uncertain."""
    first, middle, last = map(to_matrix, (a_from_b, b_from_c, c_from_d))
    return _moved(first @ middle @ last, b_from_c, adjoint(np.linalg.inv(last)), a_from_b.frame)


def information(covariance: np.ndarray) -> np.ndarray:
    """The inverse of a covariance; a direction without variance gets the largest information instead of infinity.

    :param covariance: a sound one
    """
    variances, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    return (axes / np.maximum(variances, LEAST_VARIANCE)) @ axes.T


def _moved(matrix: np.ndarray, measured: Pose, moved: np.ndarray, frame: str) -> Pose:
    """The pose of a (4, 4) matrix with the covariance of the measured one, if that has any.

    :param moved: (6, 6) what the measured pose's tangent space is multiplied by
    """
    if measured.covariance is None:
        return from_matrix(matrix, frame)
    return from_tangent(matrix, moved @ tangent_covariance(measured) @ moved.T, frame)
