"""Learns the calibration of a preset, and measures it on what it was not learned from.

    python benchmark/calibration.py --data ../shared/data --work /tmp/loops [--processes N] [--worlds N] [--held-out N]
        [--preset NAME]

writes config/NAME/calibration.json and results/calibration.{json,md} with the reliability diagrams
results/calibration_*.svg, of other presets than ``classic`` results/calibration_NAME*. Images are described once, into
maps under --work (drives.py says which).

Learned from four sets: corridor, rtabmap_corridor_loop, hololens_office, and the simulation: the first --worlds of
LEARNED_SEEDS, or none. Every set is driven as it is and as robots with less would have known it: without odometry and
depth, every query for itself, and without keypoints, so that the calibration knows cameras for which geometry cannot
tell.

Left out: each set in turn is judged by a calibration learned from the others, and the real ones are driven once more
with it: what a robot accepts in a place whose like its calibration has never seen. Held out: the shipped calibration,
judged on simulated worlds that it has never seen. Only candidates count that no other test of the decision refuses.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from drives import REAL_SETS, Trial, play, real_trials, simulated_trials
from recorded_runs import Recorder
from tables import RESULTS, command_line, heading, table, write_results

from segvlad_ros.evaluation.calibration_fit import BINS, BLOCK, Samples, fit_calibration, reliability, samples_of, trust
from segvlad_ros.evaluation.charts import reliability_picture
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import decision_metrics
from segvlad_ros.pipeline.presets import Preset, config_directory, load_preset
from segvlad_ros.recognition.calibration import Calibration

SIMULATION = 'simulation'
LEARNED_SEEDS = range(101, 107)
HELD_OUT_SEED = 201
LEFT_OUT = 'without_{}.json'
MIN_PROBABILITY = 0.5  # of presets that ship a calibration
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


def samples(job: tuple[str, int | None], preset: Preset, data: Path, work: Path, learning: bool) -> list[Samples]:
    """All that one real set or one simulated world says, in all guises; guises of a held-out world are not wanted.

    :param job: name of the set, and the seed of a world
    :param preset: without a calibration
    """
    cv2.setNumThreads(1)
    name, seed = job
    recorder = Recorder(preset, work)
    trials = simulated_trials(recorder, seed) if seed is not None else real_trials(recorder, data, [name])
    return [samples_of(name, play(seen, preset).outcomes, preset.decision).undecided() for full, trial in trials
            for _, seen in (guises(full, trial) if learning else [(full, trial)])]


def joined(parts: Iterable[Samples]) -> list[Samples]:
    """Samples of one name as one set."""
    by_name: dict[str, list[Samples]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part)
    return [Samples(name, np.concatenate([part.vectors for part in group]),
                    np.concatenate([part.labels for part in group])) for name, group in by_name.items()]


def left_out(sets: Sequence[Samples], preset: Preset) -> dict[str, Calibration]:
    """Of each set, by its name, the calibration that is learned from the others."""
    return {tested.name: fit_calibration([other for other in sets if other is not tested], preset) for tested in sets}


def save_left_out(others: dict[str, Calibration], work: Path) -> None:
    """Keep the calibrations of :func:`left_out` beside the described keyframes."""
    for name, calibration in others.items():
        calibration.save(work / LEFT_OUT.format(name))


def judged_by(calibration: Path, preset: Preset) -> Preset:
    """The preset, deciding by a calibration, whether it ships one or not: then as those do that ship one."""
    least = preset.decision.min_probability or MIN_PROBABILITY
    return replace(preset, calibration=calibration, decision=replace(preset.decision, min_probability=least))


def decisions(preset: Preset, data: Path, work: Path) -> dict[str, dict]:
    """What is accepted of each real set by a calibration that was learned from the others, see save_left_out."""
    rows = {}
    for title, trial in real_trials(Recorder(preset, work), data):
        path = work / LEFT_OUT.format(title.split(',')[0])
        outcomes = play(trial, judged_by(path, preset)).outcomes
        rows[title] = {**decision_metrics(outcomes),
                       'false': [outcome.query for outcome in outcomes if outcome.accepted is False]}
    return rows


def measure(sets: Sequence[Samples], held_out: Sequence[Samples], others: dict[str, Calibration], preset: Preset,
            pictures: Callable[[str, str], object]) -> tuple[Calibration, dict[str, dict]]:
    """Learn, leave out and hold out.

    :param others: see :func:`left_out`
    :param pictures: takes the file name and the SVG text of every reliability diagram
    :return: the calibration learned from ``sets``, and the numbers by section and set
    """
    calibration = fit_calibration(sets, preset)
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
                diagram = reliability_picture(reliability(probabilities, tested.labels),
                                              f'{section}: {name}, {len(tested)} queries')
                pictures(_file(preset.name, section, name), diagram)
    return calibration, numbers


def as_markdown(numbers: dict[str, dict], decided: dict[str, dict], calibration: Calibration,
                worlds: tuple[Sequence[int], Sequence[int]], where: dict) -> str:
    """Tables, diagrams and what they mean.

    :param worlds: seeds of those learned from, and held out
    """
    name, (seeds, held_out) = calibration.preset, worlds
    titles = {'held out': f'Held out: simulated worlds {_span(held_out)}, by the shipped calibration',
              'left out': 'Left out: each set, judged by a calibration learned from the others',
              'seen': 'For comparison: what the shipped calibration says about what it was learned from'}
    learned = ', '.join(f'{entry.name} ({entry.queries} queries, {entry.positives} true)' for entry in calibration.sets)
    lines = heading(
        f'Calibration of the {name} preset', 'calibration.py', where,
        f'Learned from {learned}, in all guises; simulation: worlds {_span(seeds)}, four runs each. Brier skill: '
        f'against always saying the base rate of the very set. ECE: {BINS} bins of equal counts; its interval: 95 %, '
        f'bootstrap over runs of {BLOCK} consecutive queries. Asked for: ECE at most {MAX_ERROR} on every set left '
        f'out, and Brier skill above {MIN_SKILL} where between 10 and 90 % are true.')
    for section, rows in numbers.items():
        lines += [f'## {titles[section]}', '',
                  *table(COLUMNS, (_cells(section, tested, row) for tested, row in rows.items())), '',
                  *(f'![{tested}]({_file(name, section, tested)})' for tested in rows
                    if (section, tested) in PICTURED), '']
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


def _results(preset: str) -> str:
    """Name of the files, without ending."""
    return 'calibration' if preset == 'classic' else f'calibration_{preset}'


def _file(preset: str, section: str, name: str) -> str:
    return f'{_results(preset)}_{section}_{name}.svg'.replace(' ', '_')


def _span(seeds: Sequence[int]) -> str:
    return f'{seeds[0]} to {seeds[-1]}' if seeds else 'none'


def _reached(section: str, row: dict) -> str:
    if section == 'seen':
        return ''
    skilful = row['brier_skill'] is None or row['brier_skill'] > MIN_SKILL or not 0.1 <= row['base_rate'] <= 0.9
    return 'reached' if row['ece'] <= MAX_ERROR and skilful else 'not reached'


def main() -> None:
    """Collect, learn, measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--preset', default='classic', help='name of the preset (%(default)s)')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--worlds', type=int, default=len(LEARNED_SEEDS), help='simulated worlds that are learned from')
    parser.add_argument('--held-out', type=int, default=40, help='simulated worlds that are not')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    preset, seeds = load_preset(args.preset), LEARNED_SEEDS[:args.worlds]
    held_out = range(HELD_OUT_SEED, HELD_OUT_SEED + args.held_out)
    jobs = [*((name, None) for name in REAL_SETS), *((SIMULATION, seed) for seed in seeds)]
    with get_context('spawn').Pool(args.processes) as pool:
        collect = partial(samples, preset=load_preset(args.preset, {'calibration': None}), data=args.data,
                          work=args.work)
        sets, tests = (joined(part for parts in pool.imap(partial(collect, learning=learning), group) for part in parts)
                       for learning, group in ((True, jobs), (False, [(SIMULATION, seed) for seed in held_out])))
    others = left_out(sets, preset)
    save_left_out(others, args.work)
    calibration, numbers = measure(sets, tests, others, preset,
                                   lambda name, picture: (RESULTS / name).write_text(picture))
    calibration.save(config_directory() / args.preset / 'calibration.json')
    decided, where = decisions(preset, args.data, args.work), machine('cpu')
    write_results(_results(args.preset), where,
                  {'fingerprint': calibration.evidence_digest, 'learned_seeds': list(seeds),
                   'held_out_seeds': list(held_out), **numbers, 'left out, and driven': decided},
                  as_markdown(numbers, decided, calibration, (seeds, held_out), where))


if __name__ == '__main__':
    main()
