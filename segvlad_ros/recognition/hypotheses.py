"""Where the robot may be: recognised places that agree with each other by odometry.

Pairwise consistency, as in PCM (Mangelson et al., ICRA 2018): two sightings agree when the map's keyframes lie to each
other as the queries do. What geometry has proven outweighs what only looked alike: an unproven sighting vetoes nothing.
"""
from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from segvlad_ros.mapping.odometry import Motion, OdometryMark, OdometrySettings, between, way
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.types import KeyframeId

# A place that was recognised, but not measured: the robot stood about there and looked about that way.
PLACE_POSITION_M = 0.7
PLACE_ANGLE_RAD = math.radians(20)
# Standard deviations of a measured relative pose, at the least.
_MEASURED_POSITION_M = 0.1
_MEASURED_ANGLE_RAD = math.radians(2)
# A proven sighting among so many queries anchors the unproven ones that agree with it.
ANCHOR_QUERIES = 6
# Sightings that are kept: the last ones, and beside them the last proven ones.
_RECENT, _PROVEN = 20, 20


def place_motion(match_from_query: np.ndarray | None = None, position_m: float = 0.0) -> Motion:
    """How a query lies to its match.

    :param match_from_query: (4, 4), base frames, if it was measured
    :param position_m: standard deviation of the measured position
    """
    if match_from_query is None:
        return Motion(np.eye(4), PLACE_POSITION_M, PLACE_ANGLE_RAD)
    return Motion(match_from_query, max(position_m, _MEASURED_POSITION_M), _MEASURED_ANGLE_RAD)


@dataclass(frozen=True)
class Sighting:
    """A query and the keyframe of the map that it most likely shows.

    :ivar number: counts the queries
    :ivar mark: of the query on its odometry
    :ivar motion: ``match_from_query``, base frames, see :func:`place_motion`
    :ivar proven: whether geometry has proven it
    """

    number: int
    query: KeyframeId
    mark: OdometryMark | None
    entry: int
    motion: Motion
    proven: bool


@dataclass(frozen=True)
class Support:
    """What odometry and the sightings before say of a candidate.

    :ivar agreement: consecutive queries whose sightings agree, this one included
    :ivar anchored: one of the last few sightings that agree is proven
    :ivar expected: True where odometry expects the query there, False where it rules that out, None where it says
        nothing of use
    :ivar advancing: the sightings that agree move through the map as the robot moves, so that they may only trail it
    :ivar contradiction: why it is ruled out, for people; '' otherwise
    """

    agreement: int = 1
    anchored: bool = False
    expected: bool | None = None
    advancing: bool = True
    contradiction: str = ''


class Hypotheses:
    """The sightings of the last queries. Not thread-safe.

    :param misses: queries in a row that see something else, which an agreement survives
    """

    def __init__(self, searched: SearchedMap, drift: OdometrySettings, misses: int) -> None:
        self._map, self._drift, self._misses = searched, drift, misses
        self.forget()

    def forget(self) -> None:
        """The robot may be anywhere."""
        self._recent: deque[Sighting] = deque(maxlen=_RECENT)
        self._proven: deque[Sighting] = deque(maxlen=_PROVEN)
        self._number = 0
        self._stack: tuple[OdometryMark, Motion, OdometryMark] | None = None

    @property
    def entries(self) -> set[int]:
        """The keyframes that were sighted."""
        return {sighting.entry for sighting in self._sightings()}

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Keyframes of the map have other entries: new ones by old ones, of all that were sighted."""
        for kept in (self._recent, self._proven):
            renumbered = [replace(sighting, entry=numbers[sighting.entry]) for sighting in kept]
            kept.clear()
            kept.extend(renumbered)
        self._stack = None

    def withdraw(self, query: KeyframeId, entry: int) -> None:
        """Forget a sighting that turned out to be wrong."""
        for kept in (self._recent, self._proven):
            for sighting in [each for each in kept if (each.query, each.entry) == (query, entry)]:
                kept.remove(sighting)
        self._stack = None

    def add(self, query: KeyframeId, mark: OdometryMark | None, entry: int | None, motion: Motion | None = None,
            proven: bool = False) -> None:
        """Take the next query, and the map keyframe that it most likely shows; None if nothing is worth the name."""
        self._number += 1
        if entry is not None:
            sighting = Sighting(self._number, query, mark, entry, motion or place_motion(), proven)
            self._recent.append(sighting)
            if proven:
                self._proven.append(sighting)
        self._stack = None

    def weigh(self, mark: OdometryMark | None, entry: int, motion: Motion, proven: bool) -> Support:
        """What speaks for and against a query's lying so to a keyframe of the map.

        :param mark: of the query on its odometry
        :param motion: ``match_from_query``
        :param proven: whether geometry has proven it
        """
        sightings = self._sightings()
        expected, known = self._expected(sightings, mark, entry)
        agrees = known & np.asarray(expected.agrees(motion)) if len(sightings) else known
        useful = agrees & expected.useful
        trusted = np.array([sighting.proven for sighting in sightings], bool)
        direct = between(self._map.mark(entry), mark, self._drift)
        contradiction = ''
        if direct is not None and not direct.agrees(motion):
            contradiction = explain(direct, motion)
        elif (trusted & known & ~agrees).sum() > (trusted & useful).sum() + proven:
            wrong = np.flatnonzero(trusted & known & ~agrees)[-1]
            contradiction = explain(Motion(expected.matrix[wrong], float(expected.position_m[wrong]),
                                           float(expected.angle_rad[wrong])), motion)
        sure = direct is not None and direct.useful or (trusted & useful).any()
        same = agrees | (~known & np.array([self._map.near(entry, each.entry) for each in sightings], bool))
        agreeing = [sighting for sighting, agrees in zip(sightings, same) if agrees]
        chain = self._chain(agreeing)
        anchored = any(each.proven and self._number + 1 - each.number <= ANCHOR_QUERIES for each in agreeing)
        return Support(1 + len(chain), anchored, False if contradiction else True if sure else None,
                       self._advancing(entry, chain), contradiction)

    def _sightings(self) -> list[Sighting]:
        return [*(each for each in self._proven if not self._recent or each.number < self._recent[0].number),
                *self._recent]

    def _expected(self, sightings: list[Sighting], mark: OdometryMark | None,
                  entry: int) -> tuple[Motion, np.ndarray]:
        """``match_from_query`` as every sighting and odometry let one expect it: stacked, and (n,) whether they do."""
        here = self._map.mark(entry)
        if mark is None or here is None or not sightings:
            count = len(sightings)
            return Motion(np.tile(np.eye(4), (count, 1, 1)), *np.zeros((2, count))), np.zeros(count, bool)
        if self._stack is None:
            motions = [sighting.motion for sighting in sightings]
            self._stack = (OdometryMark.stack([self._map.mark(sighting.entry) for sighting in sightings]),
                           Motion(*(np.array([getattr(motion, name) for motion in motions])
                                    for name in ('matrix', 'position_m', 'angle_rad'))),
                           OdometryMark.stack([sighting.mark for sighting in sightings]))
        matches, motions, queries = self._stack
        expected = way(here, matches, self._drift).then(motions).then(way(queries, mark, self._drift))
        return expected, (matches.run == here.run) & (queries.run == mark.run)

    def _chain(self, agreeing: list[Sighting]) -> list[Sighting]:
        """The last ones, counted back from this query, as long as not too many in a row see something else."""
        chain, newest = [], self._number + 1
        for sighting in reversed(agreeing):
            if newest - sighting.number - 1 > self._misses:
                break
            chain.append(sighting)
            newest = sighting.number
        return chain

    def _advancing(self, entry: int, chain: list[Sighting]) -> bool:
        """Whether the match has moved on by more than half of what the query has, since the agreement began."""
        if not chain:
            return True
        first = chain[-1]
        moved = self._map.identity(entry).index - self._map.identity(first.entry).index
        return moved > (self._number + 1 - first.number) / 2


def explain(expected: Motion, motion: Motion) -> str:
    """The contradiction between two motions, for people."""
    distance, angle = expected.difference(motion)
    return (f'by odometry the robot is {distance:.1f} m and {np.degrees(angle):.0f} degrees from there, give or take '
            f'{expected.position_m:.1f} m and {np.degrees(expected.angle_rad):.0f} degrees')
