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
from classic_ablation import digest
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
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import build_describer, load_preset
from segvlad_ros.segmentation import Segmenter
from segvlad_ros.segmentation.completion import GAPS, CompletedSegmenter, filler
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_grid import STABILITY_OFFSET, GridMasks, SamGridSettings
from segvlad_ros.segmentation.sam_onnx import boxes_of, suppressed
from segvlad_ros.types import Masks

SIDE, POINTS, SIZE = 512, 16, (320, 240)
LOWEST_IOU, LOWEST_STABILITY = 0.5, 0.7
THRESHOLDS = ((0.88, 0.95), (0.8, 0.9), (0.7, 0.85))
"""Of predicted IoU and stability; the first are those of the stock generator."""
WORDS, TRAINING_CELLS = 32, 60_000
NECK_CELL = 20  # 32 x 24 cells, as the network has them


class Network:
    """What MobileSAM makes of images, each looked at once.

    :param folder: where that is kept from run to run
    """

    def __init__(self, weights: Path, folder: Path) -> None:
        self.torch = import_extra('torch')
        self._grid = GridMasks(load_sam(weights, 'vit_t', SIDE),
                               SamGridSettings(points_per_side=POINTS, iou_threshold=LOWEST_IOU))
        self._folder = folder

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """The embedding, (C, side, side) float32."""
        path = self._folder / f'{digest(rgb).hex()}.npy'
        if not path.is_file():
            with self.torch.inference_mode():
                np.save(path, self._grid.encode(rgb).numpy().astype(np.float16))
        return np.load(path).astype(np.float32)

    def candidates(self, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Masks as bits with their shape, predicted IoU and stability, of all points and before any suppression."""
        path = self._folder / f'{digest(rgb).hex()}.npz'
        if not path.is_file():
            with self.torch.inference_mode():
                found = [self._measured(*batch[:2]) for batch in self._decoded(rgb)]
            masks, quality, stability = (np.concatenate(parts) for parts in zip(*found))
            np.savez_compressed(path, masks=np.packbits(masks), shape=masks.shape, quality=quality, stability=stability)
        with np.load(path) as archive:
            return dict(archive)

    def _decoded(self, rgb: np.ndarray) -> Any:
        frame = self._grid._frame_of(rgb.shape[:2])
        self._resampling = frame.rows, frame.columns
        return self._grid._decode(self._grid.encode(rgb), frame.prompts)

    def _measured(self, logits: Any, quality: Any) -> tuple[np.ndarray, ...]:
        rows, columns = self._resampling
        logits = (rows @ (logits[:, :rows.shape[1]] @ columns)).numpy()
        inner, outer = ((logits > offset).sum(axis=(1, 2)) for offset in (STABILITY_OFFSET, -STABILITY_OFFSET))
        stability = inner / np.maximum(outer, 1)
        stable = stability >= LOWEST_STABILITY
        return logits[stable] > 0, quality.numpy()[stable], stability[stable]


class Thresholds:
    """A segmenter: the masks of a network that pass two thresholds, suppressed as the stock generator does it."""

    def __init__(self, network: Network, iou: float, stability: float) -> None:
        self._network, self._iou, self._stability = network, iou, stability

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        found = self._network.candidates(rgb)
        passed = (found['quality'] > self._iou) & (found['stability'] >= self._stability)
        shape = tuple(found['shape'])
        masks = np.unpackbits(found['masks'], count=int(np.prod(shape))).reshape(shape).astype(bool)[passed]
        quality = found['quality'][passed]
        kept = suppressed(boxes_of(masks), quality, SamGridSettings().nms_threshold)
        kept = kept[masks[kept].any(axis=(1, 2))]
        return Masks(masks[kept], quality[kept], self._network.encode(rgb))


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


def describers(network: Network, training: list[Path]) -> Iterator[tuple[str, str, Describer]]:
    """Names of segments and features, and what describes images by them."""
    sift = build_describer(load_preset('classic'))
    neck = NeckAlone(SamNeckExtractor(network, (640, 480), SIZE, NECK_CELL))
    words = neck_words(neck, training)
    projection = SeededProjection(WORDS, neck.dimension, sift.dimension)
    yield 'classic', 'root_sift', sift
    segmenters: dict[str, Segmenter] = {'graph': filler('graph')}
    for iou, stability in THRESHOLDS:
        masks = Thresholds(network, iou, stability)
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
    args.cache.mkdir(parents=True, exist_ok=True)
    sets = sets_of(args.data, args.every)
    training = list_images(args.data / 'training')[::args.every]
    rows = []
    for segments, features, describer in describers(Network(args.weights, args.cache), training):
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
