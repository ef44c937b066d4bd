"""Keyframes whose loop closures a back-end rejects count for less, but never for nothing, and not for good."""
from __future__ import annotations

from collections import OrderedDict

import numpy as np

from segvlad_ros.types import KeyframeId

# What is left of a keyframe's votes after each rejected loop closure, and at the least.
_SHARE = 0.8
_LEAST = 0.5
# After so many answers half of all doubts are forgotten.
_HALF_LIFE = 200
# Last verdicts that are remembered, so that a later one on the same pair replaces them.
_REMEMBERED = 1000


class Trust:
    """What a back-end's verdicts say of map keyframes: a doubt is what it rejected beyond what it accepted."""

    def __init__(self) -> None:
        self._doubts: dict[int, float] = {}
        self._answers = 0
        self._verdicts: OrderedDict[tuple[KeyframeId, int], bool] = OrderedDict()

    def learn(self, query: KeyframeId, entry: int, accepted: bool) -> None:
        """Take note of a verdict; the last one on a pair counts."""
        before = self._verdicts.pop((query, entry), None)
        self._verdicts[query, entry] = accepted
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)
        if before is not accepted:
            step = (1.0 if not accepted else -1.0) * (1 if before is None else 2)
            self._doubts[entry] = self._doubts.get(entry, 0.0) + step

    def weights(self, entries: int) -> np.ndarray:
        """(entries,) float64, what is left of each keyframe's votes."""
        weights = np.ones(entries)
        if self._doubts:
            doubted = np.array(list(self._doubts))
            rejected = np.maximum(0.0, list(self._doubts.values()))
            weights[doubted] = np.maximum(_LEAST, _SHARE ** rejected)
        return weights

    def heal(self) -> None:
        """Another query was answered."""
        self._answers += 1
        if self._answers % _HALF_LIFE == 0:
            self._doubts = {entry: doubt / 2 for entry, doubt in self._doubts.items() if abs(doubt) > 0.1}
