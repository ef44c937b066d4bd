"""Furniture: boxes and prisms put together, each with a front worth looking at."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segvlad_ros.simulation.decorations import WallStyle, bookshelf, framed, notice_board, random_colour, wall_panel
from segvlad_ros.simulation.textures import MATERIALS, Colour, Look
from segvlad_ros.simulation.world import World

SCALE = 160  # texture pixels a metre


@dataclass(frozen=True)
class Furniture:
    """One piece of furniture.

    :ivar kind: shelf, cabinet, machine, crates, table, sofa, column, plant or bin
    :ivar x, y: centre on the floor, metres
    :ivar width, depth, height: metres; the front is ``width`` wide
    :ivar yaw: direction that the front faces, radians from east
    """

    kind: str
    x: float
    y: float
    width: float
    depth: float
    height: float
    yaw: float = 0.0

    @property
    def base(self) -> np.ndarray:
        """(4, 2) counter-clockwise world corners on the floor, the front edge first."""
        return self.part(-self.width / 2, -self.depth / 2, self.width / 2, self.depth / 2)

    def part(self, left: float, back: float, right: float, front: float) -> np.ndarray:
        """Like :attr:`base`, of a rectangle in the piece's own frame, metres from its centre."""
        outline = np.array([(front, left), (front, right), (back, right), (back, left)])
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return outline @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)


class _Builder:
    """Builds one piece of furniture into a world; the methods without parameters are the kinds that there are.

    :param rng: decides about all colours and pictures
    """

    def __init__(self, world: World, piece: Furniture, rng: np.random.Generator, room: str):
        self._world, self._piece, self._rng, self._room = world, piece, rng, room
        self._size = (piece.width, piece.height)  # of the front
        self._heights = (0, piece.height)

    def _drawn(self, draw: Callable[[np.random.Generator, np.ndarray], None], width: float, height: float) -> int:
        """A texture that a decoration function fills; width and height in metres."""
        image = np.zeros((max(24, round(height * SCALE)), max(24, round(width * SCALE)), 3), np.uint8)
        draw(self._rng, image)
        return self._world.add_texture(image)

    def _plain(self, look: Look, width: float, height: float) -> int:
        """A texture of one material."""
        material, colour = look
        size = max(4, round(height * SCALE)), max(4, round(width * SCALE))
        return self._world.add_texture(MATERIALS[material](self._rng, *size, SCALE, colour))

    def _colour(self, low: int, high: int) -> Colour:
        return random_colour(self._rng, low, high)

    def _box(self, outline: np.ndarray, heights: tuple[float, float], look: Look, front: int | None = None) -> None:
        """A box of one material between two heights, with its own front if given."""
        wide, deep = np.linalg.norm(outline[1:3] - outline[:2], axis=1)
        tall = heights[1] - heights[0]
        face, side, lid = (self._plain(look, *size) for size in ((wide, tall), (deep, tall), (wide, deep)))
        sides = [face if front is None else front, side, face, side]
        self._world.add_prism(outline, heights, sides, lid, room=self._room)

    def _round(self, radius: float, heights: tuple[float, float], look: Look) -> None:
        """An eight-sided column around the piece's centre."""
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + self._piece.yaw
        corners = np.stack([np.cos(angles), np.sin(angles)], 1) * radius + (self._piece.x, self._piece.y)
        sides = [self._plain(look, radius * 0.77, heights[1] - heights[0]) for _ in range(8)]
        self._world.add_prism(corners, heights, sides, None, room=self._room)

    def shelf(self) -> None:
        front = self._drawn(lambda rng, image: bookshelf(rng, image, SCALE), *self._size)
        self._box(self._piece.base, self._heights, ('wood', (96, 70, 48)), front)

    def cabinet(self) -> None:
        """Filing cabinet or cupboard with drawers."""
        colour = self._colour(70, 190)

        def draw(rng: np.random.Generator, image: np.ndarray) -> None:
            rows = int(rng.integers(2, 5))
            image[:] = MATERIALS['metal'](rng, *image.shape[:2], SCALE, colour)
            for row in range(rows):
                top, bottom = row * image.shape[0] // rows, (row + 1) * image.shape[0] // rows
                image[top:top + 2] = 30
                middle, wide = (top + bottom) // 2, image.shape[1] // 8
                image[middle:middle + 4, image.shape[1] // 2 - wide:image.shape[1] // 2 + wide] = 225

        self._box(self._piece.base, self._heights, ('metal', colour), self._drawn(draw, *self._size))

    def machine(self) -> None:
        """Vending machine, screen or stand with a large picture in front."""
        self._box(self._piece.base, self._heights, ('metal', self._colour(30, 160)), self._drawn(framed, *self._size))

    def crates(self) -> None:
        """A pile of boxes with labels."""
        levels = int(self._rng.integers(2, 4))
        tall = self._piece.height / levels
        for level in range(levels):
            wide, deep = np.array([self._piece.width, self._piece.depth]) * self._rng.uniform(0.75, 1.0)
            self._box(self._piece.part(-wide / 2, -deep / 2, wide / 2, deep / 2), (level * tall, (level + 1) * tall),
                      ('wood', (150, 112, 72)), self._drawn(notice_board, wide, tall))

    def table(self) -> None:
        """Table with four legs, and things on it."""
        piece, rng = self._piece, self._rng
        self._box(piece.base, (piece.height - 0.05, piece.height), ('wood', self._colour(80, 200)))
        x, y = piece.width / 2 - 0.05, piece.depth / 2 - 0.05
        for left, back in ((-x, -y), (x, -y), (x, y), (-x, y)):
            leg = piece.part(left - 0.03, back - 0.03, left + 0.03, back + 0.03)
            self._box(leg, (0, piece.height - 0.05), ('metal', (60, 60, 64)))
        for _ in range(int(rng.integers(2, 4))):
            left, back = rng.uniform(-x + 0.15, x - 0.15), rng.uniform(-y + 0.1, y - 0.1)
            wide, tall = rng.uniform(0.08, 0.2), rng.uniform(0.1, 0.4)
            thing = piece.part(left - wide, back - 0.06, left + wide, back + 0.06)
            self._box(thing, (piece.height, piece.height + tall), ('metal', (50, 52, 58)),
                      self._drawn(framed, 2 * wide, tall))

    def sofa(self) -> None:
        """Seat, back, arms."""
        look = 'fabric', self._colour(50, 190)
        x, y = self._piece.width / 2, self._piece.depth / 2
        for outline, top in (((-x, -y, x, y), 0.42), ((-x, -y, x, -y + 0.2), self._piece.height),
                             ((-x, -y, -x + 0.16, y), 0.6), ((x - 0.16, -y, x, y), 0.6)):
            self._box(self._piece.part(*outline), (0, top), look)

    def column(self) -> None:
        """Square pillar up to the ceiling with posters on all sides."""
        piece = self._piece
        style = WallStyle([('plaster', self._colour(110, 220))], ['picture'])
        sides = [self._world.add_texture(wall_panel(self._rng, style, wide, piece.height, SCALE))
                 for wide in (piece.width, piece.depth, piece.width, piece.depth)]
        self._world.add_prism(piece.base, self._heights, sides, None, room=self._room)

    def plant(self) -> None:
        """Pot with a bush: stacked prisms of leaves."""
        width, height = self._size
        self._round(width * 0.3, (0, height * 0.3), ('tiles', self._colour(90, 190)))
        for low, high, wide in ((0.3, 0.55, 0.36), (0.5, 0.8, 0.5), (0.75, 1.0, 0.3)):
            self._round(width * wide, (height * low, height * high),
                        ('fabric', (46, int(self._rng.integers(90, 140)), 40)))

    def bin(self) -> None:
        self._round(self._piece.width / 2, self._heights, ('metal', self._colour(60, 200)))


def build_furniture(world: World, piece: Furniture, rng: np.random.Generator, room: str) -> None:
    """Add one piece of furniture to a world."""
    getattr(_Builder(world, piece, rng, room), piece.kind)()
