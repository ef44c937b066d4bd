"""Which keyframes of a large map are worth a look: by representatives, in a few of their leading directions.

A cascade: the whole map is gone through with few and short representatives, what remains with more and longer ones.
There is nothing to train again or to rebuild, what is stored is never moved, and leaving keyframes out costs nothing.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segvlad_ros.mapping.representatives import representatives

SAMPLE = 128
"""Keyframes that the directions are taken from: the first ones, so that the same map gives the same answers, loaded or
driven."""
# Cosine from which a representative speaks for a keyframe.
_FLOOR = 0.2
_BLOCK = 1024  # keyframes that the first block has room for
_VALUES = 1 << 18  # that are compared at a time, so that they stay in the processor's cache

# Representatives of a keyframe in each of its sketches, and the leading directions that are kept of them.
_SKETCHES = ((4, 64), (16, 96), (32, 224))


class _Stage(NamedTuple):
    """What is compared, and how many keyframes go on: what beats the right one by chance is a share of the map."""

    sketch: int
    asked: int  # representatives of the query
    least: int  # that go on of any map
    share: float  # of the map's keyframes, where that is more


# What is lost by it as the map grows: benchmark/results/map_search.md.
_STAGES = (_Stage(0, 8, 3072, 1 / 8), _Stage(1, 16, 640, 1 / 64), _Stage(2, 32, 0, 0))


class CandidateIndex:
    """Keyframes by their representatives. What was added never changes: it may be searched while one thread adds more.

    :ivar ready: whether it may be asked, which is so from twice :data:`SAMPLE` keyframes on
    """

    def __init__(self) -> None:
        from scipy.linalg import eigh  # takes a moment, which no keyframe is to wait for

        self._eigh = eigh
        self.ready = False
        self._products: np.ndarray | float = 0.0  # of the sample's representatives
        self._axes: np.ndarray | None = None  # the leading directions, once the sample is there
        self._sketches = [_Sketch(*shape) for shape in _SKETCHES]
        self._waiting: list[list[np.ndarray]] = []  # representatives that are in no sketch yet

    def add(self, rows: np.ndarray) -> None:
        """Add a keyframe of (M, d) float32 unit rows. None waits for work that others have left."""
        found = [centres for centres, _ in representatives(rows, [most for most, _ in _SKETCHES])]
        self._waiting.append(found)
        if self._axes is None:
            self._products = self._products + found[-1].T @ found[-1]
            if len(self._waiting) == SAMPLE:
                self._axes = self._leading()
            return
        for several in self._waiting[:2]:  # so that the sample is in after as many more
            for sketch, short in zip(self._sketches, self._shortened(several)):
                sketch.append(short)
        del self._waiting[:2]
        self.ready = not self._waiting

    def _leading(self) -> np.ndarray:
        """(d, D) float32, the directions with the largest share of the sample, the largest first; zeros beyond d."""
        size, most = len(self._products), max(directions for _, directions in _SKETCHES)
        found = self._eigh(self._products, subset_by_index=[max(size - most, 0), size - 1])[1][:, ::-1]
        return np.pad(found, ((0, 0), (0, most - found.shape[1]))).astype(np.float32)

    def _shortened(self, several: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Representatives of some kinds, (R, d) each, in the leading directions, (R, D)."""
        return np.split(np.concatenate(several) @ self._axes, np.cumsum([len(rows) for rows in several])[:-1])

    def best(self, rows: np.ndarray, count: int, allowed: np.ndarray, groups: np.ndarray, share: int) -> np.ndarray:
        """The keyframes that are most like a query, best first.

        :param rows: (M, d) float32, the query's segments
        :param allowed: (E,) bool, keyframes that may be found
        :param groups: (E,) int, what groups they belong to
        :param share: most that are taken of a group, so that one that was seen often does not hide all others
        :return: (C,) int64, at most ``count``
        """
        entries = np.flatnonzero(allowed)
        asked = sorted({stage.asked for stage in _STAGES})
        found, weights = zip(*representatives(rows, asked))
        queries = dict(zip(asked, zip(self._shortened(found), weights)))
        for stage in _STAGES:
            wanted = max(stage.least, int(stage.share * len(allowed)), count)
            if len(entries) > wanted or stage is _STAGES[-1]:
                sketch, query = self._sketches[stage.sketch], queries[stage.asked]
                best = _best_of_groups(sketch.scores(*query, entries), wanted, groups[entries], share)
                entries = entries[best if stage is _STAGES[-1] else np.sort(best)]
        return entries


class _Sketch:
    """Representatives of every keyframe in a few directions, a byte a value.

    :param representing: R of a keyframe, a power of 2
    :param directions: D of them
    """

    def __init__(self, representing: int, directions: int) -> None:
        self._shape = representing, directions
        self._blocks: list[np.ndarray] = []  # (N, R, D) int8; each has room for as many as all before it
        self._starts = [0]  # first keyframe of each block, and one past the last that there is room for
        self._count = 0

    def append(self, rows: np.ndarray) -> None:
        """Add a keyframe of (r, at least D) float32 representatives in the leading directions, r at most R."""
        if self._count == self._starts[-1]:
            room = max(self._count, _BLOCK)
            self._blocks.append(np.zeros((room, *self._shape), np.int8))
            self._starts.append(self._count + room)
        if len(rows):  # fewer are repeated
            codes = np.rint(127 * self._unit(rows)).astype(np.int8)
            self._blocks[-1][self._count - self._starts[-2]] = np.resize(codes, self._shape)
        self._count += 1

    def scores(self, query: np.ndarray, weights: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """(C,) float32, how much keyframes are like (Q, at least D) float32 representatives of a query.

        :param weights: (Q,) float32
        :param entries: (C,) int, ascending
        """
        query = self._unit(query).T / 127
        scores, step = np.empty(len(entries), np.float32), _VALUES // (self._shape[0] * self._shape[1])
        for block, first, last in zip(self._blocks, self._starts, self._starts[1:]):
            begin, end = np.searchsorted(entries, (first, last))
            for at in range(begin, end, step):
                codes = block[entries[at:min(at + step, end)] - first].astype(np.float32)
                nearest = (codes.reshape(-1, codes.shape[2]) @ query).reshape(*codes.shape[:2], len(weights))
                while nearest.shape[1] > 1:  # by halves, which takes a fraction of what max(axis=1) does
                    half = nearest.shape[1] // 2
                    nearest = np.maximum(nearest[:, :half], nearest[:, half:])
                scores[at:at + len(codes)] = np.maximum(nearest[:, 0] - _FLOOR, 0) @ weights
        return scores

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        rows = rows[:, :self._shape[1]]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _best_of_groups(scores: np.ndarray, count: int, groups: np.ndarray, share: int) -> np.ndarray:
    """The numbers of the best scores, best first, at most ``share`` of a group; older ones first among equals."""
    for wanted in (2 * count, len(scores)):  # all have to be sorted only where a few groups hold the best of them
        chosen = np.arange(len(scores))
        if wanted < len(scores):
            chosen = np.flatnonzero(scores >= np.partition(scores, -wanted)[-wanted])
        ranked = chosen[np.argsort(-scores[chosen], kind='stable')]
        order = np.argsort(groups[ranked], kind='stable')
        sorted_groups = groups[ranked[order]]
        first = np.flatnonzero(np.diff(sorted_groups, prepend=sorted_groups[:1] - 1))
        places = np.empty(len(ranked), np.int64)
        places[order] = np.arange(len(ranked)) - np.repeat(first, np.diff(first, append=len(ranked)))
        ranked = ranked[places < share]
        if len(ranked) >= count:
            break
    return ranked[:count]
