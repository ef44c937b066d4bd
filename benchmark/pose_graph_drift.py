"""How much of the odometry's error the pose graph takes back: true poses of ``hololens_office`` with drift added.

    python benchmark/pose_graph_drift.py [--data DATA] [--closures FILE.npz] [--seeds 10]

writes results/pose_graph_drift.{json,png}. Odometry is wrong as the simulated one is, in three dimensions: distances
by 2 %, the heading by 0.5 degrees a metre, both to one side for the whole run, on top white noise of a fifth of that
in all directions. Closures come in while the path grows, and the path is optimised after each one, as on a robot.
Without FILE.npz they are made from the true poses: of each query of the ground truth its nearest match, with noise of
the size that geometric verification shows on these images. FILE.npz holds those of a recogniser: ``match_stamps_ns``
(n,), ``query_stamps_ns`` (n,), ``query_poses_in_match`` (n, 4, 4) and ``covariances`` (n, 6, 6) in ROS' order, of the
camera; frame k has the stamp 1 s + k times 0.2 s. False closures are added to both.
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from recorded_runs import true_poses
from tables import RESULTS, command_line, write_results
from trajectory import absolute_trajectory_error, align, relative_pose_errors

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.truth import read_truth
from segvlad_ros.geometry import exponential, from_matrix, to_matrix
from segvlad_ros.slam.consensus import Verdict
from segvlad_ros.slam.odometry_chain import PoseGraphSettings
from segvlad_ros.slam.pose_graph import PoseGraph

DATA = Path(__file__).resolve().parents[2] / 'shared/data'
FRAME_S = 0.2
TRANSLATION_DRIFT, ROTATION_DRIFT, WHITE_SHARE = 0.02, np.radians(0.5), 0.2
CLOSURE_M, CLOSURE_RAD = 0.02, np.radians(0.4)  # per axis, of true closures that are made
VERTICAL = np.array([0.0, 1.0, 0.0])  # the axis of the set's world that the heading turns about
RELATIVE_OVER_M = 5.0
# name, share of false closures among all, how many in a row are wrong in the same way
VARIANTS = (('no false closures', 0.0, 1), ('10 % false', 0.1, 1), ('30 % false', 0.3, 1),
            ('30 % false, 5 in a row', 0.3, 5))


@dataclass(frozen=True)
class Closure:
    """A loop closure; ``true`` is what is known of it, None where nothing is."""

    match_stamp_ns: int
    query_stamp_ns: int
    match_from_query: np.ndarray
    covariance: np.ndarray
    true: bool | None = None


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    :ivar paths: by name (n, 3) metres: truth, odometry, optimised; the last two aligned to the first
    :ivar numbers: errors in metres, radians and milliseconds
    """

    paths: dict[str, np.ndarray]
    numbers: dict


def drifting(poses: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """What odometry reports for true poses, (4, 4) each, from its own origin."""
    turn, scale = ROTATION_DRIFT * rng.choice([-1, 1]) * VERTICAL, TRANSLATION_DRIFT * rng.choice([-1, 1])
    reported = [np.eye(4)]
    for before, after in zip(poses, poses[1:]):
        step = np.linalg.inv(before) @ after
        length = float(np.linalg.norm(step[:3, 3]))
        white = WHITE_SHARE * np.sqrt(length) * rng.standard_normal(6)
        wrong = np.concatenate([step[:3, :3].T @ step[:3, 3] * scale + white[:3] * TRANSLATION_DRIFT,
                                after[:3, :3].T @ turn * length + white[3:] * ROTATION_DRIFT])
        reported.append(reported[-1] @ step @ exponential(wrong))
    return reported


def true_closures(stamps_ns: Sequence[int], poses: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]],
                  rng: np.random.Generator) -> list[Closure]:
    """Closures of pairs (match, query) of the path, with noise."""
    sigmas = np.array([CLOSURE_M] * 3 + [CLOSURE_RAD] * 3)
    return [Closure(stamps_ns[m], stamps_ns[q],
                    np.linalg.inv(poses[m]) @ poses[q] @ exponential(sigmas * rng.standard_normal(6)),
                    np.diag(sigmas ** 2), True) for m, q in pairs]


def with_false(closures: Sequence[Closure], stamps_ns: Sequence[int], poses: Sequence[np.ndarray], share: float,
               rng: np.random.Generator, *, in_a_row: int = 1) -> list[Closure]:
    """The closures and false ones: two places beyond 2 m of each other that are said to be one.

    :param share: of the false ones among all
    :param in_a_row: so many neighbouring queries in a row are wrong in the same way, as in a look-alike corridor
    """
    wanted = round(len(closures) * share / (1 - share))
    made: list[Closure] = []
    while len(made) < wanted:
        match, query = sorted(rng.integers(0, len(poses) - in_a_row, 2))
        if query - match < 40 or np.linalg.norm(poses[match][:3, 3] - poses[query][:3, 3]) < 2:
            continue
        seen = exponential(np.array([0.3] * 3 + [0.2] * 3) * rng.standard_normal(6))
        for k in range(min(in_a_row, wanted - len(made))):
            ahead = np.linalg.inv(poses[match]) @ poses[match + k], np.linalg.inv(poses[query]) @ poses[query + k]
            made.append(Closure(stamps_ns[match + k], stamps_ns[query + k],
                                np.linalg.inv(ahead[0]) @ seen @ ahead[1],
                                np.diag(np.array([CLOSURE_M] * 3 + [CLOSURE_RAD] * 3) ** 2), False))
    return [*closures, *made]


def run(stamps_ns: Sequence[int], poses: Sequence[np.ndarray], odometry: Sequence[np.ndarray],
        closures: Sequence[Closure], settings: PoseGraphSettings | None = None) -> Outcome:
    """Drive the path once.

    :param poses, odometry: (4, 4) true and reported poses of the base at the stamps
    """
    graph, by_query, milliseconds, truth = PoseGraph(settings), {}, [], {}
    for closure in closures:
        by_query.setdefault(closure.query_stamp_ns, []).append(closure)
    judged = {}
    for stamp, reported in zip(stamps_ns, odometry):
        graph.add_odometry(stamp, from_matrix(reported, 'odom'))
        for closure in by_query.get(stamp, ()):
            truth[graph.add_closure(closure.match_stamp_ns, closure.query_stamp_ns, from_matrix(
                closure.match_from_query, '', closure.covariance))] = closure.true
            begin = time.perf_counter()
            judged = graph.optimize()
            milliseconds.append(1e3 * (time.perf_counter() - begin))
    accepted = {number for number, answer in judged.items() if answer.verdict == Verdict.ACCEPTED}
    optimised = np.stack([to_matrix(graph.pose_at(stamp)) for stamp in stamps_ns])
    points = {'truth': np.stack(poses)[:, :3, 3], 'odometry': np.stack(odometry)[:, :3, 3],
              'optimised': optimised[:, :3, 3]}
    before, after = (absolute_trajectory_error(points[name], points['truth']) for name in ('odometry', 'optimised'))
    relative = {name: [part.rmse for part in relative_pose_errors(path, poses, RELATIVE_OVER_M)]
                for name, path in (('odometry', odometry), ('optimised', optimised))}
    return Outcome({name: _aligned(path, points['truth']) for name, path in points.items()}, {
        'nodes': graph.nodes, 'closures': len(closures), 'accepted': len(accepted),
        'false': sum(known is False for known in truth.values()),
        'false_accepted': sum(truth[number] is False for number in accepted),
        'true_accepted': sum(truth[number] is True for number in accepted),
        'ate_odometry_m': before.rmse, 'ate_optimised_m': after.rmse, 'ate_ratio': after.rmse / before.rmse,
        'ate_optimised': asdict(after), 'relative_over_m': RELATIVE_OVER_M, 'relative_m_rad': relative,
        'optimize_ms_median': float(np.median(milliseconds or [0])), 'optimize_ms_max': max(milliseconds, default=0.0)})


def _aligned(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    motion = align(points, truth)
    return points @ motion[:3, :3].T + motion[:3, 3]


def hololens(data: Path) -> tuple[list[int], list[np.ndarray], list[tuple[int, int]]]:
    """Stamps, true poses, and pairs (match, query) of ``hololens_office``: of each query its nearest true match."""
    folder = data / 'hololens_office'
    by_image = true_poses(folder)
    poses = list(map(to_matrix, by_image.values()))
    names = {image: number for number, image in enumerate(by_image)}
    pairs = []
    for query, place in read_truth(folder / 'loop_truth.csv').items():
        q = names[query]
        found = [names[match] for match in place.true]
        if found:
            pairs.append((min(found, key=lambda m: np.linalg.norm(poses[m][:3, 3] - poses[q][:3, 3])), q))
    return [round(1e9 * (1 + FRAME_S * number)) for number in range(len(poses))], poses, pairs


def load_closures(path: Path) -> list[Closure]:
    """The closures of a recogniser; see the module."""
    with np.load(path) as file:
        return [Closure(int(match), int(query), pose, covariance) for match, query, pose, covariance in zip(
            file['match_stamps_ns'], file['query_stamps_ns'], file['query_poses_in_match'], file['covariances'])]


def experiment(data: Path, seeds: Sequence[int], closures: Sequence[Closure] | None = None,
               settings: PoseGraphSettings | None = None) -> tuple[dict, Outcome]:
    """Runs with several seeds of drift and noise, without and with false closures.

    :param closures: those of a recogniser; None makes them from the true poses
    :return: the numbers by variant, and of the runs without false closures the one with the median gain
    """
    stamps, poses, pairs = hololens(data)
    rows: dict[str, list[dict]] = {}
    plain: list[Outcome] = []
    for name, share, in_a_row in VARIANTS:
        for seed in seeds:
            rng = np.random.default_rng(seed)
            odometry = drifting(poses, rng)
            given = true_closures(stamps, poses, pairs, rng) if closures is None else closures
            if share:
                given = with_false(given, stamps, poses, share, rng, in_a_row=in_a_row)
            outcome = run(stamps, poses, odometry, given, settings)
            if not share:
                plain.append(outcome)
            rows.setdefault(name, []).append({'seed': int(seed), **outcome.numbers})
    plain.sort(key=lambda outcome: outcome.numbers['ate_ratio'])
    numbers = {name: {
        'median_ate_ratio': float(np.median([row['ate_ratio'] for row in runs])),
        'largest_ate_ratio': max(row['ate_ratio'] for row in runs),
        'false_accepted': sum(row['false_accepted'] for row in runs),
        'false': sum(row['false'] for row in runs), 'runs': runs} for name, runs in rows.items()}
    return numbers, plain[len(plain) // 2]


def plot(outcome: Outcome, path: Path) -> None:
    """The floor plan of the three paths."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 6), layout='constrained')
    for (name, points), colour in zip(outcome.paths.items(), ('black', 'tab:red', 'tab:blue')):
        axes.plot(points[:, 0], points[:, 2], color=colour, label=name, linewidth=1.5)
    numbers = outcome.numbers
    axes.set(aspect='equal', xlabel='x [m]', ylabel='z [m]', title=(
        f'hololens_office with drift: absolute trajectory error {numbers["ate_odometry_m"]:.3f} m of odometry, '
        f'{numbers["ate_optimised_m"]:.3f} m optimised'))
    axes.title.set_fontsize(9)
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """See the module."""
    parser = command_line(__doc__)
    parser.add_argument('--data', type=Path, default=DATA)
    parser.add_argument('--closures', type=Path)
    parser.add_argument('--seeds', type=int, default=10)
    arguments = parser.parse_args()
    closures = load_closures(arguments.closures) if arguments.closures else None
    variants, shown = experiment(arguments.data, range(arguments.seeds), closures)
    source = 'those of a recogniser' if arguments.closures else 'made from the true poses'
    write_results('pose_graph_drift', machine('cpu'), {'closures': source, 'variants': variants})
    plot(shown, RESULTS / 'pose_graph_drift.png')


if __name__ == '__main__':
    main()
