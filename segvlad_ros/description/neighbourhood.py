"""Which segments of an image are neighbours (segvlad-spec.md 6)."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import SegvladError

RULES = ('robust', 'reference')


def neighbours(centroids: np.ndarray, order: int, rule: str = 'robust') -> np.ndarray:
    """Segments within ``order`` edges of each other in the Delaunay triangulation of the centroids.

    Both rules agree on four or more distinct centroids that are not all on a line. ``reference`` keeps what the
    published code does elsewhere: with two or three segments every row names the first two only, a segment that
    shares its centroid with another stands alone, and a line of centroids raises scipy's ``QhullError``. ``robust``
    joins up to three segments with each other, lets equal centroids share their neighbours, and links a line of
    centroids end to end.

    :param centroids: (M, 2) mean column and row of each segment, pixels
    :param order: hops; 0 leaves every segment alone
    :param rule: 'robust' or 'reference'
    :return: (M, M) bool, the diagonal included
    """
    if rule not in RULES:
        raise SegvladError(f'unknown neighbourhood rule {rule!r}: use one of {", ".join(RULES)}')
    if order < 0:
        raise SegvladError(f'neighbourhood order is {order}: give 0 or more')
    count = len(centroids)
    if order == 0:
        return np.eye(count, dtype=bool)
    if count <= 3:
        joined = np.ones((count, count), bool)
        if rule == 'reference':
            joined[:, 2:] = False
        return joined
    return _hops(_triangulated(centroids) if rule == 'reference' else _joined(centroids), order)


def _triangulated(points: np.ndarray) -> np.ndarray:
    """Edges of the Delaunay triangulation, diagonal included; Qhull raises where there is no triangle."""
    from scipy.spatial import Delaunay

    adjacent = np.eye(len(points), dtype=bool)
    corners = Delaunay(points).simplices
    adjacent[corners[:, :, None], corners[:, None, :]] = True
    return adjacent


def _joined(points: np.ndarray) -> np.ndarray:
    """As :func:`_triangulated`, for any points."""
    from scipy.spatial import QhullError

    _, first, owner = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # keeps the points in their order, on which Qhull's ties depend
    distinct = points[first[order]]
    owner = np.argsort(order)[owner.reshape(-1)]
    if len(distinct) <= 3:
        adjacent = np.ones((len(distinct), len(distinct)), bool)
    else:
        try:
            adjacent = _triangulated(distinct)
        except QhullError:
            adjacent = _chained(distinct)
    return adjacent[owner[:, None], owner[None, :]]


def _chained(points: np.ndarray) -> np.ndarray:
    """Points on a line: each joined to the next one along it."""
    offsets = points - points.mean(axis=0)
    along = np.argsort(offsets @ np.linalg.svd(offsets, full_matrices=False)[2][0], kind='stable')
    adjacent = np.eye(len(points), dtype=bool)
    adjacent[along[:-1], along[1:]] = adjacent[along[1:], along[:-1]] = True
    return adjacent


def _hops(adjacent: np.ndarray, order: int) -> np.ndarray:
    """Pairs joined by at most ``order`` edges."""
    edges = adjacent.astype(np.float32)
    within = adjacent
    for _ in range(order - 1):
        within = (within.astype(np.float32) @ edges) > 0
    return within
