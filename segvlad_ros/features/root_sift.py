"""Dense RootSIFT (Lowe, IJCV 2004; Arandjelovic and Zisserman, CVPR 2012) on the cell grid, without keypoints.

SIFT's histogram of gradient orientations is a sampled blur: the gradient is split once into one map an
orientation, the maps are blurred by the spatial bin's window, and the 4 x 4 bins of every cell are read off.
That costs a few milliseconds an image, where a library's SIFT on a list of grid keypoints takes half a second.
"""
from __future__ import annotations

import cv2
import numpy as np

from segvlad_ros.types import FeatureGrid, SegvladError

ORIENTATIONS = 8
SPATIAL_BINS = 4
# Every scale is brought to bins of this many pixels: the coarser scale is then also the cheaper one.
BIN_PIXELS = 4
# Trilinear interpolation between neighbouring bins (Lowe 6.1), read at the corner between pixels.
_DISTANCE = np.abs(np.arange(2 * BIN_PIXELS) - (BIN_PIXELS - 0.5)) / BIN_PIXELS
_WINDOW = ((1 - _DISTANCE) / (1 - _DISTANCE).sum()).astype(np.float32)
# Lowe's Gaussian window over the descriptor, sigma half its width, here with a mean of 1.
_OFFSETS = np.arange(SPATIAL_BINS) - (SPATIAL_BINS - 1) / 2
_WEIGHTS = np.exp(-(_OFFSETS[:, None] ** 2 + _OFFSETS ** 2) / (2 * (SPATIAL_BINS / 2) ** 2))
_WEIGHTS = (_WEIGHTS / _WEIGHTS.mean()).astype(np.float32)[:, :, None]


class RootSiftExtractor:
    """One upright RootSIFT descriptor a cell and scale, the scales side by side.

    :param cell: side of a grid cell, pixels
    :param bin_sizes: side of one of the 4 x 4 spatial bins, pixels, one entry a scale; a descriptor covers four
    :param min_gradient: mean gradient below which a cell shows no texture at that scale, grey levels a pixel
    """

    def __init__(self, cell: int, bin_sizes: tuple[int, ...], min_gradient: float) -> None:
        if cell < 2:
            raise SegvladError(f'RootSIFT: a cell of {cell} pixels; set it to 2 or more')
        if not bin_sizes or min(bin_sizes) < BIN_PIXELS:
            raise SegvladError(f'RootSIFT: bin_sizes {list(bin_sizes)}; give one or more sizes of 4 pixels or more')
        if min_gradient < 0:
            raise SegvladError(f'RootSIFT: min_gradient is {min_gradient}; set it to 0 or more')
        self.cell = cell
        self.bin_sizes = tuple(bin_sizes)
        self.min_gradient = min_gradient
        self.dimension = len(self.bin_sizes) * SPATIAL_BINS ** 2 * ORIENTATIONS

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; rows have norm 1 (all scales textured) to 0 (none)."""
        rows, cols = rgb.shape[0] // self.cell, rgb.shape[1] // self.cell
        if not rows or not cols:
            raise SegvladError(f'an image of {rgb.shape[1]}x{rgb.shape[0]} pixels has no {self.cell}-pixel cell; '
                               'use a larger image')
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        scales = [self._one_scale(grey, bin_size, rows, cols) for bin_size in self.bin_sizes]
        return FeatureGrid(np.hstack(scales) / np.float32(len(scales) ** 0.5), rows, cols)

    def _one_scale(self, grey: np.ndarray, bin_size: int, rows: int, cols: int) -> np.ndarray:
        zoom = min(1.0, BIN_PIXELS / bin_size)
        if zoom < 1:
            size = (max(1, round(grey.shape[1] * zoom)), max(1, round(grey.shape[0] * zoom)))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        maps = orientation_maps(grey)
        margin = 2 * SPATIAL_BINS * BIN_PIXELS
        maps = cv2.copyMakeBorder(maps, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        maps = cv2.sepFilter2D(maps, -1, _WINDOW, _WINDOW, anchor=(BIN_PIXELS, BIN_PIXELS))
        down = self._bin_positions(rows, bin_size, zoom) + margin
        right = self._bin_positions(cols, bin_size, zoom) + margin
        histogram = maps[down[:, None], right[None, :]].reshape(rows, SPATIAL_BINS, cols, SPATIAL_BINS, ORIENTATIONS)
        histogram = histogram.transpose(0, 2, 1, 3, 4) * _WEIGHTS
        return self._normalised(histogram.reshape(rows * cols, -1))

    def _bin_positions(self, cells: int, bin_size: int, zoom: float) -> np.ndarray:
        """Pixel corners of the scaled image at which the spatial bins of a row of cells are centred."""
        centres = (np.arange(cells) + 0.5) * self.cell * zoom
        return np.rint(centres[:, None] + _OFFSETS * bin_size * zoom).astype(np.intp).ravel()

    def _normalised(self, histogram: np.ndarray) -> np.ndarray:
        """RootSIFT: L1 norm 1, then the square root, which gives rows of L2 norm 1; zero without texture."""
        total = histogram.sum(axis=1, keepdims=True)
        textured = total >= self.min_gradient * SPATIAL_BINS ** 2
        return np.sqrt(histogram / np.maximum(total, np.finfo(np.float32).tiny)) * textured


def orientation_maps(grey: np.ndarray) -> np.ndarray:
    """Split the image gradient by its direction.

    :param grey: (h, w) uint8
    :return: (h, w, 8) float32, grey levels a pixel; a gradient is shared by the two orientations beside it
    """
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    # OpenCV 4.6 with Intel's IPP rounds a magnitude by where its array happens to lie; these squares are exact.
    magnitude = np.sqrt(across * across + down * down).ravel()
    angle = cv2.phase(across, down).ravel()
    position = angle * np.float32(ORIENTATIONS / (2 * np.pi))
    lower = position.astype(np.intp)
    share = magnitude * (position - lower.astype(np.float32))
    maps = np.zeros((magnitude.size, ORIENTATIONS), np.float32)
    pixel = np.arange(magnitude.size)
    maps[pixel, lower % ORIENTATIONS] = magnitude - share
    maps[pixel, (lower + 1) % ORIENTATIONS] = share
    return maps.reshape(*grey.shape, ORIENTATIONS)
