"""Procedural materials: what walls, floors and furniture of the simulated world are made of.

Every function takes a ``numpy.random.Generator`` first and returns RGB uint8 of shape (height, width, 3); sizes are
pixels. ``scale`` is pixels a metre, so that a brick has the size of a brick at every resolution.
"""
from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]
Look = tuple[str, Colour]  # a name of MATERIALS and its colour


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4) -> np.ndarray:
    """Smooth value noise, summed over octaves of halving size and strength.

    :param cell: size of the coarsest blobs, pixels
    :return: (height, width) float32, roughly in [-1, 1]
    """
    total = np.zeros((height, width), np.float32)
    amplitude = 0.6
    for _ in range(octaves):
        if cell < 1:
            break
        rows, cols = int(height / cell) + 3, int(width / cell) + 3
        grid = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
        grown = cv2.resize(grid, (int(cols * cell) + 1, int(rows * cell) + 1), interpolation=cv2.INTER_CUBIC)
        total += amplitude * grown[:height, :width]
        cell, amplitude = cell / 2, amplitude * 0.6
    return total


def shade(colour: Colour, brightness: np.ndarray) -> np.ndarray:
    """One colour under a brightness field.

    :param brightness: (h, w) float32, 1 leaves the colour as it is
    """
    return np.clip(brightness[..., None] * np.asarray(colour, np.float32), 0, 255).astype(np.uint8)


def grain(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """The fine irregularity that every real surface has; ``strength`` is a standard deviation in grey levels."""
    fine = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(strength)
    return np.clip(image + fine[..., None], 0, 255).astype(np.uint8)


def plaster(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Rough-cast wall: blotches, and the relief that a roller leaves."""
    blotches = noise(rng, height, width, scale * 0.8, 5)
    relief = noise(rng, height, width, scale * 0.05, 3)
    return grain(rng, shade(colour, 1 + 0.05 * blotches + 0.07 * relief), 2.5)


def brick(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Running bond, every brick of its own shade."""
    brick_height, brick_width, joint = 0.085 * scale, 0.26 * scale, 0.013 * scale
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    row = np.floor(y / brick_height).astype(int)
    shifted = x + (row % 2) * brick_width / 2
    col = np.floor(shifted / brick_width).astype(int)
    tones = 1 + 0.22 * rng.standard_normal((row.max() + 1, col.max() + 1)).astype(np.float32)
    mortar = (y - row * brick_height < joint) | (shifted - col * brick_width < joint)
    brightness = tones[np.broadcast_to(row, col.shape), col] + 0.12 * noise(rng, height, width, scale * 0.06, 3)
    image = shade(colour, brightness)
    image[mortar] = (172, 166, 156)
    return grain(rng, image, 5)


def wood(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour,
         *, plank: float = 0.3) -> np.ndarray:
    """Upright planks with grain and knots; ``plank`` is their width in metres."""
    x = np.arange(width, dtype=np.float32)[None, :]
    board = np.floor(x / (plank * scale)).astype(int)
    tones = 1 + 0.12 * rng.standard_normal(board.max() + 1).astype(np.float32)
    warp = noise(rng, height, width, scale * 0.5, 3) * 2.5
    phases = rng.uniform(0, 6.3, board.max() + 1).astype(np.float32)
    rings = np.sin(x / scale * 70 + warp * 3 + phases[board])
    image = shade(colour, tones[board] + 0.09 * rings + 0.08 * noise(rng, height, width, scale * 0.04, 2))
    gaps = np.broadcast_to(x - board * plank * scale < max(1.0, 0.012 * scale), (height, width))
    image[gaps] = (np.asarray(colour) * 0.35).astype(np.uint8)
    return grain(rng, image, 3)


def tiles(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour,
          *, size: float = 0.2) -> np.ndarray:
    """Square tiles with joints; ``size`` is their side in metres."""
    side, joint = size * scale, max(1.0, 0.008 * scale)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    row, col = np.floor(y / side).astype(int), np.floor(x / side).astype(int)
    shape = (row.max() + 1, col.max() + 1)
    tones = (1 + 0.06 * rng.standard_normal((*shape, 1))).astype(np.float32)
    colours = tones * np.asarray(colour, np.float32)
    image = colours[row, col] * (1 + 0.05 * noise(rng, height, width, scale * 0.3, 4))[..., None]
    image[(y - row * side < joint) | (x - col * side < joint)] = (128, 126, 122)
    return grain(rng, np.clip(image, 0, 255).astype(np.uint8), 2.5)


def carpet(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Woven floor with a slow change of tone and worn spots."""
    brightness = 1 + 0.12 * noise(rng, height, width, scale * 1.2, 3) + 0.16 * noise(rng, height, width, 6, 3)
    return grain(rng, shade(colour, brightness), 9)


def ceiling_tiles(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Suspended ceiling: 0.6 m panels with small holes."""
    image = tiles(rng, height, width, scale, colour, size=0.6)
    holes = rng.random((height, width)) < 0.03
    image[holes] = (image[holes] * 0.7).astype(np.uint8)
    return image


def metal(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Brushed sheet metal with a seam around it."""
    streaks = cv2.resize(rng.standard_normal((height, 1), dtype=np.float32), (width, height))
    image = shade(colour, 1 + 0.03 * streaks + 0.04 * noise(rng, height, width, scale * 0.4, 2))
    cv2.rectangle(image, (1, 1), (width - 2, height - 2), tuple(int(0.6 * c) for c in colour), 2)
    return grain(rng, image, 2)


def fabric(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> np.ndarray:
    """Upholstery: a weave with a printed pattern."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(scale)
    period = rng.uniform(0.05, 0.12)
    pattern = np.sin(x * 6.28 / period) * np.sin(y * 6.28 / period)
    pattern += noise(rng, height, width, scale * 0.15, 3)
    return grain(rng, shade(colour, 1 + 0.16 * pattern), 5)


MATERIALS = {
    'plaster': plaster, 'brick': brick, 'wood': wood, 'tiles': tiles, 'carpet': carpet,
    'ceiling': ceiling_tiles, 'metal': metal, 'fabric': fabric,
}
