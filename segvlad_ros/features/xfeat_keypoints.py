"""Keypoints of a network's maps: local maxima of its heat, refined below the pixel, and described by its features."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.features.orb import spread_points
from segvlad_ros.types import Keypoints

# Of the heat, which is a probability; the authors' own.
_MIN_HEAT = 0.05
# Within so many pixels of a keypoint there is none stronger.
_RADIUS = 2
# A value of a unit vector of 64 spreads by 1/8: a byte holds four times that to each side of its middle.
_STEPS, _MIDDLE = 256.0, 128.0


def unit_vectors(descriptors: np.ndarray) -> np.ndarray:
    """(P, D) float32 of unit length, of (P, D) uint8 descriptors of keypoints."""
    return _unit((descriptors.astype(np.float32) - np.float32(_MIDDLE)) / np.float32(_STEPS))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class PointMaps:
    """What a network that describes cells says of points in the same pass.

    :ivar features: (h / c, w / c, D) float32, unit rows, one a cell of c pixels
    :ivar heat: (h, w) float32, how likely each pixel is a keypoint
    :ivar reliability: (h / c, w / c) float32 in [0, 1], how surely the feature of a cell is found again
    """

    features: np.ndarray
    heat: np.ndarray
    reliability: np.ndarray

    def keypoints(self, count: int) -> Keypoints:
        """Up to ``count`` keypoints, those first that are the best of their part of the image; without depths."""
        peaks, strength = self._peaks()
        peaks = peaks[spread_points(peaks, strength, self.heat.shape, count)]
        positions = peaks + self._offsets(peaks)
        vectors = _unit(self._at(positions, self.features))
        descriptors = np.rint(vectors * _STEPS + _MIDDLE).clip(0, 255).astype(np.uint8)
        return Keypoints(positions.astype(np.float32), descriptors, np.full(len(positions), np.nan, np.float32))

    def _peaks(self) -> tuple[np.ndarray, np.ndarray]:
        """Local maxima of the heat: (P, 2) int64 columns and rows, and (P,) how far each is to be relied on."""
        highest = cv2.dilate(self.heat, np.ones((2 * _RADIUS + 1,) * 2, np.uint8))
        found = (self.heat == highest) & (self.heat > _MIN_HEAT)
        found[[0, -1]] = found[:, [0, -1]] = False  # a fit needs all neighbours
        rows, columns = np.nonzero(found)
        peaks = np.column_stack([columns, rows])
        return peaks, self.heat[found] * self._at(peaks, self.reliability[..., None])[:, 0]

    def _offsets(self, peaks: np.ndarray) -> np.ndarray:
        """(P, 2) float32 in [-1/2, 1/2]: where a parabola through peak and neighbours is highest, along each axis."""
        columns, rows = peaks.T
        offsets = np.zeros(peaks.shape, np.float32)
        for axis, (right, down) in enumerate(((1, 0), (0, 1))):
            before, behind = self.heat[rows - down, columns - right], self.heat[rows + down, columns + right]
            bend = 2 * self.heat[rows, columns] - before - behind
            offsets[:, axis] = (behind - before) / np.maximum(2 * bend, 1e-9)
        return offsets.clip(-0.5, 0.5)

    def _at(self, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """A map of cells at positions between their centres, bilinear: (P, D) of (rows, columns, D)."""
        last = np.array(cells.shape[1::-1]) - 1
        sides = np.array(self.heat.shape[::-1]) / cells.shape[1::-1]
        at = ((positions + 0.5) / sides - 0.5).clip(0, last)
        first = at.astype(np.int64)
        right, below = (at - first).astype(np.float32).T[:, :, None]
        (column, row), (next_column, next_row) = first.T, np.minimum(first + 1, last).T
        upper = cells[row, column] * (1 - right) + cells[row, next_column] * right
        lower = cells[next_row, column] * (1 - right) + cells[next_row, next_column] * right
        return upper * (1 - below) + lower * below
