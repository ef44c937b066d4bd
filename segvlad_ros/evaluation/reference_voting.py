"""The reference's votes: from retrieved segments to map images (segvlad-spec.md 10)."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import SegvladError

RULES = ('weighted', 'max_sim', 'max_seg', 'max_seg_sim', 'max_seg_topk', 'max_seg_topk_wt_borda')

# relative error that the order of summation can make, with room to spare
_ROUNDING = 1e-9
# parts of the images whose maxima say which images may lead
_PARTS = 64


def vote_reference(similarities: np.ndarray, images: np.ndarray, query_image: np.ndarray, rule: str = 'weighted',
                   count: int = 5, *, image_of: np.ndarray | None = None) -> np.ndarray:
    """Rank map images for a whole set of queries as the reference does (segvlad-spec.md 10.1, 10.2).

    'weighted' is the paper's rule: every retrieved segment votes for its image with its similarity, scaled to [0, 1]
    over the **whole** query set, however often one query segment names the same image.

    :param similarities: (S, k) float32, ``2 - squared distance`` of each query segment's k nearest map segments, the
        nearest first
    :param images: (S, k) int64, the images that these map segments belong to, or the segments, with ``image_of``,
        which 'max_seg_topk_wt_borda' needs
    :param query_image: (S,) int64, the query image of each query segment, in ascending order
    :param rule: of :data:`RULES`; 'weighted' is the reference's ``max_seg_topk_wt_borda_Im``, the others have its names
    :param count: images kept a query
    :param image_of: (P,) int64, the image of each map segment; cheaper than to look up all of them beforehand
    :return: (queries, count) int64, -1 where fewer images were hit
    """
    if rule not in RULES:
        raise SegvladError(f'unknown voting rule {rule!r}: use one of {", ".join(RULES)}')
    if rule == 'max_seg_topk_wt_borda' and image_of is None:
        raise SegvladError(f'rule {rule} counts map segments: give them, and image_of')
    low, high = _extremes(similarities)
    bounds = _query_bounds(query_image)
    ranked = np.full((len(bounds) - 1, count), -1, np.int64)
    # query by query, weights and images too: so little at a time stays in the cache
    for query, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist())):
        if first == last or not images.shape[1]:  # nothing to ask with, or of a map without segments
            continue
        found = images[first:last] if image_of is None else image_of[images[first:last]]
        if rule == 'weighted':
            best = _ranked_by_weight(found, _scaled(similarities[first:last], low, high), count)
        elif rule == 'max_sim':
            best = _ranked_by_similarity(found[:, 0], similarities[first:last, 0], count)
        elif rule == 'max_seg_sim':
            best = _counted_then_similar(found[:, 0], similarities[first:last, 0], count)
        elif rule == 'max_seg_topk_wt_borda':  # each map segment counts once, whatever it weighs
            best = _ranked_by_count(image_of[np.unique(images[first:last])], count)
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
    return _scaled(similarities, *_extremes(similarities))


def _extremes(similarities: np.ndarray) -> tuple[np.float32, np.float32]:
    if not similarities.size:
        return np.float32(0), np.float32(0)
    return np.float32(similarities.min()), np.float32(similarities.max())


def _scaled(similarities: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    similarities = np.asarray(similarities, np.float32)
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
        best = _leading(totals, count + 1)
        scores = totals[best]
        if scores[-1] > 0 and (scores[:-1] > scores[1:] * (1 + _ROUNDING)).all():
            return best[:count]
    voted, totals, first = _totals(images, weights)
    return voted[np.lexsort((first, -totals))[:count]]


def _leading(totals: np.ndarray, count: int) -> np.ndarray:
    """Where the ``count`` largest are, the largest first; there are no fewer."""
    # the count-th largest maximum of some parts is no larger than the count-th largest of all: a quick sieve
    width = max(1, len(totals) // max(count, _PARTS))
    parts = totals[:len(totals) // width * width].reshape(-1, width)
    candidates = np.flatnonzero(totals >= np.sort(parts.max(axis=1))[-count])
    return candidates[(-totals[candidates]).argsort()[:count]]


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
    """The six images with most votes, re-ordered by their most similar one; of equals the later one comes first."""
    candidates = _ranked_by_count(images, 6)
    best = np.full(int(images.max()) + 1, -np.inf)
    np.maximum.at(best, images, similarities)
    return candidates[np.argsort(best[candidates], kind='stable')[::-1][:count]]
