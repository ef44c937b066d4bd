"""The reference's procedures written down as segvlad-spec.md states them, as baselines: slow, and meant to be.

Sections 5 (masks to cells), 6 (adjacency), 7 (segment VLAD in float64, one matrix product a word, the neighbours merged
anew for each), 8 (PCA applied to whole rows) and 10.1 (the vote).
"""
from __future__ import annotations

import numpy as np

_EPSILON = 1e-12


def incidence(masks: np.ndarray, width: int, height: int, cell: int) -> np.ndarray:
    """Cells that any pixel of an up-sampled mask falls in (segvlad-spec.md 5).

    :param masks: (M, h, w) bool
    :return: (M, N) bool
    """
    rows, cols = height // cell, width // cell
    source_row = np.floor(np.arange(height) * np.float32(masks.shape[1] / height)).astype(np.int64)
    source_col = np.floor(np.arange(width) * np.float32(masks.shape[2] / width)).astype(np.int64)
    cells = np.zeros((len(masks), rows * cols), bool)
    for number, mask in enumerate(masks):
        y, x = np.nonzero(mask[source_row][:, source_col].astype(np.float32))
        cells[number, np.minimum(y // cell, rows - 1) * cols + np.minimum(x // cell, cols - 1)] = True
    return cells


def adjacency(masks: np.ndarray, order: int) -> np.ndarray:
    """Segments within some hops of the Delaunay triangulation of their centroids (segvlad-spec.md 6).

    :param masks: (M, h, w) bool, M of 4 or more
    :return: (M, M) float64 of zeros and ones
    """
    from scipy.spatial import Delaunay

    centroids = []
    for mask in masks:
        y, x = np.nonzero(mask)
        centroids.append((x.mean(), y.mean()))
    near = np.eye(len(masks))
    for triangle in Delaunay(np.array(centroids)).simplices:
        for i in triangle:
            for j in triangle:
                near[i, j] = 1
    within = near
    for _ in range(order - 1):
        within = within @ near
    return (within > 0).astype(np.float64)


def segment_vlad(features: np.ndarray, cells: np.ndarray, near: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Full float64 descriptors (segvlad-spec.md 7).

    :param features: (N, D) float32
    :return: (M, K*D) float64, unit rows
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _EPSILON)
    words = (unit @ (centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), _EPSILON)).T).argmax(1)
    residuals = (unit - centres[words]).astype(np.float64)
    blocks = []
    for word in range(len(centres)):
        merged = ((near @ cells.astype(np.float64)) > 0).astype(np.float64)
        of_word = words == word
        sums = merged[:, of_word] @ residuals[of_word]
        blocks.append(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), _EPSILON))
    rows = np.concatenate(blocks, axis=1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _EPSILON)


def pca(rows: np.ndarray, mean: np.ndarray, components: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Projected unit rows (segvlad-spec.md 8).

    :param rows: (M, K*D) float64
    :return: (M, d) float64
    """
    projected = ((rows - mean) @ components.T) * scale
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def describe(masks: np.ndarray, features: np.ndarray, centres: np.ndarray, projection: tuple[np.ndarray, ...], *,
             size: tuple[int, int], cell: int, order: int) -> np.ndarray:
    """From masks to projected unit rows.

    :param projection: mean (K*D,), components (d, K*D) and scale (d,)
    :param size: width and height of the feature image, pixels
    """
    cells = incidence(masks, *size, cell)
    return pca(segment_vlad(features, cells, adjacency(masks, order), centres), *projection)


def vote(similarities: np.ndarray, images: np.ndarray, queries: list[slice], count: int) -> list[list[int]]:
    """The weighted vote, one step a retrieved segment (segvlad-spec.md 10.1).

    :param similarities, images: (S, k), the retrieved segments of all query segments
    :param queries: the rows of each query image
    :return: the best map images of each query
    """
    low, high = similarities.min(), similarities.max()
    weights = (similarities - low) / (high - low)
    ranked = []
    for rows in queries:
        scores: dict[int, float] = {}
        for rank in range(similarities.shape[1]):
            for segment in range(rows.start, rows.stop):
                image = int(images[segment, rank])
                scores[image] = scores.get(image, 0.0) + float(weights[segment, rank])
        ranked.append(sorted(scores, key=scores.__getitem__, reverse=True)[:count])
    return ranked
