"""The pose graph: odometry and loop closures in, an optimised path and a verdict on each closure out."""
from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from segvlad_ros.geometry import from_matrix
from segvlad_ros.slam.closures import Closure, Link, link_of, make_closure
from segvlad_ros.slam.odometry_chain import MAX_EXTRAPOLATION_S, OdometryChain, PoseGraphSettings
from segvlad_ros.slam.optimizer import Optimizer
from segvlad_ros.text import one_line
from segvlad_ros.types import Pose

FRAME = 'map'
ODOMETRY_PROBABILITY = 1 - 1e-6  # closures less likely than this by odometry alone are not even tried
INLIER_WEIGHT = 0.5  # least weight of a closure that bends the path
FRESH_SHARE = 0.1  # where some contradict, all are compared anew after so many new ones, as a share of the inliers
MAX_WAITING = 1000


class Verdict(Enum):
    """What became of a closure."""

    WAITING = 'waiting'
    ACCEPTED = 'accepted'
    REJECTED = 'rejected'
    UNUSABLE = 'unusable'


@dataclass(frozen=True)
class Judgement:
    """A verdict and one line that says why."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class _Loop:
    """A closure whose nodes are known.

    :ivar odometry_error: its squared Mahalanobis distance from what odometry alone says
    """

    link: Link
    factor: Any
    odometry_error: float


class PoseGraph:
    """One robot's path in the frame ``map``, which is the frame of its odometry until a closure moves it.

    Closures are first tried against what odometry alone allows; those that pass are compared with each other by
    graduated non-convexity on a small graph of the nodes they touch; those that agree go into the least squares over
    all nodes. All of them are judged anew each time, so that a verdict may change. Not thread-safe.

    :raises SegvladError: GTSAM is not installed
    """

    def __init__(self, settings: PoseGraphSettings | None = None) -> None:
        self._settings = settings or PoseGraphSettings()
        self._count = 0
        self._limit = _chi_square(self._settings.inlier_probability)
        self._odometry_limit = _chi_square(ODOMETRY_PROBABILITY)
        self._begin()

    def _begin(self) -> None:
        self._chain = OdometryChain(self._settings)
        self._optimizer = Optimizer()
        self._frame = ''
        self._waiting: dict[int, Closure] = {}
        self._loops: dict[int, _Loop] = {}
        self._steps: dict[tuple[int, int], Any] = {}
        self._judged: dict[int, Judgement] = {}
        self._inliers: set[int] = set()
        self._fresh = 0  # closures since all were compared

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self._chain)

    @property
    def leaps(self) -> int:
        """How often odometry has leapt, as if its driver was started again."""
        return self._chain.leaps

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest odometry, nanoseconds, or None."""
        return self._chain.newest_ns

    @property
    def waiting(self) -> int:
        """Number of closures that odometry has not reached."""
        return len(self._waiting)

    def add_odometry(self, stamp_ns: int, pose: Pose) -> bool:
        """Take an odometry pose; a late one is left out.

        :return: True where the clock jumped back, or the odometry's frame changed, and a new graph was begun
        """
        newest = self._chain.newest_ns
        anew = newest is not None and (newest - stamp_ns > MAX_EXTRAPOLATION_S * 1e9 or pose.frame != self._frame)
        if anew:
            self._begin()
        elif newest is not None and stamp_ns <= newest:
            return False
        self._frame = pose.frame
        if self._chain.add(stamp_ns, pose):
            self._add_node()
        return anew

    def _add_node(self) -> None:
        node = len(self._chain) - 1
        if node == 0:
            self._optimizer.add_node(0, self._chain.poses[0], None)
            return
        step = self._chain.between(node - 1, node)
        self._optimizer.add_node(node, self._optimizer.pose(node - 1) @ step, Link(
            node - 1, node, step, np.diag(self._chain.step_variances(node - 1))))

    def add_closure(self, match_stamp_ns: int, query_stamp_ns: int, query_pose_in_match: Pose) -> int:
        """Take a loop closure; :meth:`optimize` tells what becomes of it.

        :param query_pose_in_match: T_match_query of the robot's base, covariance in ROS' order and axes, or None
        :return: its number
        :raises SegvladError: numbers that are no pose or no covariance
        """
        closure = make_closure(match_stamp_ns, query_stamp_ns, query_pose_in_match, self._settings)
        number = self._count
        self._count += 1
        self._waiting[number] = closure
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self._set_aside(oldest, f'odometry did not reach its stamps while {MAX_WAITING} others came')
        return number

    def optimize(self) -> dict[int, Judgement]:
        """Take in what odometry has reached, and optimise if there are new ones; all closures by their numbers."""
        self._attach()
        fresh = self._loops.keys() - self._judged.keys()
        if fresh:
            self._judge_or_set_aside(fresh)
        waiting = Judgement(Verdict.WAITING, 'odometry has not reached its stamps')
        return {**self._judged, **{number: waiting for number in self._waiting}}

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """The optimised base poses at the nodes, and the newest one.

        :return: stamps (n,) int64 in nanoseconds; (n, 7) float64, translations and quaternions x y z w
        """
        stamps, poses, newest = np.array(self._chain.stamps, np.int64), self._optimizer.poses(), self._chain.newest_ns
        if newest is not None and newest > stamps[-1]:
            last = self.pose_at(newest)
            stamps, poses = np.append(stamps, newest), np.vstack([poses, [*last.translation, *last.quaternion]])
        return stamps, poses

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """The optimised base pose at a stamp, None where there was no odometry."""
        moment = self._chain.attach(stamp_ns)
        return None if moment is None else from_matrix(
            self._optimizer.pose(moment.node) @ moment.node_from_base, FRAME)

    @property
    def odometry_frame(self) -> str:
        """The frame of the odometry, '' before the first."""
        return self._frame

    def map_from_odometry(self) -> Pose | None:
        """By how much odometry has drifted until the newest node; None before the first."""
        if not len(self._chain):
            return None
        newest = len(self._chain) - 1
        return from_matrix(self._optimizer.pose(newest) @ np.linalg.inv(self._chain.poses[newest])
                           @ self._chain.frame_from_odometry, FRAME)

    def _set_aside(self, number: int, reason: str) -> None:
        self._judged[number] = Judgement(Verdict.UNUSABLE, reason)

    def _attach(self) -> None:
        """Give the closures that odometry has reached their nodes."""
        newest = self._chain.newest_ns
        ready = [number for number, closure in self._waiting.items()
                 if newest is not None and max(closure.match_stamp_ns, closure.query_stamp_ns) <= newest]
        for number in ready:
            closure = self._waiting.pop(number)
            moments = [self._chain.attach(stamp) for stamp in (closure.match_stamp_ns, closure.query_stamp_ns)]
            missing = [name for name, moment in zip(('match', 'query'), moments) if moment is None]
            if missing:
                self._set_aside(number, f'there is no odometry at the stamp of the {" and the ".join(missing)}')
            elif moments[0].node == moments[1].node:
                self._set_aside(number, 'match and query are at one place of the path')
            else:
                self._link(number, link_of(closure, *moments))

    def _link(self, number: int, link: Link) -> None:
        """Take a closure whose nodes are known into the graph."""
        widened = replace(link, covariance=link.covariance + self._chain.covariance(link.first, link.second))
        try:
            self._loops[number] = _Loop(link, self._optimizer.factor(link), self._optimizer.squared_mahalanobis(
                widened, self._chain.between(link.first, link.second)))
        except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            self._set_aside(number, f'its numbers cannot be used: {one_line(error, 120)}')

    def _judge_or_set_aside(self, fresh: set[int]) -> None:
        """Judge the new closures; those on which GTSAM fails leave the graph as it was."""
        before, inliers = self._optimizer.values(), set(self._inliers)
        try:
            self._judge()
        except RuntimeError as error:  # GTSAM: an indeterminate system, a covariance that is none
            self._optimizer.restore(before)
            self._inliers = inliers
            for number in fresh:
                del self._loops[number]
                self._set_aside(number, f'the optimiser failed on it: {one_line(error, 120)}')

    def _judge(self) -> None:
        """Believe the new closures that fit what is known; where that does not come out, compare all anew.

        A closure that was refused may be a true one whose fellows come later: while there is such a one, new closures
        are a reason to compare all, even if each of them fits.
        """
        fresh = self._loops.keys() - self._judged.keys()
        fitting = {number for number in self._loops.keys() - self._inliers
                   if self._agrees(number) or (number in fresh and self._fits(number))}
        inliers = self._inliers | fitting
        self._fresh += len(fresh)
        if fitting:
            self._solve(inliers)
        comparable = {number for number in self._loops if self._is_possible(number) or self._agrees(number)}
        due = comparable - inliers and self._fresh > FRESH_SHARE * len(inliers)
        if due or not all(map(self._agrees, inliers)):
            self._fresh = 0
            inliers = self._select(sorted(comparable))
            self._solve(inliers)
            agreeing = set(filter(self._agrees, inliers))  # the selection was on a smaller graph
            if agreeing != inliers:
                inliers = agreeing
                self._solve(inliers)
        self._inliers = inliers
        self._judged.update({number: self._judgement(number) for number in self._loops})

    def _judgement(self, number: int) -> Judgement:
        error = f'squared error {self._error(number):.3g}, limit {self._limit:.3g}'
        if number in self._inliers:
            return Judgement(Verdict.ACCEPTED, f'agrees with the path: {error}')
        if self._is_possible(number):
            return Judgement(Verdict.REJECTED, f'contradicts odometry and the other closures: {error}')
        return Judgement(Verdict.REJECTED, f'contradicts odometry: squared error '
                         f'{self._loops[number].odometry_error:.3g}, limit {self._odometry_limit:.3g}')

    def _error(self, number: int) -> float:
        return self._optimizer.squared_error(self._loops[number].factor)

    def _agrees(self, number: int) -> bool:
        """Whether a closure agrees with the path as it is."""
        return self._error(number) <= self._limit

    def _is_possible(self, number: int) -> bool:
        """Whether odometry alone allows a closure."""
        return self._loops[number].odometry_error <= self._odometry_limit

    def _fits(self, number: int) -> bool:
        """Whether odometry and the inliers allow a closure."""
        inliers = sorted(self._inliers)
        steps, origin = self._skeleton([number, *inliers])
        known = [*steps, *(self._loops[other].factor for other in inliers)]
        return self._optimizer.squared_mahalanobis_to(
            known, self._loops[number].link, origin) <= self._odometry_limit

    def _select(self, numbers: list[int]) -> set[int]:
        """The closures that agree with odometry and each other."""
        if not numbers:
            return set()
        steps, origin = self._skeleton(numbers)
        weights = self._optimizer.select(steps, [self._loops[number].factor for number in numbers], origin, self._limit)
        return {number for number, weight in zip(numbers, weights) if weight >= INLIER_WEIGHT}

    def _skeleton(self, numbers: list[int]) -> tuple[list[Any], int]:
        """Odometry between the nodes that some closures touch, as factors, and the first of these nodes."""
        links = [self._loops[number].link for number in numbers]
        nodes = sorted({node for link in links for node in (link.first, link.second)})
        for pair in zip(nodes, nodes[1:]):
            if pair not in self._steps:
                self._steps[pair] = self._optimizer.factor(
                    Link(*pair, self._chain.between(*pair), self._chain.covariance(*pair)))
        return [self._steps[pair] for pair in zip(nodes, nodes[1:])], nodes[0]

    def _solve(self, inliers: set[int]) -> None:
        self._optimizer.solve(self._loops[number].factor for number in sorted(inliers))


def _chi_square(probability: float) -> float:
    """The squared error of six dimensions that is not exceeded with a probability."""
    from scipy.stats import chi2
    return float(chi2.ppf(probability, 6))
