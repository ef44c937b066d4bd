"""Cutting an image into segments: one protocol, and its backends."""
from __future__ import annotations

from typing import Protocol

import numpy as np

from segvlad_ros.types import Masks


class Segmenter(Protocol):
    """What every segmentation backend offers."""

    def segment(self, rgb: np.ndarray) -> Masks:
        """Cut one image into segments.

        :param rgb: (h, w, 3) uint8, already at the size that is to be segmented
        :return: masks of the same h x w; none at all is a valid answer
        """
        ...
