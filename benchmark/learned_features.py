"""What learned features are worth beside the classic ones: one table of all presets, on the same images and terms.

    python benchmark/learned_features.py --data ../shared/data --work /tmp/features [--presets NAME ...] [--processes N]

writes results/learned_features.{json,md}; weights that presets name must be there (``segvlad weights``). Images are
described once, into maps under --work, one folder a preset.

Recall@1 and @5 rank whatever is decided. Decisions of presets with a calibration are those of one that was learned from
the two other real sets; of presets without one, those of their thresholds. Wide baselines: of hololens_office, queries
that have a place in the map at 1 to 2 m, or 40 to 60 degrees, and what is nearer counts neither way.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from baselines import changes_of
from calibration import LEFT_OUT, joined, left_out, samples, save_left_out
from drives import Recorder, Trial, play, real_trials, true_poses
from tables import command_line, heading, page, write_results

from segvlad_ros.cli import main as segvlad
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import decision_metrics, ranking_metrics
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, truth_of_pose
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.pipeline.presets import Preset, build_describer, load_preset
from segvlad_ros.types import Pose

PRESETS = 'classic', 'learned', 'classic_patches', 'classic_image', 'orb_words'
SETS = 'corridor', 'rtabmap_corridor_loop', 'hololens_office'
COLUMNS = *SETS[:2], 'hololens_office, with depth', 'hololens_office, without depth', 'hololens_office, images only'
WIDE, TIMED = 'wide', 40
# What is within the first limits is near; what is within the second, and not near, is far apart and still one place.
_NEAR = PoseLimits(true_distance_m=1.0, true_angle_deg=40.0, ignored_distance_m=1.0, ignored_angle_deg=40.0)
_WIDE = PoseLimits(true_distance_m=2.0, true_angle_deg=60.0, ignored_distance_m=2.0, ignored_angle_deg=60.0)


def trials(recorder: Recorder, data: Path) -> dict[str, Trial]:
    """The columns of the table."""
    corridor, loop, office, *_ = (trial for _, trial in real_trials(recorder, data))
    poses = true_poses(data / SETS[2])

    def wide(image: Path, entries: Sequence[Path], usable: np.ndarray) -> PlaceTruth | None:
        return wide_truth(poses[image], [poses[entry] for entry in entries], usable)

    office = replace(office, truths={WIDE: wide, **office.truths})
    return dict(zip(COLUMNS, (corridor, loop, office, office.seen(camera=True),
                              office.seen(odometry=True, camera=True))))


def wide_truth(pose: Pose, entries: list[Pose], usable: np.ndarray) -> PlaceTruth | None:
    """What shows the place of a pose from far away; what shows it from near counts neither way."""
    near, far = (truth_of_pose(pose, entries, usable, limits).true for limits in (_NEAR, _WIDE))
    return PlaceTruth(far - near, near) if far - near else None


def row_of(preset: Preset, data: Path, work: Path) -> dict[str, Any]:
    """All numbers of a preset."""
    recorder, columns, wide = Recorder(preset, work), {}, None
    for column, trial in trials(recorder, data).items():
        judged = preset
        if preset.calibration is not None:
            judged = replace(preset, calibration=learned_without(column.split(',')[0], preset, data, work))
        played = play(trial, judged, ranked=True)
        wide = wide or (ranking_metrics(played.by_truth[WIDE]) if WIDE in played.by_truth else None)
        columns[column] = numbers_of(played.by_truth)
        print(preset.name, column, columns[column], flush=True)
    return {'columns': columns, 'wide': wide, 'ms': milliseconds(preset, data),
            'bytes_per_keyframe': keyframe_bytes(recorder, data, work)}


def learned_without(tested: str, preset: Preset, data: Path, work: Path) -> Path:
    """The calibration that the other real sets teach; one that lies under ``work`` is taken."""
    if not (work / LEFT_OUT.format(tested)).is_file():
        sets = joined(part for name in SETS for part in samples((name, None), preset.name, data, work, learning=True))
        save_left_out(left_out(sets, preset), work)
    return work / LEFT_OUT.format(tested)


def numbers_of(by_truth: dict[str, list]) -> dict[str, Any]:
    """Ranking by the truth that counts what is near, decisions by the one that ignores what shows it from further."""
    near, decided = ([*(truth for name, truth in by_truth.items() if name != WIDE)][end] for end in (0, -1))
    accepted = [outcome.accepted for outcome in decided if outcome.accepted is not None]
    return {**ranking_metrics(near), **decision_metrics(decided), 'correct': sum(accepted),
            'false': len(accepted) - sum(accepted)}


def milliseconds(preset: Preset, data: Path) -> dict[str, float]:
    """CPU time of all threads to describe an image of the office, by stage: means."""
    images = list_images(data / SETS[2] / 'images')
    describer, totals = build_describer(preset), {}
    describer.warm_up()
    describer._pool = _InTurn()  # CPU time of the process is that of a stage where no other runs beside it
    with mock.patch('segvlad_ros.description.describer.time.perf_counter', time.process_time):
        for path in images[::max(1, len(images) // TIMED)]:
            for stage, seconds in describer.describe(read_image(path)).timings.items():
                totals.setdefault(stage, []).append(seconds * 1e3)
    return {stage: float(np.mean(values)) for stage, values in totals.items()}


class _InTurn(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, function: Callable[..., Any], /, *args: object, **kwargs: object) -> Future:
        done = Future()
        done.set_result(function(*args, **kwargs))
        return done


def keyframe_bytes(recorder: Recorder, data: Path, work: Path) -> float:
    """Of the map file of the office."""
    keyframes = len(next(trial for name, trial in real_trials(recorder, data) if name == SETS[2]).queries)
    return (work / f'{SETS[2]}.segvlad').stat().st_size / keyframes


def as_page(rows: dict[str, dict[str, Any]], where: dict) -> str:
    """One line a preset."""
    about = __doc__.partition('Recall@1')
    head = heading('Learned features beside the classic ones', 'learned_features.py', where,
                   ' '.join((about[1] + about[2]).split()) + ' In brackets 95 % Clopper-Pearson intervals; '
                   'milliseconds are CPU time of all threads.')
    lines = [(name, *(_cell(row['columns'][column]) for column in COLUMNS), _share(row['wide'], 'recall@1'),
              ', '.join(f'{stage} {value:.0f}' for stage, value in row['ms'].items() if value >= 0.5)
              + f', total {sum(row["ms"].values()):.0f}', f'{row["bytes_per_keyframe"] / 1000:.0f} kB')
             for name, row in rows.items()]
    head += ['In each column: recall@1, recall@5; correct and false matches accepted, precision; recall.', '']
    return page(head, ('preset', *COLUMNS, 'wide baselines, recall@1', 'ms an image', 'keyframe'), lines)


def _cell(numbers: dict[str, Any]) -> str:
    precision = '-' if numbers['precision'] is None else _share(numbers, 'precision')
    return (f'{_share(numbers, "recall@1")}, {numbers["recall@5"]:.2f}; {numbers["correct"]} + {numbers["false"]}, '
            f'{precision}; {_share(numbers, "recall")}')


def _share(numbers: dict[str, Any], name: str) -> str:
    low, high = numbers[f'{name}_bounds']
    return f'{numbers[name]:.2f} ({low:.2f}-{high:.2f})'


def measured(name: str, data: Path, work: Path, words: Path) -> tuple[str, dict[str, Any]]:
    """A preset by its name, and its numbers."""
    cv2.setNumThreads(1)
    (work / name).mkdir(exist_ok=True)
    return name, row_of(load_preset(name, changes_of(name, words)), data, work / name)


def main() -> None:
    """Measure and write, after every preset."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--presets', nargs='+', default=PRESETS)
    parser.add_argument('--processes', type=int, default=1, help='presets at a time')
    args = parser.parse_args()
    words, where, rows = args.work / 'words.npz', machine('cpu'), {}
    args.work.mkdir(parents=True, exist_ok=True)
    if 'orb_words' in args.presets and not words.is_file():
        segvlad(['fit', 'vocabulary', str(args.data / 'training'), '--preset', 'orb_words', f'--output={words}'])
    with get_context('spawn').Pool(args.processes) as pool:
        for name, row in pool.imap(partial(measured, data=args.data, work=args.work, words=words), args.presets):
            rows[name] = row
            write_results('learned_features', where, {'rows': rows}, as_page(rows, where))


if __name__ == '__main__':
    main()
