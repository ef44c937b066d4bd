"""Drives that benchmarks measure on: real sets and simulated conditions, described once, and played to a recogniser.

Real sets: corridor (images to be found one by one in a map), rtabmap_corridor_loop (neither intrinsics nor odometry),
hololens_office (depth, intrinsics, and the device's own poses as odometry; without odometry; images only).
Simulated conditions of a seed: *loop*, a second lap in other light, beside the first; *back*, the way back in reverse
gear; *other day*, a map of one run, localised in on another day, in other light and in reverse gear; *twins*, two
corridors that share more than four fifths of their textured area, one driven long after the other; *street*, 300 m
straight on, where nothing comes twice, with odometry and depth, by images only, and without keypoints.
"""
from __future__ import annotations

import csv
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.description.describer import Describer
from segvlad_ros.evaluation.measured import top_k
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, as_given, read_truth, truth_of_pose
from segvlad_ros.geometry import PoseHistory, distance, from_matrix, identity, relative, rotation_angle, to_matrix
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_describer, build_recognizer
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.simulation.robot import SimulatedRobot, stamp_ns
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Frame, Keyframe, Keypoints, Pose, Status

REAL_SETS = 'corridor', 'rtabmap_corridor_loop', 'hololens_office'
RATE_HZ = 5.0  # of the real sets, which have no stamps
ABOUT_FACE = np.diag([-1.0, -1.0, 1.0, 1.0])  # half a turn on the spot
Run = list[tuple[Keyframe, Pose | Path]]
"""Keyframes with their true pose, or the image whose truth a file knows."""


Truth = Callable[[Pose | Path, list, np.ndarray], PlaceTruth | None]
"""(where a query was taken, where the map entries were, which were searched) -> the truth; None: it is no query."""


@dataclass(frozen=True)
class Trial:
    """Queries in order, and what they are compared with.

    :ivar truths: by name; of several the last ignores what shows the same from further back
    :ivar known: a map to begin with; empty: the queries themselves become the map
    :ivar exclude_frames: younger keyframes are left out, in place of the preset's window
    :ivar single: every query is asked for itself
    """

    queries: Run
    truths: dict[str, Truth]
    known: Run = ()
    exclude_frames: int = 0
    single: bool = False

    def seen(self, **changes: bool) -> Trial:
        """The same drive of a robot with less: see :func:`without`."""
        return replace(self, queries=without(self.queries, **changes), known=without(self.known, **changes))


@dataclass(frozen=True)
class Played:
    """The answers to a trial.

    :ivar by_truth: one outcome a query that counts, by name of the truth
    :ivar errors: (metres, degrees) of the metric poses of matches, where true poses are known
    :ivar seconds: of each answer, without the search
    """

    by_truth: dict[str, list[Outcome]]
    errors: list[tuple[float, float]]
    seconds: list[float]

    @property
    def outcomes(self) -> list[Outcome]:
        """By the last truth."""
        return list(self.by_truth.values())[-1]


def by_poses() -> dict[str, Truth]:
    """Truths that true poses know: beyond 2 m, or 3.5 m, a match is false."""
    return {'near': partial(truth_of_pose, limits=PoseLimits(ignored_distance_m=2.0)), 'far': truth_of_pose}


def by_files(folder: Path, *names: str) -> dict[str, Truth]:
    """Truths that ground-truth files know.

    :param names: of the files, without ending
    """
    def truth_of(path: Path) -> Truth:
        truth = read_truth(path)
        return lambda image, entries, usable: truth[image].in_entries(entries, usable) if image in truth else None

    return {name: truth_of(folder / f'{name}.csv') for name in names}


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


def real_trials(recorder: Recorder, data: Path, names: Collection[str] = REAL_SETS) -> Iterator[tuple[str, Trial]]:
    """The real sets.

    :param names: of those that are wanted
    """
    corridor, loop, office = (data / name for name in REAL_SETS)
    if corridor.name in names:
        queries, known = (_with_images(recorder, corridor / part, f'corridor_{part}') for part in ('query', 'ref'))
        yield corridor.name, Trial(queries, by_files(corridor, 'ground_truth', 'place_truth'), known, single=True)
    if loop.name in names:
        yield loop.name, Trial(_with_images(recorder, loop / 'images', loop.name), by_files(loop, 'loop_truth'),
                               exclude_frames=10)
    if office.name not in names:
        return
    whole = Trial(_with_images(recorder, office / 'images', office.name),
                  by_files(office, 'loop_truth', 'place_truth'), exclude_frames=40)
    yield office.name, whole
    yield f'{office.name}, no odometry', whole.seen(odometry=True)
    yield f'{office.name}, images only', whole.seen(odometry=True, camera=True)


def _with_images(recorder: Recorder, folder: Path, name: str) -> Run:
    """The keyframes of a folder of images, each with its image, by which its truth is known."""
    images = list_images(folder)
    return [(keyframe, as_given(images[keyframe.id.index - 1]))
            for keyframe, _ in recorder.keyframes(name, image_frames(folder), name)]


# Of each simulated run the scenario, the session, and what differs from the scenario.
RUNS = {'loop': ('demo', 'a', {}), 'back': ('demo', 'a', {'route': 'back'}), 'lap': ('demo', 'a', {'route': 'lap'}),
        'rev': ('demo', 'b', {'route': 'lap', 'reverse': True, 'run': 1}), 'twins': ('aliasing', 'a', {}),
        'street': ('street', 'a', {})}
# Of each simulated condition the queries, and the map where it is another run.
CONDITIONS = {'loop': ('loop',), 'back': ('back',), 'other day': ('rev', 'lap'), 'twins': ('twins',)}


def simulated_run(recorder: Recorder, name: str, seed: int) -> Run:
    """One of :data:`RUNS`."""
    scenario, session, changes = RUNS[name]
    return recorder.keyframes(f'{name}_{seed}', simulated_frames(scenario, seed=seed, **changes), session)


def simulated_trials(recorder: Recorder, seed: int) -> Iterator[tuple[str, Trial]]:
    """The simulated conditions of one seed."""
    for title, names in CONDITIONS.items():
        if recorder.can_give(*(f'{name}_{seed}' for name in names)):
            queries, *known = (simulated_run(recorder, name, seed) for name in names)
            yield f'simulated: {title}', Trial(queries, by_poses(), *known)


def street_trials(recorder: Recorder, seed: int) -> Iterator[tuple[str, Trial]]:
    """A simulated street: no match is right. Without keypoints geometry cannot tell, as in tiny or bare images."""
    if recorder.can_give(f'street_{seed}'):
        street = Trial(simulated_run(recorder, 'street', seed), by_poses())
        yield 'simulated: street', street
        yield 'simulated: street, images only', street.seen(odometry=True, camera=True)
        yield 'simulated: street, no keypoints', street.seen(odometry=True, camera=True, keypoints=True)


def play(trial: Trial, preset: Preset, *, ranked: bool = False,
         stored: Callable[[Keyframe], Keyframe] = lambda keyframe: keyframe) -> Played:
    """Drive through a trial.

    :param ranked: ask for as many candidates as recall@10 needs
    :param stored: what the map keeps of a keyframe; queries are as they were described
    """
    recognizer = build_recognizer(preset)
    for keyframe, _ in trial.known:
        recognizer.add(stored(keyframe))
    places, own = [where for _, where in trial.known], not trial.known
    window = {'exclude_recent': own and not trial.exclude_frames, 'exclude_frames': trial.exclude_frames}
    played = Played({name: [] for name in trial.truths}, [], [])
    for keyframe, where in trial.queries:
        usable = ~recognizer.excluded(keyframe, *window.values())
        truths = {name: place for name, of in trial.truths.items()
                  if (place := of(where, places, usable)) is not None}
        wanted = {'top_k': top_k(max((len(place.ignored) for place in truths.values()), default=0))} if ranked else {}
        begin = time.perf_counter()
        answer = recognizer.recognize(keyframe, independent=trial.single, **window, **wanted)
        played.seconds.append(time.perf_counter() - begin - answer.timings.get('search', 0.0))
        for name, place in truths.items():
            played.by_truth[name].append(Outcome(f'{keyframe.id.index:05d}', answer, place))
        if answer.status == Status.MATCHED and isinstance(where, Pose):
            best = answer.candidates[0]
            claimed, true = best.query_pose_in_match, relative(places[best.entry], where)
            if claimed is not None:
                played.errors.append((distance(claimed, true), float(np.degrees(rotation_angle(claimed, true)))))
        if own:
            recognizer.add(stored(keyframe))
            places.append(where)
    return played
