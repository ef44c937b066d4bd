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
