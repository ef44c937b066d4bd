"""Least squares on rigid transforms with GTSAM, and which links to believe. Rotations come first here, as in GTSAM."""
from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import rotation_first
from segvlad_ros.io.extras import import_extra
from segvlad_ros.slam.closures import Link

GNC_STEP = 2.0  # factor by which the surrogate gets less convex in each round; GTSAM's own 1.4 takes twice the rounds
FIXED = 1e-6  # standard deviation of what is fixed


class Optimizer:
    """The poses of all nodes, and the factors that tell them.

    :raises SegvladError: GTSAM is not installed
    """

    def __init__(self) -> None:
        self._gtsam = import_extra('gtsam')
        self._values = self._gtsam.Values()
        self._steps = self._gtsam.NonlinearFactorGraph()
        self._poses = np.zeros((0, 7))  # those that were asked for since the last change

    def pose(self, node: int) -> np.ndarray:
        """The (4, 4) pose of a node."""
        return self._values.atPose3(node).matrix()

    def poses(self) -> np.ndarray:
        """(nodes, 7) translations and quaternions x y z w of all nodes; those that stay are not asked for again."""
        first = len(self._poses)
        if not first:
            rows = self._gtsam.utilities.extractPose3(self._values)
        else:
            rows = np.array([np.concatenate([matrix[:3, :3].ravel(), matrix[:3, 3]])
                             for matrix in map(self.pose, range(first, self._values.size()))])
        if len(rows):
            turns = Rotation.from_matrix(rows[:, :9].reshape(-1, 3, 3)).as_quat(canonical=True)
            self._poses = np.concatenate([self._poses, np.hstack([rows[:, 9:], turns])])
        return self._poses

    def add_node(self, node: int, pose: np.ndarray, step: Link | None) -> None:
        """Take the next node: a (4, 4) pose to begin with, and the step there; the first has none, and is fixed."""
        self._values.insert(node, self._gtsam.Pose3(pose))
        self._steps.add(self._anchor(node) if step is None else self.factor(step))

    def values(self) -> Any:
        """The poses as they are, for :meth:`restore`."""
        return self._gtsam.Values(self._values)

    def restore(self, values: Any) -> None:
        """Take other poses of the same nodes, as earlier ones."""
        self._values, self._poses = values, self._poses[:0]

    def factor(self, link: Link) -> Any:
        """A link as a factor."""
        noise = self._gtsam.noiseModel.Gaussian.Covariance(rotation_first(link.covariance))
        return self._gtsam.BetweenFactorPose3(link.first, link.second, self._gtsam.Pose3(link.first_from_second), noise)

    def squared_error(self, factor: Any) -> float:
        """How far the poses are from what a factor says, in its standard deviations, squared."""
        return 2 * factor.error(self._values)

    def squared_mahalanobis(self, link: Link, first_from_second: np.ndarray) -> float:
        """Squared Mahalanobis distance of a link from another measurement (4, 4) of it, by the link's covariance."""
        gtsam = self._gtsam
        error = gtsam.Pose3.Logmap(gtsam.Pose3(np.linalg.inv(link.first_from_second) @ first_from_second))
        return float(error @ np.linalg.solve(rotation_first(link.covariance), error))

    def squared_mahalanobis_to(self, known: Iterable[Any], link: Link, origin: int) -> float:
        """Squared Mahalanobis distance of a link from what is known without it, by the covariances of both.

        With small motions x of the two poses, their relative pose T moves by ``x_second - adjoint(T^-1) x_first``.

        :param known: factors that connect its nodes
        :param origin: a node of them, to be fixed
        """
        graph, values = self._subgraph([self._anchor(origin), *known])
        joint = self._gtsam.Marginals(graph, values).jointMarginalCovariance([link.first, link.second])
        moves = self._values.atPose3(link.second).between(self._values.atPose3(link.first)).AdjointMap()
        ends = [joint.at(a, b) for a in (link.first, link.second) for b in (link.first, link.second)]
        spread = moves @ ends[0] @ moves.T - moves @ ends[1] - ends[2] @ moves.T + ends[3]
        wider = Link(link.first, link.second, link.first_from_second, link.covariance + rotation_first(spread))
        return self.squared_mahalanobis(wider, np.linalg.inv(self.pose(link.first)) @ self.pose(link.second))

    def solve(self, factors: Iterable[Any]) -> None:
        """Least squares over all nodes (Levenberg-Marquardt) with their steps and some factors."""
        graph = self._steps.clone()
        for factor in factors:
            graph.add(factor)
        self.restore(self._gtsam.LevenbergMarquardtOptimizer(graph, self._values, self._parameters()).optimize())

    def select(self, known: Sequence[Any], factors: Sequence[Any], origin: int, threshold: float) -> np.ndarray:
        """Which factors agree with each other and with what is known, by graduated non-convexity with a truncated
        quadratic (Yang, Antonante, Tzoumas and Carlone, Robotics and Automation Letters 2020).

        :param known: factors that are inliers
        :param origin: a node of them, to be fixed
        :param threshold: largest squared error of an inlier
        :return: (factors,) float64 weights in [0, 1]
        """
        gtsam = self._gtsam
        graph, values = self._subgraph([self._anchor(origin), *known, *factors])
        parameters = gtsam.GncLMParams(self._parameters())
        parameters.setLossType(gtsam.GncLossType.TLS)
        parameters.setKnownInliers(list(range(1 + len(known))))
        parameters.setLambdaStep(GNC_STEP)
        optimizer = gtsam.GncLMOptimizer(graph, values, parameters)
        optimizer.setInlierCostThresholds(threshold / 2)  # GTSAM's cost is half the squared error
        optimizer.optimize()
        return np.asarray(optimizer.getWeights())[1 + len(known):]

    def _anchor(self, node: int) -> Any:
        gtsam = self._gtsam
        return gtsam.PriorFactorPose3(node, self._values.atPose3(node), gtsam.noiseModel.Isotropic.Sigma(6, FIXED))

    def _subgraph(self, factors: Iterable[Any]) -> tuple[Any, Any]:
        """A graph of some factors, and the poses of the nodes that they touch."""
        graph, values = self._gtsam.NonlinearFactorGraph(), self._gtsam.Values()
        for factor in factors:
            graph.add(factor)
        for node in graph.keyVector():
            values.insert(node, self._values.atPose3(node))
        return graph, values

    def _parameters(self) -> Any:
        parameters = self._gtsam.LevenbergMarquardtParams()
        parameters.setRelativeErrorTol(1e-4)
        # GTSAM keeps Python's lock while it works: after each iteration another thread gets its turn
        parameters.iterationHook = lambda *_: time.sleep(0)
        return parameters
