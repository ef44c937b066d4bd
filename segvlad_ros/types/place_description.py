"""What is made of an image: segments, features, keypoints, and the descriptors of a place."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class CellGrid:
    """The grid of square feature cells that lies over a prepared image, anchored at its top left pixel.

    :ivar width, height: size of the prepared image, pixels
    :ivar cell: side of a cell, pixels; a remainder at the right or bottom belongs to the last column or row
    """

    width: int
    height: int
    cell: int

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return self.height // self.cell

    @property
    def cols(self) -> int:
        """Columns of cells."""
        return self.width // self.cell

    @property
    def cells(self) -> int:
        """Number of cells N = rows x cols, numbered row by row."""
        return self.rows * self.cols


@dataclass(frozen=True)
class Masks:
    """What a segmenter finds, in its own order and at its own resolution.

    :ivar masks: (M, h, w) bool; masks may overlap, nest and leave pixels uncovered. A numpy array, or a torch
        tensor that stays on its device until the cells are known.
    :ivar quality: (M,) float32, the segmenter's own confidence in [0, 1]; 1 where it has none
    :ivar embedding: (C, side, side) float32, numpy or torch: what a network made of the image, which it scaled to fit
        into the top left; None where there is none
    """

    masks: object
    quality: np.ndarray
    embedding: object | None = None

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True)
class Segments:
    """M segments of one image on its cell grid.

    :ivar incidence: (M, N) bool, which cells a segment touches
    :ivar centroids: (M, 2) float64, mean column and mean row of the mask, mask pixels
    :ivar boxes: (M, 4) float64, x, y, width, height as fractions of the image's width and height
    :ivar areas: (M,) float64, share of the image's pixels that the segment covers, in [0, 1]
    :ivar quality: (M,) float32, see :class:`Masks`
    """

    incidence: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    quality: np.ndarray

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True)
class Keypoints:
    """Local features of one keyframe, for geometric verification.

    :ivar positions: (P, 2) float32, u (right) and v (down), pixels of the camera's image
    :ivar descriptors: (P, B) uint8
    :ivar depths: (P,) float32 metres along the optical axis, NaN where unknown
    """

    positions: np.ndarray
    descriptors: np.ndarray
    depths: np.ndarray


@dataclass(frozen=True)
class FeatureGrid:
    """One feature a cell: (rows x cols, D) float32, numbered row by row. Rows of zeros are cells without texture.

    :ivar keypoints: that the same pass found, pixels of the prepared image and without depths; None from features
        that find none
    :ivar cell: side of a cell, pixels, where features are kept away from their extractor, which knows it; else None
    """

    features: np.ndarray
    rows: int
    cols: int
    keypoints: Keypoints | None = None
    cell: int | None = None


@dataclass(frozen=True)
class PlaceDescription:
    """An image as the map sees it.

    :ivar descriptors: (M, d) float32, unit rows, one a segment; M may be 0
    :ivar boxes: (M, 4) int32, x, y, width, height, pixels of the camera's image
    :ivar pixels: (M,) int64, area, pixels of the camera's image
    :ivar rejected: '' or the one-line reason why the image cannot be recognised (blank, dark, too few segments)
    :ivar timings: seconds by stage name; some run side by side
    """

    descriptors: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray
    rejected: str = ''
    keypoints: Keypoints | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.descriptors)
