"""Light that changes between visits: lamps that fail or were replaced, daylight from one side, tint."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CELL_M = 0.25
LAMP_REACH_M = 1.6


@dataclass(frozen=True)
class LightMap:
    """How bright each place of the floor plan is.

    :ivar field: (rows, cols, 3) float32, factor by colour channel
    :ivar x0, y0: world position of its first cell, metres
    """

    field: np.ndarray
    x0: float
    y0: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Light at points.

        :param points: (2, h, w) float32 world x and y, metres
        :return: (h, w, 3) float32
        """
        columns = (points[0] - np.float32(self.x0)) / np.float32(CELL_M)
        lines = (points[1] - np.float32(self.y0)) / np.float32(CELL_M)
        return cv2.remap(self.field, columns, lines, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def make_light(lamps: np.ndarray, rng: np.random.Generator, variation: float) -> LightMap:
    """Draw one state of the building's light.

    :param lamps: (L, 3) float64 positions, metres
    :param rng: decides about everything
    :param variation: 0 is all lamps as built; 1 is a strong change: one lamp in five dark, the others between half and
        full, the level by up to 30 %, daylight and tint
    """
    x0, y0 = lamps[:, :2].min(0) - 4
    x1, y1 = lamps[:, :2].max(0) + 4
    x, y = np.meshgrid(np.arange(x0, x1, CELL_M), np.arange(y0, y1, CELL_M))
    power = 1 - variation * rng.uniform(0, 0.5, len(lamps))
    power[rng.random(len(lamps)) < 0.2 * variation] = 0.1
    warmth = 1 + variation * rng.uniform(-0.06, 0.06, len(lamps))
    field = np.zeros((*x.shape, 3))
    for (lamp_x, lamp_y, _), strength, warm in zip(lamps, power, warmth):
        squared = ((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / LAMP_REACH_M ** 2
        field += (strength / (1 + squared))[..., None] * (warm, 1, 1 / warm)
    field = 0.45 + 0.5 * field / np.median(field)
    direction = rng.uniform(0, 2 * np.pi)
    slope = np.cos(direction) * (x - x.mean()) / (x1 - x0) + np.sin(direction) * (y - y.mean()) / (y1 - y0)
    field *= (1 + variation * 0.5 * slope)[..., None]
    field *= 1 + variation * rng.uniform(-0.08, 0.08, 3)
    field *= 1 + variation * rng.uniform(-0.3, 0.15)
    return LightMap(np.clip(field, 0.12, 1.6).astype(np.float32), float(x0), float(y0))
