"""What the renderer draws: textured rectangles, and the lamps that light them."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Surface:
    """A flat rectangle with a texture, visible from one side.

    Seen from the visible side, ``right`` and ``down`` span it from its upper left corner.

    :ivar origin, right, down: (3,) float64, world coordinates, metres
    :ivar texture: index into :attr:`World.textures`
    :ivar room: name of the room that it belongs to
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    texture: int
    room: str

    @property
    def area(self) -> float:
        """Square metres."""
        return float(np.linalg.norm(self.right) * np.linalg.norm(self.down))

    @property
    def centre(self) -> np.ndarray:
        """(3,) float64, world coordinates."""
        return self.origin + (self.right + self.down) / 2


@dataclass
class World:
    """Surfaces, their textures, and lamps, as they are collected while a world is built.

    :ivar textures: RGB uint8 images
    :ivar lamps: (x, y, z) metres
    """

    surfaces: list[Surface] = field(default_factory=list)
    textures: list[np.ndarray] = field(default_factory=list)
    lamps: list[tuple[float, float, float]] = field(default_factory=list)

    def add_texture(self, image: np.ndarray) -> int:
        """Keep a texture; its number."""
        self.textures.append(np.ascontiguousarray(image))
        return len(self.textures) - 1

    def add(self, origin, right, down, texture: int, *, room: str) -> None:
        """Keep one rectangle, see :class:`Surface`."""
        vectors = (np.asarray(v, np.float64) for v in (origin, right, down))
        self.surfaces.append(Surface(*vectors, texture, room))

    def add_wall(self, start, end, heights: tuple[float, float], texture: int, *, room: str) -> None:
        """An upright rectangle from left end to right end (x, y), between two heights, metres."""
        right = (end[0] - start[0], end[1] - start[1], 0.0)
        self.add((start[0], start[1], heights[1]), right, (0, 0, heights[0] - heights[1]), texture, room=room)

    def add_floor(self, area: tuple[float, float, float, float], z: float, texture: int, *, room: str) -> None:
        """A level rectangle (x0, y0, x1, y1) seen from above."""
        x0, y0, x1, y1 = area
        self.add((x0, y1, z), (x1 - x0, 0, 0), (0, y0 - y1, 0), texture, room=room)

    def add_ceiling(self, area: tuple[float, float, float, float], z: float, texture: int, *, room: str) -> None:
        """A level rectangle (x0, y0, x1, y1) seen from below."""
        x0, y0, x1, y1 = area
        self.add((x0, y0, z), (x1 - x0, 0, 0), (0, y1 - y0, 0), texture, room=room)

    def add_prism(self, corners: np.ndarray, heights: tuple[float, float], sides: list[int], lid: int | None, *,
                  room: str) -> None:
        """An upright prism with the given sides, and a lid when its base is a rectangle.

        :param corners: (n, 2) counter-clockwise base, metres
        :param heights: bottom and top, metres
        :param sides: n textures, one a side, the first between corner 0 and corner 1
        """
        for number, texture in enumerate(sides):
            # from outside, the next counter-clockwise corner lies to the right
            self.add_wall(corners[number], corners[(number + 1) % len(corners)], heights, texture, room=room)
        if lid is not None:
            first, second, _, last = corners
            self.add((*last, heights[1]), (*(second - first), 0), (*(first - last), 0), lid, room=room)
