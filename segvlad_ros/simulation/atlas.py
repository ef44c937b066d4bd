"""All textures of a world at all mip levels in one image, so that one remap draws a whole frame."""
from __future__ import annotations

import cv2
import numpy as np

LEVELS = 6
GUARD = 2  # pixels around each tile that repeat its edge, so that interpolation never sees a neighbour
MAX_WIDTH = 8192


class Atlas:
    """Packs textures row by row.

    :ivar image: (h, w, 3) uint8 RGB
    :ivar pixels: (T, 2) int, width and height of each texture at level 0
    :ivar tiles: (4, T * LEVELS) float32: column and line of a tile's left upper edge, its width and height, pixels;
        at ``texture * LEVELS + level``
    """

    def __init__(self, textures: list[np.ndarray]):
        images = [level for texture in textures for level in _levels(texture)]
        self.pixels = np.array([texture.shape[1::-1] for texture in textures])
        places = _pack([image.shape[:2] for image in images])
        height = max(top + image.shape[0] for (top, _), image in zip(places, images)) + GUARD
        width = max(left + image.shape[1] for (_, left), image in zip(places, images)) + GUARD
        self.image = np.zeros((height, width, 3), np.uint8)
        self.tiles = np.empty((4, len(images)), np.float32)
        for number, ((top, left), image) in enumerate(zip(places, images)):
            rows, cols = image.shape[:2]
            padded = cv2.copyMakeBorder(image, GUARD, GUARD, GUARD, GUARD, cv2.BORDER_REPLICATE)
            self.image[top - GUARD:top + rows + GUARD, left - GUARD:left + cols + GUARD] = padded
            # the centre of the first pixel has coordinate 0 in cv2.remap, the edge of the texture -0.5
            self.tiles[:, number] = left - 0.5, top - 0.5, cols, rows


def _levels(texture: np.ndarray) -> list[np.ndarray]:
    levels = [texture]
    for _ in range(LEVELS - 1):
        rows, cols = (max(1, size // 2) for size in levels[-1].shape[:2])
        levels.append(cv2.resize(levels[-1], (cols, rows), interpolation=cv2.INTER_AREA))
    return levels


def _pack(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Shelf packing, tallest first: (top, left) of every image."""
    places = [(0, 0)] * len(sizes)
    top, left, shelf = GUARD, GUARD, 0
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n][0]):
        rows, cols = sizes[number]
        if left + cols + GUARD > MAX_WIDTH:
            top, left, shelf = top + shelf + 2 * GUARD, GUARD, 0
        places[number] = (top, left)
        left, shelf = left + cols + 2 * GUARD, max(shelf, rows)
    return places
