"""Which keyframes of a large map are worth a look: by representatives, in their leading directions.

A cascade: the whole map is gone through with few and short codes, what remains with more and longer ones. There is
nothing to train again or to rebuild, what is stored is never moved, and leaving keyframes out costs nothing.

Where keyframes are single vectors, as those of whole images, a vector has no directions to spare: of each there are the
signs in 4,096 directions or more, in half a kilobyte or more. What that loses: benchmark/vector_search.py.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import NamedTuple

import numpy as np

from segvlad_ros.mapping.representatives import representatives
from segvlad_ros.mapping.sketches import Signs, Values, spread

SAMPLE = 128
"""Keyframes that the directions are taken from: the first ones, so that the same map gives the same answers, loaded or
driven."""
# What a direction is divided by is this power of its share: what all places have in common says little of any.
_DAMPING = 0.125


_SHORT = 2048
"""Length of descriptors up to which the d x d products of a sample are taken, and not those of its rows, which are at
most 4096: those of one vector an image of ten thousand values would take minutes and a gigabyte."""


class _Stage(NamedTuple):
    """What is compared, and how many keyframes go on."""

    sketch: int
    asked: int  # representatives of the query
    going_on: int  # of a map of _USUAL keyframes


# What is lost by them as the map grows: benchmark/results/map_search.md.
_STAGES = _Stage(0, 8, 3800), _Stage(1, 8, 1900), _Stage(2, 16, 475), _Stage(3, 16, 52), _Stage(3, 32, 0)
_VECTOR_STAGES = (_Stage(0, 1, 0),)
_VECTOR_DIRECTIONS = 4096
_USUAL = 10_000
# Powers of a map's size by which more, or fewer, go on in a larger, or a smaller, one.
_GROWTH, _SHRINKAGE = 0.8, 0.5


class CandidateIndex:
    """Keyframes by their representatives. What was added never changes: it may be searched while one thread adds more.

    :ivar ready: whether it may be asked, which is so from twice :data:`SAMPLE` keyframes on
    :ivar of_vectors: whether none of the sample had more than one segment
    """

    def __init__(self) -> None:
        from scipy.linalg import eigh  # takes a moment, which no keyframe is to wait for

        self._eigh = eigh
        self.ready, self.of_vectors = False, False
        self._stages: tuple[_Stage, ...] = _STAGES
        self._products: np.ndarray | float = 0.0  # of the sample's representatives, where they are short
        self._directed: Callable[[np.ndarray], np.ndarray] | None = None  # (R, d) to (R, D), once the sample is there
        self._sketches = (Signs(4, 96, 256), Values(4, 64, np.float32), Signs(16, 224, 512),
                          Values(32, 192, np.int8))
        self._counts = sorted({sketch.representing for sketch in self._sketches})
        self._waiting: list[list[np.ndarray]] = []  # representatives that are in no sketch yet

    def add(self, rows: np.ndarray) -> None:
        """Add a keyframe of (M, d) float32 unit rows. None waits for work that others have left.

        Where memory runs out nothing of it stays, or those after it would be found under the numbers of others.
        """
        found = [centres for centres, _ in representatives(rows, self._counts)]
        waiting, products, counts = [*self._waiting], self._products, [sketch.count for sketch in self._sketches]
        try:
            self._take(found)
        except BaseException:
            self._waiting, self._products = waiting, products
            for sketch, count in zip(self._sketches, counts):
                sketch.cut(count)
            raise

    def _take(self, found: list[np.ndarray]) -> None:
        """Add a keyframe by its representatives."""
        self._waiting.append(found)
        if self._directed is None:
            if found[-1].shape[1] <= _SHORT:
                self._products = self._products + found[-1].T @ found[-1]
            if len(self._waiting) == SAMPLE:
                self.of_vectors = all(len(several[-1]) <= 1 for several in self._waiting)
                self._directed = self._spreading(found[-1].shape[1]) if self.of_vectors else self._leading()
            return
        for several in self._waiting[:2]:  # so that the sample is in after as many more
            short = dict(zip(self._counts, self._shortened(several)))
            for sketch in self._sketches:
                sketch.append(short[sketch.representing])
        del self._waiting[:2]
        self.ready = not self._waiting

    def select(self, entries: np.ndarray) -> CandidateIndex:
        """An index of some keyframes only, (C,) int, ascending; this one stays as it is, and may be searched."""
        if self._directed is None:
            chosen = CandidateIndex()
            for entry in entries:
                chosen._take(self._waiting[entry])
            return chosen
        chosen, sketched = copy(self), self._sketches[0].count
        chosen._sketches = tuple(sketch.select(entries[entries < sketched]) for sketch in self._sketches)
        chosen._waiting = [self._waiting[entry - sketched] for entry in entries[entries >= sketched]]
        chosen.ready = self.ready or not chosen._waiting
        return chosen

    def _spreading(self, values: int) -> Callable[[np.ndarray], np.ndarray]:
        """What sees vectors in more directions than they have values; from here on each keyframe has one."""
        directions = max(_VECTOR_DIRECTIONS, -(-values // 8) * 8)
        self._sketches, self._stages, self._counts = (Signs(1, directions, directions),), _VECTOR_STAGES, [1]
        self._waiting = [several[-1:] for several in self._waiting]
        return partial(spread, directions=directions)

    def _leading(self) -> Callable[[np.ndarray], np.ndarray]:
        """What sees rows in the damped directions with the largest share of the sample, the largest first; zeros where
        these are more than rows have values.
        """
        most = max(sketch.directions for sketch in self._sketches)
        if isinstance(self._products, np.ndarray):
            shares, found = self._largest(self._products, most)
        else:  # of the products of rows, which are fewer: S' S and S S' have the same shares
            sample = np.concatenate([found[-1] for found in self._waiting])
            shares, found = self._largest(sample @ sample.T, most)
            found = sample.T @ (found / np.sqrt(np.where(shares > 1e-6 * shares[-1], shares, np.inf)))
        found *= np.maximum(shares, 1e-6 * shares[-1]) ** -_DAMPING
        axes = np.pad(found[:, ::-1], ((0, 0), (0, most - found.shape[1]))).astype(np.float32)
        return lambda rows: rows @ axes

    def _largest(self, products: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest eigenvalues of a symmetric matrix, ascending, and their vectors in columns."""
        size = len(products)
        return self._eigh(products, subset_by_index=[max(size - most, 0), size - 1])

    def _shortened(self, several: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Representatives of some kinds, (R, d) each, in the directions of sketches, (R, D)."""
        return np.split(self._directed(np.concatenate(several)), np.cumsum([len(rows) for rows in several])[:-1])

    def best(self, rows: np.ndarray, count: int, allowed: np.ndarray, groups: np.ndarray, share: int) -> np.ndarray:
        """The keyframes that are most like a query, best first.

        :param rows: (M, d) float32, the query's segments
        :param allowed: (E,) bool, keyframes that may be found
        :param groups: (E,) int, what groups they belong to
        :param share: most that are taken of a group, so that one that was seen often does not hide all others
        :return: (C,) int64, at most ``count``
        """
        entries = np.flatnonzero(allowed)
        asked = sorted({stage.asked for stage in self._stages})
        found, weights = zip(*representatives(rows, asked))
        queries = dict(zip(asked, zip(self._shortened(found), weights)))
        size = len(allowed) / _USUAL
        for stage in self._stages:
            wanted = max(int(stage.going_on * size ** (_GROWTH if size > 1 else _SHRINKAGE)), count)
            if len(entries) > wanted or stage is self._stages[-1]:
                scores = self._sketches[stage.sketch].scores(*queries[stage.asked], entries)
                best = best_of_groups(scores, wanted, groups[entries], share)
                entries, scores = entries[best], scores[best]
        return entries[np.argsort(-scores, kind='stable')]


def best_of_groups(scores: np.ndarray, count: int, groups: np.ndarray, share: int) -> np.ndarray:
    """The numbers of the best scores, ascending, at most ``share`` of a group; older ones first among equals."""
    for wanted in (count, 2 * count, len(scores)):  # all have to be looked at only where few groups hold the best
        chosen = _best(scores, wanted)
        chosen = chosen[_within_share(scores[chosen], groups[chosen], share)]
        if len(chosen) >= count:
            break
    return chosen[_best(scores[chosen], count)]


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the best scores, ascending; older ones first among equals."""
    if count >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, -count)[-count]
    chosen = scores > least
    chosen[np.flatnonzero(scores == least)[:count - np.count_nonzero(chosen)]] = True
    return np.flatnonzero(chosen)


def _within_share(scores: np.ndarray, groups: np.ndarray, share: int) -> np.ndarray:
    """(C,) bool, those that have fewer than ``share`` better ones, or older ones among equals, in their group."""
    within = np.ones(len(scores), bool)
    crowded = np.flatnonzero(np.bincount(groups)[groups] > share)
    ranked = crowded[np.lexsort((-scores[crowded], groups[crowded]))]
    late = ranked[share:]
    within[late[groups[late] == groups[ranked[:-share]]]] = False
    return within
