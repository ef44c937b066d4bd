"""Agreement over time: one look-alike view deceives, a sequence of them along the way that was driven seldom does."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segvlad_ros.recognition.odometry import Motion, OdometryPaths
from segvlad_ros.types import KeyframeId

# A place that was recognised, but not measured: the robot stood about there and looked about that way.
PLACE_POSITION_M = 0.7
PLACE_ANGLE_RAD = math.radians(20)
# Standard deviations of a measured relative pose, at the least.
_MEASURED_POSITION_M = 0.1
_MEASURED_ANGLE_RAD = math.radians(2)


@dataclass(frozen=True)
class Sighting:
    """A query and the keyframe of the map that it may show.

    :ivar query, match: the two keyframes
    :ivar entry: the match in the searched map
    :ivar motion: ``match_from_query``, base frames, see :func:`place_motion`
    :ivar where: (entries,) bool, the entries that show the place where the query may be
    """

    query: KeyframeId
    match: KeyframeId
    entry: int
    motion: Motion
    where: np.ndarray


def place_motion(match_from_query: np.ndarray | None = None, position_m: float = 0.0) -> Motion:
    """How a query lies to its match.

    :param match_from_query: (4, 4), base frames, if it was measured
    :param position_m: standard deviation of the measured position
    """
    if match_from_query is None:
        return Motion(np.eye(4), PLACE_POSITION_M, PLACE_ANGLE_RAD)
    return Motion(match_from_query, max(position_m, _MEASURED_POSITION_M), _MEASURED_ANGLE_RAD)


def along(paths: OdometryPaths, before: Sighting, query: KeyframeId, match: KeyframeId) -> Motion | None:
    """``match_from_query`` of a later query as an earlier sighting and odometry let one expect it; None: unknown."""
    map_part, query_part = paths.between(match, before.match), paths.between(before.query, query)
    return None if map_part is None or query_part is None else map_part.then(before.motion).then(query_part)


@dataclass
class _Run:
    """Sightings that agree, each with the one before; ``missed`` counts the queries since that do not."""

    last: Sighting
    length: int = 1
    missed: int = 0


class TemporalAgreement:
    """Counts the consecutive queries whose sightings agree, each with the one before.

    Two sightings agree when the map's keyframes lie to each other as the queries do by odometry; without odometry, when
    they are covisible. No order is asked for: the route may be driven backwards or at another speed. A query that sees
    something else does not end a run at once, and begins one of its own.

    :param misses: queries in a row without a sighting that agrees, which a run survives
    """

    def __init__(self, paths: OdometryPaths, misses: int = 0) -> None:
        self._paths = paths
        self._misses = misses
        self.reset()

    def reset(self) -> None:
        """Forget all runs, after a clock jump or when the map changes."""
        self._runs: list[_Run] = []
        self._stamp_ns = 0

    def update(self, query: KeyframeId, sighting: Sighting | None) -> int:
        """Take the next query; one that could not be described (blank, dark) should not be reported here.

        :param query: earlier than the one before: the clock jumped, which resets
        :param sighting: its best candidate, None if it has none worth the name
        :return: consecutive queries that agree, this one included; 0 without a sighting
        """
        if query.stamp_ns < self._stamp_ns:
            self.reset()
        self._stamp_ns = query.stamp_ns
        joined = None
        if sighting is not None:
            agreeing = [run for run in self._runs if self._agree(run.last, sighting)]
            longest = max(agreeing, key=lambda run: run.length, default=None)
            joined = _Run(sighting, 1 if longest is None else longest.length + 1)
            self._runs = [run for run in self._runs if run is not longest]
        for run in self._runs:
            run.missed += 1
        self._runs = [run for run in self._runs if run.missed <= self._misses]
        if joined is None:
            return 0
        self._runs.append(joined)
        return joined.length

    def _agree(self, before: Sighting, now: Sighting) -> bool:
        expected = along(self._paths, before, now.query, now.match)
        if expected is not None:
            return expected.agrees(now.motion)
        return now.entry < len(before.where) and bool(before.where[now.entry])
