"""Features on the cell grid: one protocol, one backend a module."""
from __future__ import annotations

from typing import Protocol

import numpy as np

from segvlad_ros.types import FeatureGrid


class FeatureExtractor(Protocol):
    """What every feature backend offers.

    :ivar cell: side of a grid cell, pixels of the prepared image
    :ivar dimension: D, length of one cell's feature
    """

    cell: int
    dimension: int

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """Describe every cell of one image.

        :param rgb: (height, width, 3) uint8, already resized to the grid's size
        :return: a feature a cell; rows of zeros where there is nothing to describe
        """
        ...


def whole_image(vector: np.ndarray, shape: tuple[int, ...], cell: int) -> FeatureGrid:
    """One vector of a whole image as a grid: each of its cells has it, so that any segment is described by it.

    :param vector: (D,) float32
    :param shape: of the image, height first
    :param cell: side of a cell, pixels; best the image's shorter side
    """
    rows, cols = shape[0] // cell, shape[1] // cell
    return FeatureGrid(np.tile(vector.astype(np.float32), (rows * cols, 1)), rows, cols)
