"""From retrieved segments to map keyframes: the reference's rules, and the online vote (segvlad-spec.md 10)."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.types import SegmentMatch, SegvladError

# relative error that the order of summation can make, with room to spare
_ROUNDING = 1e-9

RULES = ('weighted', 'max_sim', 'max_seg', 'max_seg_sim', 'max_seg_topk')


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


def vote_reference(similarities: np.ndarray, images: np.ndarray, query_image: np.ndarray, rule: str = 'weighted',
                   count: int = 5) -> np.ndarray:
    """Rank map images for a whole set of queries as the reference does (segvlad-spec.md 10.1, 10.2).

    'weighted' is the paper's rule: every retrieved segment votes for its image with its similarity, scaled to [0, 1]
    over the **whole** query set, however often one query segment names the same image.

    :param similarities: (S, k) float32, ``2 - squared distance`` of each query segment's k nearest map segments, the
        nearest first
    :param images: (S, k) int64, the images that these map segments belong to
    :param query_image: (S,) int64, the query image of each query segment, in ascending order
    :param rule: 'weighted' (``max_seg_topk_wt_borda_Im``), 'max_sim', 'max_seg', 'max_seg_sim' or 'max_seg_topk'
    :param count: images kept a query
    :return: (queries, count) int64, -1 where fewer images were hit
    """
    if rule not in RULES:
        raise SegvladError(f'unknown voting rule {rule!r}: use one of {", ".join(RULES)}')
    if rule == 'weighted':
        weights = similarity_weights(similarities)
    bounds = _query_bounds(query_image)
    ranked = np.full((len(bounds) - 1, count), -1, np.int64)
    for query, (first, last) in enumerate(zip(bounds[:-1], bounds[1:])):
        if first == last:
            continue
        found = images[first:last]
        if rule == 'weighted':
            best = _ranked_by_weight(found, weights[first:last], count)
        elif rule == 'max_sim':
            best = _ranked_by_similarity(found[:, 0], similarities[first:last, 0], count)
        elif rule == 'max_seg_sim':
            best = _counted_then_similar(found[:, 0], similarities[first:last, 0], count)
        else:
            best = _ranked_by_count(found[:, 0] if rule == 'max_seg' else found, count)
        ranked[query, :len(best)] = best
    return ranked


def image_scores(similarities: np.ndarray, images: np.ndarray, query_image: np.ndarray,
                 map_images: int) -> np.ndarray:
    """The 'weighted' rule's score of every image: (queries, map_images) float64, NaN where it has no vote."""
    weights = similarity_weights(similarities)
    bounds = _query_bounds(query_image)
    scores = np.full((len(bounds) - 1, map_images), np.nan)
    for query, (first, last) in enumerate(zip(bounds[:-1], bounds[1:])):
        voted, totals, _ = _totals(images[first:last], weights[first:last])
        scores[query, voted] = totals
    return scores


def similarity_weights(similarities: np.ndarray) -> np.ndarray:
    """Similarities scaled to [0, 1] over all of them, float32."""
    similarities = np.asarray(similarities, np.float32)
    if not similarities.size:
        return similarities
    low, high = similarities.min(), similarities.max()
    return (similarities - low) / (high - low) if high > low else np.ones_like(similarities)


def _query_bounds(query_image: np.ndarray) -> np.ndarray:
    """Where each query's segments begin, and the end of the last."""
    queries = int(query_image[-1]) + 1 if len(query_image) else 0
    return np.searchsorted(query_image, np.arange(queries + 1))


def _totals(images: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images that were voted for, their summed weights, and when each was first seen.

    Votes are visited rank by rank, and within a rank segment by segment; sums are added up in that order.
    """
    visited = _by_rank(images, np.int64)
    votes = np.bincount(visited)
    voted = np.flatnonzero(votes)
    totals = np.bincount(visited, _by_rank(weights, np.float64))[voted]
    first = np.empty(len(votes), np.int64)
    first[visited[::-1]] = np.arange(len(visited))[::-1]  # of several, the last one written stays
    return voted, totals, first[voted]


def _by_rank(table: np.ndarray, dtype: type) -> np.ndarray:
    return np.ascontiguousarray(table.T, dtype).ravel()


def _ranked_by_weight(images: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Images by summed weight, the one seen first ahead among equals."""
    # in any order first, which is quicker; where rounding could decide, or a tie, the visiting order counts
    totals = np.bincount(images.ravel(), weights.ravel())
    if len(totals) > count:
        best = totals.argpartition(-count - 1)[-count - 1:]
        scores = totals[best]
        order = (-scores).argsort()
        scores = scores[order]
        if scores[-1] > 0 and (scores[:-1] > scores[1:] * (1 + _ROUNDING)).all():
            return best[order[:count]]
    voted, totals, first = _totals(images, weights)
    return voted[np.lexsort((first, -totals))[:count]]


def _ranked_by_similarity(images: np.ndarray, similarities: np.ndarray, count: int) -> np.ndarray:
    """Images of the 50 most similar nearest neighbours, without repeats."""
    best = images[np.argsort(similarities, kind='stable')[-50:][::-1]]
    _, first = np.unique(best, return_index=True)
    return best[np.sort(first)[:count]]


def _ranked_by_count(images: np.ndarray, count: int) -> np.ndarray:
    """Images by number of votes, the larger number of an image first among equals."""
    votes = np.bincount(images.ravel())
    voted = np.flatnonzero(votes)
    return voted[np.argsort(votes[voted], kind='stable')[::-1][:count]]


def _counted_then_similar(images: np.ndarray, similarities: np.ndarray, count: int) -> np.ndarray:
    """The six images with most votes, re-ordered by their most similar one."""
    candidates = _ranked_by_count(images, 6)
    best = np.full(int(images.max()) + 1, -np.inf)
    np.maximum.at(best, images, similarities)
    return candidates[np.argsort(-best[candidates], kind='stable')[:count]]
