"""How good the accepted matches are, stage by stage, with the shipped defaults and one configuration for all sets.

    python benchmark/loop_closures.py --data ../shared/data --work /tmp/loops [--seeds 20]

writes results/loop_closures.{json,md}, and WORK/hololens_closures.npz for pose_graph_drift.py. Images are described
once, into maps under --work; describing 20 seeds of the simulated conditions takes half an hour on two cores. Sets are
those of drives.py, and *carried*: 20 times somewhere else in a building whose map is known, on other days and without a
pose guess.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from drives import Played, Trial, by_poses, play, real_trials, simulated_run, simulated_trials, street_trials
from recorded_runs import RATE_HZ, Recorder, simulated_frames
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import Outcome, clopper_pearson, decision_metrics
from segvlad_ros.geometry import to_matrix
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.types import Status

PLACEMENTS, PLACEMENT_KEYFRAMES, PLACEMENT_RANGE_M = 20, 5, 32.0
FIRST_SEED = 201  # settings were made on 101 to 120


def stages(preset: Preset) -> dict[str, Preset]:
    """The shipped decision, built up stage by stage."""
    full = preset.decision
    anything = replace(preset.odometry, drift_m_per_m=1e6, drift_rad_per_m=1e6)
    thresholds = replace(preset, calibration=None, decision=replace(full, min_probability=0.0))
    blind = replace(thresholds, geometry=replace(preset.geometry, candidates=0))
    retrieval = replace(blind, decision=replace(blind.decision, max_ambiguity=np.inf, agreement=1), odometry=anything)
    ambiguity = replace(retrieval, decision=replace(blind.decision, agreement=1))
    return {'retrieval': retrieval, '+ ambiguity': ambiguity, '+ time': blind, '+ geometry': thresholds,
            '+ probability': preset}


def summary(parts: list[Played]) -> dict:
    """The numbers of one condition and stage, of all seeds together."""
    outcomes, errors, seconds = ([value for part in parts for value in getattr(part, name)]
                                 for name in ('outcomes', 'errors', 'seconds'))
    numbers = decision_metrics(outcomes)
    numbers['queries'] = len(outcomes)
    numbers['revisits'] = sum(bool(outcome.truth.true) for outcome in outcomes)
    numbers['false'] = [outcome.query for outcome in outcomes if outcome.accepted is False]
    numbers['metric'] = sum(outcome.recognition.candidates[0].query_pose_in_match is not None
                            for outcome in outcomes if outcome.recognition.status == Status.MATCHED)
    if errors:
        numbers['pose_error_m'], numbers['pose_error_deg'] = np.median(np.array(errors), axis=0).tolist()
    numbers['answer_ms'] = {f'p{share}': 1e3 * float(np.percentile(seconds, share)) for share in (50, 95)}
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


def measure(recorder: Recorder, wanted: dict[str, Preset], data: Path, seeds: list[int],
            closures: Path) -> dict[str, dict]:
    """Conditions by name, stages by name.

    :param wanted: the stages
    :param closures: where the metric matches of hololens_office go
    """
    books: dict[str, dict[str, list[Played]]] = {}
    simulated = (trials(recorder, seed) for seed in seeds for trials in (simulated_trials, street_trials))
    for name, trial in chain(real_trials(recorder, data), *simulated):
        for stage, settings in wanted.items():
            books.setdefault(name, {}).setdefault(stage, []).append(play(trial, settings))
        print(name, dict(Counter(outcome.accepted for part in books[name]['+ probability']
                                 for outcome in part.outcomes)), flush=True)
    save_closures(books['hololens_office']['+ probability'][0].outcomes, closures)
    return {name: {stage: summary(parts) for stage, parts in by_stage.items()} for name, by_stage in books.items()}


def carried(recorder: Recorder, preset: Preset, seed: int) -> dict:
    """Put the robot down at 20 places of a known building: when does it know where it is?"""
    known = simulated_run(recorder, 'lap', seed)
    places = np.random.default_rng(seed).uniform(0, PLACEMENT_RANGE_M, PLACEMENTS)
    needed, wrong = [], 0
    for number, start_m in enumerate(places, 1):
        frames = simulated_frames('demo', seed=seed, route='lap', run=number, start_m=float(start_m))
        run = recorder.keyframes(f'carried_{seed}_{number}', islice(frames, PLACEMENT_KEYFRAMES), f'k{number}')
        outcomes = play(Trial(run, by_poses(), known), preset).outcomes
        wrong += any(outcome.accepted is False for outcome in outcomes)
        needed.append(next((count for count, outcome in enumerate(outcomes, 1) if outcome.accepted), None))
    return {'placements': PLACEMENTS, 'relocalized': sum(count is not None for count in needed), 'wrong': wrong,
            'keyframes_needed': needed}


def as_markdown(results: dict[str, dict], where: dict, seeds: list[int], relocalization: dict) -> str:
    """One row a condition and stage."""
    rows = []
    for name, by_stage in results.items():
        for stage, row in by_stage.items():
            precision, recall = ('-' if row[key] is None else
                                 f'{row[key]:.3f} ({row[f"{key}_bounds"][0]:.3f}-{row[f"{key}_bounds"][1]:.3f})'
                                 for key in ('precision', 'recall'))
            error = (f'{100 * row["pose_error_m"]:.1f} cm, {row["pose_error_deg"]:.2f} deg' if 'pose_error_m' in row
                     else '-')
            rows.append((name, stage, row['revisits'], row['accepted'], len(row['false']), precision, recall,
                         row['metric'], error, f'{row["answer_ms"]["p50"]:.0f} / {row["answer_ms"]["p95"]:.0f}'))
    lines = [*heading('Accepted matches, stage by stage', 'loop_closures.py', where,
                      f'Preset `classic` as shipped; simulated seeds {seeds[0]}-{seeds[-1]}. Bounds: Clopper-Pearson, '
                      '95 %. A match is true within 1 m and 40 degrees, false beyond 3.5 m or 60 degrees, and counts '
                      'neither way between.'),
             *table(('set', 'stage', 'revisits', 'accepted', 'false', 'precision', 'recall', 'metric',
                     'pose error (median)', 'answer without search, ms p50 / p95'), rows)]
    simulated = [row['+ probability'] for name, row in results.items()
                 if name.startswith('simulated') and 'street' not in name]
    if simulated:
        false, accepted = sum(len(row['false']) for row in simulated), sum(row['accepted'] for row in simulated)
        lines += ['', f'All simulated conditions in the building together: {false} false of {accepted} accepted; the '
                  f'rate of false matches is below {clopper_pearson(false, accepted)[1]:.4f} with 97.5 % confidence.']
    lines += ['', f'Carried elsewhere: {relocalization["relocalized"]} of {relocalization["placements"]} times it knew '
              f'where it was within {PLACEMENT_KEYFRAMES} keyframes; {relocalization["wrong"]} times it was wrong.']
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--seeds', type=int, default=20)
    parser.add_argument('--shipped', action='store_true', help='the shipped decision only, not stage by stage')
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    preset = load_preset('classic')
    seeds = list(range(FIRST_SEED, FIRST_SEED + arguments.seeds))
    recorder, where = Recorder(preset, arguments.work), machine('cpu')
    relocalization = carried(recorder, preset, seeds[0])
    print('carried', relocalization, flush=True)
    wanted = {'+ probability': preset} if arguments.shipped else stages(preset)
    results = measure(recorder, wanted, arguments.data, seeds, arguments.work / 'hololens_closures.npz')
    write_results('loop_closures', where, {'seeds': seeds, 'sets': results, 'carried': relocalization},
                  as_markdown(results, where, seeds, relocalization))


if __name__ == '__main__':
    main()
