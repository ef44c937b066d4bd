"""From retrieved segments to places and keyframes: one vote a query segment and place (design.md 6)."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.types import SegmentMatch


@dataclass(frozen=True)
class Votes:
    """The online vote of one query.

    :ivar scores: (P,) float64 in [0, 1], one a place: mean over query segments of their best weight for it
    :ivar shares: (E,) float64, likewise one a keyframe, as far as its segments are among those found
    :ivar champions: (P,) int64, the keyframe of each place with the largest share; -1 without any vote
    :ivar trust: (E,) float64 in (0, 1], what is left of each keyframe's share
    """

    scores: np.ndarray
    shares: np.ndarray
    champions: np.ndarray
    trust: np.ndarray
    _rows: np.ndarray
    _places: np.ndarray
    _weights: np.ndarray
    _queries: int

    def ranked_places(self) -> np.ndarray:
        """The places that have a score, the best first; the older one first among equals."""
        voted = np.flatnonzero(self.scores)
        return voted[np.argsort(-self.scores[voted], kind='stable')]

    def ranked_keyframes(self, places: np.ndarray, count: int) -> np.ndarray:
        """Up to ``count`` keyframes that have a share, the best by their own and their place's score first.

        :param places: (E,) int, the place of every keyframe
        """
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
                trust: np.ndarray) -> Votes:
    """One vote a query segment and place: its most similar segment there, of whatever visit.

    So the tenth visit to a place makes its score no smaller, and near-duplicates cannot outvote the others.

    :param similarities: (M, k) float32, cosine of each query segment with the map segments found for it
    :param owners: (M, k) int64, the keyframe that each found segment belongs to; -1 where nothing was found
    :param places: (E,) int, the place of every keyframe, from 0 on
    :param floor: cosine at which a vote begins to weigh
    :param trust: (E,) float64 in (0, 1], what is left of each keyframe's share
    """
    rows, ranks = np.nonzero((owners >= 0) & (similarities > floor))
    voted = owners[rows, ranks]
    weights = vote_weights(similarities[rows, ranks], floor)
    count = int(places.max()) + 1 if len(places) else 0
    order = np.argsort(-weights, kind='stable')
    rows, voted, weights = rows[order], voted[order], weights[order]
    own = _first_of(rows, voted)
    shares = trust * np.bincount(voted[own], weights[own], minlength=len(places)) / max(len(similarities), 1)
    champions = np.full(count, -1, np.int64)
    shared = np.flatnonzero(shares)
    shared = shared[np.argsort(shares[shared], kind='stable')]
    champions[places[shared]] = shared  # of several, the last one written stays
    best = _first_of(rows, places[voted])
    rows, voted, weights = rows[best], places[voted[best]], weights[best]
    scores = np.bincount(voted, weights, minlength=count) / max(len(similarities), 1)
    return Votes(scores, shares, champions, trust, rows, voted, weights, len(similarities))


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

    @property
    def matched(self) -> np.ndarray:
        """(m,) int64, the query segments that have a weight, the most similar first."""
        voting = np.flatnonzero(self.weights)
        return voting[np.argsort(-self.similarities[voting], kind='stable')]

    def pairs(self) -> tuple[SegmentMatch, ...]:
        """The segment pairs that have a weight, the most similar first."""
        rows = self.matched
        return tuple(map(SegmentMatch, rows.tolist(), self.segments[rows].tolist(), self.similarities[rows].tolist()))


def compare(query: np.ndarray, match: np.ndarray, floor: float) -> Likeness:
    """Compare the segments of two images.

    :param query: (M, d) float32 unit rows
    :param match: (N, d) float32 unit rows
    """
    if not len(match):
        nothing = np.zeros(len(query))
        return Likeness(nothing, nothing.astype(np.int64), nothing.astype(np.float32))
    cosines = cv2.gemm(query, match, 1, None, 0, flags=cv2.GEMM_2_T)  # a BLAS's threads wait for each other on a robot
    segments = cosines.argmax(axis=1)
    similarities = cosines[np.arange(len(query)), segments]
    return Likeness(vote_weights(similarities, floor), segments, similarities)
