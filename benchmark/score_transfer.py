"""Does a threshold learned on one set hold on another: of scores as they are, or of their quantiles?

    python benchmark/score_transfer.py --data ../shared/data --work ~/segvlad_work

Retrieval alone: no geometry, no calibration, every query for itself. A set's threshold is the least score above all its
false best candidates. On another set it is used as it is, or moved to the same quantile of that set's best scores
(quantile transfer, arXiv 2602.04401), which would need no truth there. Only sets differ: pairs of two simulated worlds
are not counted. Writes results/score_transfer.{json,md}.
"""
from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
from drives import Trial, play, real_trials, simulated_trials
from recorded_runs import Recorder
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.pipeline.presets import Preset, load_preset

SEEDS = 101, 102, 103
REAL = 'corridor', 'rtabmap_corridor_loop', 'hololens_office, images only'


def best_scores(trial: Trial, preset: Preset) -> tuple[np.ndarray, np.ndarray, int]:
    """(n,) scores of the best candidates that count either way, (n,) whether they are right, queries with a place."""
    outcomes = play(replace(trial, single=True), preset).outcomes
    known = [(outcome.ranked[0].score, outcome.ranked[0].entry in outcome.truth.true) for outcome in outcomes
             if outcome.ranked]
    scores, right = np.array(known, float).reshape(-1, 2).T
    return scores, right.astype(bool), sum(bool(outcome.truth.true) for outcome in outcomes)


def precise(scores: np.ndarray, right: np.ndarray) -> float:
    """The least threshold above which all is right."""
    return float(np.nextafter(scores[~right].max(initial=0.0), np.inf))


def worth(threshold: float, scores: np.ndarray, right: np.ndarray, places: int) -> dict[str, float]:
    """Precision and recall of what reaches a threshold."""
    accepted = right[scores >= threshold]
    return {'precision': float(accepted.mean()) if len(accepted) else 1.0, 'recall': float(accepted.sum() / places)}


def transfers(sets: dict[str, tuple[np.ndarray, np.ndarray, int]]) -> list[dict]:
    """Every threshold on every other set."""
    rows = []
    for source, target in permutations(sets, 2):
        if source.startswith('simulated') and target.startswith('simulated'):
            continue
        threshold = precise(*sets[source][:2])
        quantile = float(np.mean(sets[source][0] < threshold))
        moved = float(np.quantile(sets[target][0], quantile))
        rows.append({'from': source, 'to': target, 'raw': worth(threshold, *sets[target]),
                     'quantile': worth(moved, *sets[target])})
    return rows


def as_markdown(rows: list[dict], where: dict) -> str:
    """The table, and its mean."""
    numbers = np.array([[row[way][key] for way in ('raw', 'quantile') for key in ('precision', 'recall')]
                        for row in rows])
    pairs = [*((row['from'], row['to']) for row in rows), (f'mean of {len(rows)}', '')]
    lines = [*heading('score_transfer', 'score_transfer.py', where),
             *table(('threshold of', 'used on', 'raw precision', 'recall', 'quantile precision', 'recall'),
                    ([*pair, *(f'{value:.3f}' for value in values)]
                     for pair, values in zip(pairs, [*numbers, numbers.mean(0)]))), '',
             f'Precision 1 in {(numbers[:, 0] == 1).sum()} with scores as they are, in {(numbers[:, 2] == 1).sum()} '
             'with quantiles.']
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    args = command_line(__doc__, sets=True).parse_args()
    preset = load_preset('classic', {'calibration': None, 'decision.min_probability': 0.0, 'geometry.candidates': 0})
    recorder = Recorder(preset, args.work)
    trials = {name: trial for name, trial in real_trials(recorder, args.data) if name in REAL}
    for seed in SEEDS:
        trials[f'simulated {seed}'] = dict(simulated_trials(recorder, seed))['simulated: loop'].seen(odometry=True)
    rows = transfers({name: best_scores(trial, preset) for name, trial in trials.items()})
    where = machine('cpu')
    write_results('score_transfer', where, {'pairs': rows}, as_markdown(rows, where))


if __name__ == '__main__':
    main()
