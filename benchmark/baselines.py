"""Baselines on equal terms: the same images, truth and search, other descriptions of an image.

    python benchmark/baselines.py --data ../shared/data      writes results/baselines.{json,md}

Binary words are fitted on the training images, as the words of the classic preset were. The last row ranks the same
words as DBoW2 does, by an inverted index and the L1 score.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classic_ablation import SETS, DataSet, measure
from inverted_index import InvertedIndex
from tables import heading, page, write_results

from segvlad_ros.cli import main
from segvlad_ros.description.binary_words import BinaryVocabulary, load_binary_vocabulary
from segvlad_ros.description.describer import resized
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import clopper_pearson
from segvlad_ros.evaluation.truth import GivenImages, PlaceTruth, read_truth, truth_among
from segvlad_ros.features.orb import OrbDetector
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import load_preset

PRESETS = ('classic', 'classic_image', 'classic_patches', 'orb_words')
LITERAL = 'binary words, L1 score and inverted index (DBoW2)'


def preset_rows(data: Path, name: str, words: Path) -> dict[str, Any]:
    """One preset on all sets."""
    preset = load_preset(name, changes_of(name, words))
    describer = build_describer(preset)
    return {some.name: measure(some, data, preset, describer)[1] for some in SETS}


def changes_of(name: str, words: Path) -> dict[str, str]:
    """What a preset does not ship."""
    return {'vocabulary': str(words)} if name == 'orb_words' else {}


def milliseconds(data: Path, name: str, words: Path) -> float:
    """Of CPU time, to describe an image, keypoints of verification included: mean of the queries of the first set."""
    describer = build_describer(load_preset(name, changes_of(name, words)))
    images = [read_image(path) for path in list_images(data / SETS[0].queries_folder)]
    describer.warm_up()
    begin = time.process_time()
    for image in images:
        describer.describe(image)
    return (time.process_time() - begin) * 1e3 / len(images)


def literal_ranks(some: DataSet, data: Path, vocabulary: BinaryVocabulary) -> list[int | None]:
    """Of each query with a true place the rank of the first true reference, by DBoW2's search."""
    preset = load_preset('orb_words')
    detector, size = OrbDetector(preset.features.keypoints), (preset.image.width, preset.image.height)

    def histogram(path: Path):
        return vocabulary.histogram(detector.describe(resized(read_image(path), size)))

    references = list_images(data / some.references_folder)[:some.references]
    queries = references if some.exclude_frames else list_images(data / some.queries_folder)
    truth = truth_among(read_truth(data / some.truth), GivenImages(references), GivenImages(queries))
    index, ranks = InvertedIndex(len(vocabulary)), []
    if not some.exclude_frames:
        for path in references:
            index.add(histogram(path))
    for number, path in enumerate(queries):
        words = histogram(path)
        usable = max(0, number - some.exclude_frames + 1) if some.exclude_frames else len(references)
        place = truth.get(path)
        if place is not None and place.true & set(references[:usable]):
            scores = index.scores(words)[:usable]
            ranks.append(rank_of(place, [references[entry] for entry in (-scores).argsort(kind='stable')]))
        if some.exclude_frames:
            index.add(words)
    return ranks


def rank_of(place: PlaceTruth, ranked: Sequence[Path]) -> int | None:
    """Rank of the first true image, from 1, those left out that count neither way."""
    counting = [path for path in ranked if path not in place.ignored]
    return next((rank for rank, path in enumerate(counting, 1) if path in place.true), None)


def literal_rows(data: Path, vocabulary: BinaryVocabulary) -> dict[str, Any]:
    """DBoW2's search on all sets."""
    rows = {}
    for some in SETS:
        ranks = literal_ranks(some, data, vocabulary)
        rows[some.name] = {'queries_with_place': len(ranks), **{
            f'recall@{most}': sum(rank is not None and rank <= most for rank in ranks) / len(ranks)
            for most in (1, 5)}}
    return rows


def cell(numbers: dict[str, Any]) -> str:
    """Recall at 1 with its interval, and at 5."""
    queries = numbers['queries_with_place']
    low, high = clopper_pearson(round(numbers['recall@1'] * queries), queries)
    return f'{numbers["recall@1"]:.3f} ({low:.2f}-{high:.2f}), {numbers["recall@5"]:.3f}'


def as_page(results: dict[str, dict[str, Any]], where: dict) -> str:
    """One line a preset."""
    head = heading('Baselines on equal terms', 'baselines.py', where,
                   'recall@1 with its 95 % interval (Clopper-Pearson), and recall@5, of the queries that have a true '
                   'place, before any decision; images of the corridor have 160 x 120 pixels and are enlarged in all '
                   'rows. '
                   'Milliseconds: CPU time to describe an image of the corridor, keypoints of verification included. '
                   'Binary words are of the training images. Settings were chosen on these sets for `classic` alone, '
                   'which favours it. The last row: the words of `orb_words`, ranked by the L1 score.')
    lines = []
    for name, row in results.items():
        costs = row['sets'][SETS[0].name]
        lines.append([name, *(cell(row['sets'][some.name]) for some in SETS),
                      f'{costs["bytes_per_keyframe"] / 1000:.0f} kB' if 'bytes_per_keyframe' in costs else '-',
                      f'{row["ms"]:.0f}' if 'ms' in row else '-'])
    return page(head, ('description', *(some.name for some in SETS), 'keyframe', 'ms'), lines)


def run(argv: list[str] | None = None) -> int:
    """Measure, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('../shared/data'), help='folder of the image sets')
    args = parser.parse_args(argv)
    results: dict[str, dict[str, Any]] = {}
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / 'words.npz'
        if main(['fit', 'vocabulary', str(args.data / 'training'), '--preset', 'orb_words', f'--output={words}']) != 0:
            raise SystemExit('the binary words could not be fitted')
        for name in PRESETS:
            results[name] = {'ms': milliseconds(args.data, name, words), 'sets': preset_rows(args.data, name, words)}
            print(as_page(results, where), flush=True)
        results[LITERAL] = {'sets': literal_rows(args.data, load_binary_vocabulary(words))}
    write_results('baselines', where, {'rows': results}, as_page(results, where))
    return 0


if __name__ == '__main__':
    sys.exit(run())
