"""The simulated building: lobby, twin corridors, office, and a kitchen off the loop.

World coordinates: x east, y north, z up, metres.

::

        y=9  +-------+--------------------+-------+
             |       |     corridor_b     |       |
             | lobby +--------------------+ office+-------+
             |       |      (solid)       |       |kitchen|
             |       +--------------------+       +-------+
             |       |     corridor_a     |       |
        y=0  +-------+--------------------+-------+
            x=-0.5   4                    13     17.5    24

Turned by 180 degrees about the middle of the block, corridor_b lies on corridor_a: the twins. Both show a robot that
drives round the loop the same walls in the same order, except for a share of panels that only one of them has.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from segvlad_ros.simulation.decorations import WallStyle, wall_panel
from segvlad_ros.simulation.furniture import Furniture, build_furniture
from segvlad_ros.simulation.textures import MATERIALS, Look
from segvlad_ros.simulation.world import World

WALL_SCALE, FLOOR_SCALE, CEILING_SCALE = 150, 90, 60  # texture pixels a metre
CEILING_M = 2.6
PANEL_M = 2.3  # greatest width of a wall panel
GRID_M = 0.1  # of the floor plan
TWINS = ('corridor_a', 'corridor_b')
BLOCK_CENTRE = np.array([8.5, 4.5])


@dataclass(frozen=True)
class Room:
    """A rectangle of free floor; rooms that touch are open to each other.

    :ivar x0, y0, x1, y1: metres, multiples of 0.1
    :ivar style: name of its look
    """

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    style: str

    @property
    def outline(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def size(self) -> tuple[float, float]:
        """Metres to the east and to the north."""
        return self.x1 - self.x0, self.y1 - self.y0


@dataclass(frozen=True)
class Wall:
    """A straight stretch of wall, seen from one room.

    :ivar start, end: (2,) float64 metres, left and right end as one sees them from inside the room
    """

    start: np.ndarray
    end: np.ndarray
    room: Room

    @property
    def length(self) -> float:
        """Metres."""
        return float(np.linalg.norm(self.end - self.start))


ROOMS = [
    Room('lobby', -0.5, 0.0, 4.0, 9.0, 'lobby'),
    Room('corridor_a', 4.0, 0.0, 13.0, 2.4, 'corridor'),
    Room('office', 13.0, 0.0, 17.5, 9.0, 'office'),
    Room('corridor_b', 4.0, 6.6, 13.0, 9.0, 'corridor'),
    Room('passage', 17.5, 3.2, 18.1, 4.7, 'kitchen'),
    Room('kitchen', 18.1, 1.2, 24.0, 5.8, 'kitchen'),
]

STYLES = {
    'lobby': WallStyle([('brick', (152, 92, 72)), ('plaster', (206, 170, 120))], ['picture', 'window', 'board']),
    'corridor': WallStyle([('plaster', (212, 204, 186)), ('plaster', (196, 202, 190)), ('brick', (186, 176, 160))],
                          ['door', 'picture', 'board', 'picture'], (140, 104, 72)),
    'office': WallStyle([('plaster', (164, 184, 202)), ('wood', (156, 120, 84))],
                        ['bookshelf', 'board', 'window', 'door', 'picture']),
    'kitchen': WallStyle([('tiles', (216, 218, 206))], ['picture', 'window', 'board']),
}

FLOORS = {
    'lobby': ('tiles', (150, 140, 126)), 'corridor': ('carpet', (112, 104, 96)),
    'office': ('wood', (168, 128, 88)), 'kitchen': ('tiles', (120, 132, 138)),
}
CEILING = ('ceiling', (214, 213, 206))

# yaw: the way the front faces; 0 east, pi/2 north
EAST, NORTH, WEST, SOUTH = 0.0, np.pi / 2, np.pi, -np.pi / 2
FURNITURE = {
    'lobby': [
        Furniture('sofa', 0.15, 4.6, 1.8, 0.8, 0.85, EAST), Furniture('table', 0.9, 3.0, 0.9, 0.6, 0.5, EAST),
        Furniture('machine', 3.7, 3.0, 0.9, 0.55, 1.85, WEST), Furniture('machine', 3.7, 4.0, 0.9, 0.55, 1.95, WEST),
        Furniture('plant', -0.1, 8.5, 0.7, 0.7, 1.5), Furniture('shelf', -0.3, 6.4, 1.4, 0.35, 1.9, EAST),
        Furniture('crates', 3.5, 5.6, 0.7, 0.6, 1.1, WEST), Furniture('plant', -0.1, 0.4, 0.6, 0.6, 1.3),
        Furniture('column', 3.2, 4.8, 0.4, 0.4, CEILING_M, WEST),
    ],
    'corridor_a': [  # corridor_b gets the same, turned about the middle of the block
        Furniture('cabinet', 6.2, 2.22, 0.9, 0.32, 1.1, SOUTH), Furniture('bin', 7.4, 2.2, 0.32, 0.32, 0.6),
        Furniture('shelf', 9.6, 2.24, 1.0, 0.3, 1.5, SOUTH), Furniture('crates', 11.5, 2.18, 0.6, 0.4, 0.8, SOUTH),
        Furniture('cabinet', 8.4, 0.12, 0.7, 0.22, 0.9, NORTH),
    ],
    'office': [
        Furniture('table', 16.8, 2.0, 1.6, 0.8, 0.74, WEST), Furniture('table', 16.8, 6.2, 1.5, 0.8, 0.74, WEST),
        Furniture('shelf', 17.3, 8.2, 1.3, 0.35, 2.0, WEST), Furniture('cabinet', 13.3, 3.4, 1.0, 0.45, 1.3, EAST),
        Furniture('machine', 13.3, 4.6, 1.0, 0.4, 1.6, EAST), Furniture('crates', 13.5, 5.8, 0.7, 0.6, 1.2, EAST),
        Furniture('plant', 17.1, 0.4, 0.6, 0.6, 1.4), Furniture('sofa', 15.6, 8.6, 1.6, 0.7, 0.8, SOUTH),
        Furniture('column', 17.0, 5.2, 0.35, 0.35, CEILING_M, WEST),
    ],
    'kitchen': [
        Furniture('cabinet', 20.0, 1.5, 1.6, 0.5, 0.9, NORTH), Furniture('machine', 21.6, 1.5, 0.7, 0.55, 1.9, NORTH),
        Furniture('table', 21.2, 5.0, 1.4, 0.8, 0.75, SOUTH), Furniture('cabinet', 23.7, 3.9, 2.2, 0.5, 0.95, WEST),
        Furniture('sofa', 19.3, 5.4, 1.5, 0.7, 0.85, SOUTH), Furniture('crates', 23.6, 1.7, 0.6, 0.6, 1.3, WEST),
    ],
}


def build_building(seed: int, twin_share: float) -> World:
    """Build the building.

    :param seed: all of its looks
    :param twin_share: share of the twin corridors' textured area that is the same in both, in [0, 1]
    """
    world = World()
    walls = find_walls(ROOMS, PANEL_M)
    own = _own_panels(walls, seed, twin_share)
    for wall in walls:
        _build_wall(world, wall, seed, own)
    for room in ROOMS:
        _build_level(world, room, seed)
        _build_lamps(world, room)
        _furnish(world, room, seed)
    return world


def find_walls(rooms: list[Room], panel_m: float) -> list[Wall]:
    """The walls around the union of all rooms, cut into panels of at most ``panel_m``.

    The rooms are drawn onto a grid of 0.1 m; a wall stands wherever a free cell has a neighbour that is not free.
    """
    x_low, y_low = (min(getattr(room, name) for room in rooms) - 1 for name in ('x0', 'y0'))
    x_high, y_high = (max(getattr(room, name) for room in rooms) + 1 for name in ('x1', 'y1'))
    owner = np.full((_cells(y_high - y_low), _cells(x_high - x_low)), -1)
    for number, room in enumerate(rooms):
        owner[_cells(room.y0 - y_low):_cells(room.y1 - y_low), _cells(room.x0 - x_low):_cells(room.x1 - x_low)] = number
    walls = []
    for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        edge = np.where(np.roll(owner, (-dy, -dx), (0, 1)) < 0, owner, -1)
        along, across = (x_low, y_low) if dx == 0 else (y_low, x_low)
        for line, first, last, number in _runs(edge if dx == 0 else edge.T):
            place = across + (line + (dx + dy > 0)) * GRID_M
            ends = [(along + cell * GRID_M, place)[::1 if dx == 0 else -1] for cell in (first, last)]
            # seen from inside, looking along (dx, dy), left is (-dy, dx)
            left, right = np.array(ends if dx - dy < 0 else ends[::-1])
            count = max(1, int(np.ceil(np.linalg.norm(right - left) / panel_m - 1e-6)))
            corners = np.linspace(left, right, count + 1)
            walls += [Wall(start, end, rooms[number]) for start, end in zip(corners, corners[1:])]
    return walls


def _cells(metres: float) -> int:
    return int(round(metres / GRID_M))


def _runs(edge: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Runs of equal values >= 0 along the rows: (row, first, one past the last, value)."""
    runs = []
    for row, values in enumerate(edge):
        cuts = np.flatnonzero(np.diff(values)) + 1
        for first, last in zip([0, *cuts], [*cuts, len(values)]):
            if values[first] >= 0:
                runs.append((row, int(first), int(last), int(values[first])))
    return runs


def generator(seed: int, *key) -> np.random.Generator:
    """A generator that depends on the seed and on what is being made, not on the order of making."""
    return np.random.default_rng([seed, crc32(repr(key).encode())])


def _turned(point) -> np.ndarray:
    """Where a point of one twin is in the other."""
    return 2 * BLOCK_CENTRE - point


def _name(room: Room) -> str:
    """What a room's looks depend on: its name, but one for both twins."""
    return 'twin' if room.name in TWINS else room.name


def _place(wall: Wall) -> tuple[int, int]:
    """A wall's place in centimetres; for the second twin that of its counterpart in the first."""
    middle = (wall.start + wall.end) / 2
    x, y = np.round((_turned(middle) if wall.room.name == TWINS[1] else middle) * 100).astype(int)
    return int(x), int(y)


def _own_panels(walls: list[Wall], seed: int, twin_share: float) -> set[tuple[int, int]]:
    """Places of the wall panels of the second twin that look different from the first twin's."""
    panels = [wall for wall in walls if wall.room.name == TWINS[1]]
    wide, deep = panels[0].room.size
    furniture_area = sum(2 * (f.width + f.depth) * f.height + f.width * f.depth for f in FURNITURE[TWINS[0]])
    wall_area = sum(wall.length for wall in panels) * CEILING_M
    budget = (1 - twin_share) * (2 * (wide * deep) + furniture_area + wall_area)
    own = set()
    for number in generator(seed, 'own panels').permutation(len(panels)):
        budget -= panels[number].length * CEILING_M
        if budget < 0:
            break
        own.add(_place(panels[number]))
    return own


def _build_wall(world: World, wall: Wall, seed: int, own: set[tuple[int, int]]) -> None:
    room, place = wall.room, _place(wall)
    name = room.name if room.name == TWINS[1] and place in own else _name(room)
    image = wall_panel(generator(seed, 'wall', name, place), STYLES[room.style], wall.length, CEILING_M, WALL_SCALE)
    world.add_wall(wall.start, wall.end, (0.0, CEILING_M), world.add_texture(image), room=room.name)


def _build_level(world: World, room: Room, seed: int) -> None:
    """Floor and ceiling of a room. The second twin's textures are turned by half a turn, as the whole room is."""
    wide, deep = room.size

    def texture(look: Look, scale: float) -> int:
        material, colour = look
        rng = generator(seed, material, _name(room))
        return world.add_texture(MATERIALS[material](rng, round(deep * scale), round(wide * scale), scale, colour))

    floor, ceiling = texture(FLOORS[room.style], FLOOR_SCALE), texture(CEILING, CEILING_SCALE)
    if room.name == TWINS[1]:
        world.add((room.x1, room.y0, 0), (-wide, 0, 0), (0, deep, 0), floor, room=room.name)
        world.add((room.x1, room.y1, CEILING_M), (-wide, 0, 0), (0, -deep, 0), ceiling, room=room.name)
    else:
        world.add_floor(room.outline, 0.0, floor, room=room.name)
        world.add_ceiling(room.outline, CEILING_M, ceiling, room=room.name)


def _build_lamps(world: World, room: Room) -> None:
    """Lamps of 1.2 x 0.25 m every three metres along the room's longer side."""
    along_x = room.size[0] >= room.size[1]
    length = max(room.size)
    count = int(length // 2.9)
    image = np.full((20, 96, 3), (255, 252, 240), np.uint8)
    image[:2] = image[-2:] = image[:, :2] = image[:, -2:] = 120
    bright = world.add_texture(image if along_x else np.rot90(image))
    half_x, half_y = (0.6, 0.125) if along_x else (0.125, 0.6)
    for number in range(count):
        offset = (number + 0.5) * length / count
        x = room.x0 + offset if along_x else (room.x0 + room.x1) / 2
        y = (room.y0 + room.y1) / 2 if along_x else room.y0 + offset
        area = (x - half_x, y - half_y, x + half_x, y + half_y)
        world.add_ceiling(area, CEILING_M - 0.01, bright, room=room.name)
        world.lamps.append((x, y, CEILING_M))


def _furnish(world: World, room: Room, seed: int) -> None:
    for number, piece in enumerate(FURNITURE.get(TWINS[0] if room.name in TWINS else room.name, [])):
        x, y = map(float, _turned((piece.x, piece.y)))
        own = replace(piece, x=x, y=y, yaw=piece.yaw + np.pi) if room.name == TWINS[1] else piece
        build_furniture(world, own, generator(seed, 'furniture', _name(room), number), room.name)
