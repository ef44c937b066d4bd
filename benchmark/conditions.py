"""What a map of one lap finds under other conditions: on another day, at night, from the opposite direction.

    python benchmark/conditions.py --work /tmp/conditions [--seeds 101 102 103]

writes results/conditions.{json,md}. Map and queries are laps of the simulated building, with depth, calibration and
odometry, each a session of its own. *Another day* has other light and other noise. *At night* the same images are lit
by a lamp on the robot (that of retention.py). *Opposite direction*: the way from its end to its start, looking ahead,
so that each wall comes from its other end, or is behind the robot. There a match is true within 1 m and false beyond
3.5 m, however the robot was turned; elsewhere it must look the same way, too (40 and 60 degrees).
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from drives import Trial, play
from recorded_runs import Recorder, Run, simulated_frames
from retention import at_night
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import ranking_metrics
from segvlad_ros.evaluation.truth import PoseLimits, truth_of_pose
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Frame, Pose, Status

TRIALS = {  # of each condition the lap that asks and the lap that is the map
    'another day': ('day 1', 'day 0'),
    'at night, in a map of the day': ('night 1', 'day 0'),
    'by day, in a map of the night': ('day 1', 'night 0'),
    'at night, in a map of another night': ('night 1', 'night 0'),
    'another day, opposite direction': ('opposite 1', 'day 0'),
}


def lap_frames(lap: str, seed: int) -> Iterator[tuple[Frame, Pose]]:
    """The images of a lap that become keyframes, with their true poses.

    :param lap: condition and number, as in :data:`TRIALS`
    """
    condition, number = lap.split()
    opposite, rng = condition == 'opposite', np.random.default_rng([seed, int(number)])
    for frame, pose in simulated_frames('demo', seed=seed, route='lap', run=int(number), reverse=opposite,
                                        turned=opposite):
        yield (at_night(frame, rng) if condition == 'night' else frame), pose


def lap_run(recorder: Recorder, lap: str, seed: int) -> Run:
    """A lap as keyframes."""
    name = lap.replace(' ', '_')
    return recorder.keyframes(f'{name}_{seed}', lap_frames(lap, seed), name)


def figures(recorder: Recorder, seed: int, condition: str) -> dict[str, int]:
    """What one map answers to one lap, in counts."""
    asks, known = (lap_run(recorder, lap, seed) for lap in TRIALS[condition])
    limits = PoseLimits().by_distance() if 'opposite' in condition else PoseLimits()
    outcomes = play(Trial(asks, {'truth': partial(truth_of_pose, limits=limits)}, known), load_preset('classic'),
                    ranked=True).outcomes
    ranking = ranking_metrics(outcomes)
    with_place = ranking['queries_with_place']
    return {'queries': len(outcomes), 'with_place': with_place, 'first': round(ranking['recall@1'] * with_place),
            'matched': sum(outcome.recognition.status == Status.MATCHED for outcome in outcomes),
            'true': sum(outcome.accepted is True for outcome in outcomes),
            'false': sum(outcome.accepted is False for outcome in outcomes)}


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument('--work', type=Path, required=True, help='keeps the described keyframes')
    parser.add_argument('--seeds', type=int, nargs='+', default=[101, 102, 103])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    recorder, where = Recorder(load_preset('classic'), args.work), machine()
    rows = {condition: {} for condition in TRIALS}
    for seed in args.seeds:
        for condition, of in rows.items():
            of[str(seed)] = figures(recorder, seed, condition)
    sums = {condition: {key: sum(row[key] for row in of.values()) for key in next(iter(of.values()))}
            for condition, of in rows.items()}
    about = ('Preset `classic`, simulated building, seeds ' + ', '.join(map(str, args.seeds)) + ', summed. First: the '
             'best candidate shows the place. Matched: believed; the rest of true and false are matches that count '
             'neither way.')
    write_results('conditions', where, {'by_seed': rows, 'sums': sums}, page(
        heading('conditions', 'conditions.py', where, about),
        ('condition', 'queries', 'with a place', 'first', 'matched', 'true', 'false'),
        ((condition, *row.values()) for condition, row in sums.items())))


if __name__ == '__main__':
    main()
