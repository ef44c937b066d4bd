"""The figures of one version of the package, to stand beside those of another: every set, one shipped configuration.

    python benchmark/version_figures.py --data ../shared/data --work /tmp/loops --name landed_55c810f [--processes N]
        [--preset FILE.yaml]

writes results/NAME.{json,md}; sets that are not asked for keep the figures of an earlier call. Plays the keyframes
that loop_closures.py has described into --work, of as many seeds as are there, so that two versions see the same
descriptors: the script of this commit runs with the package of another on PYTHONPATH, as far as that has the modules
that drives.py and recorded_runs.py import. Another preset than ``classic`` wants a --work of its own, as calibration.py
leaves it.

A match is true within 1 m and 40 degrees where poses are the truth, and false beyond 60 degrees or 2 m ("near") or
3.5 m ("far", as in the sets' place_truth.csv: the same wall from further back is no other place).
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from drives import Trial, play, real_trials, simulated_trials, street_trials
from recorded_runs import Recorder
from tables import RESULTS, command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import Outcome, decision_metrics, ranking_metrics
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Status, Verification


def real_sets(data: Path, work: Path) -> Iterator[tuple[str, Trial]]:
    """The real sets, and the corridor's queries as a sequence, too."""
    for title, trial in real_trials(Recorder(None, work), data):
        if trial.single:
            yield f'{title}, single queries', trial
            yield f'{title}, sequence', replace(trial, single=False)
        else:
            yield title, trial


def described_seeds(work: Path) -> list[int]:
    """Seeds of which a simulated drive has been described."""
    return sorted({int(found[1]) for path in work.glob('*.npz')
                   if (found := re.fullmatch(r'(?:loop|back|rev|twins|street)_(\d+)', path.stem))})


def simulated_sets(work: Path, seed: int) -> Iterator[tuple[str, Trial]]:
    """The simulated drives of one seed, as far as they have been described."""
    recorder = Recorder(None, work)
    for title, trial in simulated_trials(recorder, seed):
        yield f'{title.removeprefix("simulated: ")} {seed}', trial
    for title, trial in street_trials(recorder, seed):
        if title == 'simulated: street':
            yield f'street, odometry {seed}', trial
            yield f'street, no odometry {seed}', trial.seen(odometry=True)
        else:
            yield f'{title.removeprefix("simulated: ")} {seed}', trial


def figures(outcomes: list[Outcome], seconds: list[float]) -> dict:
    """The numbers of one drive by one truth."""
    matched = [outcome for outcome in outcomes if outcome.recognition.status == Status.MATCHED]
    ranking, decision = ranking_metrics(outcomes), decision_metrics(outcomes)
    return {**{key: ranking[key] for key in ('queries', 'queries_with_place', 'recall@1')}, **decision,
            'false': [_told(outcome) for outcome in outcomes if outcome.accepted is False],
            'matched_proven': sum(outcome.recognition.candidates[0].verification == Verification.GEOMETRIC
                                  for outcome in matched),
            'answer_ms': {f'p{share}': round(1e3 * float(np.percentile(seconds, share)), 2) for share in (50, 95)}}


def _told(outcome: Outcome) -> dict:
    """A false match, so that one can see what made it."""
    best = outcome.recognition.candidates[0]
    probability = None if np.isnan(best.probability) else round(best.probability, 3)
    return {'query': outcome.query, 'match': f'{best.id.index:05d}', 'score': round(best.score, 3),
            'probability': probability, 'verification': best.verification.name, 'inliers': best.inliers,
            'reason': outcome.recognition.reason}


def as_markdown(results: dict[str, dict], where: dict, name: str, preset: str = 'classic') -> str:
    """One row a drive and truth."""
    rows = []
    for title, by_truth in results.items():
        for truth, row in by_truth.items():
            recall_at_1, precision, recall = ('-' if row[key] is None else f'{row[key]:.3f}'
                                              for key in ('recall@1', 'precision', 'recall'))
            statuses = ', '.join(f'{status} {count}' for status, count in row['statuses'].items())
            rows.append((title, truth, row['queries_with_place'], recall_at_1, row['accepted'], row['ignored'],
                         len(row['false']), precision, recall, statuses,
                         f'{row["answer_ms"]["p50"]:.0f} / {row["answer_ms"]["p95"]:.0f}'))
    lines = [*heading(name, 'version_figures.py', where, f'Preset `{preset}` as that version ships it. `ignored`: '
                      'answered with a reference that counts neither way, left out of recall.'),
             *table(('set', 'truth', 'with place', 'recall@1', 'accepted', 'ignored', 'false', 'precision', 'recall',
                     'statuses', 'answer ms p50 / p95'), rows)]
    return '\n'.join(lines) + '\n'


def rows_of(seed: int | None, data: Path, work: Path, only: str, *, name: str = 'classic') -> dict[str, dict]:
    """The figures of one seed, or (None) of the real sets, by drive and truth.

    :param name: of the preset
    """
    cv2.setNumThreads(1)
    preset, rows = load_preset(name), {}
    for title, trial in real_sets(data, work) if seed is None else simulated_sets(work, seed):
        if re.match(only, title):
            played = play(trial, preset, ranked=True)
            rows[title] = {truth: figures(outcomes, played.seconds) for truth, outcomes in played.by_truth.items()}
    return rows


def main() -> None:
    """Play and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--name', required=True, help='of the version, and of the files')
    parser.add_argument('--sets', nargs='+', choices=('real', 'seeds'), default=['real', 'seeds'])
    parser.add_argument('--only', default='', help='a regular expression that the names of drives begin with')
    parser.add_argument('--preset', default='classic', help='name or file (%(default)s)')
    parser.add_argument('--processes', type=int, default=1)
    args = parser.parse_args()
    path = RESULTS / f'{args.name}.json'
    results = json.loads(path.read_text())['sets'] if path.is_file() else {}
    jobs = [*([None] if 'real' in args.sets else []), *(described_seeds(args.work) if 'seeds' in args.sets else [])]
    where = machine('cpu')
    with get_context('spawn').Pool(args.processes) as pool:
        for rows in pool.imap(partial(rows_of, data=args.data, work=args.work, only=args.only, name=args.preset), jobs):
            results |= rows
            for title, by_truth in rows.items():
                print(title, {truth: (row['accepted'], len(row['false']), row['recall'])
                              for truth, row in by_truth.items()}, flush=True)
            write_results(args.name, where, {'sets': results}, as_markdown(results, where, args.name, args.preset))


if __name__ == '__main__':
    main()
