"""Places: groups of map keyframes that are known to show one spot, and what lies around them.

A place has a bounded extent, however often it is visited; all lengths here are in *radii*, shares of the distance
within which two keyframes count as showing one scene (see :class:`PlaceSettings`). Places are joined by edges of a
length. An edge, and the membership of a keyframe, may rest on a *link*, a match between two keyframes, which can be
taken back.
"""
from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from segvlad_ros.settings import setting

# Members lie at most so far from the keyframe that founded the place.
EXTENT = 0.5
# Lengths count in steps of so many radii, which floats add up exactly: what is near is so from both ends.
_GRAIN = 2.0 ** -32
Link = tuple[int, int]
"""Two map entries that were recognised as one scene."""


@dataclass(frozen=True)
class PlaceSettings:
    """How far a place reaches.

    :ivar near_keyframes: keyframes of one session so close in sequence see one scene; larger: fewer doubles are
        noticed, and less of what a session saw a moment ago counts as another place
    :ivar near_distance_m: likewise for keyframes so close in odometry or in a back-end's frame, metres
    """

    near_keyframes: int = setting(5, low=1, high=1000)
    near_distance_m: float = setting(2.5, low=0.01)


@dataclass(frozen=True)
class Sight:
    """A map keyframe that showed the scene of a new one.

    :ivar entry: the map keyframe
    :ivar distance_m: between the two bases; NaN where it was not measured
    """

    entry: int
    distance_m: float = float('nan')


class Places:
    """Which keyframes form a place, and which places lie near each other. Not thread-safe.

    The cost of :meth:`around` depends on what lies around a place, not on the size of the map.
    """

    def __init__(self) -> None:
        self._members: list[list[int]] = []
        self._near: dict[int, dict[int, float]] = defaultdict(dict)  # by sequence and odometry
        self._tied: dict[int, dict[int, dict[Link, float]]] = defaultdict(dict)  # by matches
        self._ties: dict[Link, tuple[int, int, float]] = {}
        self._links: dict[int, set[Link]] = defaultdict(set)  # of ties, by either end
        self._moved: _Positions | None = None  # by a back-end's poses

    def __len__(self) -> int:
        return len(self._members)

    def found(self, *entries: int) -> int:
        """Make a new place of keyframes, and return its number."""
        self._members.append(list(entries))
        return len(self._members) - 1

    def join(self, place: int, entry: int) -> None:
        """Add a keyframe to a place."""
        self._members[place].append(entry)

    def leave(self, place: int, entries: Collection[int]) -> None:
        """Take keyframes out of a place."""
        self._members[place] = [entry for entry in self._members[place] if entry not in entries]

    def members(self, place: int) -> list[int]:
        """Its keyframes, the founder first."""
        return self._members[place]

    def founders(self) -> list[int]:
        """The keyframe that each place began with, or is the oldest that is left; of places without keyframes none."""
        return [members[0] for members in self._members if members]

    def connect(self, place: int, other: int, length: float) -> None:
        """Note that sequence or odometry knows two places to lie no more than this many radii apart."""
        if place != other and length <= 1.0:
            length = min(length, self._near[place].get(other, length))
            self._near[place][other] = self._near[other][place] = length

    def disconnect(self, place: int) -> None:
        """Forget what sequence and odometry know of what lies near a place."""
        for other in self._near.pop(place, {}):
            del self._near[other][place]

    def tie(self, place: int, other: int, length: float, link: Link) -> None:
        """Note that a match says so."""
        if place != other:
            self._ties[link] = place, other, length
            for end in link:
                self._links[end].add(link)
            self._tied[place].setdefault(other, {})[link] = length
            self._tied[other].setdefault(place, {})[link] = length

    def untie(self, link: Link) -> float:
        """Take a match back, and return its length, infinite where it joined no two places."""
        place, other, length = self._ties.pop(link, (-1, -1, math.inf))
        for end in link if place >= 0 else ():
            self._links[end].discard(link)
        for one, two in ((place, other), (other, place)) if place >= 0 else ():
            del self._tied[one][two][link]
            if not self._tied[one][two]:
                del self._tied[one][two]
        return length

    def ties(self, entries: Collection[int]) -> list[Link]:
        """The links that one of some keyframes is an end of."""
        return sorted(set().union(*(self._links.get(entry, ()) for entry in entries)))

    def move(self, places: np.ndarray, points: np.ndarray) -> None:
        """Replace what a back-end's poses say of where places are: those within a radius of each other are near.

        :param places: (n,) int, each once
        :param points: (n, k) float64, radii; what lies in different frames must be further apart
        """
        self._moved = _Positions(places, points) if len(places) else None

    def select(self, entries: Mapping[int, int]) -> dict[int, int]:
        """Keep some keyframes under new numbers, and the places that they are of.

        What lies near each other by way of a place that has lost all its keyframes stays near: no match that could
        still be taken back is part of such a way, for one of its ends has gone.

        :param entries: new numbers by old ones
        :return: new numbers of the places by old ones
        """
        members = [[entries[entry] for entry in group if entry in entries] for group in self._members]
        places = {place: new for new, place in enumerate(place for place, group in enumerate(members) if group)}
        kept, ways = Places(), self._permanent(entries)
        kept._members = [members[place] for place in places]
        for place, new in places.items():
            for other, length in _reached(place, ways, through=lambda there: there not in places):
                if other in places:
                    kept.connect(new, places[other], length)
        for (one, two), (place, other, length) in self._ties.items():
            if one in entries and two in entries:
                kept.tie(places[place], places[other], length, (entries[one], entries[two]))
        vars(self).update(vars(kept))
        return places

    def _permanent(self, entries: Collection[int]) -> Callable[[int], Iterator[tuple[int, float]]]:
        """Steps from a place that nobody can take back: by sequence and odometry, and by matches that have lost an
        end.
        """
        def steps(place: int) -> Iterator[tuple[int, float]]:
            yield from self._near.get(place, {}).items()
            for other, links in self._tied.get(place, {}).items():
                lengths = [length for link, length in links.items() if not all(end in entries for end in link)]
                if lengths:
                    yield other, min(lengths)
        return steps

    def around(self, place: int, reach: float = 1.0) -> list[int]:
        """The places that can be reached from one within a length, itself included: Dijkstra's shortest paths.

        :param reach: radii from founder to founder, a member's own reach is half a radius more or less
        """
        return sorted(other for other, _ in _reached(place, self._steps, reach))

    def _steps(self, place: int) -> Iterator[tuple[int, float]]:
        yield from self._near.get(place, {}).items()
        if self._moved is not None:
            yield from self._moved.near(place)
        for other, links in self._tied.get(place, {}).items():
            yield other, min(links.values())


def _reached(place: int, steps: Callable[[int], Iterator[tuple[int, float]]], reach: float = 1.0,
             through: Callable[[int], bool] = lambda place: True) -> Iterator[tuple[int, float]]:
    """The places within reach of one, itself included, and how far they are: Dijkstra's shortest paths.

    :param steps: the neighbours of a place and how far they are
    :param through: whether a path may go on behind a place that is not its first
    """
    reached: set[int] = set()
    heap = [(0.0, place)]
    while heap:
        length, here = heapq.heappop(heap)
        if here in reached:
            continue
        reached.add(here)
        yield here, length
        for there, step in steps(here) if here == place or through(here) else ():
            further = length + step // _GRAIN * _GRAIN
            if there not in reached and further <= reach:
                heapq.heappush(heap, (further, there))


class _Positions:
    """Where a back-end has moved places. Pairs are looked for when they are asked for: of a hundred laps, all within a
    radius of each other, there would be millions.
    """

    def __init__(self, places: np.ndarray, points: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        self._rows = dict(zip(places.tolist(), range(len(places))))
        self._places, self._points, self._tree = places, points, cKDTree(points)

    def near(self, place: int) -> Iterator[tuple[int, float]]:
        """What lies within a radius of one place, and how far."""
        row = self._rows.get(place)
        if row is None:
            return
        others = np.array(self._tree.query_ball_point(self._points[row], 1.0 + _GRAIN))  # what rounding leaves out, too
        others = others[others != row]
        lengths = np.linalg.norm(self._points[others] - self._points[row], axis=1)
        near = lengths <= 1.0
        yield from zip(self._places[others[near]].tolist(), lengths[near].tolist())
