"""Learns the calibration of the ``classic`` preset, and measures it on what it was not learned from.

    python benchmark/calibration.py [--data DATA] [--described FOLDER] [--processes N]

writes config/classic/calibration.json and results/calibration.{json,md} with the reliability diagrams
results/calibration_*.svg. Real sets: rtabmap_corridor_loop and hololens_office (with depth and poses), both online as a
robot asks, and corridor, one traverse asked about the other. Simulated worlds: every seed gives four runs, see
:data:`RUNS`. Describing all of it takes an hour or more; FOLDER keeps the described keyframes (pickles of this script's
own; open nobody else's).

Left out: each real set and the simulation in turn is judged by a calibration learned from the others. Held out: the
shipped calibration, judged on simulated worlds whose seeds it has never seen.
"""
from __future__ import annotations

import argparse
import csv
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.evaluation.benchmark.measure import machine
from segvlad_ros.evaluation.calibration import BINS, BLOCK, Samples, fit_calibration, reliability, samples_of, trust
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.reliability import diagram
from segvlad_ros.evaluation.truth import PlaceTruth, read_truth, truth_of_pose
from segvlad_ros.io.geometry import PoseHistory, identity
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.mapping.keyframes import GateSettings, KeyframeGate
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import build_describer, config_directory, load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.recognition.calibration import Calibration
from segvlad_ros.simulation.recording import JPEG_QUALITY
from segvlad_ros.simulation.robot import SimulatedRobot, stamp_ns
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Frame, Keyframe, Pose

HERE = Path(__file__).resolve().parent
RESULTS = HERE / 'results'
LEARN_SEEDS = range(101, 106)
HELD_OUT_SEEDS = range(106, 114)
SINGLE_SEEDS = range(106, 110)
PRESET = 'classic'
SIMULATION = 'simulation'
COLUMNS = ('set', 'queries', 'true', 'Brier', 'Brier skill', 'log loss', 'ECE', 'asked for')
MIN_SKILL, MAX_ERROR, MIN_HELD_OUT = 0.3, 0.05, 2000  # what is asked for

Described = list[tuple[Keyframe, Path | Pose]]
"""Keyframes in order, each with its file or its true pose."""


@dataclass(frozen=True)
class Run:
    """One drive, asked about.

    :ivar queries: name of the described keyframes
    :ivar references: likewise, of a map that is there before; '' asks about the run's own past
    :ivar truth: ground-truth CSV below the data folder; '' where keyframes have true poses
    :ivar exclude_frames: last keyframes that are left out; 0 leaves out what the preset calls recent
    :ivar single: every query is asked for itself, without those before it and without odometry
    """

    queries: str
    references: str = ''
    truth: str = ''
    exclude_frames: int = 0
    single: bool = False


REAL = {
    'rtabmap_corridor_loop': Run('rtabmap', truth='rtabmap_corridor_loop/loop_truth.csv', exclude_frames=10),
    'hololens_office': Run('hololens', truth='hololens_office/loop_truth.csv', exclude_frames=40),
    'corridor': Run('corridor_query', 'corridor_ref', 'corridor/ground_truth.csv'),
}
# Drives of one simulated world: a loop, the way back in reverse gear, look-alike corridors, and a map that is driven
# through backwards in another light.
RUNS = {'loop': Run('loop_{}'), 'back': Run('back_{}'), 'twins': Run('twins_{}'), 'rev': Run('rev_{}', 'lap_{}')}
PICTURED = [('held out', 'all'), *(('left out', name) for name in (*REAL, SIMULATION))]
SCENARIOS = {
    'loop': ('demo', 'a', {}), 'back': ('demo', 'a', {'route': 'back'}), 'twins': ('aliasing', 'a', {}),
    'lap': ('demo', 'a', {'route': 'lap'}), 'rev': ('demo', 'b', {'route': 'lap', 'reverse': True, 'run': 1}),
}


def described(name: str, data: Path, folder: Path | None) -> Described:
    """The keyframes of one drive, described or from the folder.

    :param folder: keeps them; None: nothing is kept
    """
    path = None if folder is None else folder / f'{name}.pkl'
    if path is not None and path.exists():
        return pickle.loads(path.read_bytes())
    describer = build_describer(load_preset(PRESET))
    kind, _, seed = name.partition('_')
    frames, session = _real_frames(name, data), 's'
    if kind in SCENARIOS:
        scenario, session, changes = SCENARIOS[kind]
        frames = _simulated_frames(SimulatedRobot(load_scenario(scenario, seed=int(seed), **changes)))
    mapper = Mapper(describer, session_id=session)
    keyframes = [(mapper.make_keyframe(frame), truth) for frame, truth in frames]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(keyframes))
    return keyframes


def _real_frames(name: str, data: Path) -> Iterator[tuple[Frame, Path]]:
    folder = data / {'rtabmap': 'rtabmap_corridor_loop/images', 'hololens': 'hololens_office/images',
                     'corridor_ref': 'corridor/ref', 'corridor_query': 'corridor/query'}.get(name, name)
    rate_hz = 5.0 if name == 'hololens' else 1.0
    sense = _depth_camera(folder.parent) if name == 'hololens' else None
    for number, path in enumerate(list_images(folder), 1):
        frame = Frame(read_image(path), 10 ** 18 + round(number * 1e9 / rate_hz))
        yield sense(frame, path) if sense else frame, path.resolve()


def _depth_camera(folder: Path) -> Callable[[Frame, Path], Frame]:
    """Adds to a frame of ``hololens_office`` its depth, its calibration and its true pose as odometry."""
    poses, matrix = {}, np.loadtxt(folder / 'K.txt')
    with (folder / 'poses.csv').open() as file:
        for row in csv.DictReader(file):
            values = np.array([float(row[key]) for key in ('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')])
            poses[Path(row['image']).name] = Pose(values[:3], values[3:], 'world')

    def sense(frame: Frame, path: Path) -> Frame:
        depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        height, width = depth.shape
        return replace(frame, depth=np.where(depth > 0, depth, np.float32(np.nan)), pose=poses[path.name],
                       camera_model=CameraModel(width, height, matrix, np.zeros(0)),
                       base_from_camera=identity('base_link'))

    return sense


def _simulated_frames(robot: SimulatedRobot) -> Iterator[tuple[Frame, Pose]]:
    """What becomes keyframes, as a bag of the run hands it on: JPEG, depth in millimetres, odometry."""
    odometry, gate = PoseHistory(), KeyframeGate(GateSettings())
    for stamp, reported, _ in robot.poses():
        odometry.add(stamp, reported)
    for number in range(robot.image_count):
        stamp = stamp_ns(number / robot.scenario.image_rate_hz)
        pose = odometry.at(stamp)
        if not gate.check(stamp, pose).accept:
            continue
        frame = robot.frame(number)
        _, jpeg = cv2.imencode('.jpg', frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        rgb = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1].copy()
        yield replace(frame, rgb=rgb, depth=np.round(frame.depth * 1000) / 1000, pose=pose), frame.pose


def ask(run: Run, data: Path, folder: Path | None) -> list[Outcome]:
    """Ask about every query of a run, as a node does."""
    preset = load_preset(PRESET)
    queries = described(run.queries, data, folder)
    recognizer = Recognizer(preset.recognition, queries[0][0].description.descriptors.shape[1])
    known = list(described(run.references, data, folder)) if run.references else []
    for keyframe, _ in known:
        recognizer.add(keyframe)
    truth = read_truth(data / run.truth) if run.truth else {}
    online = not run.references
    outcomes = []
    for keyframe, where in queries:
        recent = online and not run.exclude_frames
        usable = ~recognizer.excluded(keyframe, recent, run.exclude_frames)
        answer = recognizer.recognize(keyframe, exclude_recent=recent, exclude_frames=run.exclude_frames,
                                      independent=run.single)
        place = _truth(where, [entry for _, entry in known], usable, truth)
        if place is not None:
            outcomes.append(Outcome(str(keyframe.id.index), answer, place))
        if online and not keyframe.description.rejected:
            recognizer.add(keyframe)
            known.append((keyframe, where))
    return outcomes


def _truth(where: Path | Pose, places: list, usable: np.ndarray, truth: dict[Path, PlaceTruth]) -> PlaceTruth | None:
    if isinstance(where, Pose):
        return truth_of_pose(where, places, usable)
    if where not in truth:
        return None
    entries = {places[entry]: int(entry) for entry in np.flatnonzero(usable)}
    named = truth[where]
    return PlaceTruth(*(frozenset(entries[path] for path in paths if path in entries)
                        for paths in (named.true, named.ignored)))


def samples(item: tuple[str, Run], data: Path, folder: Path | None) -> Samples:
    """Statistics and truth of one run, by its name."""
    cv2.setNumThreads(1)
    return samples_of(item[0], ask(item[1], data, folder))


def simulated(seeds: Iterable[int], single: bool = False) -> Iterator[tuple[str, Run]]:
    """All runs of some worlds by name."""
    for seed in seeds:
        for kind, run in RUNS.items():
            yield (f'{"single " * single}{kind} {seed}',
                   Run(run.queries.format(seed), run.references.format(seed), single=single))


def joined(name: str, parts: Sequence[Samples]) -> Samples:
    """Several sets as one."""
    return Samples(name, np.concatenate([part.vectors for part in parts]),
                   np.concatenate([part.labels for part in parts]))


def measure(real: Sequence[Samples], learned: Sequence[Samples], held_out: Sequence[Samples],
            single: Sequence[Samples], pictures: Callable[[str, str], object]) -> tuple[Calibration, dict[str, dict]]:
    """Learn, leave out and hold out.

    :param single: worlds of ``held_out`` again, every query asked for itself
    :param pictures: takes the file name and the SVG text of every reliability diagram
    :return: the calibration learned from ``real`` and ``learned``, and the numbers by section and set
    """
    preset = load_preset(PRESET)
    sets = [*real, joined(SIMULATION, learned)]
    calibration = fit_calibration(sets, preset)
    held = {'all': joined('all', held_out)}
    held |= {kind: joined(kind, [part for part in held_out if part.name.split()[0] == kind]) for kind in RUNS}
    held['single'] = joined('single', single)
    others = {tested.name: fit_calibration([other for other in sets if other is not tested], preset) for tested in sets}
    tests = {'held out': [(name, calibration, tested) for name, tested in held.items()],
             'left out': [(tested.name, others[tested.name], tested) for tested in sets],
             'seen': [(tested.name, calibration, tested) for tested in sets]}
    numbers: dict[str, dict] = {}
    for section, rows in tests.items():
        numbers[section] = {}
        for name, judge, tested in rows:
            probabilities = judge.probabilities(tested.vectors)
            numbers[section][name] = trust(probabilities, tested.labels)
            if (section, name) in PICTURED:
                pictures(_file(section, name), diagram(reliability(probabilities, tested.labels),
                                                       f'{section}: {name}, {len(tested)} queries'))
    return calibration, numbers


def as_markdown(numbers: dict[str, dict], calibration: Calibration, seeds: dict[str, list[int]], where: dict) -> str:
    """Tables, diagrams and what they mean."""
    titles = {
        'held out': f'Held out: simulated worlds {_span(seeds["held_out"])}, judged by the shipped calibration',
        'left out': 'Left out: each set, judged by a calibration learned from the other three',
        'seen': 'For comparison: what the shipped calibration says about what it was learned from'}
    learned = ', '.join(f'{entry.name} ({entry.queries} queries, {entry.positives} true)' for entry in calibration.sets)
    lines = ['# Calibration of the classic preset', '',
             f'Written by `benchmark/calibration.py` on {where}. Learned from {learned}; simulation: worlds '
             f'{_span(seeds["learned"])}, four runs each. Brier skill: against always saying the base rate of the very '
             f'set. ECE: {BINS} bins of equal counts; its interval: 95 %, bootstrap over runs of {BLOCK} consecutive '
             f'queries. Asked for: Brier skill above {MIN_SKILL} on every set left out; ECE at most {MAX_ERROR} on at '
             f'least {MIN_HELD_OUT} held-out simulated queries. "single": worlds {_span(seeds["single"])} again, every '
             'query asked for itself, without those before it and without odometry. The strength of the prior was '
             'chosen with the real sets in view.', '']
    for section, rows in numbers.items():
        lines += [f'## {titles[section]}', '', f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|',
                  *(_row(section, name, row) for name, row in rows.items()), '',
                  *(f'![{name}]({_file(section, name)})' for name in rows if (section, name) in PICTURED), '']
    weights = ', '.join(f'{name} {weight:+.2f}' for name, weight in zip(calibration.features, calibration.weights))
    lines.append(f'Weights of the standardised features: {weights}; intercept {calibration.intercept:+.2f}.')
    return '\n'.join(lines) + '\n'


def _row(section: str, name: str, row: dict) -> str:
    skill = '-' if row['brier_skill'] is None else f'{row["brier_skill"]:.3f}'
    low, high = row['ece_bounds']
    return (f'| {name} | {row["queries"]} | {row["positives"]} | {row["brier"]:.4f} | {skill} | {row["log_loss"]:.3f} '
            f'| {row["ece"]:.3f} ({low:.3f}-{high:.3f}) | {_reached(section, name, row)} |')


def _file(section: str, name: str) -> str:
    return f'calibration_{section}_{name}.svg'.replace(' ', '_')


def _reached(section: str, name: str, row: dict) -> str:
    if section == 'left out':
        return 'reached' if row['brier_skill'] > MIN_SKILL else 'not reached'
    if (section, name) == ('held out', 'all'):
        return 'reached' if row['ece'] <= MAX_ERROR and row['queries'] >= MIN_HELD_OUT else 'not reached'
    return ''


def _span(seeds: Sequence[int]) -> str:
    return f'{seeds[0]} to {seeds[-1]}'


def report(real: Sequence[Samples], learned: Sequence[Samples], held_out: Sequence[Samples],
           single: Sequence[Samples]) -> None:
    """Write the calibration and the results."""
    RESULTS.mkdir(exist_ok=True)
    calibration, numbers = measure(real, learned, held_out, single,
                                   lambda name, picture: (RESULTS / name).write_text(picture))
    calibration.save(config_directory() / PRESET / 'calibration.json')
    seeds = {name: sorted({int(part.name.split()[-1]) for part in parts})
             for name, parts in (('learned', learned), ('held_out', held_out), ('single', single))}
    where = machine('cpu')
    (RESULTS / 'calibration.json').write_text(json.dumps(
        {'machine': where, 'fingerprint': calibration.fingerprint, 'seeds': seeds, **numbers}, indent=1) + '\n')
    (RESULTS / 'calibration.md').write_text(as_markdown(numbers, calibration, seeds, where))


def main() -> None:
    """Collect, learn, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=HERE.parents[1] / 'shared/data')
    parser.add_argument('--described', type=Path, metavar='FOLDER', help='keeps the described keyframes')
    parser.add_argument('--processes', type=int, default=1)
    args = parser.parse_args()
    groups = [list(REAL.items()), list(simulated(LEARN_SEEDS)), list(simulated(HELD_OUT_SEEDS)),
              list(simulated(SINGLE_SEEDS, single=True))]
    with get_context('spawn').Pool(args.processes) as pool:
        made = [pool.map(partial(samples, data=args.data, folder=args.described), group, chunksize=1)
                for group in groups]
    report(*made)


if __name__ == '__main__':
    main()
