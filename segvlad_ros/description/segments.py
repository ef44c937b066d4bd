"""The segments of one image: the cells that each touches, and which are neighbours (segvlad-spec.md 5, 6)."""
from __future__ import annotations

from functools import lru_cache, reduce
from operator import or_

import cv2
import numpy as np

from segvlad_ros.description.arrays import Array, like, to_numpy
from segvlad_ros.types import CellGrid, Masks, Segments, SegvladError

NEIGHBOUR_RULES = ('robust', 'reference')


def segments_from_masks(masks: Masks, grid: CellGrid) -> Segments:
    """Find the cells, centroid, box and area of every mask. Masks without a pixel are left out.

    A mask is brought to the image's size by nearest neighbour (source row ``floor(y h / H)``, in float32), and a cell
    belongs to it as soon as one pixel does. The grid lies at the image's top left pixel even where the features come
    from a centred crop: so does the reference, and identical numbers need it.

    :param masks: M masks at the segmenter's resolution; a tensor's incidence stays on its device
    :param grid: cells of the feature image
    """
    if not grid.cells:
        raise SegvladError(f'an image of {grid.width}x{grid.height} pixels has no {grid.cell}-pixel cell; '
                           'use a larger image size')
    if not len(masks):
        return Segments(np.zeros((0, grid.cells), bool), np.zeros((0, 2)), np.zeros((0, 4)), np.zeros(0),
                        np.zeros(0, np.float32))
    pixels = masks.masks
    height, width = pixels.shape[1:]
    by_column, by_row = _pixel_counts(pixels)
    areas = by_column.sum(axis=1)
    found = np.flatnonzero(areas)
    if len(found) < len(areas):
        pixels, by_column, by_row, areas = pixels[like(found, pixels)], by_column[found], by_row[found], areas[found]
    touched = _any_pixel(pixels, 1, height, grid.height, grid.cell)
    touched = _any_pixel(touched, 2, width, grid.width, grid.cell)
    centroids = np.stack([by_column @ np.arange(width), by_row @ np.arange(height)], axis=1) / areas[:, None]
    left, across = _extent(by_column)
    top, down = _extent(by_row)
    boxes = np.stack([left / width, top / height, across / width, down / height], axis=1)
    return Segments(touched.reshape(len(found), grid.cells), centroids, boxes, areas / (height * width),
                    np.asarray(masks.quality, np.float32)[found])


def cell_of_pixel(grid: CellGrid) -> np.ndarray:
    """Number of the cell that owns each pixel of the image: (height, width) int64 (segvlad-spec.md 5.2)."""
    return _owners(grid.height, grid.cell)[:, None] * grid.cols + _owners(grid.width, grid.cell)


def _owners(size: int, cell: int) -> np.ndarray:
    """Row (or column) of cells of each pixel row (or column); the last one also owns the remainder."""
    return np.minimum(np.arange(size) // cell, size // cell - 1)


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
    if rule not in NEIGHBOUR_RULES:
        raise SegvladError(f'unknown neighbourhood rule {rule!r}: use one of {", ".join(NEIGHBOUR_RULES)}')
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
    adjacent = _triangulated(centroids) if rule == 'reference' else _joined(centroids)
    edges, within = adjacent.astype(np.float32), adjacent
    for _ in range(order - 1):
        within = within.astype(np.float32) @ edges > 0
    return within


def _any_pixel(pixels: Array, axis: int, size: int, image_size: int, cell: int) -> Array:
    """Reduce one axis from mask pixels to cells: true where any sampled pixel of the cell is."""
    table = _sampled_pixels(size, image_size, cell)
    picks = (like(table[:, j], pixels) for j in range(table.shape[1]))
    return reduce(or_, (pixels[:, pick] if axis == 1 else pixels[:, :, pick] for pick in picks))


@lru_cache(maxsize=64)
def _sampled_pixels(size: int, image_size: int, cell: int) -> np.ndarray:
    """Mask rows (or columns) that nearest-neighbour sampling reads for each cell: (cells, most of any) int64.

    Cells that read fewer repeat their last one.
    """
    position = np.arange(image_size, dtype=np.float32) * np.float32(size / image_size)
    source = np.floor(position).astype(np.int64).clip(0, size - 1)
    owner = _owners(image_size, cell)
    rows = [np.unique(source[owner == c]) for c in range(image_size // cell)]
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, longest - len(row)), mode='edge') for row in rows])


def _pixel_counts(pixels: Array) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each mask in every column, (M, w) int64, and in every row, (M, h) int64."""
    if not isinstance(pixels, np.ndarray):
        return to_numpy(pixels.sum(1)), to_numpy(pixels.sum(2))
    count, height, width = pixels.shape
    levels = np.ascontiguousarray(pixels).view(np.uint8)
    by_row = cv2.reduce(levels.reshape(count * height, width), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    by_column = np.zeros((count, width), np.int64)
    for first in range(0, height, 255):  # so many ones still fit a byte, and bytes add fastest
        by_column += levels[:, first:first + 255].sum(axis=1, dtype=np.uint8)
    return by_column, by_row.reshape(count, height).astype(np.int64)


def _extent(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First non-zero column and the length up to the last one."""
    occupied = counts > 0
    first = occupied.argmax(axis=1)
    return first, counts.shape[1] - occupied[:, ::-1].argmax(axis=1) - first


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
