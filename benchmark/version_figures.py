"""The figures of one version of the package, to stand beside those of another: every set, one shipped configuration.

    python benchmark/version_figures.py --data ../shared/data --work /tmp/loops --name landed_55c810f [--processes N]

writes results/NAME.{json,md}; sets that are not asked for keep the figures of an earlier call. Plays the keyframes
that loop_closures.py has described into --work, of as many seeds as are there, so that two versions see the same
descriptors. Only the front door is used (`load_preset`, `build_recognizer`, `Recognizer`): the script of this commit
runs with the package of another on PYTHONPATH.

A match is true within 1 m and 40 degrees where poses are the truth, and false beyond 60 degrees or 2 m ("near") or
3.5 m ("far", as in the sets' place_truth.csv: the same wall from further back is no other place).
"""
from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.measured import top_k
from segvlad_ros.evaluation.metrics import Outcome, decision_metrics, ranking_metrics
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, as_given, read_truth, truth_of_pose
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.presets import build_recognizer, load_preset
from segvlad_ros.types import Keyframe, Keypoints, Pose, Recognition, Status, Verification

RESULTS = Path(__file__).resolve().parent / 'results'
LIMITS = {'near': PoseLimits(1.0, 40.0, 2.0, 60.0), 'far': PoseLimits(1.0, 40.0, 3.5, 60.0)}
CONDITIONS = {'loop': ('loop', ''), 'back': ('back', ''), 'other day': ('rev', 'lap'), 'twins': ('twins', '')}
STREET = {'street, odometry': {}, 'street, no odometry': {'odometry': False},
          'street, images only': {'odometry': False, 'camera': False},
          'street, no keypoints': {'odometry': False, 'camera': False, 'keypoints': False}}
Where = Pose | Path
TruthOf = Callable[[Where, list, np.ndarray], PlaceTruth | None]
"""(where a query was taken, where the map entries were, those that were searched) -> the truth, None: no query."""


@dataclass(frozen=True)
class Drive:
    """Keyframes in the order in which a robot has them, each with where it was taken.

    :ivar known: a map to begin with; empty: the queries themselves become the map
    :ivar exclude_frames: younger keyframes are left out, in place of the preset's window
    :ivar single: every query is asked for itself
    """

    queries: list[tuple[Keyframe, Where]]
    known: Sequence[tuple[Keyframe, Where]] = ()
    exclude_frames: int = 0
    single: bool = False


def described(folder: Path, name: str, images: Path | None = None) -> list[tuple[Keyframe, Where]]:
    """The keyframes of a recorded drive with their true poses, or with their images."""
    with PlaceMap.open(folder / f'{name}.segvlad') as place_map:
        keyframes = list(place_map.keyframes())
    if images is not None:
        paths = sorted(images.glob('*.jpg'))
        return [(keyframe, as_given(paths[keyframe.id.index - 1])) for keyframe in keyframes]
    poses = dict(np.load(folder / f'{name}.npz'))
    return [(keyframe, Pose(poses[str(keyframe.id.index)][:3], poses[str(keyframe.id.index)][3:], 'truth'))
            for keyframe in keyframes]


def known_to(run: list[tuple[Keyframe, Where]], *, odometry: bool = True, camera: bool = True,
             keypoints: bool = True) -> list:
    """A drive as a robot without odometry, without depth and calibration, or without keypoints knows it."""
    def bare(keyframe: Keyframe) -> Keyframe:
        if not camera:
            points = keyframe.description.keypoints
            flat = Keypoints(points.positions, points.descriptors, np.full_like(points.depths, np.nan))
            keyframe = replace(keyframe, description=replace(keyframe.description, keypoints=flat), camera_model=None)
        if not keypoints:
            keyframe = replace(keyframe, description=replace(keyframe.description, keypoints=None))
        return keyframe if odometry else replace(keyframe, pose=None)

    return [(bare(keyframe), where) for keyframe, where in run]


def from_file(path: Path) -> TruthOf:
    """Truth that a ground-truth file knows."""
    truth = read_truth(path)

    def of(query: Where, places: list, usable: np.ndarray) -> PlaceTruth | None:
        if query not in truth:
            return None
        return PlaceTruth(*(frozenset(entry for entry in np.flatnonzero(usable).tolist() if places[entry] in images)
                            for images in (truth[query].true, truth[query].ignored)))
    return of


def from_poses(limits: PoseLimits) -> TruthOf:
    """Truth that true poses know."""
    return lambda query, places, usable: truth_of_pose(query, places, usable, limits)


def real_sets(data: Path, work: Path) -> Iterator[tuple[str, Drive, dict[str, TruthOf]]]:
    """(name, drive, truths by name) of the real sets."""
    query, known = (described(work, f'corridor_{part}', data / 'corridor' / part) for part in ('query', 'ref'))
    truths = {name: from_file(data / f'corridor/{name}.csv') for name in ('ground_truth', 'place_truth')}
    yield 'corridor, single queries', Drive(query, known, single=True), truths
    yield 'corridor, sequence', Drive(query, known), truths
    loop, office = data / 'rtabmap_corridor_loop', data / 'hololens_office'
    yield loop.name, Drive(described(work, loop.name, loop / 'images'), exclude_frames=10), {
        'loop_truth': from_file(loop / 'loop_truth.csv')}
    run = described(work, office.name, office / 'images')
    truths = {name: from_file(office / f'{name}.csv') for name in ('loop_truth', 'place_truth')}
    for guise, known in (('', {}), (', no odometry', {'odometry': False}),
                         (', images only', {'odometry': False, 'camera': False})):
        yield office.name + guise, Drive(known_to(run, **known), exclude_frames=40), truths


def described_seeds(work: Path) -> list[int]:
    """Seeds of which a simulated drive has been described."""
    return sorted({int(found[1]) for path in work.glob('*.npz')
                   if (found := re.fullmatch(r'(?:loop|back|rev|twins|street)_(\d+)', path.stem))})


def simulated_sets(work: Path, seed: int) -> Iterator[tuple[str, Drive, dict[str, TruthOf]]]:
    """The same of the simulated drives of one seed, as far as they have been described."""
    truths = {name: from_poses(limits) for name, limits in LIMITS.items()}
    for name, (queries, known) in CONDITIONS.items():
        if all((work / f'{part}_{seed}.npz').is_file() for part in (queries, known) if part):
            yield f'{name} {seed}', Drive(described(work, f'{queries}_{seed}'),
                                          described(work, f'{known}_{seed}') if known else ()), truths
    if (work / f'street_{seed}.npz').is_file():
        run = described(work, f'street_{seed}')
        for name, guise in STREET.items():
            yield f'{name} {seed}', Drive(known_to(run, **guise)), truths


def play(drive: Drive, truths: dict[str, TruthOf]) -> tuple[dict[str, list[Outcome]], list[float]]:
    """Ask about every query in order.

    :return: outcomes by name of the truth; seconds of each answer without the search
    """
    recognizer = build_recognizer(load_preset('classic'), drive.queries[0][0].description.descriptors.shape[1])
    places, own = [where for _, where in drive.known], not drive.known
    outcomes, seconds = {name: [] for name in truths}, []
    for keyframe, _ in drive.known:
        recognizer.add(keyframe)
    for keyframe, where in drive.queries:
        window = {'exclude_recent': own and not drive.exclude_frames, 'exclude_frames': drive.exclude_frames}
        usable = ~recognizer.excluded(keyframe, *window.values())
        judged = {name: place for name, of in truths.items() if (place := of(where, places, usable)) is not None}
        ignored = max((len(place.ignored) for place in judged.values()), default=0)
        answer = recognizer.recognize(keyframe, top_k=top_k(ignored), independent=drive.single, **window)
        seconds.append(own_seconds(keyframe, answer))
        for name, place in judged.items():
            outcomes[name].append(Outcome(f'{keyframe.id.index:05d}', answer, place))
        if own:
            recognizer.add(keyframe)
            places.append(where)
    return outcomes, seconds


def own_seconds(keyframe: Keyframe, answer: Recognition) -> float:
    """Seconds that an answer took, without description and search; whatever its stages are called."""
    return sum(seconds for stage, seconds in answer.timings.items()
               if stage != 'search' and stage not in keyframe.description.timings)


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


def as_markdown(results: dict[str, dict], where: dict, name: str) -> str:
    """One row a drive and truth."""
    lines = [f'# {name}', '', f'Written by `benchmark/version_figures.py` on {where}. Preset `classic` as that version '
             'ships it. `ignored`: answered with a reference that counts neither way, left out of recall.', '',
             '| set | truth | with place | recall@1 | accepted | ignored | false | precision | recall | statuses '
             '| answer ms p50 / p95 |', '|---' * 11 + '|']
    for title, by_truth in results.items():
        for truth, row in by_truth.items():
            rates = ['-' if row[key] is None else f'{row[key]:.3f}' for key in ('recall@1', 'precision', 'recall')]
            statuses = ', '.join(f'{status} {count}' for status, count in row['statuses'].items())
            lines.append(f'| {title} | {truth} | {row["queries_with_place"]} | {rates[0]} | {row["accepted"]} '
                         f'| {row["ignored"]} | {len(row["false"])} | {rates[1]} | {rates[2]} | {statuses} '
                         f'| {row["answer_ms"]["p50"]:.0f} / {row["answer_ms"]["p95"]:.0f} |')
    return '\n'.join(lines) + '\n'


def rows_of(seed: int | None, data: Path, work: Path, only: str) -> dict[str, dict]:
    """The figures of one seed, or (None) of the real sets, by drive and truth."""
    cv2.setNumThreads(1)
    sets = real_sets(data, work) if seed is None else simulated_sets(work, seed)
    rows = {}
    for title, drive, truths in sets:
        if re.match(only, title):
            outcomes, seconds = play(drive, truths)
            rows[title] = {truth: figures(kept, seconds) for truth, kept in outcomes.items()}
    return rows


def main() -> None:
    """Play and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True, help='holds the described keyframes')
    parser.add_argument('--name', required=True, help='of the version, and of the files')
    parser.add_argument('--sets', nargs='+', choices=('real', 'seeds'), default=['real', 'seeds'])
    parser.add_argument('--only', default='', help='a regular expression that the names of drives begin with')
    parser.add_argument('--processes', type=int, default=1)
    args = parser.parse_args()
    path = RESULTS / f'{args.name}.json'
    results = json.loads(path.read_text())['sets'] if path.is_file() else {}
    jobs = [*([None] if 'real' in args.sets else []), *(described_seeds(args.work) if 'seeds' in args.sets else [])]
    where = machine('cpu')
    with get_context('spawn').Pool(args.processes) as pool:
        for rows in pool.imap(partial(rows_of, data=args.data, work=args.work, only=args.only), jobs):
            results |= rows
            for title, by_truth in rows.items():
                print(title, {truth: (row['accepted'], len(row['false']), row['recall'])
                              for truth, row in by_truth.items()}, flush=True)
            path.write_text(json.dumps({'machine': where, 'sets': results}, indent=1) + '\n')
            path.with_suffix('.md').write_text(as_markdown(results, where, args.name))


if __name__ == '__main__':
    main()
