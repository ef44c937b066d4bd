"""The files that the pages speak of: bags of two days, pictures of a place with poses and truth, an old map."""
from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from map_samples import make_keyframe
from old_maps import write_old_map

from segvlad_ros.evaluation.truth import PoseLimits, truth_of_pose
from segvlad_ros.geometry import from_matrix, to_matrix
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.simulation.robot import SimulatedRobot, write_bag
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import Frame

CAMERA = """
image_width: {model.width}
image_height: {model.height}
camera_name: front
camera_matrix: {{rows: 3, cols: 3, data: {numbers}}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
projection_matrix: {{rows: 3, cols: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]}}
"""


def write_supplies(folder: Path) -> None:
    """Write them all."""
    days = {name: SimulatedRobot(load_scenario('demo', route='lap', image_rate_hz=0.5, run=run))
            for run, name in enumerate(('monday', 'friday'))}
    for name, robot in days.items():
        write_bag(robot, folder / name)
        shutil.move(folder / name / f'{name}.mcap', folder)
        shutil.rmtree(folder / name)
    known = [days['monday'].frame(number) for number in range(days['monday'].image_count)]
    asked = [days['friday'].frame(number) for number in range(0, days['friday'].image_count, 2)]
    for name, frames in {'office': known, 'ref': known, 'query': asked, 'laps': [*known, *asked]}.items():
        write_images(folder / name, frames)
    write_poses(folder, known)
    write_truth(folder / 'ground_truth.csv', known, asked, folders=('ref', 'query'))
    write_truth(folder / 'loops.csv', known, asked, folders=('laps', 'laps'), first=len(known))
    write_old_map(folder / 'old.segvlad', [make_keyframe(index, covariance=False) for index in (1, 2, 3)], 8,
                  {'digest': 'f'}, 'classic')


def write_images(folder: Path, frames: Sequence[Frame]) -> None:
    """Write 000.jpg, 001.jpg ..."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        (folder / f'{number:03d}.jpg').write_bytes(encode_jpeg(frame.rgb, 90))


def write_poses(folder: Path, frames: Sequence[Frame]) -> None:
    """Write poses.csv, of the camera's optical frame, and front.yaml."""
    with (folder / 'poses.csv').open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['image', 'tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw'])
        for number, frame in enumerate(frames):
            pose = from_matrix(to_matrix(frame.pose) @ to_matrix(frame.base_from_camera), 'map')
            rows.writerow([f'{number:03d}.jpg', *pose.translation, *pose.quaternion])
    model = frames[0].camera_model
    (folder / 'front.yaml').write_text(CAMERA.format(model=model, numbers=model.matrix.ravel().tolist()))


def write_truth(path: Path, known: Sequence[Frame], asked: Sequence[Frame], *, folders: tuple[str, str],
                first: int = 0) -> None:
    """Write which of the known places each query shows.

    :param folders: of the known images, and of the queries
    :param first: number of the first query
    """
    poses = [frame.pose for frame in known]
    with path.open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['query', 'references'])
        for number, frame in enumerate(asked, first):
            true = truth_of_pose(frame.pose, poses, np.ones(len(poses), bool), PoseLimits()).true
            shown = ' '.join(f'{folders[0]}/{one:03d}.jpg' for one in sorted(true))
            rows.writerow([f'{folders[1]}/{number:03d}.jpg', shown])
