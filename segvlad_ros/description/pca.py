"""Fitting the projection: a principal component analysis that never holds all rows (segvlad-spec.md 8)."""
from __future__ import annotations

import logging

import numpy as np

from segvlad_ros.description.projection import PcaProjection, rank_of
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

# Numbers that are multiplied, or widened to float64, at a time.
_CHUNK = 1 << 22
# Rows held at least, as a multiple of the components, and the share of them that is kept when they are full. Measured
# with 50 rows a component and variances of 1/i to 1/sqrt(i): 0.2 to 3% less energy than an exact fit finds, at nearly
# the least arithmetic a row.
_LEAST_ROWS = 3.25
_KEPT = 0.4


class PcaFit:
    """Collects rows into a small matrix with (nearly) the same scatter (Ross et al., IJCV 2008, 2.1).

    Rows are held until the memory is full. Then they, and what is left of earlier ones, are replaced by the largest of
    their scaled principal axes. A randomised sketch in one pass is cheaper and far worse: it lost 3 to 8% of the energy
    where variances fall as 1/i, instead of 0.2%.

    :param dimension: components to keep; needs more rows than that, and as many independent ones
    :param memory_bytes: about what rows may take at a time; where all fit, the result is exact. At least
        3.25 x dimension rows are held: 654 MB for 49152 to 1024, with all else 1 GB (benchmark/pca_fit.py)
    """

    def __init__(self, dimension: int, memory_bytes: int = 512 << 20) -> None:
        if dimension < 1:
            raise SegvladError(f'projection to {dimension} dimensions: give 1 or more')
        self.dimension = dimension
        self._memory = memory_bytes
        self._table = np.empty((0, 0), np.float32)  # axes first, then new rows
        self._mean = np.zeros(0)
        self._axes = self._new = self._merged = 0

    @property
    def count(self) -> int:
        """Rows seen so far."""
        return self._merged + self._new

    def add(self, rows: np.ndarray) -> None:
        """Take in (n, p) float32 rows."""
        if not np.isfinite(rows).all():
            raise SegvladError('rows for the projection are not finite; check the images and the weights')
        if not self._table.size:
            width = rows.shape[1]
            least = int(_LEAST_ROWS * self.dimension)
            self._table = np.empty((max(least, self._memory // (4 * width)), width), np.float32)
            self._mean = np.zeros(width)
        while len(rows):
            if self._axes + self._new == len(self._table) - 1:  # the last row is for the shift of the mean
                self._compress(max(self.dimension, int(_KEPT * len(self._table))), np.float32)
            start = self._axes + self._new
            taken = min(len(rows), len(self._table) - 1 - start)
            self._table[start:start + taken] = rows[:taken]
            self._new += taken
            rows = rows[taken:]

    def finish(self, whiten: bool = True, shrinkage: float = 0.0) -> PcaProjection:
        """The projection of all rows taken in; the fit cannot be continued.

        :param whiten: divide every component by its standard deviation
        :param shrinkage: of whitening, in [0, 1]: variances move by this share towards their mean; 1 whitens nothing
        :raises SegvladError: the rows do not span that many dimensions, which would silently ruin every descriptor
        """
        if not 0 <= shrinkage <= 1:
            raise SegvladError(f'shrinkage is {shrinkage}: give a number from 0 to 1')
        count = self.count
        if count <= self.dimension:
            raise SegvladError(f'{self.dimension} components need more than {self.dimension} segments, these images '
                               f'have {count}; give more images or a smaller dimension')
        squares = self._compress(self.dimension, np.float64)
        if (rank := rank_of(squares)) < self.dimension:
            raise SegvladError(f'the {count} segments span only {rank} dimensions, {self.dimension} are asked for; '
                               'give more (different) images, a lower order or a smaller dimension')
        components = self._table[:self._axes] / np.sqrt(squares)[:, None].astype(np.float32)
        variance = squares / (count - 1)
        logger.info('PCA: %d components of %d rows', self.dimension, count)
        shrunk = (1 - shrinkage) * variance + shrinkage * variance.mean()
        return PcaProjection(self._mean, components, 1 / np.sqrt(shrunk) if whiten else np.ones_like(variance))

    def _compress(self, keep: int, precision: type) -> np.ndarray:
        """Replace the table by its ``keep`` largest scaled axes; returns their squared lengths, descending.

        :param precision: of products. The axes are rotated rows whatever it is, so that float32, twice as fast, costs
            nothing between; at the end float64 tells small variances from rounding.
        """
        self._centre()
        used = self._table[:self._axes]
        height, width = used.shape
        keep = min(keep, height, width)
        if height <= width:
            gram = np.zeros((height, height))
            blocks = _blocks(width, height)
            for block in blocks:
                part = used[:, block].astype(precision)
                gram += part @ part.T
            squares, vectors = np.linalg.eigh(gram)
            turn = vectors[:, ::-1][:, :keep].T.astype(np.float32)
            for block in blocks:
                self._table[:keep, block] = turn @ used[:, block]
        else:
            scatter = np.zeros((width, width))
            for block in _blocks(height, width):
                part = used[block].astype(precision)
                scatter += part.T @ part
            squares, vectors = np.linalg.eigh(scatter)
            lengths = np.sqrt(squares[::-1][:keep].clip(0))
            self._table[:keep] = vectors[:, ::-1][:, :keep].T * lengths[:, None]
        self._axes = keep
        return squares[::-1][:keep].clip(0)

    def _centre(self) -> None:
        """Turn new rows into scatter about the common mean; the shift of the mean is one more row of it."""
        if not self._new:
            return
        rows = self._table[self._axes:self._axes + self._new]
        mean = rows.mean(axis=0, dtype=np.float64)
        rows -= mean.astype(np.float32)
        total = self._merged + self._new
        shift = np.sqrt(self._merged * self._new / total) * (self._mean - mean)
        self._mean += (mean - self._mean) * (self._new / total)
        self._axes += self._new
        if self._merged:
            self._table[self._axes] = shift
            self._axes += 1
        self._merged, self._new = total, 0


def _blocks(length: int, across: int) -> list[slice]:
    """Parts of a table's side that have up to :data:`_CHUNK` numbers."""
    step = max(1, _CHUNK // across)
    return [slice(first, first + step) for first in range(0, length, step)]
