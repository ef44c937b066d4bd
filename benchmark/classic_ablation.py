"""Ablation of the classic preset on real images: what each choice is worth, measured with the product's own code.

    python benchmark/classic_ablation.py --data ../shared/data --output benchmark/results/classic_ablation

writes ``classic_ablation.json`` and ``.md``. Every row differs from the shipped preset in the named setting only.
Projections are fitted on the training images, like the shipped files; no evaluation image is used for fitting.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.cli import main
from segvlad_ros.description.describer import Describer
from segvlad_ros.evaluation.image_evaluation import ImageEvaluation
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.report import summarize
from segvlad_ros.evaluation.truth import read_truth
from segvlad_ros.features import FeatureExtractor
from segvlad_ros.io.images import list_images
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.segmentation import Segmenter
from segvlad_ros.types import FeatureGrid, Masks

SHIPPED = 'classic (shipped)'
BOOTSTRAP_DRAWS = 2000
SEED = 0


@dataclass(frozen=True)
class DataSet:
    """One set of images.

    :ivar references: the first how many reference images make the map; None takes all
    :ivar exclude_frames: 0 for references and queries, otherwise one sequence without that many recent images
    """

    name: str
    references_folder: str
    queries_folder: str
    truth: str
    references: int | None = None
    exclude_frames: int = 0


SETS = (
    DataSet('corridor', 'corridor/ref', 'corridor/query', 'corridor/ground_truth.csv'),
    DataSet('rtabmap', 'rtabmap_corridor_loop/images', 'rtabmap_corridor_loop/images',
            'rtabmap_corridor_loop/ground_truth.csv', references=40),
    DataSet('rtabmap loop', 'rtabmap_corridor_loop/images', 'rtabmap_corridor_loop/images',
            'rtabmap_corridor_loop/loop_truth.csv', exclude_frames=10),
    DataSet('hololens loop', 'hololens_office/images', 'hololens_office/images', 'hololens_office/loop_truth.csv',
            exclude_frames=40),
)

PATCHES = {'segmenter.kind': 'patches', 'neighbourhood.order': 0}
WHOLE_IMAGE = {**PATCHES, 'segmenter.rows': 1, 'segmenter.cols': 1}
# Name of the row, and what it changes. What has to be fitted is given as the number of words of the vocabulary, or as
# the shrinkage of the projection (None: not whitened).
VARIANTS: dict[str, dict[str, Any]] = {
    SHIPPED: {},
    'whole image': WHOLE_IMAGE,
    'patches 3x4': {**PATCHES, 'segmenter.rows': 3, 'segmenter.cols': 4},
    'patches 6x8, order 1': {**PATCHES, 'segmenter.rows': 6, 'segmenter.cols': 8, 'neighbourhood.order': 1},
    'order 0': {'neighbourhood.order': 0},
    'order 3': {'neighbourhood.order': 3},
    'PCA 512': {'projection.kind': 'file', 'projection.path': None},
    'PCA 512, whitened, shrinkage 0.5': {'projection.kind': 'file', 'projection.path': 0.5},
    'PCA 512, whitened': {'projection.kind': 'file', 'projection.path': 0.0},
    'order 2': {'neighbourhood.order': 2},
    'seeded 256': {'projection.dimension': 256},
    'seeded 1024': {'projection.dimension': 1024},
    '50 neighbours': {'search.neighbours': 50},
    'vote floor 0': {'vote.floor': 0.0},
    'vote floor 0.3': {'vote.floor': 0.3},
    'felzenszwalb scale 50': {'segmenter.scale': 50},
    'felzenszwalb scale 200': {'segmenter.scale': 200},
    '16 words': {'vocabulary': 16},
    '64 words': {'vocabulary': 64},
    'bins of 8 and 16 pixels': {'features.bin_sizes': [8, 16], 'vocabulary': 32},
    'bins of 32 pixels': {'features.bin_sizes': [32], 'vocabulary': 32},
}
# Rows from here on leave out the largest set.
FIRST_SECONDARY = 'order 2'


class RememberedSegmenter:
    """Segments every image once, for all rows that share the segmenter; keeps the masks as bits."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._known: dict[bytes, tuple[np.ndarray, tuple, np.ndarray]] = {}

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        key = digest(rgb)
        if key not in self._known:
            found = self._segmenter.segment(rgb)
            self._known[key] = np.packbits(found.masks), found.masks.shape, found.quality
        bits, shape, quality = self._known[key]
        return Masks(np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool), quality)


class RememberedExtractor:
    """Describes the cells of every image once, for all rows that share the features."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor
        self._known: dict[bytes, FeatureGrid] = {}
        self.cell, self.dimension = extractor.cell, extractor.dimension

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`."""
        key = digest(rgb)
        if key not in self._known:
            self._known[key] = self._extractor.extract(rgb)
        return self._known[key]


def digest(rgb: np.ndarray) -> bytes:
    """Key of an image."""
    return hashlib.blake2b(np.ascontiguousarray(rgb), digest_size=16).digest()


class Fits:
    """Vocabularies and projections that are not shipped, fitted on the training images with ``segvlad fit``."""

    def __init__(self, training: Path, folder: Path) -> None:
        self._training, self._folder = training, folder

    def fill(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The changes of a row, with files in place of what is to be fitted."""
        filled = dict(changes)
        if 'vocabulary' in filled:
            bins = filled.get('features.bin_sizes')
            extra = [f'--set=features.bin_sizes={bins}'] if bins else []
            filled['vocabulary'] = self._fit('vocabulary', f'--words={filled["vocabulary"]}', '--cells=100000', *extra)
        if 'projection.path' in filled:
            shrinkage = filled['projection.path']
            whiten = [] if shrinkage is None else ['--whiten', f'--shrinkage={shrinkage}']
            filled['projection.path'] = self._fit('projection', '--dimension=512', '--segments=4000', *whiten)
        return filled

    def _fit(self, kind: str, *options: str) -> str:
        name = hashlib.sha256(' '.join(options).encode()).hexdigest()[:12]
        path = self._folder / f'{kind}_{name}.npz'
        if not path.exists() and main(['fit', kind, str(self._training), f'--output={path}', *options]) != 0:
            raise SystemExit(f'{kind} {" ".join(options)} could not be fitted')
        return str(path)


def measure(data: DataSet, root: Path, preset: Preset, describer: Describer) -> tuple[list[Outcome], dict[str, Any]]:
    """Run one preset on one data set: the answers, and the numbers of ``segvlad evaluate images``."""
    places = PlaceRecognizer(preset)
    places.describer = describer
    evaluation = ImageEvaluation(places, read_truth(root / data.truth), lambda values, title: values)
    references = list_images(root / data.references_folder)[:data.references]
    if data.exclude_frames:
        result = evaluation.one_sequence(references, data.exclude_frames)
    else:
        result = evaluation.map_and_queries(references, list_images(root / data.queries_folder))
    numbers = summarize(result, preset)
    del numbers['ms_per_image']  # features and segments are remembered from earlier rows
    return list(result.outcomes), numbers


def best_answers(outcomes: list[Outcome]) -> np.ndarray:
    """Of every query: score of the best candidate, whether it is true, whether there is a true place."""
    return np.array([(outcome.ranked[0].score if outcome.ranked else -1.0, outcome.rank == 1, bool(outcome.truth.true))
                     for outcome in outcomes])


def average_precision(answers: np.ndarray) -> float:
    """As :func:`segvlad_ros.evaluation.metrics.ranking_metrics`, but for equal scores, fast enough to resample."""
    ordered = answers[np.argsort(-answers[:, 0], kind='stable')]
    precision = np.cumsum(ordered[:, 1]) / np.arange(1, len(ordered) + 1)
    return float((precision * ordered[:, 1]).sum() / max(1.0, ordered[:, 2].sum()))


def recall_at_1(answers: np.ndarray) -> float:
    """Share of the queries whose best candidate is true."""
    return float(answers[:, 1].mean())


def paired_bootstrap(first: np.ndarray, second: np.ndarray, worth: Callable[[np.ndarray], float]) -> float:
    """Probability that ``first`` is better than ``second``, by resampling the queries of both together.

    :param first, second: answers, one row a query, in the same order
    :param worth: of answers, larger is better
    :return: share of draws in which first wins; a tie counts half
    """
    generator = np.random.default_rng(SEED)
    wins = 0.0
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = generator.integers(0, len(first), len(first))
        difference = worth(first[drawn]) - worth(second[drawn])
        wins += 0.5 if difference == 0 else float(difference > 0)
    return wins / BOOTSTRAP_DRAWS


def run_rows(root: Path, fits: Fits, store: Callable[[dict], None]) -> None:
    """Measure every row, and hand over the results so far after each."""
    answers: dict[tuple[str, str], np.ndarray] = {}
    results: dict[str, dict] = {}
    remembered: dict[Any, Any] = {}
    rows = list(VARIANTS)
    for number, (row, changes) in enumerate(VARIANTS.items()):
        preset = load_preset('classic', fits.fill(changes))
        describer = build_describer(preset)
        describer.segmenter = remembered.setdefault(preset.segmenter, RememberedSegmenter(describer.segmenter))
        describer.extractor = remembered.setdefault(preset.features, RememberedExtractor(describer.extractor))
        results[row] = {'changes': {key: str(value) for key, value in changes.items()}, 'sets': {}}
        for data in SETS if number < rows.index(FIRST_SECONDARY) else SETS[:-1]:
            outcomes, numbers = measure(data, root, preset, describer)
            answers[row, data.name] = best_answers(outcomes)
            better = paired_bootstrap(answers[SHIPPED, data.name], answers[row, data.name],
                                      average_precision if data.exclude_frames else recall_at_1)
            results[row]['sets'][data.name] = {**numbers, 'P(shipped better)': better}
        print(as_row(row, results[row]), flush=True)
        store(results)


def as_row(name: str, result: dict) -> str:
    """One line of the table."""
    cells = [name]
    for data in SETS:
        numbers = result['sets'].get(data.name)
        if numbers is None:
            cells.append('')
            continue
        better = numbers['P(shipped better)']
        if data.exclude_frames:
            decision = '-' if numbers['precision'] is None else f"{numbers['precision']:.2f} / {numbers['recall']:.2f}"
            cells.append(f"{numbers['average_precision']:.3f} ({better:.2f}), {decision}")
        else:
            cells.append(f"{numbers['recall@1']:.3f} / {numbers['recall@5']:.3f} ({better:.2f})")
    costs = result['sets'][SETS[0].name]
    cells.append(f"{costs['segments_per_image']:.0f}, {costs['bytes_per_keyframe'] / 1000:.0f} kB")
    return '| ' + ' | '.join(cells) + ' |'


HEADER = """# Ablation of the classic preset

Written by `benchmark/classic_ablation.py`; every row changes only what it names. In brackets: probability that the
shipped preset is better, by a paired bootstrap over the queries ({draws} draws; of recall@1 on the first two sets, of
average precision on the loops). Decisions on the loops ask for the agreement of 3 consecutive keyframes, with the
shipped thresholds, which suit the shipped row. Rows without the last loop were measured on the smaller sets only.

Vocabularies and projections are fitted on `../shared/data/training`, whose images are in none of the sets. Settings
were chosen with these sets in view, among differences of which many are within the noise (a standard error of 0.03 on
the corridor): expect a little less elsewhere.

| row | {columns} | segments, size of a keyframe (corridor) |
|---|{rules}---|
"""


def write_table(path: Path, results: dict[str, dict]) -> None:
    """The Markdown table beside the JSON."""
    columns = [f'{data.name}: AP (P), decision precision / recall' if data.exclude_frames
               else f'{data.name}: recall@1 / @5 (P)' for data in SETS]
    lines = [as_row(name, result) for name, result in results.items()]
    path.write_text(HEADER.format(draws=BOOTSTRAP_DRAWS, columns=' | '.join(columns), rules='---|' * len(SETS))
                    + '\n'.join(lines) + '\n')


def run(argv: list[str] | None = None) -> int:
    """Measure, and write the files after every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, default=Path('../shared/data'), help='folder of the image sets')
    parser.add_argument('--output', type=Path, default=Path('benchmark/results/classic_ablation'),
                        help='files to write, without ending')
    args = parser.parse_args(argv)

    def store(results: dict) -> None:
        args.output.with_suffix('.json').write_text(json.dumps(results, indent=1) + '\n')
        write_table(args.output.with_suffix('.md'), results)

    with tempfile.TemporaryDirectory() as folder:
        run_rows(args.data, Fits(args.data / 'training', Path(folder)), store)
    return 0


if __name__ == '__main__':
    sys.exit(run())
