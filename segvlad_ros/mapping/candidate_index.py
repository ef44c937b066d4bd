"""Which keyframes of a large map are worth a look: by representatives, in a few of their leading directions.

The query is a few representatives as well, and what is compared is short (see ``DIRECTIONS``), so that the whole map is
gone through for each. There is nothing to train again or to rebuild, and leaving keyframes out costs nothing.
"""
from __future__ import annotations

import numpy as np

from segvlad_ros.mapping.representatives import representatives

# Of a keyframe and of a query; and the principal directions that are compared. What is lost by it as the map grows:
# benchmark/results/map_search.md.
MAP_REPRESENTATIVES, QUERY_REPRESENTATIVES = 8, 16
DIRECTIONS = 128
# Cosine from which a representative speaks for a keyframe.
_FLOOR = 0.2
_BLOCK = 2048  # keyframes that are compared at a time, so that what lies between does not grow with the map


class CandidateIndex:
    """Keyframes by their representatives. What was added never changes: it may be searched while one thread adds more.

    The directions are the principal ones of the keyframes that it begins with, so that the same map gives the same
    answers, loaded or driven.
    """

    def __init__(self, keyframes: list[np.ndarray]) -> None:
        """Begin with the (R, d) float32 representatives of each keyframe so far."""
        rows = np.concatenate(keyframes)
        self._directions = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :DIRECTIONS].astype(np.float32)
        self._table = np.zeros((0, MAP_REPRESENTATIVES, self._directions.shape[1]), np.float32)
        self._count = 0
        for representing in keyframes:
            self.add(representing)

    def add(self, representing: np.ndarray) -> None:
        """Add a keyframe of (R, d) representatives."""
        if self._count == len(self._table):
            table = np.zeros((max(self._count * 3 // 2, 1024), *self._table.shape[1:]), np.float32)
            table[:self._count] = self._table[:self._count]
            self._table = table
        self._table[self._count, :len(representing)] = self._shortened(representing)
        self._count += 1

    def best(self, rows: np.ndarray, count: int, allowed: np.ndarray, groups: np.ndarray, share: int) -> np.ndarray:
        """The keyframes that are most like a query, best first.

        :param rows: (M, d) float32, the query's segments
        :param allowed: (E,) bool, keyframes that may be found
        :param groups: (E,) int, what groups they belong to
        :param share: most that are taken of a group, so that one that was seen often does not hide all others
        :return: (C,) int64, at most ``count``
        """
        query, weights = representatives(rows, QUERY_REPRESENTATIVES)
        query = self._shortened(query)
        scores = np.empty(len(allowed), np.float32)
        for first in range(0, len(allowed), _BLOCK):
            block = self._table[first:min(first + _BLOCK, len(allowed))]
            cosines = block.reshape(-1, block.shape[2]) @ query.T
            nearest = cosines.reshape(*block.shape[:2], -1).max(axis=1)
            scores[first:first + len(block)] = np.maximum(nearest - _FLOOR, 0) @ weights
        scores[~allowed] = -1
        return _best_of_groups(scores, count, groups, share)

    def _shortened(self, rows: np.ndarray) -> np.ndarray:
        short = rows @ self._directions
        return short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12)


def _best_of_groups(scores: np.ndarray, count: int, groups: np.ndarray, share: int) -> np.ndarray:
    """The entries with the best scores of at least 0, best first, at most ``share`` of a group; older ones first among
    equals.
    """
    usable = np.flatnonzero(scores >= 0)
    for wanted in (8 * count, len(usable)):  # all have to be sorted only where a few groups hold the best of them
        chosen = usable
        if wanted < len(usable):
            least = np.partition(scores[usable], -wanted)[-wanted]
            chosen = usable[scores[usable] >= least]
        ranked = chosen[np.argsort(-scores[chosen], kind='stable')]
        order = np.argsort(groups[ranked], kind='stable')
        sizes = np.unique(groups[ranked], return_counts=True)[1]
        places = np.empty(len(ranked), np.int64)
        places[order] = np.arange(len(ranked)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ranked = ranked[places < share]
        if len(ranked) >= count:
            break
    return ranked[:count]
