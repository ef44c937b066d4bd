"""The day of a robot that soak.py and soak_nodes.py live through: what its sensors deliver.

The robot stands two thirds of every hour, and drives laps through a simulated building for the rest of it, each hour
in another light: by day, on another day, at night with a lamp of its own. What it sees was rendered before; each frame
is shifted, lit and noisy in its own way, and comes with depth, calibration and odometry that drifts. A camera goes on
while the robot stands.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import yaml
from retention import at_night
from tables import command_line

from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, CAMERA_FRAME
from segvlad_ros.simulation.robot import START_NS, SimulatedRobot
from segvlad_ros.simulation.routes import PlanarPath, odometry
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Frame

STEP_M = 0.55  # a keyframe each, whatever odometry makes of half a metre
LAPS_AN_HOUR, PARKED_S = 12, 2400.0
STANDING_PERIOD_S = 4.0
SHIFT, GAIN, NOISE = 0.015, 0.08, 3.0  # of the width, of the brightness, grey levels
HOUR_S = 3600.0
LIGHTS = ('day', 'another day', 'night')  # one an hour
EXPLAINED_SCORE, KEYPOINTS = 0.3, 150
ABOUT = ' '.join(__doc__.split('\n\n')[1].split())


def day_options(about: str) -> argparse.ArgumentParser:
    """A parser of hours, cap, seed, width.

    :param about: the text of the script's module
    """
    parser = command_line(about)
    parser.add_argument('--hours', type=float, default=24.0, help='of the day (%(default)g)')
    parser.add_argument('--cap', type=int, default=100, help='keyframes that the map may hold (%(default)d)')
    parser.add_argument('--seed', type=int, default=11)
    parser.add_argument('--width', type=int, default=160, help='of the images, pixels: the larger, the longer it takes')
    return parser


def small_preset(folder: Path, model: CameraModel) -> Path:
    """The classic preset at the size of these images, with fewer keypoints, as a file.

    :param folder: where it is written
    """
    values = yaml.safe_load((config_directory() / 'classic.yaml').read_text())
    del values['calibration'], values['decision']['min_probability']  # which belong to the full size
    values['image'].update(width=model.width, height=model.height)
    values['geometry']['max_keypoints'] = KEYPOINTS
    values['vocabulary'] = str(config_directory() / values['vocabulary'])
    path = folder / 'small.yaml'
    path.write_text(yaml.safe_dump(values))
    return path


def rendered(folder: Path, seed: int, width: int) -> Views:
    """Take all pictures along a lap in each light; the world that is needed for it goes with a process of its own.

    :param folder: where they are kept
    :param width: of the images, pixels
    """
    with get_context('spawn').Pool(1) as pool:
        pool.apply(_render, (folder, seed, width))
    return Views(folder)


def _render(folder: Path, seed: int, width: int) -> None:
    robots = [SimulatedRobot(load_scenario('demo', seed=seed, route='lap', run=run)) for run in range(2)]
    drive, model = robots[0].drive, robots[0].camera.model
    along = np.arange(0.0, drive.path.distance[-1], STEP_M)
    path = PlanarPath(*(np.interp(along, drive.path.distance, values)
                        for values in (drive.path.x, drive.path.y, drive.path.yaw)))
    step = model.width // width
    size = model.width // step, model.height // step
    shape = len(LIGHTS), len(path), size[1], size[0]
    rgb, depth = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
    rng = np.random.default_rng(seed)
    for light, name in enumerate(LIGHTS):
        robot = robots[name == 'another day']
        for view in range(len(path)):
            frame = robot.place(path.x[view], path.y[view], path.yaw[view], view)
            frame = at_night(frame, rng) if name == 'night' else frame
            rgb[light, view] = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
            depth[light, view] = frame.depth[::step, ::step]
    for name, array in (('rgb', rgb), ('depth', depth), ('path', np.array([path.x, path.y, path.yaw])),
                        ('matrix', np.diag([1 / step, 1 / step, 1]) @ model.matrix)):
        np.save(folder / f'{name}.npy', array)


class Views:
    """What there is to see along a lap in each light, read from files: it is no memory of this process.

    :param folder: of :func:`rendered`
    :ivar path: where each was taken
    """

    def __init__(self, folder: Path) -> None:
        self.path = PlanarPath(*np.load(folder / 'path.npy'))
        self._rgb, self._depth = (np.load(folder / f'{name}.npy', mmap_mode='r') for name in ('rgb', 'depth'))
        height, width = self._depth.shape[2:]
        self.model = CameraModel(width, height, np.load(folder / 'matrix.npy'), np.zeros(5))

    def __len__(self) -> int:
        return len(self.path)

    def seen(self, light: int, view: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(h, w, 3) uint8 and (h, w) float32 metres: a view as it is seen this time."""
        rgb, depth = self._rgb[light, view], self._depth[light, view]
        size = rgb.shape[1::-1]
        right, down = rng.uniform(-SHIFT, SHIFT, 2) * size[0]
        shift = np.float32([[1, 0, right], [0, 1, down]])
        rgb = cv2.warpAffine(rgb, shift, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        rgb *= np.float32(rng.uniform(1 - GAIN, 1 + GAIN))
        rgb += NOISE * rng.standard_normal(rgb.shape, dtype=np.float32)
        depth = cv2.warpAffine(depth, shift, size, flags=cv2.INTER_NEAREST, borderValue=float('nan'))
        return np.clip(rgb, 0, 255).astype(np.uint8), depth


def frames(views: Views, hours: float, seed: int) -> Iterator[tuple[float, Frame]]:
    """What the camera delivers, with the hour of the day."""
    rng = np.random.default_rng([seed, 1])
    laps, an_hour = round(hours * LAPS_AN_HOUR), len(views) * LAPS_AN_HOUR
    path = PlanarPath(np.tile(views.path.x, laps), np.tile(views.path.y, laps),
                      np.unwrap(np.tile(views.path.yaw, laps)))
    reported = odometry(path, rng)

    def frame(number: int, seconds: float) -> tuple[float, Frame]:
        rgb, depth = views.seen(number // an_hour % len(LIGHTS), number % len(views), rng)
        return seconds / HOUR_S, Frame(rgb, START_NS + round(seconds * 1e9), '', CAMERA_FRAME,
                                       reported.pose(number, 'odom'), depth, views.model, BASE_FROM_CAMERA)

    for number in range(len(path)):
        hour, within = divmod(number, an_hour)
        begins_s = hour * HOUR_S + PARKED_S
        if not within:  # it stands where it will begin
            for standing_s in np.arange(hour * HOUR_S, begins_s, STANDING_PERIOD_S):
                yield frame(number, standing_s)
        yield frame(number, begins_s + (HOUR_S - PARKED_S) * within / an_hour)
