#!/usr/bin/env python3
"""Runs every golden output of the reference through the package's public code (segvlad-spec.md 19).

One line an array: its name, the largest difference, the tolerance. Exit status 0 if all are within tolerance,
1 if one is not, 2 if a golden file, or torch, is missing. Goldens of other seeds and sizes work as well: all shapes
are read from the files. Usage: python test/golden/check.py [DIR] [--without-dino]
"""
from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segvlad_ros.description.arrays import to_numpy
from segvlad_ros.description.describer import resized
from segvlad_ros.description.pca import PcaFit
from segvlad_ros.description.projection import NoProjection, PcaProjection
from segvlad_ros.description.segments import cell_of_pixel, neighbours, segments_from_masks
from segvlad_ros.description.vlad import merge_neighbours, project_segment_vlad, segment_vlad
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.reference_voting import image_scores, vote_reference
from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.types import CellGrid, FeatureGrid, Masks, Segments, SegvladError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = REPOSITORY.parent / 'shared' / 'golden'
CELL = 14
GOLDEN_HEADS = 3  # of the small networks; not in the files
NEIGHBOURS = 50  # of the 200 that the reference retrieves, those that it uses


class Result(NamedTuple):
    """One compared array."""

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether it is within tolerance."""
        return self.difference <= self.tolerance


def compare(name: str, got: object, want: object, tolerance: float = 1e-5) -> Result:
    """Largest absolute difference; infinite where shapes or missing values differ."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    if got.shape != want.shape or not np.array_equal(np.isnan(got), np.isnan(want)):
        return Result(name, np.inf, tolerance)
    seen = ~np.isnan(want)
    return Result(name, float(np.abs(got[seen] - want[seen]).max(initial=0.0)), tolerance)


def check_adjacency(folder: Path) -> Iterator[Result]:
    """Neighbourhoods of the reference rule; and that the robust rule answers and agrees where it must."""
    golden = np.load(folder / 'golden_adjacency.npz')
    for name in golden['names']:
        shape = tuple(int(n) for n in golden[f'{name}/shape'])
        pixels = unpacked(golden[f'{name}/masks'], shape)
        centroids = described_masks(pixels, CellGrid(2 * shape[2], 2 * shape[1], CELL)).centroids
        error = str(golden[f'{name}/error'])
        if error:
            try:
                neighbours(centroids, 1, 'reference')
                raised = ''
            except Exception as exception:  # whichever it is, its name is compared
                raised = type(exception).__name__
            yield compare(f'adjacency {name} raises {error}', raised == error, True, 0)
            yield compare(f'adjacency {name} robust rule answers', neighbours(centroids, len(pixels)),
                          np.ones((len(pixels), len(pixels))), 0)
            continue
        for order in (1, 2, 3, 4):
            got = neighbours(centroids, order, 'reference')
            yield compare(f'adjacency {name} order {order}', got, golden[f'{name}/adj_o{order}'], 0)
            if len(pixels) > 3 and len(np.unique(centroids, axis=0)) == len(pixels):
                yield compare(f'adjacency {name} order {order} robust', neighbours(centroids, order), got, 0)


def check_image(folder: Path) -> Iterator[Result]:
    """Cells and segment VLAD of one image, with real centres; in float64, and fused in float32."""
    golden = np.load(folder / 'golden_image.npz')
    grid = CellGrid(*(int(n) for n in golden['cfg_wh']), CELL)
    vocabulary = Vocabulary(golden['centers'])
    features = as_grid(golden['feat'][0]).features
    yield compare('cell of pixel', cell_of_pixel(grid).ravel(), golden['cell_of_pixel'], 0)
    segments = {name: described_masks(golden[f'{name}/masks'], grid) for name in ('half', 'odd')}
    for name, order in [*(('half', order) for order in (0, 1, 2, 3)), ('odd', 0)]:
        if order:
            yield compare(f'{name} neighbours order {order}', neighbours(segments[name].centroids, order, 'reference'),
                          golden[f'{name}/adj_o{order}'], 0)
        for label, describe in (('', exact), (' fused', fused)):
            yield compare(f'{name} segment VLAD order {order}{label}',
                          describe(features, segments[name], vocabulary, order), golden[f'{name}/vlad_o{order}'])


def check_map(folder: Path) -> Iterator[Result]:
    """A whole map: descriptors, PCA, search, vote, recall, other rules, whole-image baseline."""
    golden = np.load(folder / 'golden_map.npz')
    grid = CellGrid(*(int(n) for n in golden['cfg_wh']), CELL)
    vocabulary = Vocabulary(golden['centers'])
    features, segments, owner = {}, {}, {}
    for side in 'rq':
        counts = golden[f'{side}/n_seg']
        pixels = unpacked(golden[f'{side}/masks'], (counts.sum(), *golden[f'{side}/mask_hw']))
        segments[side] = [described_masks(part, grid) for part in np.split(pixels, np.cumsum(counts)[:-1])]
        features[side] = [as_grid(one).features for one in golden[f'{side}/feat']]
        owner[side] = np.repeat(np.arange(len(counts)), [len(one) for one in segments[side]])
        yield compare(f'segment -> image index ({side})', owner[side], golden[f'imInds_{side}'], 0)
    tags = sorted({name.split('/')[0] for name in golden.files if name.endswith('/match50')})
    for tag in tags:
        order = int(tag[-1])
        rows = {side: np.concatenate([exact(f, s, vocabulary, order) for f, s in zip(features[side], segments[side])])
                for side in 'rq'}
        if tag.startswith('pca'):
            projection = golden_pca(golden, tag)
            yield from check_pca_fit(golden, tag, rows['r'])
            rows = {side: projection.apply(table) for side, table in rows.items()}
            for side in 'rq':
                table = np.concatenate([fused(f, s, vocabulary, order, projection)
                                        for f, s in zip(features[side], segments[side])])
                yield compare(f'{tag} descriptors ({side}) fused, unit', unit(table),
                              unit(golden[f'{tag}/desc_{side}']))
        for side in 'rq':
            yield compare(f'{tag} descriptors ({side})', rows[side], golden[f'{tag}/desc_{side}'])
        if tag.startswith('pca'):
            rows = {side: unit(table) for side, table in rows.items()}
        yield from check_search_and_vote(golden, tag, rows, owner)
    yield from check_other_rules(golden, owner)
    yield from check_whole_image(golden, features, vocabulary)


def check_pca_fit(golden: np.lib.npyio.NpzFile, tag: str, rows: np.ndarray) -> Iterator[Result]:
    """Our own fit on the reference's sample: same mean, variances and (up to a rotation) components."""
    sample, mean, variance = (golden[f'{tag}/{name}'] for name in ('fit_rows', 'mean', 'explained_variance'))
    share = min(1.0, int(golden['pca_max_segments']) / len(rows))
    yield compare(f'{tag} PCA sample size', len(sample), sum(int(n * share) for n in golden['r/n_seg']), 0)
    nearest = [np.abs(rows - row).max(axis=1).min() for row in sample]
    yield compare(f'{tag} PCA rows are segments', nearest, np.zeros(len(sample)))
    fit = PcaFit(len(variance))
    fit.add(sample)
    own, theirs = fit.finish(), golden_pca(golden, tag)
    yield compare(f'{tag} PCA mean', own.mean, mean)
    ratio = own.scale ** -2.0 / variance
    yield compare(f'{tag} PCA explained variance (relative)', ratio, np.ones(len(variance)), 1e-4)
    cosines = [unit(one.apply(sample.astype(float))) for one in (own, theirs)]
    yield compare(f'{tag} PCA own fit: cosines', cosines[0] @ cosines[0].T, cosines[1] @ cosines[1].T, 1e-3)


def check_search_and_vote(golden: np.lib.npyio.NpzFile, tag: str, rows: dict[str, np.ndarray],
                          owner: dict[str, np.ndarray]) -> Iterator[Result]:
    """Nearest segments of our index against the reference's, and the vote on either."""
    index = SegmentIndex(codes=None)  # a small one does not ask for them
    for image in range(owner['r'][-1] + 1):
        index.add(rows['r'][owner['r'] == image].astype(np.float32))
    cosine, images, within = index.search(rows['q'].astype(np.float32), NEIGHBOURS, ())
    starts = np.searchsorted(owner['r'], np.arange(owner['r'][-1] + 1))
    matches = starts[images] + within
    distances, theirs = golden[f'{tag}/dist50'], golden[f'{tag}/match50']
    yield compare(f'{tag} top-50 squared distances', 2 - 2 * cosine.astype(float), distances)
    truth = golden[f'{tag}/image_scores']
    best = np.nanmax(truth, axis=1, keepdims=True)
    scores = image_scores(2 - distances, owner['r'][theirs], owner['q'], truth.shape[1])
    yield compare(f'{tag} image scores, golden search', scores, truth, 1e-9)
    scores = image_scores(2 * cosine, images, owner['q'], truth.shape[1])
    # A tie cut at rank 50 moves whole votes, so only queries whose segments found the same ones are compared.
    same = (np.sort(matches, axis=1) == np.sort(theirs, axis=1)).all(axis=1)
    comparable = np.array([same[owner['q'] == query].all() for query in range(len(truth))])
    yield compare(f'{tag} image scores, own search', (scores / best)[comparable], (truth / best)[comparable])
    correct = golden['gt']
    for label, similarity, voted in (('golden', 2 - distances, owner['r'][theirs]), ('own', 2 * cosine, images)):
        ranked = vote_reference(similarity, voted, owner['q'])
        yield compare(f'{tag} top-5 images, {label} search', ranked, golden[f'{tag}/preds'], 0)
        yield compare(f'{tag} recall@1..5, {label} search', recall(ranked, correct), golden[f'{tag}/recall'], 1e-12)


def check_other_rules(golden: np.lib.npyio.NpzFile, owner: dict[str, np.ndarray]) -> Iterator[Result]:
    """The other ranking rules, on the search that the reference gave them."""
    similarity, images = 2 - golden['pca_o3/dist50'], owner['r'][golden['pca_o3/match50']]
    for name in sorted(name for name in golden.files if name.startswith('alt/')):
        rule = name.split('/')[1]
        yield compare(f'rule {rule}', vote_reference(similarity, images, owner['q'], rule), golden[name], 0)


def check_whole_image(golden: np.lib.npyio.NpzFile, features: dict[str, list[np.ndarray]],
                      vocabulary: Vocabulary) -> Iterator[Result]:
    """AnyLoc: one segment that covers the image."""
    rows = {side: np.concatenate([segment_vlad(one, np.ones((1, len(one)), bool), vocabulary)
                                  for one in features[side]]) for side in 'rq'}
    for side in 'rq':
        yield compare(f'AnyLoc descriptors ({side})', rows[side], golden[f'anyloc/desc_{side}'])
    nearest = np.argsort(-(rows['q'] @ rows['r'].T), axis=1, kind='stable')[:, :5]
    yield compare('AnyLoc top-5', nearest, golden['anyloc/top5'], 0)
    yield compare('AnyLoc recall (percent)', 100 * recall(nearest, golden['gt']), golden['anyloc/recall_pct'], 1e-9)


def unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Masks from packed bits."""
    return np.unpackbits(bits, axis=1, count=int(shape[1] * shape[2])).reshape(shape).astype(bool)


def described_masks(pixels: np.ndarray, grid: CellGrid) -> Segments:
    """Masks on the grid."""
    return segments_from_masks(Masks(pixels, np.ones(len(pixels), np.float32)), grid)


def as_grid(feature_map: np.ndarray) -> FeatureGrid:
    """(D, rows, cols) to one row a cell."""
    depth, rows, cols = feature_map.shape
    return FeatureGrid(np.ascontiguousarray(feature_map.reshape(depth, -1).T), rows, cols)


def merged(segments: Segments, order: int) -> np.ndarray:
    """Incidence with the neighbours of the reference rule."""
    if order == 0:
        return segments.incidence
    return merge_neighbours(segments.incidence, neighbours(segments.centroids, order, 'reference'))


def exact(features: np.ndarray, segments: Segments, vocabulary: Vocabulary, order: int) -> np.ndarray:
    """Rows of segment VLAD in float64."""
    return segment_vlad(features, merged(segments, order), vocabulary)


def fused(features: np.ndarray, segments: Segments, vocabulary: Vocabulary, order: int,
          projection: PcaProjection | None = None) -> np.ndarray:
    """Projected rows, as a robot computes them."""
    return project_segment_vlad(features, merged(segments, order), vocabulary,
                                projection or NoProjection(len(vocabulary), vocabulary.dimension))


def golden_pca(golden: np.lib.npyio.NpzFile, tag: str) -> PcaProjection:
    """The reference's PCA."""
    variance = golden[f'{tag}/explained_variance'].astype(float)
    return PcaProjection(golden[f'{tag}/mean'], golden[f'{tag}/components'], 1 / np.sqrt(variance))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their norm."""
    return rows / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)


def recall(ranked: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Recall@1.. over the queries that have a true image (segvlad-spec.md 10.3)."""
    asked = correct.any(axis=1)
    hits = (ranked[asked] >= 0) & np.take_along_axis(correct[asked], np.maximum(ranked[asked], 0), axis=1)
    return np.maximum.accumulate(hits, axis=1).mean(axis=0)


def check_dino(folder: Path) -> Iterator[Result]:
    """Every facet of a small DINOv2 network, both feed-forward kinds, and the fine-tuned variant's map."""
    from segvlad_ros.features.dinov2 import Dinov2Extractor

    golden, weights = np.load(folder / 'golden_dino.npz'), np.load(folder / 'golden_dino_weights.npz')
    size = tuple(int(n) for n in golden['cfg_wh'])
    rgb = resized(np.ascontiguousarray(golden['image_bgr'][..., ::-1]), size)
    yield compare('resized RGB image', rgb, golden['image_rgb_resized'], 0)
    for name in sorted({name.split('/')[0] for name in weights.files}):
        network = {key[len(name) + 1:]: weights[key] for key in weights.files if key.startswith(f'{name}/')}
        for key in sorted(key for key in golden.files if key.startswith(f'{name}/l') and key.endswith('_raw')):
            block, facet = key[len(name) + 2:-4].split('_')
            extractor = Dinov2Extractor(network, facet, int(block), heads=GOLDEN_HEADS)
            got, raw = as_map(extractor.extract(rgb)), golden[key]
            label = f'{name} block {block} {facet}'
            yield compare(f'{label} raw (relative)', got / np.abs(raw).max(), raw / np.abs(raw).max())
            yield compare(label, got / np.linalg.norm(got, axis=1, keepdims=True), golden[key[:-4]])
        got = as_map(Dinov2Extractor(network, 'patches', heads=GOLDEN_HEADS).extract(rgb))
        yield compare(f'{name} fine-tuned map', got, golden[f'{name}/finet_map'], 2e-5)


def as_map(grid: FeatureGrid) -> np.ndarray:
    """One row a cell to (1, D, rows, cols)."""
    return to_numpy(grid.features).T.reshape(1, -1, grid.rows, grid.cols)


def main() -> int:
    """Run all checks and print one line for each array."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', nargs='?', type=Path, default=DEFAULT, metavar='DIR')
    parser.add_argument('--without-dino', action='store_true', help='leave out what needs torch and timm')
    arguments = parser.parse_args()
    results = []
    try:
        for check in (*BASE_CHECKS, *(() if arguments.without_dino else (check_dino,))):
            print(f'-- {check.__doc__}')
            for result in check(arguments.folder):
                results.append(result)
                print(f'{"ok  " if result.passed else "MISS"} {result.name:52s} max|diff| = {result.difference:.2e}  '
                      f'(tol {result.tolerance:g})', flush=True)
    except (SegvladError, OSError, KeyError, zipfile.BadZipFile) as error:
        print(f'check: {error}', file=sys.stderr)
        return 2
    missed = [result.name for result in results if not result.passed]
    print(f'{len(results)} arrays, ' + (f'MISSED: {"; ".join(missed)}' if missed else 'all within tolerance'))
    if arguments.without_dino:
        print('check: DINOv2 was left out', file=sys.stderr)
    return 1 if missed else 0


BASE_CHECKS: tuple[Callable[[Path], Iterator[Result]], ...] = (check_adjacency, check_image, check_map)

if __name__ == '__main__':
    sys.exit(main())
