"""What SAM's image encoder made of an image, as features: they cost nothing where SAM cuts it, too."""
from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from segvlad_ros.types import FeatureGrid, Masks, SegvladError


class ImageEncoder(Protocol):
    """A segmenter with a network, whose masks come with an embedding."""

    def encode(self, rgb: np.ndarray) -> Any:
        """The embedding alone: see ``Masks.embedding``."""
        ...


class SamNeckExtractor:
    """The embedding at the cells of an image, each of unit length.

    :param segmenter: whose network is shared
    :param size: width and height of the images that features are asked of, pixels
    :param segment_size: of those that are segmented
    :param cell: side of a cell, pixels
    """

    def __init__(self, segmenter: ImageEncoder, size: tuple[int, int], segment_size: tuple[int, int],
                 cell: int) -> None:
        self.segmenter, self.cell = segmenter, cell
        self._size, self._segment_size = size, segment_size
        self.dimension = self.extract(np.full((size[1], size[0], 3), 128, np.uint8)).features.shape[1]

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; where masks are wanted too, see :meth:`of_masks`."""
        return self._sampled(self.segmenter.encode(cv2.resize(rgb, self._segment_size)))

    def of_masks(self, masks: Masks) -> FeatureGrid:
        """The features of the image that was segmented.

        :param masks: with their embedding
        """
        if masks.embedding is None:
            raise SegvladError('features.kind sam_neck: the segmenter has no network to share; set segmenter.kind to '
                               'sam, mode grid')
        return self._sampled(masks.embedding)

    def _sampled(self, embedding: Any) -> FeatureGrid:
        width, height = self._size
        rows, cols = height // self.cell, width // self.cell
        longest, side = max(self._segment_size), embedding.shape[-1]
        across, down = (_sampling(count, side, side * length / longest)
                        for count, length in zip((cols, rows), self._segment_size))
        if not isinstance(embedding, np.ndarray):
            across, down = (embedding.new_tensor(matrix) for matrix in (across, down))
        cells = (down @ embedding @ across.T).reshape(len(embedding), -1).T
        return FeatureGrid(cells / ((cells ** 2).sum(1) ** 0.5)[:, None], rows, cols)


@lru_cache(maxsize=16)
def _sampling(cells: int, side: int, used: float) -> np.ndarray:
    """(cells, side) float32: linear interpolation at the middle of each cell, within the used part of an axis."""
    position = ((np.arange(cells) + 0.5) * used / cells - 0.5).clip(0, side - 1)
    before = np.minimum(position.astype(np.int64), side - 2)
    share = (position - before).astype(np.float32)
    matrix = np.zeros((cells, side), np.float32)
    matrix[np.arange(cells), before], matrix[np.arange(cells), before + 1] = 1 - share, share
    return matrix
