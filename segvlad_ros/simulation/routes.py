"""Where the robot drives: waypoints into poses over time, and what wheel odometry reports of it."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segvlad_ros.types import Pose, SegvladError

CORNER_M = 0.8  # radius of the turns
STEP_M = 0.02
ODOMETRY_TRANSLATION = 0.02  # metres per metre
ODOMETRY_ROTATION = np.radians(0.5)  # radians per metre


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


def floor_pose(x: float, y: float, yaw: float, frame: str) -> Pose:
    """A place on the floor, metres and radians, in 3-D."""
    return Pose(np.array([x, y, 0.0]), np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]), frame)


@dataclass(frozen=True)
class PlanarPath:
    """Poses of the robot's base on the floor.

    :ivar x, y: (n,) float64 metres
    :ivar yaw: (n,) float64 radians, continuous
    """

    x: np.ndarray
    y: np.ndarray
    yaw: np.ndarray

    def pose(self, index: int, frame: str) -> Pose:
        """One pose in 3-D."""
        return floor_pose(self.x[index], self.y[index], self.yaw[index], frame)

    @property
    def distance(self) -> np.ndarray:
        """(n,) float64, metres from the first pose to each."""
        return np.concatenate([[0], np.cumsum(np.hypot(np.diff(self.x), np.diff(self.y)))])

    def __len__(self) -> int:
        return len(self.x)


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

    def at(self, stamp_s: float) -> tuple[tuple[float, float, float], int]:
        """True place (x, y, yaw) and visit at a time."""
        path = self.path
        place = tuple(float(np.interp(stamp_s, self.stamps_s, values)) for values in (path.x, path.y, path.yaw))
        index = np.clip(np.searchsorted(self.stamps_s, stamp_s, 'right') - 1, 0, len(self.visit) - 1)
        return place, int(self.visit[index])


def drive(route: tuple[Leg, ...], speed: float, rate_hz: float, *, reverse: bool = False,
          start_m: float = 0.0) -> Drive:
    """Drive a route at constant speed.

    :param speed: metres a second
    :param rate_hz: poses a second
    :param reverse: the whole route from its end to its start, in reverse gear: the same views in the opposite order
    :param start_m: leave out the first metres
    :raises SegvladError: nothing is left
    """
    legs = []
    for leg in route:
        points = _round_corners(np.array(leg.waypoints, float))
        travel = np.unwrap(np.arctan2(np.gradient(points[:, 1]), np.gradient(points[:, 0])))
        yaw = travel + np.radians(leg.heading_deg) + (np.pi if leg.backwards else 0)
        legs.append((*points.T, yaw, np.full(len(points), leg.visit)))
    x, y, yaw, visit = (np.concatenate(parts) for parts in zip(*legs))
    if reverse:
        x, y, yaw, visit = (values[::-1] for values in (x, y, yaw, visit))
    # nobody turns on the spot in no time: headings are averaged over a metre
    yaw = _smooth(np.unwrap(yaw), round(1.0 / STEP_M))
    distance = PlanarPath(x, y, yaw).distance
    wanted = np.arange(start_m, distance[-1], speed / rate_hz)
    if len(wanted) < 2:
        raise SegvladError(f'start_m is {start_m:g}: the route is only {distance[-1]:.0f} m long')
    nearest = np.searchsorted(distance, wanted).clip(0, len(visit) - 1)
    path = PlanarPath(*(np.interp(wanted, distance, values) for values in (x, y, yaw)))
    return Drive(np.arange(len(wanted)) / rate_hz, path, visit[nearest])


def odometry(path: PlanarPath, rng: np.random.Generator) -> PlanarPath:
    """What wheel odometry reports for a true path, from its own origin.

    Distances are wrong by 2 % and the heading drifts by 0.5 degrees a metre, each to a side that the generator chooses
    for the whole run, as a wrong wheel radius and track do; on top lies white noise of a fifth of that a metre.
    """
    dx, dy, dyaw = np.diff(path.x), np.diff(path.y), np.diff(path.yaw)
    middle = path.yaw[:-1] + dyaw / 2
    ahead = np.cos(middle) * dx + np.sin(middle) * dy
    aside = -np.sin(middle) * dx + np.cos(middle) * dy
    step = np.hypot(dx, dy)
    scale = 1 + ODOMETRY_TRANSLATION * rng.choice([-1, 1])
    drift = ODOMETRY_ROTATION * rng.choice([-1, 1])
    white = 0.2 * np.sqrt(step) * rng.standard_normal((3, len(step)))
    ahead = ahead * scale + white[0] * ODOMETRY_TRANSLATION
    aside = aside * scale + white[1] * ODOMETRY_TRANSLATION
    dyaw = dyaw + drift * step + white[2] * ODOMETRY_ROTATION
    yaw = np.concatenate([[0], np.cumsum(dyaw)])
    middle = yaw[:-1] + dyaw / 2
    x = np.cumsum(np.cos(middle) * ahead - np.sin(middle) * aside)
    y = np.cumsum(np.sin(middle) * ahead + np.cos(middle) * aside)
    return PlanarPath(np.concatenate([[0], x]), np.concatenate([[0], y]), yaw)


def odometry_covariance(distance: float) -> np.ndarray:
    """(6, 6) covariance of an odometry pose after ``distance`` metres, order x y z roll pitch yaw."""
    along = (ODOMETRY_TRANSLATION * distance) ** 2 + 1e-6
    turned = (ODOMETRY_ROTATION * distance) ** 2 + 1e-6
    aside = (ODOMETRY_ROTATION * distance * distance / 2) ** 2 + along
    return np.diag([aside, aside, 1e-6, 1e-6, 1e-6, turned])


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
