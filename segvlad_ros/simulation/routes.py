"""Where the robot drives: waypoints into poses over time."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segvlad_ros.simulation.sensors import PlanarPath
from segvlad_ros.types import SegvladError

CORNER_M = 0.8  # radius of the turns
STEP_M = 0.02


@dataclass(frozen=True)
class Leg:
    """A part of a route.

    :ivar waypoints: (x, y) metres; each leg begins where the one before it ended
    :ivar visit: 0 for the first time somewhere, 1 for the second: the light may differ
    :ivar heading_deg: camera direction beside the direction of travel
    :ivar backwards: the robot drives in reverse gear, its camera looks against the direction of travel
    """

    waypoints: tuple[tuple[float, float], ...]
    visit: int = 0
    heading_deg: float = 0.0
    backwards: bool = False


_LAP = ((1.8, 1.4), (15.2, 1.4), (15.2, 7.7), (1.8, 7.7), (1.8, 0.85))
ROUTES = {
    # the lobby, both twins and the office once; then again along the first twin, 0.55 m and 9 degrees beside the first
    # visit, through the office, and into the kitchen, which is seen only once
    'loop': (Leg(_LAP), Leg(((1.8, 0.85), (15.65, 0.85), (15.65, 3.95), (22.6, 3.95)), 1, 9.0)),
    # the same lap, then back the way it came in reverse gear: known views in the opposite order
    'back': (Leg((*_LAP[:-1], (1.8, 1.6))),
             Leg(((1.8, 1.6), (1.8, 7.3), (14.9, 7.3), (14.9, 2.2)), 1, 6.0, backwards=True)),
    # one twin, the kitchen, then the other twin as if for the first time, the lobby, and again the first twin: long
    # after the first one, the second twin invites false matches
    'twins': (Leg(((1.8, 1.4), (15.2, 1.4), (15.2, 4.1), (22.3, 4.1), (22.3, 2.4), (19.3, 2.4), (19.3, 4.1),
                   (15.2, 4.1), (15.2, 7.7), (1.8, 7.7), (1.8, 0.85))),
              Leg(((1.8, 0.85), (15.0, 0.85)), 1, 9.0)),
    # the lap only: a map to be localised in
    'lap': (Leg((*_LAP[:-1], (1.8, 1.6))),),
    # straight on along the street, not in the building: nothing comes twice
    'street': (Leg(((0.0, -1.5), (300.0, -1.5))),),
}


@dataclass(frozen=True)
class Drive:
    """A driven route.

    :ivar stamps_s: (n,) float64, seconds from the start
    :ivar path: true poses of the base
    :ivar visit: (n,) int, see :class:`Leg`
    """

    stamps_s: np.ndarray
    path: PlanarPath
    visit: np.ndarray

    def at(self, stamp_s: float) -> tuple[PlanarPath, int]:
        """True pose and visit at a time, as a path of length one."""
        pose = PlanarPath(*(np.array([np.interp(stamp_s, self.stamps_s, values)])
                            for values in (self.path.x, self.path.y, self.path.yaw)))
        index = min(int(np.searchsorted(self.stamps_s, stamp_s, 'right')) - 1, len(self.visit) - 1)
        return pose, int(self.visit[max(0, index)])


def drive(route: tuple[Leg, ...], speed: float, rate_hz: float, *, reverse: bool = False,
          start_m: float = 0.0) -> Drive:
    """Drive a route at constant speed.

    :param speed: metres a second
    :param rate_hz: poses a second
    :param reverse: the whole route from its end to its start, in reverse gear: the same views in the opposite order
    :param start_m: leave out the first metres
    :raises SegvladError: nothing is left
    """
    xs, ys, yaws, visits = [], [], [], []
    for leg in route:
        points = _round_corners(np.array(leg.waypoints, float))
        travel = np.unwrap(np.arctan2(np.gradient(points[:, 1]), np.gradient(points[:, 0])))
        yaws.append(travel + np.radians(leg.heading_deg) + (np.pi if leg.backwards else 0))
        xs.append(points[:, 0])
        ys.append(points[:, 1])
        visits.append(np.full(len(points), leg.visit))
    x, y, yaw, visit = (np.concatenate(parts) for parts in (xs, ys, yaws, visits))
    if reverse:
        x, y, yaw, visit = (values[::-1] for values in (x, y, yaw, visit))
    # nobody turns on the spot in no time: headings are averaged over a metre
    yaw = _smooth(np.unwrap(yaw), round(1.0 / STEP_M))
    distance = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    wanted = np.arange(start_m, distance[-1], speed / rate_hz)
    if len(wanted) < 2:
        raise SegvladError(f'start_m is {start_m:g}: the route is only {distance[-1]:.0f} m long')
    nearest = np.searchsorted(distance, wanted).clip(0, len(visit) - 1)
    path = PlanarPath(*(np.interp(wanted, distance, values) for values in (x, y, yaw)))
    return Drive(np.arange(len(wanted)) / rate_hz, path, visit[nearest])


def _round_corners(points: np.ndarray) -> np.ndarray:
    """A polyline with arcs instead of corners, a point every 2 cm."""
    pieces, start = [], points[0]
    for corner, following in zip(points[1:-1], points[2:]):
        into, out = _unit(corner - start), _unit(following - corner)
        begin, end = corner - into * CORNER_M, corner + out * CORNER_M
        pieces.append(_line(start, begin))
        t = np.linspace(0, 1, round(1.6 * CORNER_M / STEP_M))[:, None]
        pieces.append((1 - t) ** 2 * begin + 2 * t * (1 - t) * corner + t ** 2 * end)
        start = end
    pieces.append(_line(start, points[-1]))
    return np.concatenate(pieces)


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    count = max(2, round(float(np.linalg.norm(end - start)) / STEP_M))
    return np.linspace(start, end, count, endpoint=False)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    padded = np.pad(values, (window // 2, window - 1 - window // 2), 'edge')
    return np.convolve(padded, np.full(window, 1 / window), 'valid')
