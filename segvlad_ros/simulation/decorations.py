"""What hangs on and stands against the walls: posters, doors, shelves, boards, windows; and whole wall panels.

A decoration is drawn straight into a region of a wall's texture. Text is made of random strokes in rows: to a feature
extractor that is what text looks like, and no font differs between OpenCV versions.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.simulation.textures import MATERIALS, Colour, grain, noise, shade, wood


def random_colour(rng: np.random.Generator, low: int = 20, high: int = 235) -> Colour:
    """A colour of paint, print or cloth: mostly muted, now and then strong; channels between two grey levels."""
    strength = rng.choice([0.25, 0.5, 1.0])
    grey = rng.uniform(low, high)
    return tuple(int(c) for c in grey + strength * (rng.uniform(low, high, 3) - grey))


def write_lines(rng: np.random.Generator, image: np.ndarray, line: int, colour: Colour) -> None:
    """Fill a region with rows of text-like strokes; ``line`` is the height of a row in pixels."""
    height, width = image.shape[:2]
    stroke = max(1, line // 7)
    for top in range(line // 2, height - line, line):
        x, end = line // 2, int(width * rng.uniform(0.6, 0.97))
        while x < end:
            word = int(rng.integers(2, 8))
            for _ in range(word):
                if x + line // 2 >= end:
                    break
                glyph = rng.random((5, 3)) < 0.55
                glyph = cv2.resize(glyph.astype(np.uint8), (max(2, line // 3), max(3, int(line * 0.6))),
                                   interpolation=cv2.INTER_NEAREST).astype(bool)
                rows, cols = glyph.shape
                image[top:top + rows, x:x + cols][glyph[:, :image.shape[1] - x]] = colour
                x += cols + stroke
            x += line // 2


def photo(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture with structure at every scale: noise through a random palette, with a horizon and some shapes."""
    palette = np.sort(rng.integers(0, 256, (6, 3)), axis=0)[rng.permutation(6)].astype(np.float32)
    field = noise(rng, height, width, max(height, width) / rng.uniform(1.5, 5), 6)
    field += np.linspace(-0.6, 0.6, height, dtype=np.float32)[:, None] * rng.choice([-1, 1])
    level = np.clip((field + 1.1) / 2.2, 0, 0.999) * 5
    below = level.astype(int)
    share = (level - below)[..., None]
    share = np.where(share > 0.8, 1, share * 0.4)  # edges between the colours, not only ramps
    image = (palette[below] * (1 - share) + palette[below + 1] * share).astype(np.uint8)
    for _ in range(int(rng.integers(0, 6))):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(image, centre, int(rng.integers(2, max(3, min(height, width) // 6))), random_colour(rng), -1,
                   cv2.LINE_AA)
    return grain(rng, image, 4)


def abstract(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Overlapping polygons, bars and discs."""
    image = np.full((height, width, 3), random_colour(rng, 120, 250), np.uint8)
    for _ in range(int(rng.integers(8, 22))):
        corners = rng.uniform(-0.1, 1.1, (int(rng.integers(3, 6)), 2)) * (width, height)
        if rng.random() < 0.5:
            centre = rng.uniform(0, 1, 2) * (width, height)
            corners = centre + (corners - centre) * 0.3
        cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.int32)), random_colour(rng), cv2.LINE_AA)
    return grain(rng, image, 3)


def printed(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A scientific poster: title bar, columns of text, figures."""
    image = np.full((height, width, 3), random_colour(rng, 215, 252), np.uint8)
    bar = max(6, int(height * rng.uniform(0.1, 0.22)))
    image[:bar] = random_colour(rng, 10, 150)
    write_lines(rng, image[:bar], max(5, bar // 2), (240, 240, 235))
    columns = int(rng.integers(1, 4))
    for column in range(columns):
        left, right = column * width // columns, (column + 1) * width // columns
        top = bar + 2
        while top < height - 12:
            block = min(int(rng.integers(14, max(15, height // 2))), height - top)
            region = image[top:top + block, left + 3:right - 3]
            if rng.random() < 0.5 and min(region.shape[:2]) > 8:
                region[2:-2, 2:-2] = photo(rng, region.shape[0] - 4, region.shape[1] - 4)
            else:
                write_lines(rng, region, int(rng.integers(5, 10)), random_colour(rng, 0, 90))
            top += block
    return image


def _outline(image: np.ndarray, colour: Colour, thickness: int) -> None:
    height, width = image.shape[:2]
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), colour, thickness)


def framed(rng: np.random.Generator, image: np.ndarray) -> None:
    """Fill a region with one framed picture or poster."""
    kind = rng.choice([photo, abstract, printed])
    border = int(rng.integers(1, 6))
    image[:] = random_colour(rng, 5, 120)
    inner = image[border:-border, border:-border]
    inner[:] = kind(rng, *inner.shape[:2])
    _outline(image, (15, 15, 15), 1)


def door(rng: np.random.Generator, image: np.ndarray, scale: float) -> None:
    """Fill a region with a door: frame, leaf of wood, perhaps a glass pane, handle, name plate."""
    height, width = image.shape[:2]
    frame = max(2, int(0.06 * scale))
    image[:] = random_colour(rng, 60, 130)
    leaf = image[frame:, frame:-frame]
    leaf[:] = wood(rng, *leaf.shape[:2], scale, random_colour(rng, 70, 200), plank=rng.uniform(0.2, 1.2))
    if rng.random() < 0.5:
        rows, cols = leaf.shape[:2]
        pane = leaf[rows // 8:rows // 2, cols // 4:-cols // 4]
        pane[:] = shade(random_colour(rng, 120, 200), 0.8 + 0.3 * noise(rng, *pane.shape[:2], 30, 3))
        _outline(pane, (40, 40, 40), 2)
    side = frame + int(0.08 * scale) if rng.random() < 0.5 else width - frame - int(0.08 * scale)
    cv2.circle(image, (side, height // 2), max(2, int(0.025 * scale)), (210, 205, 190), -1, cv2.LINE_AA)
    half = int(0.11 * scale)
    plate = image[height // 4:height // 4 + int(0.1 * scale), width // 2 - half:width // 2 + half]
    plate[:] = (235, 235, 228)
    write_lines(rng, plate, max(5, plate.shape[0] // 2), (30, 30, 60))


def bookshelf(rng: np.random.Generator, image: np.ndarray, scale: float) -> None:
    """Fill a region with shelves of books and boxes."""
    height, width = image.shape[:2]
    image[:] = (70, 52, 38)
    board, shelf = max(2, int(0.025 * scale)), int(rng.uniform(0.28, 0.36) * scale)
    for bottom in range(height - board, board, -shelf):
        x = board
        while x < width - board - 3:
            thick = int(np.clip(rng.gamma(3, 0.014), 0.015, 0.12) * scale) + 2
            tall = int(min(shelf - board - 1, bottom - board) * rng.uniform(0.6, 0.97))
            book = image[bottom - tall:bottom, x:min(x + thick, width - board)]
            if rng.random() < 0.12 or not book.size:
                x += thick * 2
                continue
            book[:] = random_colour(rng)
            book[:, 0] = book[:, 0] // 2
            if book.shape[0] > 14:
                write_lines(rng, book[tall // 5:tall // 2], 5, random_colour(rng, 150, 255))
            x += thick
        image[bottom:bottom + board] = (105, 82, 60)
    _outline(image, (90, 68, 50), 2 * board)


def notice_board(rng: np.random.Generator, image: np.ndarray) -> None:
    """Fill a region with a cork or white board full of papers."""
    height, width = image.shape[:2]
    background = (168, 128, 84) if rng.random() < 0.6 else (232, 234, 236)
    image[:] = grain(rng, np.full_like(image, background), 10)
    for _ in range(int(rng.integers(5, 14))):
        rows, cols = int(rng.integers(16, 50)), int(rng.integers(14, 40))
        if rows >= height - 6 or cols >= width - 6:
            continue
        top, left = int(rng.integers(2, height - rows - 3)), int(rng.integers(2, width - cols - 3))
        sheet = image[top:top + rows, left:left + cols]
        sheet[:] = random_colour(rng, 175, 255)
        if rng.random() < 0.35:
            sheet[2:-2, 2:-2] = photo(rng, rows - 4, cols - 4)
        else:
            write_lines(rng, sheet, int(rng.integers(5, 8)), random_colour(rng, 0, 110))
    _outline(image, (120, 112, 100), 4)


def window(rng: np.random.Generator, image: np.ndarray, scale: float) -> None:
    """Fill a region with a window: bright sky over trees or houses, bars, frame."""
    height, width = image.shape[:2]
    horizon = int(height * rng.uniform(0.45, 0.7))
    image[:horizon] = shade((205, 222, 240), 1 + 0.1 * noise(rng, horizon, width, 60, 4))
    image[horizon:] = shade((78, 104, 62), 1 + 0.5 * noise(rng, height - horizon, width, 25, 5))
    for _ in range(int(rng.integers(1, 4))):
        left, wide = int(rng.integers(0, width)), int(rng.integers(width // 8, width // 3))
        house = image[max(0, horizon - int(rng.integers(10, horizon))):horizon + 4, left:left + wide]
        house[:] = random_colour(rng, 90, 200)
        house[4::12, 3::9] = house[5::12, 3::9] = (50, 55, 70)
    bar = max(2, int(0.04 * scale))
    for x in np.linspace(0, width - 1, int(rng.integers(2, 4)) + 1).astype(int):
        cv2.line(image, (int(x), 0), (int(x), height), (225, 225, 220), bar)
    _outline(image, (215, 213, 205), 2 * bar)


@dataclass(frozen=True)
class WallStyle:
    """How the walls of a zone look.

    :ivar materials: names of :data:`~.textures.MATERIALS` with their colours; each panel draws one
    :ivar decorations: names of what may hang there, drawn with equal chances
    :ivar wainscot: colour of the lower half's panelling, or None
    """

    materials: Sequence[tuple[str, Colour]]
    decorations: Sequence[str]
    wainscot: Colour | None = None


def wall_panel(rng: np.random.Generator, style: WallStyle, width_m: float, height_m: float,
               scale: float) -> np.ndarray:
    """One stretch of wall with what hangs on it.

    :param width_m, height_m: size in metres
    :param scale: pixels a metre
    """
    width, height = max(4, round(width_m * scale)), round(height_m * scale)
    material, colour = style.materials[int(rng.integers(len(style.materials)))]
    image = MATERIALS[material](rng, height, width, scale, colour)
    if style.wainscot is not None:
        top = height - round(0.95 * scale)
        image[top:] = wood(rng, height - top, width, scale, style.wainscot, plank=0.16)
        image[top - round(0.04 * scale):top] = tuple(int(0.7 * c) for c in style.wainscot)
    image[height - round(0.09 * scale):] = grain(rng, image[height - round(0.09 * scale):] // 3, 2)  # skirting board
    x = rng.uniform(0.1, 0.35)
    while width_m - x > 0.45 and style.decorations:
        x += _decorate(rng, image, str(rng.choice(list(style.decorations))), left=x,
                       width_m=width_m, height_m=height_m, scale=scale)
        x += rng.uniform(0.1, 0.4)
    return image


def _decorate(rng: np.random.Generator, image: np.ndarray, kind: str, *, left: float, width_m: float,
              height_m: float, scale: float) -> float:
    """Draw one decoration at ``left`` metres; returns the width it took."""
    room = width_m - left - 0.1

    def region(wide: float, top: float, bottom: float) -> np.ndarray:
        return image[round(top * scale):round(bottom * scale), round(left * scale):round((left + wide) * scale)]

    if kind == 'door' and room > 1.0:
        wide = 0.98
        door(rng, region(wide, height_m - 2.08, height_m - 0.02), scale)
    elif kind == 'bookshelf' and room > 0.7:
        wide = min(room, rng.uniform(0.8, 1.8))
        bookshelf(rng, region(wide, height_m - rng.uniform(1.7, 2.3), height_m - 0.02), scale)
    elif kind == 'board' and room > 0.8:
        wide = min(room, rng.uniform(0.9, 1.7))
        notice_board(rng, region(wide, height_m - 2.0, height_m - 1.0))
    elif kind == 'window' and room > 0.8:
        wide = min(room, rng.uniform(1.0, 1.8))
        window(rng, region(wide, height_m - 2.2, height_m - 0.95), scale)
    else:
        wide = min(room, rng.uniform(0.35, 1.0))
        tall = min(1.15, wide * rng.uniform(0.7, 1.5))
        centre = height_m - rng.uniform(1.45, 1.7)
        framed(rng, region(wide, max(0.15, centre - tall / 2), centre + tall / 2))
    return wide
