"""From retrieved segments to places and keyframes: one vote a query segment and place (design.md 6).

Keyframes whose loop closures a back-end rejects are down-weighted, but never to nothing, and not for good.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segvlad_ros.types import KeyframeId, SegmentMatch

# What is left of a keyframe's votes after each rejected loop closure, and at the least.
_REJECTION_FACTOR = 0.8
_MIN_WEIGHT = 0.5
# After so many answers the rejections count half.
_HALF_LIFE = 200
# Last verdicts that are remembered, so that a later one on the same pair replaces them.
_REMEMBERED = 1000


@dataclass(frozen=True)
class Votes:
    """The online vote of one query.

    :ivar scores: (P,) float64 in [0, 1], one a place: mean over query segments of their best weight for it
    :ivar shares: (E,) float64, likewise one a keyframe, as far as its segments are among those found
    :ivar best_keyframes: (P,) int64, the keyframe of each place with the largest share; -1 without any vote
    :ivar keyframe_weights: (E,) float64 in (0, 1], see :class:`FeedbackWeights`
    """

    scores: np.ndarray
    shares: np.ndarray
    best_keyframes: np.ndarray
    keyframe_weights: np.ndarray
    _rows: np.ndarray
    _places: np.ndarray
    _weights: np.ndarray
    _queries: int

    def ranked_places(self) -> np.ndarray:
        """The places that have a score, the best first; the older one first among equals."""
        voted = np.flatnonzero(self.scores)
        return voted[np.argsort(-self.scores[voted], kind='stable')]

    def ranked_keyframes(self, places: np.ndarray, count: int) -> np.ndarray:
        """Up to ``count`` keyframes with a share, the best by it and the score of their place, (E,) int, first."""
        voted = np.flatnonzero(self.shares)
        return voted[np.argsort(-(self.shares + self.scores[places])[voted], kind='stable')[:count]]

    def weights(self, place: int) -> np.ndarray:
        """(M,) float64, the best weight of each query segment for one place."""
        found = np.zeros(self._queries)
        votes = self._places == place
        found[self._rows[votes]] = self._weights[votes]
        return found


def vote_weights(similarities: np.ndarray, floor: float) -> np.ndarray:
    """``clip((cosine - floor) / (1 - floor), 0, 1)``, float64: what a vote weighs (design.md 4 and 6)."""
    return np.clip((similarities.astype(np.float64) - floor) / (1.0 - floor), 0.0, 1.0)


def vote_online(similarities: np.ndarray, owners: np.ndarray, places: np.ndarray, floor: float,
                keyframe_weights: np.ndarray) -> Votes:
    """One vote a query segment and place: its most similar segment there, of whatever visit.

    So the tenth visit to a place makes its score no smaller, and near-duplicates cannot outvote the others.

    :param similarities: (M, k) float32, cosine of each query segment with the map segments found for it
    :param owners: (M, k) int64, the keyframe that each found segment belongs to; -1 where nothing was found
    :param places: (E,) int, the place of every keyframe, from 0 on
    :param floor: cosine at which a vote begins to weigh
    :param keyframe_weights: (E,) float64 in (0, 1], by which each keyframe's share is multiplied
    """
    rows, ranks = np.nonzero((owners >= 0) & (similarities > floor))
    voted = owners[rows, ranks]
    weights = vote_weights(similarities[rows, ranks], floor)
    count = int(places.max()) + 1 if len(places) else 0
    order = np.argsort(-weights, kind='stable')
    rows, voted, weights = rows[order], voted[order], weights[order]
    own = _first_of(rows, voted)
    shares = keyframe_weights * np.bincount(voted[own], weights[own], minlength=len(places)) / max(len(similarities), 1)
    best_keyframes = np.full(count, -1, np.int64)
    shared = np.flatnonzero(shares)
    shared = shared[np.argsort(shares[shared], kind='stable')]
    best_keyframes[places[shared]] = shared  # of several, the last one written stays
    best = _first_of(rows, places[voted])
    rows, voted, weights = rows[best], places[voted[best]], weights[best]
    scores = np.bincount(voted, weights, minlength=count) / max(len(similarities), 1)
    return Votes(scores, shares, best_keyframes, keyframe_weights, rows, voted, weights, len(similarities))


def _first_of(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Where each pair of a row and a group stands for the first time."""
    return np.unique(rows * np.int64(groups.max(initial=0) + 1) + groups, return_index=True)[1]


@dataclass(frozen=True)
class Likeness:
    """How a query compares with one keyframe, whatever else is in the map.

    :ivar weights: (M,) float64, weight of each query segment's most similar segment of the keyframe
    :ivar segments: (M,) int64, these segments
    :ivar similarities: (M,) float32, their cosines
    """

    weights: np.ndarray
    segments: np.ndarray
    similarities: np.ndarray

    @classmethod
    def of(cls, similarities: np.ndarray, segments: np.ndarray, floor: float) -> Likeness:
        """By the cosine of each query segment with the most similar one of the keyframe, and which one that is."""
        return cls(vote_weights(similarities, floor), segments, similarities)

    def matched(self) -> np.ndarray:
        """(E, 2) int64, the segments of query and keyframe that have a weight, the most similar first."""
        voting = np.flatnonzero(self.weights)
        rows = voting[np.argsort(-self.similarities[voting], kind='stable')]
        return np.column_stack([rows, self.segments[rows]])

    def pairs(self) -> tuple[SegmentMatch, ...]:
        """These, with their cosines."""
        matched = self.matched()
        return tuple(map(SegmentMatch, *matched.T.tolist(), self.similarities[matched[:, 0]].tolist()))


class FeedbackWeights:
    """Weights of map keyframes by a back-end's verdicts: what it has rejected of each beyond what it has accepted."""

    def __init__(self) -> None:
        self._rejections: dict[int, float] = {}
        self._answers = 0
        self._verdicts: OrderedDict[tuple[KeyframeId, int], bool] = OrderedDict()

    def learn(self, query: KeyframeId, entry: int, accepted: bool) -> None:
        """Take note of a verdict; the last one on a pair counts."""
        before = self._verdicts.pop((query, entry), None)
        self._verdicts[query, entry] = accepted
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)
        if before is not accepted:
            step = (-1.0 if accepted else 1.0) * (1 if before is None else 2)
            self._rejections[entry] = self._rejections.get(entry, 0.0) + step

    def weights(self, entries: int) -> np.ndarray:
        """(entries,) float64, what is left of each keyframe's votes."""
        weights = np.ones(entries)
        if self._rejections:
            rejections = np.maximum(0.0, list(self._rejections.values()))
            weights[list(self._rejections)] = np.maximum(_MIN_WEIGHT, _REJECTION_FACTOR ** rejections)
        return weights

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Keyframes of the map have other entries: new ones by old ones; what was said of others is forgotten."""
        self._rejections = {numbers[entry]: count for entry, count in self._rejections.items() if entry in numbers}
        self._verdicts = OrderedDict(((query, numbers[entry]), verdict)
                                     for (query, entry), verdict in self._verdicts.items() if entry in numbers)

    def decay(self) -> None:
        """Another query was answered: every so often old rejections lose half of their effect."""
        self._answers += 1
        if self._answers % _HALF_LIFE == 0:
            self._rejections = {entry: count / 2 for entry, count in self._rejections.items() if abs(count) > 0.1}
