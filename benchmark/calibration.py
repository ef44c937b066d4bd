"""Learns the calibration of the ``classic`` preset, and measures it on what it was not learned from.

    python benchmark/calibration.py --data ../shared/data --work /tmp/loops [--processes N] [--held-out N]

writes config/classic/calibration.json and results/calibration.{json,md} with the reliability diagrams
results/calibration_*.svg. Images are described once, into maps under --work (drives.py says which).

Learned from four sets: corridor, rtabmap_corridor_loop, hololens_office, and the simulation (LEARNED_SEEDS). Every set
is driven as it is and as robots with less would have known it: without odometry and depth, every query for itself, and
without keypoints, so that the calibration knows cameras for which geometry cannot tell.

Left out: each set in turn is judged by a calibration learned from the others, and the real ones are driven once more
with it: what a robot accepts in a place whose like its calibration has never seen. Held out: the shipped calibration,
judged on simulated worlds that it has never seen. Only candidates count that no other test of the decision refuses.
"""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from drives import Recorder, Trial, play, real_trials, simulated_trials
from tables import RESULTS, command_line, heading, table, write_results

from segvlad_ros.evaluation.calibration_fit import BINS, BLOCK, Samples, fit_calibration, reliability, samples_of, trust
from segvlad_ros.evaluation.charts import reliability_picture
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import decision_metrics
from segvlad_ros.pipeline.presets import config_directory, load_preset
from segvlad_ros.recognition.calibration import Calibration

PRESET, SIMULATION = 'classic', 'simulation'
LEARNED_SEEDS = range(101, 107)
HELD_OUT_SEED = 201
MIN_SKILL, MAX_ERROR = 0.3, 0.10
PICTURED = {('held out', SIMULATION), ('left out', 'corridor'), ('left out', 'rtabmap_corridor_loop'),
            ('left out', 'hololens_office'), ('left out', SIMULATION)}
COLUMNS = ('set', 'queries', 'true', 'Brier', 'Brier skill', 'log loss', 'ECE', 'asked for')


def guises(name: str, trial: Trial) -> Iterator[tuple[str, Trial]]:
    """A drive as it is, and as robots with less know it. Twins are told apart by odometry only: they keep it."""
    yield name, trial
    yield f'{name}, no keypoints', trial.seen(keypoints=True)
    if not trial.single and 'twins' not in name:
        yield f'{name}, single', replace(trial, single=True)
        if trial.queries[0][0].pose is not None:
            yield f'{name}, images only', trial.seen(odometry=True, camera=True)


def samples(job: tuple[str, int | None], data: Path, work: Path, learning: bool) -> list[Samples]:
    """All that one real set or one simulated world says, in all guises; guises of a held-out world are not wanted.

    :param job: name of the set, and the seed of a world
    """
    cv2.setNumThreads(1)
    name, seed = job
    preset = load_preset(PRESET, {'calibration': None})
    recorder = Recorder(preset, work)
    trials = simulated_trials(recorder, seed) if seed is not None else (
        (full, trial) for full, trial in real_trials(recorder, data) if full.split(',')[0] == name)
    return [samples_of(name, play(seen, preset).outcomes, preset.decision).undecided() for full, trial in trials
            for _, seen in (guises(full, trial) if learning else [(full, trial)])]


def joined(parts: Iterable[Samples]) -> list[Samples]:
    """Samples of one name as one set."""
    by_name: dict[str, list[Samples]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part)
    return [Samples(name, np.concatenate([part.vectors for part in group]),
                    np.concatenate([part.labels for part in group])) for name, group in by_name.items()]


def left_out(sets: Sequence[Samples]) -> dict[str, Calibration]:
    """Of each set, by its name, the calibration that is learned from the others."""
    preset = load_preset(PRESET)
    return {tested.name: fit_calibration([other for other in sets if other is not tested], preset) for tested in sets}


def decisions(others: dict[str, Calibration], data: Path, work: Path) -> dict[str, dict]:
    """What is accepted of each real set by a calibration that was learned from the others."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, trial in real_trials(Recorder(load_preset(PRESET), work), data):
            path = Path(folder) / 'calibration.json'
            others[title.split(',')[0]].save(path)
            outcomes = play(trial, load_preset(PRESET, {'calibration': str(path)})).outcomes
            rows[title] = {**decision_metrics(outcomes),
                           'false': [outcome.query for outcome in outcomes if outcome.accepted is False]}
    return rows


def measure(sets: Sequence[Samples], held_out: Sequence[Samples], others: dict[str, Calibration],
            pictures: Callable[[str, str], object]) -> tuple[Calibration, dict[str, dict]]:
    """Learn, leave out and hold out.

    :param others: see :func:`left_out`
    :param pictures: takes the file name and the SVG text of every reliability diagram
    :return: the calibration learned from ``sets``, and the numbers by section and set
    """
    calibration = fit_calibration(sets, load_preset(PRESET))
    tests = {'held out': [(tested.name, calibration, tested) for tested in held_out],
             'left out': [(tested.name, others[tested.name], tested) for tested in sets],
             'seen': [(tested.name, calibration, tested) for tested in sets]}
    numbers: dict[str, dict] = {}
    for section, rows in tests.items():
        numbers[section] = {}
        for name, judge, tested in rows:
            probabilities = judge.probabilities(tested.vectors)
            numbers[section][name] = trust(probabilities, tested.labels)
            if (section, name) in PICTURED:
                pictures(_file(section, name), reliability_picture(reliability(probabilities, tested.labels),
                                                       f'{section}: {name}, {len(tested)} queries'))
    return calibration, numbers


def as_markdown(numbers: dict[str, dict], decided: dict[str, dict], calibration: Calibration, held_out: Sequence[int],
                where: dict) -> str:
    """Tables, diagrams and what they mean."""
    titles = {'held out': f'Held out: simulated worlds {held_out[0]} to {held_out[-1]}, by the shipped calibration',
              'left out': 'Left out: each set, judged by a calibration learned from the others',
              'seen': 'For comparison: what the shipped calibration says about what it was learned from'}
    learned = ', '.join(f'{entry.name} ({entry.queries} queries, {entry.positives} true)' for entry in calibration.sets)
    lines = heading(
        'Calibration of the classic preset', 'calibration.py', where,
        f'Learned from {learned}, in all guises; simulation: worlds {LEARNED_SEEDS[0]} to {LEARNED_SEEDS[-1]}, four '
        f'runs each. Brier skill: against always saying the base rate of the very set. ECE: {BINS} bins of equal '
        f'counts; its interval: 95 %, bootstrap over runs of {BLOCK} consecutive queries. Asked for: ECE at most '
        f'{MAX_ERROR} on every set left out, and Brier skill above {MIN_SKILL} where between 10 and 90 % are true.')
    for section, rows in numbers.items():
        lines += [f'## {titles[section]}', '',
                  *table(COLUMNS, (_cells(section, name, row) for name, row in rows.items())), '',
                  *(f'![{name}]({_file(section, name)})' for name in rows if (section, name) in PICTURED), '']
    lines += ['## Left out, and driven: what is accepted by a calibration learned from the other sets', '',
              *table(('set', 'accepted', 'false', 'recall'),
                     ((title, row['accepted'], len(row['false']), f'{row["recall"]:.3f}')
                      for title, row in decided.items())), '']
    weights = ', '.join(f'{name} {weight:+.2f}' for name, weight in zip(calibration.features[1:], calibration.weights))
    lines.append(f'Proven by geometry: {calibration.proven:.4f}. Weights of the standardised features of all others: '
                 f'{weights}; intercept {calibration.intercept:+.2f}.')
    return '\n'.join(lines) + '\n'


def _cells(section: str, name: str, row: dict) -> tuple[object, ...]:
    skill = '-' if row['brier_skill'] is None else f'{row["brier_skill"]:.3f}'
    low, high = row['ece_bounds']
    return (name, row['queries'], row['positives'], f'{row["brier"]:.4f}', skill, f'{row["log_loss"]:.3f}',
            f'{row["ece"]:.3f} ({low:.3f}-{high:.3f})', _reached(section, row))


def _file(section: str, name: str) -> str:
    return f'calibration_{section}_{name}.svg'.replace(' ', '_')


def _reached(section: str, row: dict) -> str:
    if section == 'seen':
        return ''
    skilful = row['brier_skill'] is None or row['brier_skill'] > MIN_SKILL or not 0.1 <= row['base_rate'] <= 0.9
    return 'reached' if row['ece'] <= MAX_ERROR and skilful else 'not reached'


def main() -> None:
    """Collect, learn, measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--held-out', type=int, default=40, help='simulated worlds')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    held_out = range(HELD_OUT_SEED, HELD_OUT_SEED + args.held_out)
    jobs = [*((name, None) for name in ('corridor', 'rtabmap_corridor_loop', 'hololens_office')),
            *((SIMULATION, seed) for seed in LEARNED_SEEDS)]
    with get_context('spawn').Pool(args.processes) as pool:
        sets, tests = (joined(part for parts in pool.imap(
            partial(samples, data=args.data, work=args.work, learning=learning), group) for part in parts)
            for learning, group in ((True, jobs), (False, [(SIMULATION, seed) for seed in held_out])))
    others = left_out(sets)
    calibration, numbers = measure(sets, tests, others, lambda name, picture: (RESULTS / name).write_text(picture))
    calibration.save(config_directory() / PRESET / 'calibration.json')
    decided, where = decisions(others, args.data, args.work), machine('cpu')
    write_results('calibration', where,
                  {'fingerprint': calibration.fingerprint, 'learned_seeds': list(LEARNED_SEEDS),
                   'held_out_seeds': list(held_out), **numbers, 'left out, and driven': decided},
                  as_markdown(numbers, decided, calibration, held_out, where))


if __name__ == '__main__':
    main()
