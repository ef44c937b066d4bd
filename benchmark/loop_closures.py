"""How good the accepted matches are, stage by stage, with the shipped defaults and one configuration for all sets.

    python benchmark/loop_closures.py --data ../shared/data --work /tmp/loops [--seeds 20]

writes results/loop_closures.{json,md}, and WORK/hololens_closures.npz for pose_graph_drift.py. Images are described
once, into maps under --work; 20 seeds of the simulated conditions take an hour on two cores. The sets:

- rtabmap_corridor_loop: neither intrinsics nor odometry;
- hololens_office: depth, intrinsics, and the device's own poses as odometry; without odometry; images only;
- loop: a second lap in other light, beside the first one; back: the way back in reverse gear;
- other day: a map of one run, localised in on another day, in other light and in reverse gear;
- carried: 20 times somewhere else in a building whose map is known, on other days and without a pose guess;
- twins: two corridors that share more than four fifths of their textured area, one driven long after the other.
"""
from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.evaluation.benchmark.measure import machine
from segvlad_ros.evaluation.metrics import Outcome, clopper_pearson, decision_metrics
from segvlad_ros.evaluation.truth import PlaceTruth, read_truth, truth_of_pose
from segvlad_ros.io.geometry import PoseHistory, distance, identity, relative, rotation_angle, to_matrix
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import Preset, build_describer, build_recognizer, load_preset
from segvlad_ros.simulation.robot import SimulatedRobot, stamp_ns
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Frame, Keyframe, Keypoints, Pose, Status

RESULTS = Path(__file__).resolve().parent / 'results'
RATE_HZ = 5.0  # of the real sets, which have no stamps
PLACEMENTS, PLACEMENT_KEYFRAMES, PLACEMENT_RANGE_M = 20, 5, 32.0
Run = list[tuple[Keyframe, Pose | Path]]
"""Keyframes with their true pose, or the image whose truth a file knows."""


@dataclass(frozen=True)
class Trial:
    """Queries in order, and what they are compared with.

    :ivar known: a map to begin with; empty: the queries themselves become the map
    :ivar truth: of the images, where poses do not tell
    :ivar exclude_frames: younger keyframes are left out, in place of the preset's window
    """

    queries: Run
    known: Run = ()
    truth: dict[Path, PlaceTruth] | None = None
    exclude_frames: int = 0


class Recorder:
    """Describes images once and keeps them as maps.

    :param folder: of the maps
    """

    def __init__(self, preset: Preset, folder: Path) -> None:
        self._preset, self._folder, self._describer = preset, folder, None
        self._fingerprint = preset.fingerprint()

    def keyframes(self, name: str, frames: Iterable[tuple[Frame, Pose | None]], session: str) -> list:
        """Keyframes with the true poses that came with them, described now or before."""
        path = self._folder / f'{name}.segvlad'
        if not path.is_file():
            self._describe(path, frames, session)
        with PlaceMap.open(path, read_only=True, fingerprint=self._fingerprint) as place_map:
            keyframes = list(place_map.keyframes())
        truth = dict(np.load(path.with_suffix('.npz')))
        return [(keyframe, Pose(row[:3], row[3:], 'truth')) for keyframe in keyframes
                for row in [truth[str(keyframe.id.index)]]]

    def _describe(self, path: Path, frames: Iterable[tuple[Frame, Pose | None]], session: str) -> None:
        print(f'describing {path.stem}', flush=True)
        self._describer = self._describer or build_describer(self._preset)
        unfinished, truth = path.with_suffix('.unfinished'), {}
        unfinished.unlink(missing_ok=True)
        with PlaceMap.create(unfinished, self._fingerprint, self._describer.dimension) as place_map:
            mapper = Mapper(self._describer, None, place_map, session_id=session)
            for frame, pose in frames:
                keyframe = mapper.process(frame).keyframe
                known = pose or identity()
                truth[str(keyframe.id.index)] = np.concatenate([known.translation, known.quaternion])
        np.savez(path.with_suffix('.npz'), **truth)
        unfinished.rename(path)


def simulated_frames(scenario: str, **changes) -> Iterator[tuple[Frame, Pose]]:
    """The images that become keyframes, as a bag would bring them, with their true poses."""
    robot = SimulatedRobot(load_scenario(scenario, **changes))
    odometry, gate = PoseHistory(), KeyframeGate()
    for stamp, reported, _ in robot.poses():
        odometry.add(stamp, reported)
    for number in range(robot.image_count):
        stamp = stamp_ns(number / robot.scenario.image_rate_hz)
        pose = odometry.at(stamp)
        if gate.check(stamp, pose).accept:
            frame = robot.frame(number)
            jpeg = cv2.imencode('.jpg', cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            rgb = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            yield replace(frame, rgb=rgb, depth=np.round(frame.depth * 1000) / 1000, pose=pose), frame.pose


def image_frames(folder: Path) -> Iterator[tuple[Frame, None]]:
    """A folder of images at a constant rate, with depth, intrinsics and poses where it has them."""
    poses, camera = [], None
    if (folder / 'poses.csv').is_file():
        with (folder / 'poses.csv').open() as file:
            for row in csv.DictReader(file):
                values = np.array([float(row[key]) for key in ('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')])
                poses.append(Pose(values[:3], values[3:], 'world'))
    for number, path in enumerate(list_images(folder / 'images')):
        rgb, depth = read_image(path), None
        if poses:
            camera = CameraModel(rgb.shape[1], rgb.shape[0], np.loadtxt(folder / 'K.txt'), np.zeros(0))
            depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED) / np.float32(1000)
            depth[depth == 0] = np.nan
        yield Frame(rgb, round((number + 1) * 1e9 / RATE_HZ), pose=poses[number] if poses else None, depth=depth,
                    camera_model=camera, base_from_camera=identity('base_link') if camera else None), None


def without(run: Run, *, odometry: bool = False, camera: bool = False) -> Run:
    """A run as a robot without odometry, or without depth and calibration, would know it."""
    def bare(keyframe: Keyframe) -> Keyframe:
        if odometry:
            keyframe = replace(keyframe, pose=None)
        if camera:
            place, points = keyframe.description, keyframe.description.keypoints
            unknown = Keypoints(points.positions, points.descriptors, np.full_like(points.depths, np.nan))
            keyframe = replace(keyframe, description=replace(place, keypoints=unknown), camera_model=None)
        return keyframe

    return [(bare(keyframe), truth) for keyframe, truth in run]


def real_trials(recorder: Recorder, data: Path) -> Iterator[tuple[str, Trial]]:
    """The real sets."""
    for name, exclude in (('rtabmap_corridor_loop', 10), ('hololens_office', 40)):
        folder = data / name
        described = recorder.keyframes(name, image_frames(folder), name)
        images = list_images(folder / 'images')
        run = [(keyframe, images[keyframe.id.index - 1].resolve()) for keyframe, _ in described]
        truth = read_truth(folder / 'loop_truth.csv')
        yield name, Trial(run, truth=truth, exclude_frames=exclude)
        if name == 'hololens_office':
            yield f'{name}, no odometry', Trial(without(run, odometry=True), truth=truth, exclude_frames=exclude)
            yield (f'{name}, images only',
                   Trial(without(run, odometry=True, camera=True), truth=truth, exclude_frames=exclude))


def simulated_trials(recorder: Recorder, seed: int) -> Iterator[tuple[str, Trial]]:
    """The simulated conditions of one seed."""
    def run(name: str, scenario: str, session: str, **changes) -> Run:
        return recorder.keyframes(f'{name}_{seed}', simulated_frames(scenario, seed=seed, **changes), session)

    yield 'simulated: loop', Trial(run('loop', 'demo', 'a'))
    yield 'simulated: back', Trial(run('back', 'demo', 'a', route='back'))
    yield 'simulated: other day', Trial(run('rev', 'demo', 'b', route='lap', reverse=True, run=1),
                                        run('lap', 'demo', 'a', route='lap'))
    yield 'simulated: twins', Trial(run('twins', 'aliasing', 'a'))


def stages(preset: Preset) -> dict[str, Preset]:
    """The shipped decision, built up stage by stage."""
    full = preset.decision
    anything = replace(preset.odometry, heading_drift_deg_per_m=1e6, position_drift=1e6)
    retrieval = replace(preset, decision=replace(full, max_ambiguity=np.inf, agreement=1),
                        geometry=replace(preset.geometry, candidates=0), odometry=anything)
    ambiguity = replace(retrieval, decision=replace(full, agreement=1))
    in_time = replace(preset, geometry=replace(preset.geometry, candidates=0))
    return {'retrieval': retrieval, '+ ambiguity': ambiguity, '+ time': in_time, '+ geometry': preset}


def answer(trial: Trial, preset: Preset) -> tuple[list[Outcome], list[tuple[float, float]], list[float]]:
    """Drive through a trial.

    :return: outcomes; errors (metres, degrees) of the metric poses of true matches; seconds of each decision
    """
    recognizer, poses = build_recognizer(preset, trial.queries[0][0].description.descriptors.shape[1]), []
    outcomes, errors, seconds = [], [], []
    for keyframe, pose in trial.known:
        recognizer.add(keyframe)
        poses.append(pose)
    own = not trial.known
    for keyframe, pose in trial.queries:
        usable = ~recognizer.excluded(keyframe, own and not trial.exclude_frames, trial.exclude_frames)
        place = _place(trial, pose, poses, usable)
        begin = time.perf_counter()
        found = recognizer.recognize(keyframe, exclude_recent=own and not trial.exclude_frames,
                                     exclude_frames=trial.exclude_frames)
        seconds.append(found.timings.get('decision', time.perf_counter() - begin))
        if place is not None:
            outcomes.append(Outcome(f'{keyframe.id.index:05d}', found, place))
            if found.status == Status.MATCHED and found.candidates[0].query_pose_in_match and isinstance(pose, Pose):
                measured = found.candidates[0].query_pose_in_match
                true = relative(poses[found.candidates[0].entry], pose)
                errors.append((distance(measured, true), float(np.degrees(rotation_angle(measured, true)))))
        if own:
            recognizer.add(keyframe)
            poses.append(pose)
    return outcomes, errors, seconds


def _place(trial: Trial, pose: Pose | Path, poses: list, usable: np.ndarray) -> PlaceTruth | None:
    if isinstance(pose, Pose):
        return truth_of_pose(pose, poses, usable)
    if pose not in trial.truth:
        return None
    place = trial.truth[pose]
    return PlaceTruth(frozenset(i for i, image in enumerate(poses) if image in place.true),
                      frozenset(i for i, image in enumerate(poses) if image in place.ignored))


def summary(outcomes: list[Outcome], errors: list[tuple[float, float]], seconds: list[float]) -> dict:
    """The numbers of one condition and stage."""
    numbers = decision_metrics(outcomes)
    numbers['queries'] = len(outcomes)
    numbers['revisits'] = sum(bool(outcome.truth.true) for outcome in outcomes)
    numbers['false'] = [outcome.query for outcome in outcomes if outcome.accepted is False]
    numbers['metric'] = sum(outcome.recognition.candidates[0].query_pose_in_match is not None
                            for outcome in outcomes if outcome.recognition.status == Status.MATCHED)
    if errors:
        numbers['pose_error_m'], numbers['pose_error_deg'] = np.median(np.array(errors), axis=0).tolist()
    numbers['decision_ms'] = {'p50': 1e3 * float(np.percentile(seconds, 50)),
                              'p95': 1e3 * float(np.percentile(seconds, 95))}
    return numbers


def save_closures(outcomes: list[Outcome], path: Path) -> None:
    """The metric matches of hololens_office as pose_graph_drift.py reads them: image k at 1 s + 0.2 s k."""
    found = [(int(outcome.query), outcome.recognition.candidates[0]) for outcome in outcomes
             if outcome.recognition.status == Status.MATCHED and outcome.recognition.candidates[0].query_pose_in_match]
    def stamps(numbers: Iterable[int]) -> np.ndarray:
        return np.array([round(1e9 + (number - 1) * 1e9 / RATE_HZ) for number in numbers])
    poses = [candidate.query_pose_in_match for _, candidate in found]
    np.savez(path, match_stamps_ns=stamps(candidate.id.index for _, candidate in found),
             query_stamps_ns=stamps(number for number, _ in found),
             query_poses_in_match=np.array([to_matrix(pose) for pose in poses]),
             covariances=np.array([pose.covariance for pose in poses]))


def measure(recorder: Recorder, preset: Preset, data: Path, seeds: list[int], closures: Path) -> dict[str, dict]:
    """Conditions by name, stages by name.

    :param closures: where the metric matches of hololens_office go
    """
    books: dict[str, dict[str, list]] = {}
    trials = [real_trials(recorder, data), *(simulated_trials(recorder, seed) for seed in seeds)]
    for name, trial in (item for group in trials for item in group):
        for stage, settings in stages(preset).items():
            kept = books.setdefault(name, {}).setdefault(stage, [[], [], []])
            for book, more in zip(kept, answer(trial, settings)):
                book.extend(more)
        print(name, dict(Counter(outcome.accepted for outcome in books[name]['+ geometry'][0])), flush=True)
    save_closures(books['hololens_office']['+ geometry'][0], closures)
    return {name: {stage: summary(*kept) for stage, kept in by_stage.items()} for name, by_stage in books.items()}


def carried(recorder: Recorder, preset: Preset, seed: int) -> dict:
    """Put the robot down at 20 places of a known building: when does it know where it is?"""
    known = recorder.keyframes(f'lap_{seed}', simulated_frames('demo', seed=seed, route='lap'), 'a')
    places = np.random.default_rng(seed).uniform(0, PLACEMENT_RANGE_M, PLACEMENTS)
    needed, wrong = [], 0
    for number, start_m in enumerate(places, 1):
        frames = simulated_frames('demo', seed=seed, route='lap', run=number, start_m=float(start_m))
        run = recorder.keyframes(f'carried_{seed}_{number}', islice(frames, PLACEMENT_KEYFRAMES), f'k{number}')
        outcomes = answer(Trial(run, known), preset)[0]
        wrong += any(outcome.accepted is False for outcome in outcomes)
        needed.append(next((count for count, outcome in enumerate(outcomes, 1) if outcome.accepted), None))
    return {'placements': PLACEMENTS, 'relocalized': sum(count is not None for count in needed), 'wrong': wrong,
            'keyframes_needed': needed}


def as_markdown(results: dict[str, dict], where: dict, seeds: list[int], relocalization: dict) -> str:
    """One row a condition and stage."""
    lines = ['# Accepted matches, stage by stage', '', f'Written by `benchmark/loop_closures.py` on {where}. Preset '
             f'`classic` as shipped; simulated seeds {seeds[0]}-{seeds[-1]}. Bounds: Clopper-Pearson, 95 %. A match is '
             'true within 1 m and 40 degrees, false beyond 2 m or 60 degrees, and counts neither way between.', '',
             '| set | stage | revisits | accepted | false | precision | recall | metric | pose error (median) '
             '| decision ms p50 / p95 |', '|---|---|---|---|---|---|---|---|---|---|']
    for name, by_stage in results.items():
        for stage, row in by_stage.items():
            rates = [f'{row[key]:.3f} ({row[f"{key}_bounds"][0]:.3f}-{row[f"{key}_bounds"][1]:.3f})'
                     if row[key] is not None else '-' for key in ('precision', 'recall')]
            error = (f'{100 * row["pose_error_m"]:.1f} cm, {row["pose_error_deg"]:.2f} deg' if 'pose_error_m' in row
                     else '-')
            counts = ' | '.join(str(value) for value in (row['revisits'], row['accepted'], len(row['false'])))
            spent = ' / '.join(f'{row["decision_ms"][key]:.0f}' for key in ('p50', 'p95'))
            lines.append(f'| {name} | {stage} | {counts} | {rates[0]} | {rates[1]} | {row["metric"]} | {error} '
                         f'| {spent} |')
    simulated = [row['+ geometry'] for name, row in results.items() if name.startswith('simulated')]
    if simulated:
        false, accepted = (sum(values) for values in ([len(row['false']) for row in simulated],
                                                      [row['accepted'] for row in simulated]))
        lines += ['', f'All simulated conditions together: {false} false of {accepted} accepted; the rate of false '
                  f'matches is below {clopper_pearson(false, accepted)[1]:.4f} with 97.5 % confidence.']
    lines += ['', f'Carried elsewhere: {relocalization["relocalized"]} of {relocalization["placements"]} times it knew '
              f'where it was within {PLACEMENT_KEYFRAMES} keyframes; {relocalization["wrong"]} times it was wrong.']
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--seeds', type=int, default=20)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    preset = load_preset('classic')
    seeds = list(load_scenario('aliasing').trial_seeds[:arguments.seeds])
    recorder, where = Recorder(preset, arguments.work), machine('cpu')
    relocalization = carried(recorder, preset, seeds[0])
    print('carried', relocalization, flush=True)
    results = measure(recorder, preset, arguments.data, seeds, arguments.work / 'hololens_closures.npz')
    (RESULTS / 'loop_closures.json').write_text(json.dumps(
        {'machine': where, 'seeds': seeds, 'sets': results, 'carried': relocalization}, indent=1) + '\n')
    (RESULTS / 'loop_closures.md').write_text(as_markdown(results, where, seeds, relocalization))


if __name__ == '__main__':
    main()
