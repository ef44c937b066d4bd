"""Furniture: boxes and prisms put together, each with a front worth looking at."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segvlad_ros.simulation import decorations
from segvlad_ros.simulation.surfaces import SurfaceList
from segvlad_ros.simulation.textures import MATERIALS, Colour

Look = tuple[str, Colour]  # a name of MATERIALS and its colour

SCALE = 160  # texture pixels a metre


@dataclass(frozen=True)
class Furniture:
    """One piece of furniture.

    :ivar kind: one of :data:`BUILDERS`
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


class Builder:
    """Builds furniture into a list of surfaces, from one generator.

    :param rng: decides about all colours and pictures
    """

    def __init__(self, target: SurfaceList, rng: np.random.Generator, room: str):
        self.target, self.rng, self.room = target, rng, room

    def texture(self, look: Look, width: float, height: float) -> int:
        """A plain material; width and height in metres."""
        material, colour = look
        size = max(4, round(height * SCALE)), max(4, round(width * SCALE))
        return self.target.add_texture(MATERIALS[material](self.rng, *size, SCALE, colour))

    def drawn(self, draw: Callable[[np.ndarray], None], width: float, height: float) -> int:
        """A texture that a decoration function fills."""
        image = np.zeros((max(24, round(height * SCALE)), max(24, round(width * SCALE)), 3), np.uint8)
        draw(image)
        return self.target.add_texture(image)

    def picture(self, width: float, height: float) -> int:
        """A framed picture."""
        return self.drawn(lambda image: decorations.framed(self.rng, image), width, height)

    def colour(self, low: int, high: int) -> Colour:
        """Any colour between two grey levels."""
        return decorations.random_colour(self.rng, low, high)

    def box(self, outline: np.ndarray, heights: tuple[float, float], look: Look, front: int | None = None) -> None:
        """A box of one material between two heights, with its own front if given."""
        wide = float(np.linalg.norm(outline[1] - outline[0]))
        deep = float(np.linalg.norm(outline[2] - outline[1]))
        tall = heights[1] - heights[0]
        face, side, lid = (self.texture(look, *size) for size in ((wide, tall), (deep, tall), (wide, deep)))
        sides = [face if front is None else front, side, face, side]
        self.target.add_prism(outline, heights, sides, lid, room=self.room)

    def round(self, piece: Furniture, radius: float, heights: tuple[float, float], look: Look) -> None:
        """An eight-sided column around the piece's centre."""
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + piece.yaw
        corners = np.stack([np.cos(angles), np.sin(angles)], 1) * radius + (piece.x, piece.y)
        sides = [self.texture(look, radius * 0.77, heights[1] - heights[0]) for _ in range(8)]
        self.target.add_prism(corners, heights, sides, None, room=self.room)

    def shelf(self, piece: Furniture) -> None:
        """Bookshelf."""
        front = self.drawn(lambda image: decorations.bookshelf(self.rng, image, SCALE), piece.width, piece.height)
        self.box(piece.base, (0, piece.height), ('wood', (96, 70, 48)), front)

    def cabinet(self, piece: Furniture) -> None:
        """Filing cabinet or cupboard with drawers."""
        colour = self.colour(70, 190)

        def draw(image: np.ndarray) -> None:
            rows = int(self.rng.integers(2, 5))
            image[:] = MATERIALS['metal'](self.rng, *image.shape[:2], SCALE, colour)
            for row in range(rows):
                top, bottom = row * image.shape[0] // rows, (row + 1) * image.shape[0] // rows
                image[top:top + 2] = 30
                middle, wide = (top + bottom) // 2, image.shape[1] // 8
                image[middle:middle + 4, image.shape[1] // 2 - wide:image.shape[1] // 2 + wide] = 225

        self.box(piece.base, (0, piece.height), ('metal', colour), self.drawn(draw, piece.width, piece.height))

    def machine(self, piece: Furniture) -> None:
        """Vending machine, screen or stand with a large picture in front."""
        self.box(piece.base, (0, piece.height), ('metal', self.colour(30, 160)),
                 self.picture(piece.width, piece.height))

    def crates(self, piece: Furniture) -> None:
        """A pile of boxes with labels."""
        levels = int(self.rng.integers(2, 4))
        tall = piece.height / levels
        for level in range(levels):
            wide, deep = np.array([piece.width, piece.depth]) * self.rng.uniform(0.75, 1.0)
            front = self.drawn(lambda image: decorations.notice_board(self.rng, image), wide, tall)
            self.box(piece.part(-wide / 2, -deep / 2, wide / 2, deep / 2), (level * tall, (level + 1) * tall),
                     ('wood', (150, 112, 72)), front)

    def table(self, piece: Furniture) -> None:
        """Table with four legs, and things on it."""
        self.box(piece.base, (piece.height - 0.05, piece.height), ('wood', self.colour(80, 200)))
        x, y = piece.width / 2 - 0.05, piece.depth / 2 - 0.05
        for left, back in ((-x, -y), (x, -y), (x, y), (-x, y)):
            leg = piece.part(left - 0.03, back - 0.03, left + 0.03, back + 0.03)
            self.box(leg, (0, piece.height - 0.05), ('metal', (60, 60, 64)))
        for _ in range(int(self.rng.integers(2, 4))):
            left, back = self.rng.uniform(-x + 0.15, x - 0.15), self.rng.uniform(-y + 0.1, y - 0.1)
            wide, tall = self.rng.uniform(0.08, 0.2), self.rng.uniform(0.1, 0.4)
            thing = piece.part(left - wide, back - 0.06, left + wide, back + 0.06)
            self.box(thing, (piece.height, piece.height + tall), ('metal', (50, 52, 58)),
                     self.picture(2 * wide, tall))

    def sofa(self, piece: Furniture) -> None:
        """Sofa: seat, back, arms."""
        look = 'fabric', self.colour(50, 190)
        x, y = piece.width / 2, piece.depth / 2
        for outline, top in (((-x, -y, x, y), 0.42), ((-x, -y, x, -y + 0.2), piece.height),
                             ((-x, -y, -x + 0.16, y), 0.6), ((x - 0.16, -y, x, y), 0.6)):
            self.box(piece.part(*outline), (0, top), look)

    def column(self, piece: Furniture) -> None:
        """Square pillar up to the ceiling with posters on all sides."""
        style = decorations.WallStyle([('plaster', self.colour(110, 220))], ['picture'])
        sides = [self.target.add_texture(decorations.wall_panel(self.rng, style, wide, piece.height, SCALE))
                 for wide in (piece.width, piece.depth, piece.width, piece.depth)]
        self.target.add_prism(piece.base, (0, piece.height), sides, None, room=self.room)

    def plant(self, piece: Furniture) -> None:
        """Pot with a bush: stacked prisms of leaves."""
        self.round(piece, piece.width * 0.3, (0, piece.height * 0.3), ('tiles', self.colour(90, 190)))
        for low, high, wide in ((0.3, 0.55, 0.36), (0.5, 0.8, 0.5), (0.75, 1.0, 0.3)):
            self.round(piece, piece.width * wide, (piece.height * low, piece.height * high),
                       ('fabric', (46, int(self.rng.integers(90, 140)), 40)))

    def bin(self, piece: Furniture) -> None:
        """Round waste bin."""
        self.round(piece, piece.width / 2, (0, piece.height), ('metal', self.colour(60, 200)))


BUILDERS = {
    'shelf': Builder.shelf, 'cabinet': Builder.cabinet, 'machine': Builder.machine, 'crates': Builder.crates,
    'table': Builder.table, 'sofa': Builder.sofa, 'column': Builder.column, 'plant': Builder.plant, 'bin': Builder.bin,
}


def build_furniture(target: SurfaceList, piece: Furniture, rng: np.random.Generator, room: str) -> None:
    """Add one piece of furniture to a world."""
    BUILDERS[piece.kind](Builder(target, rng, room), piece)
