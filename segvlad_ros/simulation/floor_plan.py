"""Floor plans: rooms as rectangles, and the walls that follow from them.

World coordinates: x east, y north, z up, metres.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESOLUTION_M = 0.1


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

    def contains(self, x: float, y: float) -> bool:
        """True for a point on the room's floor."""
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1


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


def find_walls(rooms: list[Room], panel_m: float) -> list[Wall]:
    """The walls around the union of all rooms, cut into panels of at most ``panel_m``.

    The rooms are drawn onto a grid of 0.1 m; a wall stands wherever a free cell has a neighbour that is not free.
    """
    x_low = min(room.x0 for room in rooms) - 1
    y_low = min(room.y0 for room in rooms) - 1
    shape = (_cells(max(room.y1 for room in rooms) + 1 - y_low), _cells(max(room.x1 for room in rooms) + 1 - x_low))
    owner = np.full(shape, -1)
    for number, room in enumerate(rooms):
        owner[_cells(room.y0 - y_low):_cells(room.y1 - y_low), _cells(room.x0 - x_low):_cells(room.x1 - x_low)] = number
    walls = []
    for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        beyond = np.roll(owner, (-dy, -dx), (0, 1))
        edge = np.where((owner >= 0) & (beyond < 0), owner, -1)
        for line, first, last, number in _runs(edge if dx == 0 else edge.T):
            # seen from inside, looking along (dx, dy), left is (-dy, dx)
            along = (x_low, y_low) if dx == 0 else (y_low, x_low)
            low, high = along[0] + first * RESOLUTION_M, along[0] + last * RESOLUTION_M
            across = along[1] + (line + (1 if dx + dy > 0 else 0)) * RESOLUTION_M
            ends = [np.array([t, across] if dx == 0 else [across, t]) for t in (low, high)]
            left, right = ends if dx - dy < 0 else ends[::-1]
            walls.append(Wall(left, right, rooms[number]))
    return [panel for wall in walls for panel in _panels(wall, panel_m)]


def _cells(metres: float) -> int:
    return int(round(metres / RESOLUTION_M))


def _runs(edge: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Runs of equal values >= 0 along the rows: (row, first, one past the last, value)."""
    runs = []
    for row, values in enumerate(edge):
        cuts = np.flatnonzero(np.diff(values)) + 1
        for first, last in zip([0, *cuts], [*cuts, len(values)]):
            if values[first] >= 0:
                runs.append((row, int(first), int(last), int(values[first])))
    return runs


def _panels(wall: Wall, panel_m: float) -> list[Wall]:
    count = max(1, int(np.ceil(wall.length / panel_m - 1e-6)))
    points = np.linspace(wall.start, wall.end, count + 1)
    return [Wall(points[i], points[i + 1], wall.room) for i in range(count)]
