"""A small set of images of the simulated building, with their truth: what an experiment is tried on."""
from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.truth import PoseLimits, truth_of_pose
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.simulation.robot import JPEG_QUALITY, SimulatedRobot
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import Frame, SegvladError

REFERENCES, QUERIES = 40, 20
_ASIDE_M, _TURNED_RAD = 0.7, 0.6


def write_image_set(folder: Path, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
    """Write ``references``, ``queries`` and ``truth.csv``, always the same.

    References are taken along a drive, at equal times; queries in other light, up to 0.7 m and 34 degrees beside
    some of them.

    :param folder: is made
    :param progress: wraps the iteration over the numbers of all images
    :raises SegvladError: the folder exists, or cannot be written
    """
    if folder.exists():
        raise SegvladError(f'{folder} exists: remove it, or choose another folder')
    robot, later = (SimulatedRobot(load_scenario('demo', route='lap', run=run)) for run in (0, 1))
    rng = np.random.default_rng(0)
    places = [robot.drive.at(seconds)[0] for seconds in np.linspace(0, robot.duration_s, REFERENCES)]
    asked = rng.choice(REFERENCES, QUERIES, replace=False)
    taken: dict[str, list[Frame]] = {'references': [], 'queries': []}
    try:
        for side in taken:
            (folder / side).mkdir(parents=True)
        for number in progress(range(REFERENCES + QUERIES)):
            if number < REFERENCES:
                side, frame = 'references', robot.place(*places[number], number, robot.light(0))
            else:
                x, y, yaw = places[asked[number - REFERENCES]]
                aside, turned = rng.uniform(-1, 1, 2) * (_ASIDE_M, _TURNED_RAD)
                side = 'queries'
                frame = later.place(x - aside * np.sin(yaw), y + aside * np.cos(yaw), yaw + turned, number)
            name = f'{len(taken[side]):03d}.jpg'
            (folder / side / name).write_bytes(encode_jpeg(frame.rgb, JPEG_QUALITY))
            taken[side].append(frame)
        _write_truth(folder / 'truth.csv', taken)
    except OSError as error:
        raise SegvladError(f'{folder}: cannot be written ({error.strerror})') from None


def _write_truth(path: Path, taken: dict[str, list[Frame]]) -> None:
    poses = [frame.pose for frame in taken['references']]
    with path.open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['query', 'references'])
        for number, frame in enumerate(taken['queries']):
            true = truth_of_pose(frame.pose, poses, np.ones(len(poses), bool), PoseLimits()).true
            rows.writerow([f'queries/{number:03d}.jpg', ' '.join(f'references/{one:03d}.jpg' for one in sorted(true))])
