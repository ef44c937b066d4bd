"""The simulated robot: a world, a drive through it, what the sensors deliver on the way, and the bag of it."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.simulation.building import build_building
from segvlad_ros.simulation.camera import BASE_FRAME, BASE_FROM_CAMERA, CAMERA_FRAME, Camera, LightMap, make_light
from segvlad_ros.simulation.routes import ROUTES, drive, floor_pose, odometry, odometry_covariance
from segvlad_ros.simulation.scenario import Scenario
from segvlad_ros.simulation.street import build_street
from segvlad_ros.types import Frame, Pose, SegvladError

START_NS = 1_700_000_000_000_000_000  # every run begins at the same stamp
ODOM_FRAME, WORLD_FRAME = 'odom', 'map'
IMAGE_TOPIC = '/camera/image_raw/compressed'
DEPTH_TOPIC = '/camera/depth/image_raw'
CAMERA_INFO_TOPIC = '/camera/camera_info'
ODOMETRY_TOPIC = '/odom'
TRUTH_TOPIC = '/ground_truth/pose'
JPEG_QUALITY = 90


@lru_cache(maxsize=2)
def build_camera(seed: int, twin_share: float, outdoors: bool = False) -> Camera:
    """The camera in a building, or outdoors in the street; worlds are kept, since many runs may share one.

    :param seed, twin_share: see :class:`~.scenario.Scenario`
    """
    return Camera(build_street(seed) if outdoors else build_building(seed, twin_share))


class SimulatedRobot:
    """One run. The same scenario gives the same bytes.

    :ivar drive: the true drive
    :ivar odometry: what odometry reports at the stamps of :attr:`drive`
    """

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.camera = build_camera(scenario.seed, scenario.twin_share, scenario.route == 'street')
        self.drive = drive(ROUTES[scenario.route], scenario.speed, scenario.odometry_rate_hz,
                           reverse=scenario.reverse, start_m=scenario.start_m)
        self.odometry = odometry(self.drive.path, self._generator('odometry'))
        self._lights = [self.light(visit) for visit in range(int(self.drive.visit.max()) + 1)]

    def _generator(self, purpose: str, number: int = 0) -> np.random.Generator:
        """A generator of its own for every purpose and frame, so that none depends on how often another was asked."""
        return np.random.default_rng([self.scenario.seed, self.scenario.run, number, *purpose.encode()])

    def light(self, visit: int) -> LightMap:
        """The light of a visit; the very first one finds the building as it was built."""
        first = visit == 0 and self.scenario.run == 0
        variation = 0.0 if first else self.scenario.light_variation
        return make_light(np.array(self.camera.world.lamps), self._generator('light', visit), variation)

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
        place, visit = self.drive.at(number / self.scenario.image_rate_hz)
        return self._picture(place, self._lights[visit], 'image', number)

    def place(self, x: float, y: float, yaw: float, number: int, light: LightMap | None = None) -> Frame:
        """A picture from anywhere: the robot is carried to (x, y) metres and looks along yaw radians.

        :param number: of the picture, for its stamp and its noise
        :param light: that of the run's last visit, if not given
        """
        return self._picture((x, y, yaw), light or self._lights[-1], 'place', number)

    def _picture(self, place: tuple[float, float, float], light: LightMap, purpose: str, number: int) -> Frame:
        base = floor_pose(*place, WORLD_FRAME)
        rgb, depth = self.camera.look(base, light, self._generator(purpose, number))
        stamp = stamp_ns(number / self.scenario.image_rate_hz)
        return Frame(rgb, stamp, '', CAMERA_FRAME, base, depth, self.camera.model, BASE_FROM_CAMERA)

    def poses(self) -> Iterator[tuple[int, Pose, Pose]]:
        """Stamp, odometry pose with covariance (frame ``odom``), true pose (frame ``map``), in order."""
        for index, (seconds, metres) in enumerate(zip(self.drive.stamps_s, self.drive.path.distance)):
            reported = replace(self.odometry.pose(index, ODOM_FRAME), covariance=odometry_covariance(metres))
            yield stamp_ns(float(seconds)), reported, self.drive.path.pose(index, WORLD_FRAME)


def stamp_ns(seconds: float) -> int:
    """Stamp of a moment of the run."""
    return START_NS + round(seconds * 1e9)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a place where no bag may be written.

    :raises SegvladError: the folder exists and may not be overwritten, or is not a bag
    """
    if path.exists() and not overwrite:
        raise SegvladError(f'{path} exists: choose another --output, or add --overwrite')
    if path.exists() and not (path / 'metadata.yaml').is_file():
        raise SegvladError(f'{path} exists and is not a bag: choose another --output')


def write_bag(robot: SimulatedRobot, path: Path, *, overwrite: bool = False,
              progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
    """Drive the robot and record it.

    Every colour image (JPEG) comes with a depth image (16UC1, millimetres; the bag's zstd chunks make it small) and
    its calibration, all with one stamp. Odometry and truth (``/ground_truth/pose``, frame ``map``) come more often.
    The folder appears under its name only when it is complete.

    :param path: the bag's folder
    :param progress: wraps the iteration over image numbers
    :raises SegvladError: see :func:`check_output`
    """
    check_output(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished_', dir=path.parent) as folder:
        unfinished = Path(folder) / path.name  # the file in a bag is named after its folder
        with BagWriter(unfinished, storage='mcap') as bag:
            _record(robot, bag, progress)
        if path.exists():
            shutil.rmtree(path)
        unfinished.rename(path)


def _record(robot: SimulatedRobot, bag: BagWriter, progress: Callable[[Sequence[int]], Iterable[int]]) -> None:
    bag.write_static_transform(START_NS, BASE_FROM_CAMERA, CAMERA_FRAME)
    poses = list(robot.poses())[::-1]  # the next one last

    def record_poses(until_ns: float) -> None:
        while poses and poses[-1][0] <= until_ns:
            stamp, reported, truth = poses.pop()
            bag.write_odometry(ODOMETRY_TOPIC, stamp, reported, BASE_FRAME)
            bag.write_pose(TRUTH_TOPIC, stamp, truth)

    for number in progress(range(robot.image_count)):
        frame = robot.frame(number)
        record_poses(frame.stamp_ns)
        bag.write_image_jpeg(IMAGE_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.rgb, quality=JPEG_QUALITY)
        bag.write_depth(DEPTH_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.depth)
        bag.write_camera_info(CAMERA_INFO_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.camera_model)
    record_poses(np.inf)
