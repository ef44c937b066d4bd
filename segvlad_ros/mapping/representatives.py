"""What stands for a keyframe where all of its segments are too many: a few directions that they gather around.

Neighbourhoods overlap, so that most segments of an image say what others say as well.
"""
from __future__ import annotations

import numpy as np

_ITERATIONS = 2


def representatives(rows: np.ndarray, most: int, cosines: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means (Dhillon and Modha, Machine Learning 2001), begun with the segment nearest to the mean and then
    always the one farthest from those taken (Gonzalez, Theoretical Computer Science 1985). The same rows give the same.

    :param rows: (M, d) float32 unit rows
    :param cosines: (M, M) float32, of rows with each other, for who has them
    :return: (R, d) float32 unit rows, R at most ``most`` and M; (R,) float32, how many segments each stands for
    """
    count = min(most, len(rows))
    if not count:
        return rows[:0], np.zeros(0, np.float32)
    if cosines is None:
        cosines = rows @ rows.T  # all that the rest needs: a centre's products are sums of its members' own
    chosen = [int(cosines.sum(axis=0).argmax())]
    nearest = cosines[chosen[0]].copy()
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        np.maximum(nearest, cosines[chosen[-1]], out=nearest)
    members = np.zeros((count, len(rows)), np.float32)
    members[np.arange(count), chosen] = 1
    for _ in range(_ITERATIONS):
        found = _nearest(members, cosines)
        members = np.where(found.any(axis=1, keepdims=True), found, members)
    centres = members @ rows
    lengths = np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    return centres / lengths, _nearest(members, cosines).sum(axis=1)


def _nearest(members: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """(R, M) float32, 1 where the centre of such members is the nearest one of a row."""
    products = members @ cosines
    lengths = np.sqrt(np.maximum((products * members).sum(axis=1, keepdims=True), 1e-12))
    return (np.arange(len(members))[:, None] == (products / lengths).argmax(axis=0)).astype(np.float32)
