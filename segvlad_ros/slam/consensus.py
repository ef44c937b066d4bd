"""Which loop closures to believe: those that agree with odometry and with each other."""
from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from segvlad_ros.slam.closures import Link
from segvlad_ros.slam.odometry_chain import OdometryChain
from segvlad_ros.slam.optimizer import Optimizer
from segvlad_ros.text import one_line

INLIER_PROBABILITY = 0.99  # share of the true closures that the noise model keeps
ODOMETRY_PROBABILITY = 1 - 1e-6  # closures less likely than this by odometry alone are not even tried
INLIER_WEIGHT = 0.5  # least weight of a closure that bends the path
FRESH_SHARE = 0.1  # where some contradict, all are compared anew after so many new ones, as a share of the inliers


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


class Consensus:
    """The closures of one graph, and a verdict on each.

    Closures are first tried against what odometry alone allows; those that pass are compared with each other by
    graduated non-convexity on a small graph of the nodes they touch; those that agree go into the least squares over
    all nodes. All of them are judged anew each time, so that a verdict may change.

    :param chain: the nodes
    :param optimizer: their poses, which :meth:`judge` moves
    :ivar judgements: by the closures' numbers
    """

    def __init__(self, chain: OdometryChain, optimizer: Optimizer) -> None:
        self._chain, self._optimizer = chain, optimizer
        self._limit, self._odometry_limit = map(_chi_square, (INLIER_PROBABILITY, ODOMETRY_PROBABILITY))
        self.judgements: dict[int, Judgement] = {}
        self._loops: dict[int, _Loop] = {}
        self._steps: dict[tuple[int, int], Any] = {}
        self._inliers: set[int] = set()
        self._fresh = 0  # closures since all were compared

    def set_aside(self, number: int, reason: str) -> None:
        """Call a closure unusable."""
        self.judgements[number] = Judgement(Verdict.UNUSABLE, reason)

    def add(self, number: int, link: Link) -> None:
        """Take a closure whose nodes are known; :meth:`judge` tells what becomes of it."""
        widened = replace(link, covariance=link.covariance + self._chain.covariance(link.first, link.second))
        try:
            self._loops[number] = _Loop(link, self._optimizer.factor(link), self._optimizer.squared_mahalanobis(
                widened, self._chain.between(link.first, link.second)))
        except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            self.set_aside(number, f'its numbers cannot be used: {one_line(error, 120)}')

    def judge(self) -> None:
        """Judge all anew if there are new ones; those on which GTSAM fails leave the graph as it was."""
        fresh = self._loops.keys() - self.judgements.keys()
        if not fresh:
            return
        before, inliers = self._optimizer.values(), set(self._inliers)
        try:
            self._judge(fresh)
        except RuntimeError as error:  # GTSAM: an indeterminate system, a covariance that is none
            self._optimizer.restore(before)
            self._inliers = inliers
            for number in fresh:
                del self._loops[number]
                self.set_aside(number, f'the optimiser failed on it: {one_line(error, 120)}')

    def _judge(self, fresh: set[int]) -> None:
        """Believe the new closures that fit what is known; where that does not come out, compare all anew.

        A closure that was refused may be a true one whose fellows come later: while there is such a one, new closures
        are a reason to compare all, even if each of them fits.
        """
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
        self.judgements.update({number: self._judgement(number) for number in self._loops})

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
