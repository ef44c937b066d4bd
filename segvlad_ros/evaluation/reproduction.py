"""The paper's place recognition on extracted images, step by step: descriptors, PCA, search, vote, recall.

Numbers of images are positions in natural order (segvlad-spec.md 1). What of the reference is a mistake in a product
and a fact in its figures is kept: neighbourhoods of two and three segments, votes scaled over the whole query set.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.pca import PcaFit
from segvlad_ros.description.projection import Projection
from segvlad_ros.description.segments import neighbours, segments_from_masks
from segvlad_ros.description.vlad import merge_neighbours, segment_vlad
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.reference_voting import vote_reference
from segvlad_ros.mapping.exact_search import ExactSearch
from segvlad_ros.types import CellGrid, FeatureGrid, Masks, Segments, SegvladError

RANKS = 5
NEIGHBOURS, SAVED_NEIGHBOURS = 50, 200
"""Map segments that vote; the reference asks for 200, saves them, and uses these."""
PCA_DIMENSION, PCA_SEGMENTS = 1024, 50_000
_MANY_IMAGES, _SHARE_OF_MANY = 2000, 0.3
_SEED = 42
_SEARCHED = 4096
"""Query segments that are searched at a time."""


@dataclass(frozen=True)
class ExtractedImage:
    """What the networks have made of an image.

    :ivar masks: None where only the whole image is described
    """

    features: FeatureGrid
    masks: Masks | None = None


@dataclass(frozen=True)
class SegmentRows:
    """The segments of many images.

    :ivar rows: (S, d) float32 unit rows
    :ivar images: (S,) int64, the number of the image of each, ascending
    """

    rows: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, tables: Iterable[np.ndarray]) -> SegmentRows:
        """Of the (M, d) rows of each image, in order."""
        kept = [np.asarray(table, np.float32) for table in tables]
        return cls(np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(table) for table in kept]))


class Descriptors:
    """Describes extracted images.

    :param size: width and height that features were taken at, pixels
    :param order: hops that are described together; None: the whole image
    """

    def __init__(self, size: tuple[int, int], vocabulary: Vocabulary, order: int | None) -> None:
        self._size, self._vocabulary, self._order = size, vocabulary, order

    @property
    def vocabulary_digest(self) -> str:
        """Of the words."""
        return hashlib.sha256(self._vocabulary.centres.tobytes()).hexdigest()

    @property
    def dimension(self) -> int:
        """Of descriptors before a projection: a residual of every word."""
        return self._vocabulary.centres.size

    def of(self, image: ExtractedImage, projection: Projection | None = None) -> np.ndarray:
        """(M, d) float32 unit rows; none for an image without segments."""
        features = image.features.features
        if self._order is None:
            incidence = np.ones((1, len(features)), bool)
        else:
            incidence = merged(segments_from_masks(image.masks, grid_of(image.features, self._size)), self._order)
        rows = segment_vlad(features, incidence, self._vocabulary)
        return (rows if projection is None else unit_rows(projection.apply(rows))).astype(np.float32)


def grid_of(features: FeatureGrid, size: tuple[int, int]) -> CellGrid:
    """The grid on which the features of an image of some size lie.

    Older files and the authors' archives do not say how large a cell is; DINOv2's can be of one size only.

    :raises SegvladError: on none: they are of another size; on any of several: they have to say which
    """
    cells = range(1, min(size) + 1) if features.cell is None else [features.cell]
    fitting = [cell for cell in cells if (size[1] // cell, size[0] // cell) == (features.rows, features.cols)]
    said = f'features of {features.rows} x {features.cols} cells'
    if not fitting:
        raise SegvladError(f'{said} are not those of an image of {size[0]}x{size[1]} pixels')
    if len(fitting) > 1:
        raise SegvladError(f'{said} do not say how large a cell is, and {fitting[0]} to {fitting[-1]} pixels fit an '
                           f'image of {size[0]}x{size[1]}: move them away and extract them anew')
    return CellGrid(*size, fitting[0])


def merged(segments: Segments, order: int) -> np.ndarray:
    """(M, N) bool, the cells of each segment and its neighbours; where the reference stops, on a line, as robots do."""
    from scipy.spatial import QhullError

    if not order:
        return segments.incidence
    try:
        adjacent = neighbours(segments.centroids, order, 'reference')
    except QhullError:
        adjacent = neighbours(segments.centroids, order)
    return merge_neighbours(segments.incidence, adjacent)


def vocabulary_images(count: int) -> list[int]:
    """Numbers of the references whose cells become words: all, or of a large set a share (segvlad-spec.md 12.2)."""
    if count <= _MANY_IMAGES:
        return list(range(count))
    chosen = np.random.default_rng(_SEED).choice(count, int(_SHARE_OF_MANY * count), replace=False)
    return np.sort(chosen).tolist()


def vocabulary_cells(image: ExtractedImage, count: int) -> np.ndarray:
    """(n, D) cells of one of these: all, or of a large set every second one in both directions.

    :param count: references of the data set
    """
    grid = image.features
    cells = grid.features.reshape(grid.rows, grid.cols, -1)
    return (cells if count <= _MANY_IMAGES else cells[::2, ::2]).reshape(-1, cells.shape[2])


def fit_pca(tables: Iterable[np.ndarray], counts: Sequence[int], dimension: int = PCA_DIMENSION,
            segments: int = PCA_SEGMENTS) -> Projection:
    """The whitened PCA of a sample of the references' segments (segvlad-spec.md 8).

    :param tables: (M, p) rows of each reference
    :param counts: their lengths, known beforehand
    :param segments: about as many are taken, the same share of every image
    """
    share, generator, fit = min(1.0, segments / max(sum(counts), 1)), np.random.default_rng(_SEED), PcaFit(dimension)
    for table in tables:
        fit.add(table[generator.permutation(len(table))[:int(len(table) * share)]])
        if fit.count >= segments:
            break
    return fit.finish()


@dataclass(frozen=True)
class Retrieved:
    """The map segments that are nearest to each query segment.

    :ivar similarities: (S, k) float32, ``2 - squared distance`` of unit rows: twice their cosine; the nearest first
    :ivar segments: (S, k) int64, rows of the map
    """

    similarities: np.ndarray
    segments: np.ndarray


def nearest_segments(references: SegmentRows, queries: SegmentRows, count: int = NEIGHBOURS) -> Retrieved:
    """The exact search of the paper, on all cores: nothing else runs beside an experiment.

    :param count: k, or all rows of a smaller map
    """
    everything, count, search = [(0, len(references.rows))], min(count, len(references.rows)), ExactSearch(threads=0)
    parts = [search.best(queries.rows[first:first + _SEARCHED], references.rows, everything, count)
             for first in range(0, max(len(queries.rows), 1), _SEARCHED)]
    cosines, found = (np.concatenate(tables) for tables in zip(*parts))
    return Retrieved(2 * cosines, found)


def ranked_images(retrieved: Retrieved, map_images: np.ndarray, query_images: np.ndarray, count: int,
                  rule: str = 'weighted') -> np.ndarray:
    """The images that the segments of each query vote for.

    :param map_images, query_images: the number of the image of each segment of the map, and of the queries
    :param count: queries, of which the last ones may have no segments
    :param rule: see :func:`~segvlad_ros.evaluation.reference_voting.vote_reference`
    :return: (count, RANKS) int64, -1 where fewer images were hit
    """
    ranked = np.full((count, RANKS), -1, np.int64)
    voted = vote_reference(retrieved.similarities[:, :NEIGHBOURS], retrieved.segments[:, :NEIGHBOURS], query_images,
                           rule, RANKS, image_of=map_images)
    ranked[:len(voted)] = voted
    return ranked


def nearest_images(retrieved: Retrieved, map_images: np.ndarray) -> np.ndarray:
    """(Q, RANKS) int64, the nearest images where each has one row (segvlad-spec.md 11); -1 where there are fewer."""
    ranked = np.full((len(retrieved.segments), RANKS), -1, np.int64)
    nearest = map_images[retrieved.segments[:, :RANKS]]
    ranked[:, :nearest.shape[1]] = nearest
    return ranked


def recall(ranked: np.ndarray, truth: Sequence[np.ndarray]) -> np.ndarray:
    """(RANKS,) float64, the share of the queries with a true place that have one among the first 1, 2, ... images.

    :param ranked: (Q, RANKS), numbers of references, -1 for none
    :param truth: for each query the numbers of the references that show its place
    """
    hits = np.array([np.isin(row, true) & (row >= 0) for row, true in zip(ranked, truth) if len(true)])
    return np.maximum.accumulate(hits, axis=1).mean(axis=0) if len(hits) else np.full(ranked.shape[1], np.nan)
