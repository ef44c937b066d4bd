"""What an optimisation of the pose graph takes as closures gather, and when some that odometry allows are false.

    python benchmark/pose_graph_cost.py [--seed 3]

writes results/pose_graph_cost.{json,md}. A robot goes round a square of 80 m again and again; its heading drifts by
0.002 rad a metre. From the second lap on, every 0.9 m of the way is a closure with each of the two laps before. A false
one is wrong by up to 2 m along each axis of the floor and 0.3 rad, which odometry alone mostly allows after a lap.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pose_graph_drift import CLOSURE_M, CLOSURE_RAD, Closure, run
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.geometry import exponential

STEP_M, SIDE_STEPS, CORNER_STEPS = 0.1, 200, 4
LAP = 4 * SIDE_STEPS
DRIFT_RAD_PER_M = 0.002
EVERY = 9  # steps
FALSE_M, FALSE_RAD = 2.0, 0.3
LAPS, SHARES = (3, 6), (0.0, 0.3)


def laps(count: int) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """Stamps in nanoseconds, true and reported poses (4, 4)."""
    paths = [np.eye(4)], [np.eye(4)]
    for step in range(count * LAP):
        turn = np.pi / 2 / CORNER_STEPS if step % SIDE_STEPS >= SIDE_STEPS - CORNER_STEPS else 0.0
        for path, drift in zip(paths, (0.0, DRIFT_RAD_PER_M * STEP_M)):
            path.append(path[-1] @ exponential(np.array([STEP_M, 0, 0, 0, 0, turn + drift])))
    return [10**9 + number * 10**8 for number in range(len(paths[0]))], *paths


def closures(stamps_ns: Sequence[int], poses: Sequence[np.ndarray], share: float,
             rng: np.random.Generator) -> list[Closure]:
    """See the module.

    :param share: of the false ones
    """
    sigmas, made = np.array([CLOSURE_M] * 3 + [CLOSURE_RAD] * 3), []
    for query in range(LAP, len(poses), EVERY):
        for match in (query - LAP, query - 2 * LAP)[:query // LAP]:
            true = rng.random() >= share
            wrong = np.array([*rng.uniform(-FALSE_M, FALSE_M, 2), 0, 0, 0, rng.uniform(-FALSE_RAD, FALSE_RAD)])
            seen = np.linalg.inv(poses[match]) @ poses[query] @ exponential(0 * wrong if true else wrong)
            made.append(Closure(stamps_ns[match], stamps_ns[query], seen @ exponential(sigmas * rng.standard_normal(6)),
                                np.diag(sigmas ** 2), true))
    return made


def main() -> None:
    """See the module."""
    parser = command_line(__doc__)
    parser.add_argument('--seed', type=int, default=3)
    seed, where, rows = parser.parse_args().seed, machine('cpu'), []
    for count in LAPS:
        stamps, poses, odometry = laps(count)
        for share in SHARES:
            given = closures(stamps, poses, share, np.random.default_rng(seed))
            rows.append({'laps': count, 'share_false': share, **run(stamps, poses, odometry, given).numbers})
    write_results('pose_graph_cost', where, {'seed': seed, 'rows': rows}, page(
        heading('What the pose graph takes', 'pose_graph_cost.py', where, 'An optimisation after each closure.'),
        ('laps', 'nodes', 'closures', 'false', 'false accepted', 'true accepted', 'optimisation ms, median', 'longest'),
        ((row['laps'], row['nodes'], row['closures'], row['false'], row['false_accepted'], row['true_accepted'],
          f'{row["optimize_ms_median"]:.0f}', f'{row["optimize_ms_max"]:.0f}') for row in rows)))


if __name__ == '__main__':
    main()
