"""MobileSAM's segments and its features on real images: what thresholds, gaps and the neck are worth.

    python benchmark/mobile_sam.py WEIGHTS --cache DIR [--data ../shared/data] [--every 2]

writes results/mobile_sam.{json,md}. WEIGHTS is mobile_sam.pt. Each image passes the network once: what its points gave
is kept, and thresholds choose among that. Words for the neck are fitted on the training images only.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kept_masks import KeptNetwork, KeptSegmenter
from tables import heading, page, write_results

from segvlad_ros.cli.options import progress
from segvlad_ros.description.describer import Describer, resized
from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.description.vocabulary import Vocabulary, fit_vocabulary
from segvlad_ros.evaluation.image_evaluation import ImageEvaluation
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.report import summarize
from segvlad_ros.evaluation.truth import read_truth
from segvlad_ros.features.sam_neck import SamNeckExtractor
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.description_sections import SamSettings
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.segmentation import Segmenter
from segvlad_ros.segmentation.completion import GAPS, CompletedSegmenter, filler
from segvlad_ros.segmentation.sam_grid import SamGridSettings

SIDE, POINTS, SIZE = 512, 16, (320, 240)
THRESHOLDS = ((0.88, 0.95), (0.8, 0.9), (0.7, 0.85))
"""Of predicted IoU and stability; the first are those of the stock generator."""
WORDS, TRAINING_CELLS = 32, 60_000
NECK_CELL = 20  # 32 x 24 cells, as the network has them


def sets_of(data: Path, every: int) -> dict[str, tuple[list[Path], list[Path], Path]]:
    """References, queries and truth by name.

    :param every: of the corridor, each image of this number only
    """
    loop = list_images(data / 'rtabmap_corridor_loop/images')
    return {'corridor': (list_images(data / 'corridor/ref')[::every], list_images(data / 'corridor/query')[::every],
                         data / 'corridor/ground_truth.csv'),
            'rtabmap': (loop[:40], loop[40:], data / 'rtabmap_corridor_loop/ground_truth.csv')}


def neck_words(neck: NeckAlone, training: list[Path]) -> Vocabulary:
    """Words of the neck, from images that are in no set."""
    draw, cells = np.random.default_rng(0), []
    for path in progress(training, 'training images'):
        features = neck.extract(resized(read_image(path), (640, 480))).features
        cells.append(features[draw.permutation(len(features))[:TRAINING_CELLS // len(training)]])
    return fit_vocabulary(np.concatenate(cells), WORDS)


class NeckAlone:
    """The neck for segments of whatever segmenter, by a pass of its own."""

    def __init__(self, neck: SamNeckExtractor) -> None:
        self.extract, self.cell, self.dimension = neck.extract, neck.cell, neck.dimension


def describers(network: KeptNetwork, training: list[Path]) -> Iterator[tuple[str, str, Describer]]:
    """Names of segments and features, and what describes images by them."""
    sift = build_describer(load_preset('classic'))
    neck = NeckAlone(SamNeckExtractor(network, (640, 480), SIZE, NECK_CELL))
    words = neck_words(neck, training)
    projection = SeededProjection(WORDS, neck.dimension, sift.dimension)
    yield 'classic', 'root_sift', sift
    segmenters: dict[str, Segmenter] = {'graph': filler('graph')}
    for iou, stability in THRESHOLDS:
        masks = KeptSegmenter(network, SamGridSettings(iou_threshold=iou, stability_threshold=stability))
        for gaps in GAPS:
            name = f'SAM above {iou}, {stability}; gaps: {gaps}'
            segmenters[name] = masks if gaps == 'leave' else CompletedSegmenter(masks, filler(gaps))
    for name, segmenter in segmenters.items():
        yield name, 'root_sift', Describer(segmenter, sift.extractor, sift.vocabulary, sift.projection, order=1)
        if 'graph' in name:
            yield name, 'sam_neck', Describer(segmenter, neck, words, projection, order=1)


def measure(describer: Describer, references: list[Path], queries: list[Path], truth: Path) -> dict[str, float]:
    """The ranking of one set, how many segments there are, and what share of the images they cover."""
    preset = load_preset('classic')
    places = PlaceRecognizer(preset)
    places.describer = describer
    result = ImageEvaluation(places, read_truth(truth), lambda values, title: values).map_and_queries(
        references, queries)
    covered = [np.asarray(describer.segmenter.segment(resized(read_image(path), SIZE)).masks).any(0).mean()
               for path in queries[::5]]
    numbers = summarize(result, preset)
    return {**{key: numbers[key] for key in ('queries', 'recall@1', 'recall@5', 'segments_per_image')},
            'coverage': round(float(np.mean(covered)), 3)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', type=Path, help='mobile_sam.pt')
    parser.add_argument('--data', type=Path, default=Path('../shared/data'), help='folder of the image sets')
    parser.add_argument('--every', type=int, default=2, help='of the corridor and the training, each so many-th image')
    parser.add_argument('--cache', type=Path, required=True, help='keeps what the network made of the images')
    args = parser.parse_args()
    sets = sets_of(args.data, args.every)
    training = list_images(args.data / 'training')[::args.every]
    settings = SamSettings('sam', 'vit_t', args.weights, image_size=SIDE, points_per_side=POINTS)
    network = KeptNetwork(settings, args.cache)
    rows = []
    for segments, features, describer in describers(network, training):
        found = {name: measure(describer, *files) for name, files in sets.items()}
        rows.append({'segments': segments, 'features': features, 'sets': found})
        print(rows[-1], flush=True)
        write_results('mobile_sam', machine('cpu'), {'side': SIDE, 'points_per_side': POINTS, 'every': args.every,
                                                     'rows': rows}, as_markdown(rows, args.every))


def as_markdown(rows: list[dict[str, Any]], every: int) -> str:
    """The table beside the JSON."""
    about = (f'Input of {SIDE} pixels, {POINTS} x {POINTS} points, of the corridor each image of {every}; words of '
             f'sam_neck from each {every}. training image. recall@1 / @5, segments an image, share covered.')
    lines = [(row['segments'], row['features'],
              *(f'{found["recall@1"]:.3f} / {found["recall@5"]:.3f}, {found["segments_per_image"]:.0f}, '
                f'{found["coverage"]:.2f}' for found in row['sets'].values())) for row in rows]
    return page(heading('MobileSAM on real images', 'mobile_sam.py', machine('cpu'), about),
                ('segments', 'features', *rows[0]['sets']), lines)


if __name__ == '__main__':
    main()
