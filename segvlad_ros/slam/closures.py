"""Loop closures as the pose graph holds them, with their covariances in the tangent space."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segvlad_ros.geometry import adjoint, check_covariance, tangent_covariance, to_matrix
from segvlad_ros.slam.odometry_chain import Attachment, PoseGraphSettings
from segvlad_ros.types import Pose, SegvladError


@dataclass(frozen=True)
class Closure:
    """A loop closure between two moments, as it was received.

    :ivar match_stamp_ns, query_stamp_ns: of the two images
    :ivar match_from_query: (4, 4) pose of the base at the query's stamp in the base at the match's stamp
    :ivar covariance: (6, 6) of x in ``match_from_query exp(x)``, translation first
    """

    match_stamp_ns: int
    query_stamp_ns: int
    match_from_query: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Link:
    """A relative pose of two nodes.

    :ivar first, second: numbers of the nodes, first < second
    :ivar first_from_second: (4, 4)
    :ivar covariance: (6, 6) of x in ``first_from_second exp(x)``, translation first
    """

    first: int
    second: int
    first_from_second: np.ndarray
    covariance: np.ndarray


def make_closure(match_stamp_ns: int, query_stamp_ns: int, query_pose_in_match: Pose,
                 settings: PoseGraphSettings) -> Closure:
    """A received closure, its covariance as ROS orders it or None; what is none raises SegvladError."""
    matrix = to_matrix(query_pose_in_match)
    if not np.isfinite(matrix).all():
        raise SegvladError('the pose of the query in the match is not finite')
    added = np.diag([settings.closure_translation_m ** 2] * 3 + [settings.closure_rotation_rad ** 2] * 3)
    return Closure(match_stamp_ns, query_stamp_ns, matrix, _tangent_covariance(query_pose_in_match) + added)


def _tangent_covariance(pose: Pose) -> np.ndarray:
    """(6, 6) in the tangent space; zero where unknown. What is not a covariance raises SegvladError."""
    if pose.covariance is None:
        return np.zeros((6, 6))
    check_covariance(pose.covariance)
    return tangent_covariance(pose)


def link_of(closure: Closure, match: Attachment, query: Attachment) -> Link:
    """The closure between the two nodes that its moments belong to.

    With A and B the poses of match and query in their nodes, each with its own small motion a and b, and T the
    closure with c: ``A exp(a) T exp(c) (B exp(b))^-1 = A T B^-1 exp(adjoint(B) (adjoint(T^-1) a + c - b))``.
    """
    node_from_node = match.node_from_base @ closure.match_from_query @ np.linalg.inv(query.node_from_base)
    moved = adjoint(np.linalg.inv(closure.match_from_query))
    inner = moved @ match.covariance @ moved.T + closure.covariance + query.covariance
    axes = adjoint(query.node_from_base)
    covariance = axes @ inner @ axes.T
    if match.node < query.node:
        return Link(match.node, query.node, node_from_node, (covariance + covariance.T) / 2)
    back = adjoint(node_from_node)  # T exp(x) turned round is T^-1 exp(-adjoint(T) x)
    covariance = back @ covariance @ back.T
    return Link(query.node, match.node, np.linalg.inv(node_from_node), (covariance + covariance.T) / 2)
