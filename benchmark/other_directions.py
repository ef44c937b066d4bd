"""The same place, looked at in another direction: what is found, and what is not?

    python benchmark/other_directions.py DATA      writes results/other_directions.{json,md}

The preset is ``classic``, as shipped; each query is asked for itself, without odometry, with depth.

- *building*: the corridors of the simulated building (world WORLD), mapped by a camera that looks ahead, a picture
  every 2 m; asked from 0.15 m beside each spot, by other light, turned by TURNS degrees. *camera behind*: mapped by a
  second camera, too, that looks back;
- *hololens_office*: each frame is asked about among those that are at least APART frames older, if one of them lies
  within NEAR_M; rows are by the angle to the one of these that looks most in its direction.

An answer is right if it is a match with a picture within RIGHT_M.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from recorded_runs import image_frames, true_poses
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.geometry import compose, to_matrix
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.simulation.building import build_building
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, Camera, make_light
from segvlad_ros.simulation.routes import floor_pose
from segvlad_ros.types import Frame, Keyframe, Pose, Status

WORLD = 1
SPOTS = ([(x, 1.4, 0.0) for x in np.arange(2.5, 14, 2.0)] + [(15.2, y, np.pi / 2) for y in (2.4, 4.4, 6.4)]
         + [(x, 7.7, np.pi) for x in np.arange(14, 3, -2.0)])
TURNS = 0, 30, 45, 60, 90, 135, 180
BEHIND = compose(Pose(np.zeros(3), np.array([0.0, 0, 1, 0]), 'base_link'), BASE_FROM_CAMERA)
APART, NEAR_M, RIGHT_M = 40, 1.0, 3.5
BINS = 0, 20, 40, 60, 90, 180
SECOND = 10 ** 9


class Pictures:
    """Frames from anywhere in the building."""

    def __init__(self) -> None:
        self._camera = Camera(build_building(WORLD, 0.5))
        lamps = np.array(self._camera.world.lamps)
        self._lights = [make_light(lamps, np.random.default_rng(visit), visit * 0.5) for visit in (0, 1)]
        self._taken = 0

    def take(self, place: tuple[float, float, float], visit: int, mount: Pose = BASE_FROM_CAMERA) -> Frame:
        """One more."""
        self._taken += 1
        rgb, depth = self._camera.look(floor_pose(*place, 'map'), self._lights[visit],
                                       np.random.default_rng(self._taken), mount)
        return Frame(rgb, self._taken * SECOND, depth=depth, camera_model=self._camera.model, base_from_camera=mount)


def in_building() -> Iterator[dict[str, object]]:
    """A row for each angle: spots that were asked about, found rightly, and matched wrongly."""
    pictures = Pictures()
    ahead, both = PlaceRecognizer('classic'), PlaceRecognizer('classic')
    spots: dict[PlaceRecognizer, list[int]] = {ahead: [], both: []}
    for number, spot in enumerate(SPOTS):
        seen = {name: ahead.describe(pictures.take(spot, 0, mount))
                for name, mount in (('front', BASE_FROM_CAMERA), ('behind', BEHIND))}
        for places, names in ((ahead, ('front',)), (both, ('front', 'behind'))):
            for name in names:
                places.add(seen[name])
                spots[places].append(number)
    for turn in TURNS:
        row: dict[str, object] = {'turned by': turn, 'asked': len(SPOTS)}
        for name, places in (('camera ahead', ahead), ('camera behind, too', both)):
            right = wrong = 0
            for x, y, yaw in SPOTS:
                aside = x - 0.15 * np.sin(yaw), y + 0.15 * np.cos(yaw), yaw + np.radians(turn)
                answer = places.recognize(pictures.take(aside, 1), independent=True)
                if answer.status == Status.MATCHED:
                    found = np.subtract(SPOTS[spots[places][answer.candidates[0].entry]], (x, y, yaw))
                    near = np.hypot(*found[:2]) <= RIGHT_M
                    right, wrong = right + near, wrong + (not near)
            row |= {f'{name}: found': int(right), f'{name}: wrong': int(wrong)}
        yield row


def office_keyframes(folder: Path, places: PlaceRecognizer) -> tuple[list[Keyframe], np.ndarray]:
    """Described frames, without odometry, and their (n, 4, 4) true poses, camera to world."""
    keyframes = [places.describe(replace(frame, pose=None)) for frame, _ in image_frames(folder / 'images')]
    return keyframes, np.stack([to_matrix(pose) for pose in true_poses(folder).values()])


def in_office(folder: Path) -> Iterator[dict[str, object]]:
    """A row for each range of angles."""
    places = PlaceRecognizer('classic')
    keyframes, poses = office_keyframes(folder, places)
    looks = poses[:, :3, 2]
    counts = {low: [0, 0, 0] for low in BINS[:-1]}
    for number, keyframe in enumerate(keyframes):
        if number >= APART:
            places.add(keyframes[number - APART])
        away = np.linalg.norm(poses[:max(0, number - APART + 1), :3, 3] - poses[number, :3, 3], axis=1)
        near = np.flatnonzero(away <= NEAR_M)
        if not len(near):
            continue
        angle = np.degrees(np.arccos((looks[near] @ looks[number]).max().clip(-1, 1)))
        tally = counts[max(low for low in BINS[:-1] if low <= angle)]
        answer = places.recognize(keyframe, independent=True)
        tally[0] += 1
        if answer.status == Status.MATCHED:
            tally[1 if away[answer.candidates[0].entry] <= RIGHT_M else 2] += 1
    for low, high in zip(BINS, BINS[1:]):
        asked, right, wrong = counts[low]
        yield {'turned by': f'{low} to {high}', 'asked': asked, 'found': right, 'wrong': wrong}


def as_markdown(results: dict, where: dict) -> str:
    """The page."""
    lines = heading('The same place in another direction', 'other_directions.py', where,
                    'Preset classic, each query for itself; angles in degrees.')
    for title, rows in results.items():
        lines += [f'## {title}', '', *table(rows[0], (row.values() for row in rows)), '']
    return '\n'.join(lines)


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument('data', type=Path, help='folder of the image sets')
    args = parser.parse_args()
    results, where = {'building': list(in_building()),
                      'hololens_office': list(in_office(args.data / 'hololens_office'))}, machine('cpu')
    write_results('other_directions', where, results, as_markdown(results, where))


if __name__ == '__main__':
    main()
