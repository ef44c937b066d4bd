"""What stands for a keyframe where all of its segments are too many: a few directions that they gather around.

Neighbourhoods overlap, so that most segments of an image say what others say as well.
"""
from __future__ import annotations

import numpy as np

_ITERATIONS = 2


def representatives(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means (Dhillon and Modha, Machine Learning 2001), begun with the segment nearest to the mean and then
    always the one farthest from those taken (Gonzalez, Theoretical Computer Science 1985). The same rows give the same.

    :param rows: (M, d) float32 unit rows
    :return: (R, d) float32 unit rows, R at most ``most`` and M; (R,) float32, how many segments each stands for
    """
    count = min(most, len(rows))
    if not count:
        return rows[:0], np.zeros(0, np.float32)
    chosen = [int((rows @ rows.sum(axis=0)).argmax())]
    nearest = rows @ rows[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        np.maximum(nearest, rows @ rows[chosen[-1]], out=nearest)
    centres = rows[chosen]
    for _ in range(_ITERATIONS):
        members = _nearest(rows, centres, count)
        sums = members @ rows
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), centres)
    return centres, _nearest(rows, centres, count).sum(axis=1)


def _nearest(rows: np.ndarray, centres: np.ndarray, count: int) -> np.ndarray:
    """(R, M) float32, 1 where a centre is the nearest one of a row."""
    return (np.arange(count)[:, None] == (rows @ centres.T).argmax(axis=1)).astype(np.float32)
