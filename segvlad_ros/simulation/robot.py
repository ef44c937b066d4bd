"""The simulated robot: a world, a drive through it, and what the sensors deliver on the way."""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from segvlad_ros.geometry import compose, to_matrix
from segvlad_ros.simulation.lighting import LightMap, make_light
from segvlad_ros.simulation.renderer import Renderer, Rendering
from segvlad_ros.simulation.routes import ROUTES, Drive, drive
from segvlad_ros.simulation.scenario import Scenario
from segvlad_ros.simulation.sensors import (
    BASE_FROM_CAMERA,
    CAMERA_FRAME,
    ODOM_FRAME,
    WORLD_FRAME,
    Exposure,
    PlanarPath,
    camera_model,
    odometry,
    odometry_covariance,
)
from segvlad_ros.simulation.street import build_street
from segvlad_ros.simulation.world import World, build_world
from segvlad_ros.types import Frame, Pose

START_NS = 1_700_000_000_000_000_000  # every run begins at the same stamp


class Camera:
    """The world as the robot's camera sees it, from any pose and in any light.

    :ivar model: calibration
    """

    def __init__(self, world: World):
        self.world = world
        self.model = camera_model()
        self.renderer = Renderer(self.world.surfaces, self.world.textures, self.model)
        self._exposure = Exposure(np.cross(self.renderer.axes[:, 0], self.renderer.axes[:, 1]))

    def view(self, base: Pose) -> Rendering:
        """What the camera looks at, before light and sensor, from a pose of the robot's base."""
        return self.renderer.render(to_matrix(compose(base, BASE_FROM_CAMERA)))

    def look(self, base: Pose, light: LightMap, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Take one picture.

        :param base: pose of the robot's base in the world, anywhere
        :param rng: sensor noise
        :return: (h, w, 3) uint8 RGB, and (h, w) float32 exact depth in metres, NaN where nothing is
        """
        view = self.view(base)
        depth = np.where(np.isfinite(view.depth), view.depth, np.float32(np.nan))
        return self._exposure.expose(view, light, rng), depth


@lru_cache(maxsize=2)
def build_camera(seed: int, twin_share: float, outdoors: bool = False) -> Camera:
    """The camera in a building, or outdoors in the street; worlds are kept, since many runs may share one.

    :param seed, twin_share: see :class:`~.scenario.Scenario`
    """
    return Camera(build_street(seed) if outdoors else build_world(seed, twin_share))


class SimulatedRobot:
    """One run. The same scenario gives the same bytes.

    :ivar drive: the true drive
    :ivar odometry: what odometry reports at the stamps of :attr:`drive`
    """

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.camera = build_camera(scenario.seed, scenario.twin_share, scenario.route == 'street')
        self.drive: Drive = drive(ROUTES[scenario.route], scenario.speed, scenario.odometry_rate_hz,
                                  reverse=scenario.reverse, start_m=scenario.start_m)
        self.odometry = odometry(self.drive.path, self._generator('odometry'))
        self._distance = np.concatenate([[0], np.cumsum(np.hypot(np.diff(self.drive.path.x),
                                                                 np.diff(self.drive.path.y)))])
        self._lights = [self.light(visit) for visit in range(int(self.drive.visit.max()) + 1)]

    def _generator(self, purpose: str, number: int = 0) -> np.random.Generator:
        """A generator of its own for every purpose and frame, so that none depends on how often another was asked."""
        return np.random.default_rng([self.scenario.seed, self.scenario.run, number, *purpose.encode()])

    def light(self, visit: int) -> LightMap:
        """The light of a visit; the very first one finds the building as it was built."""
        first = visit == 0 and self.scenario.run == 0
        variation = 0.0 if first else self.scenario.light_variation
        return make_light(self.camera.world.lamps, self._generator('light', visit), variation)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last message."""
        return float(self.drive.stamps_s[-1])

    @property
    def image_count(self) -> int:
        """Images of the run."""
        return int(self.duration_s * self.scenario.image_rate_hz) + 1

    def frame(self, number: int) -> Frame:
        """Image ``number`` with depth, calibration, and its **true** pose in frame ``map``."""
        seconds = number / self.scenario.image_rate_hz
        path, visit = self.drive.at(seconds)
        base = path.pose(0, WORLD_FRAME)
        rgb, depth = self.camera.look(base, self._lights[visit], self._generator('image', number))
        return Frame(rgb, stamp_ns(seconds), '', CAMERA_FRAME, base, depth, self.camera.model, BASE_FROM_CAMERA)

    def frames(self) -> Iterator[Frame]:
        """All images in order."""
        return (self.frame(number) for number in range(self.image_count))

    def place(self, x: float, y: float, yaw: float, number: int, light: LightMap | None = None) -> Frame:
        """A picture from anywhere: the robot is carried to (x, y) metres and looks along yaw radians.

        :param number: of the picture, for its stamp and its noise
        :param light: that of the run's last visit, if not given
        """
        base = PlanarPath(np.array([x]), np.array([y]), np.array([yaw])).pose(0, WORLD_FRAME)
        light = self._lights[-1] if light is None else light
        rgb, depth = self.camera.look(base, light, self._generator('place', number))
        stamp = stamp_ns(number / self.scenario.image_rate_hz)
        return Frame(rgb, stamp, '', CAMERA_FRAME, base, depth, self.camera.model, BASE_FROM_CAMERA)

    def poses(self) -> Iterator[tuple[int, Pose, Pose]]:
        """Stamp, odometry pose with covariance (frame ``odom``), true pose (frame ``map``), in order."""
        for index, seconds in enumerate(self.drive.stamps_s):
            reported = self.odometry.pose(index, ODOM_FRAME)
            covariance = odometry_covariance(float(self._distance[index]))
            yield (stamp_ns(float(seconds)), Pose(reported.translation, reported.quaternion, ODOM_FRAME, covariance),
                   self.drive.path.pose(index, WORLD_FRAME))


def stamp_ns(seconds: float) -> int:
    """Stamp of a moment of the run."""
    return START_NS + round(seconds * 1e9)
