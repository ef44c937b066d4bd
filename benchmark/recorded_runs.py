"""Runs: the keyframes of a drive with what is known to be true of them, described once and kept as maps."""
from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.description.describer import Describer
from segvlad_ros.evaluation.truth import as_given
from segvlad_ros.geometry import PoseHistory, from_matrix, identity, to_matrix
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.simulation.robot import SimulatedRobot, stamp_ns
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Frame, Keyframe, Keypoints, Pose

RATE_HZ = 5.0  # of the real sets, which have no stamps
ABOUT_FACE = np.diag([-1.0, -1.0, 1.0, 1.0])  # half a turn on the spot
Run = list[tuple[Keyframe, Pose | Path]]
"""Keyframes with their true pose, or the image whose truth a file knows."""


class Recorder:
    """Describes images once and keeps them as maps.

    :param preset: None takes what has been described with any, and describes nothing
    :param folder: of the maps
    :param build: makes the describer of the preset
    """

    def __init__(self, preset: Preset | None, folder: Path,
                 build: Callable[[Preset], Describer] = build_describer) -> None:
        self._preset, self._folder, self._build, self._describer = preset, folder, build, None
        self._fingerprint = preset and preset.fingerprint()

    def can_give(self, *names: str) -> bool:
        """Whether these runs have been described, or can be."""
        return self._preset is not None or all((self._folder / f'{name}.segvlad').is_file() for name in names)

    def keyframes(self, name: str, frames: Iterable[tuple[Frame, Pose | None]], session: str) -> Run:
        """Keyframes with the true poses that came with them, described now or before."""
        path = self._folder / f'{name}.segvlad'
        if self._preset is not None and not path.is_file():
            self._describe(path, frames, session)
        arrays = dict(np.load(path.with_suffix('.npz')))
        with PlaceMap.open(path, read_only=True, fingerprint=self._fingerprint) as place_map:
            keyframes = [with_arrays(keyframe, arrays, f'{keyframe.id.index}/') for keyframe in place_map.keyframes()]
        return [(keyframe, Pose(row[:3], row[3:], 'truth')) for keyframe in keyframes
                for row in [arrays[str(keyframe.id.index)]]]

    def _describe(self, path: Path, frames: Iterable[tuple[Frame, Pose | None]], session: str) -> None:
        print(f'describing {path.stem}', flush=True)
        self._describer = self._describer or self._build(self._preset)
        unfinished, arrays = path.with_suffix('.unfinished'), {}
        unfinished.unlink(missing_ok=True)
        with PlaceMap.create(unfinished, self._fingerprint, self._describer.dimension) as place_map:
            mapper = Mapper(self._describer, session_id=session)
            for frame, pose in frames:
                keyframe = mapper.process(frame)
                if not keyframe.description.rejected:
                    place_map.append(keyframe)
                    arrays |= arrays_of(keyframe, f'{keyframe.id.index}/')
                known = pose or identity()
                arrays[str(keyframe.id.index)] = np.concatenate([known.translation, known.quaternion])
        np.savez(path.with_suffix('.npz'), **arrays)
        unfinished.rename(path)


def arrays_of(keyframe: Keyframe, prefix: str = '') -> dict[str, np.ndarray]:
    """What a map keeps in fewer bits, by names that begin alike: a query comes from the camera, not from a map."""
    points = keyframe.description.keypoints
    kept = {'rows': keyframe.description.descriptors} | ({} if points is None else vars(points))
    return {prefix + name: array for name, array in kept.items()}


def with_arrays(keyframe: Keyframe, arrays: Mapping[str, np.ndarray], prefix: str = '') -> Keyframe:
    """The keyframe with its :func:`arrays_of`, where they are there: maps of format 1 hold them themselves."""
    if f'{prefix}rows' not in arrays:
        return keyframe
    points = keyframe.description.keypoints and Keypoints(**{
        field.name: arrays[prefix + field.name] for field in fields(Keypoints)})
    return replace(keyframe, description=replace(keyframe.description, descriptors=arrays[f'{prefix}rows'],
                                                 keypoints=points))


def simulated_frames(scenario: str, *, turned: bool = False, **changes) -> Iterator[tuple[Frame, Pose]]:
    """The images that become keyframes, as a bag would bring them, with their true poses.

    :param turned: the robot looks the other way at each place, and its odometry knows it
    """
    robot = SimulatedRobot(load_scenario(scenario, **changes))
    odometry, gate = PoseHistory(), KeyframeGate()
    for stamp, reported, _ in robot.poses():
        odometry.add(stamp, from_matrix(to_matrix(reported) @ ABOUT_FACE, reported.frame) if turned else reported)
    for number in range(robot.image_count):
        seconds = number / robot.scenario.image_rate_hz
        pose = odometry.at(stamp_ns(seconds))
        if gate.check(stamp_ns(seconds), pose).accept:
            (x, y, yaw), _ = robot.drive.at(seconds)
            frame = robot.place(x, y, yaw + np.pi, number) if turned else robot.frame(number)
            jpeg = cv2.imencode('.jpg', cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            rgb = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            yield replace(frame, rgb=rgb, depth=np.round(frame.depth * 1000) / 1000, pose=pose), frame.pose


def image_frames(images: Path) -> Iterator[tuple[Frame, None]]:
    """A folder of images at a constant rate, with depth, intrinsics and poses where the folder above has them."""
    camera, folder = None, images.parent
    poses = list(true_poses(folder).values()) if (folder / 'poses.csv').is_file() else []
    for number, path in enumerate(list_images(images)):
        rgb, depth = read_image(path), None
        if poses:
            camera = CameraModel(rgb.shape[1], rgb.shape[0], np.loadtxt(folder / 'K.txt'), np.zeros(0))
            depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED) / np.float32(1000)
            depth[depth == 0] = np.nan
        yield Frame(rgb, round((number + 1) * 1e9 / RATE_HZ), pose=poses[number] if poses else None, depth=depth,
                    camera_model=camera, base_from_camera=identity('base_link') if camera else None), None


def true_poses(folder: Path) -> dict[Path, Pose]:
    """The camera's pose of each image of a set, by its path, in order."""
    poses = {}
    with (folder / 'poses.csv').open() as file:
        for row in csv.DictReader(file):
            values = np.array([float(row[key]) for key in ('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')])
            poses[as_given(folder / row['image'])] = Pose(values[:3], values[3:], 'world')
    return poses


def without(run: Run, *, odometry: bool = False, camera: bool = False, keypoints: bool = False) -> Run:
    """A run as a robot without odometry, without depth and calibration, or without keypoints would know it."""
    def bare(keyframe: Keyframe) -> Keyframe:
        place, points = keyframe.description, keyframe.description.keypoints
        if odometry:
            keyframe = replace(keyframe, pose=None)
        if camera:
            unknown = Keypoints(points.positions, points.descriptors, np.full_like(points.depths, np.nan))
            keyframe = replace(keyframe, description=replace(place, keypoints=unknown), camera_model=None)
        if keypoints:
            keyframe = replace(keyframe, description=replace(place, keypoints=None))
        return keyframe

    return [(bare(keyframe), truth) for keyframe, truth in run]
