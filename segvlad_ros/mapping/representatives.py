"""What stands for a keyframe where all of its segments are too many: a few directions that they gather around.

Neighbourhoods overlap, so that most segments of an image say what others say as well.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ITERATIONS = 2


def representatives(rows: np.ndarray, most: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Spherical k-means (Dhillon and Modha, Machine Learning 2001), begun with the segment nearest to the mean and then
    always the one farthest from those taken (Gonzalez, Theoretical Computer Science 1985). The same rows give the same.

    :param rows: (M, d) float32 unit rows
    :param most: how many are wanted, several times; all are found at once
    :return: for each of them (R, d) float32 unit rows, R at most as many and M; (R,) float32, how many segments each
        was the nearest to
    """
    counts = [min(number, len(rows)) for number in most]
    cosines = rows @ rows.T  # all that k-means needs: a centre's products are sums of its members' own
    chosen = _far_apart(cosines, max(counts))
    members = np.concatenate([np.arange(len(rows)) == chosen[:count, None] for count in counts]).astype(np.float32)
    for _ in range(_ITERATIONS):
        found = _nearest(members, cosines, counts)
        members = np.where(found.any(axis=1, keepdims=True), found, members)
    centres = members @ rows
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    edges = np.cumsum(counts)[:-1]
    return list(zip(np.split(centres, edges), np.split(found.sum(axis=1), edges)))


def _far_apart(cosines: np.ndarray, count: int) -> np.ndarray:
    """(count,) int, rows of which each is far from those before it."""
    chosen = np.zeros(count, np.int64)
    if count:
        chosen[0] = cosines.sum(axis=0).argmax()
        nearest = cosines[chosen[0]].copy()
    for number in range(1, count):
        chosen[number] = nearest.argmin()
        np.maximum(nearest, cosines[chosen[number]], out=nearest)
    return chosen


def _nearest(members: np.ndarray, cosines: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """(R, M) float32, 1 where the centre of such members is the nearest one of a row, of each of several sets."""
    products = members @ cosines
    products /= np.sqrt(np.maximum(np.einsum('ij,ij->i', products, members), 1e-12))[:, None]
    edges = np.cumsum([0, *counts])
    return np.concatenate([np.arange(count)[:, None] == products[first:first + count].argmax(axis=0)
                           for first, count in zip(edges, counts) if count] or [members]).astype(np.float32)
