"""A PCA at the size of the published one: 50,000 rows of 49,152 numbers to 1,024 components, streamed.

Rows are seeded: a power law of variances over all 49,152 directions (a cosine basis with random signs), around a mean.
Their true covariance is known, so that the fit can be judged without an exact one, which would take 10 GB. Beside it,
a scaled-down fit with the same proportions against an exact decomposition. Writes benchmark/results/pca_fit.json.
"""
import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.fft import dct, idct
from threadpoolctl import threadpool_limits

from segvlad_ros.description.pca import PcaFit
from segvlad_ros.description.projection import PcaProjection
from segvlad_ros.evaluation.measure import machine

BLOCK = 512


class Rows:
    """Seeded rows with a known covariance.

    :param exponent: variance of direction i is proportional to (i + 10) ** -exponent; all together are 1
    """

    def __init__(self, width: int, exponent: float) -> None:
        rng = np.random.default_rng(0)
        variances = (np.arange(width) + 10.0) ** -exponent
        self.variances = variances / variances.sum()
        self._lengths = np.sqrt(self.variances).astype(np.float32)
        self._signs = rng.choice(np.array([-1, 1], np.float32), width)
        self.mean = (0.5 * rng.standard_normal(width) / np.sqrt(width)).astype(np.float32)

    def blocks(self, count: int, seed: int) -> Iterator[np.ndarray]:
        """``count`` rows in float32 blocks."""
        rng = np.random.default_rng(seed)
        for first in range(0, count, BLOCK):
            size = (min(BLOCK, count - first), len(self._lengths))
            drawn = rng.standard_normal(size, dtype=np.float32) * self._lengths
            yield dct(drawn, axis=1, norm='ortho', overwrite_x=True) * self._signs + self.mean

    def true_variances(self, components: np.ndarray) -> np.ndarray:
        """Variance of all possible rows along each component."""
        return np.concatenate([(idct(block * self._signs, axis=1, norm='ortho') ** 2) @ self.variances
                               for block in np.array_split(components, max(1, len(components) // 64))])


def fit(rows: Rows, count: int, dimension: int) -> tuple[PcaProjection, dict[str, float]]:
    """One streamed fit and the seconds of it, without the making of rows."""
    collected, spent = PcaFit(dimension), 0.0
    for number, block in enumerate(rows.blocks(count, seed=1)):
        start = time.perf_counter()
        collected.add(block)
        spent += time.perf_counter() - start
        if number % 8 == 0:
            print(f'{collected.count} rows, {spent:.0f} s', file=sys.stderr)
    start = time.perf_counter()
    projection = collected.finish()
    last = time.perf_counter() - start
    return projection, {'add_s': round(spent, 1), 'finish_s': round(last, 1), 'fit_s': round(spent + last, 1)}


def quality(rows: Rows, projection: PcaProjection, held_out: int) -> dict[str, float]:
    """How good the axes and the variances are."""
    found, best = rows.true_variances(projection.components), rows.variances[:projection.dimension]
    whitened = np.concatenate([projection.apply(block) for block in rows.blocks(held_out, seed=2)]).var(axis=0)
    sample = projection.components[::max(1, projection.dimension // 64)].astype(np.float64)
    quarter = max(1, projection.dimension // 4)
    return {'energy_of_the_best_possible': round(float(found.sum() / best.sum()), 4),
            'largest_product_of_two_axes': float(f'{np.abs(sample @ sample.T - np.eye(len(sample))).max():.2g}'),
            'held_out_rows': held_out,
            'held_out_variance_after_whitening': {'first_quarter': round(float(whitened[:quarter].mean()), 3),
                                                  'all': round(float(whitened.mean()), 3),
                                                  'last_quarter': round(float(whitened[-quarter:].mean()), 3)}}


def against_exact(exponent: float, width: int = 3072, dimension: int = 64) -> dict[str, float]:
    """A 16th of every size, streamed with as little memory as the large fit has in proportion, and exact."""
    rows, count = Rows(width, exponent), dimension * 50000 // 1024
    everything = np.concatenate(list(rows.blocks(count, seed=1)))
    collected = PcaFit(dimension, memory_bytes=1)
    for first in range(0, count, 32):
        collected.add(everything[first:first + 32])
    streamed = collected.finish()
    centred = everything - everything.mean(axis=0, dtype=np.float64)
    variances = np.linalg.svd(centred, compute_uv=False)[:dimension] ** 2 / (count - 1)
    energy = ((centred @ streamed.components.T) ** 2).sum() / (count - 1)
    ratios = streamed.scale.astype(np.float64) ** -2 / variances
    return {'rows': count, 'width': width, 'dimension': dimension,
            'energy_of_exact': round(float(energy / variances.sum()), 4),
            'variance_of_exact': {'first': round(ratios[0], 4), 'middle': round(ratios[dimension // 2], 4),
                                  'last': round(ratios[-1], 4)}}


def main() -> None:
    """Fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=50_000)
    parser.add_argument('--width', type=int, default=49_152)
    parser.add_argument('--dimension', type=int, default=1024)
    parser.add_argument('--exponent', type=float, default=1.0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--output', type=Path, default=Path(__file__).parent / 'results/pca_fit.json')
    args = parser.parse_args()
    start = time.perf_counter()
    with threadpool_limits(args.threads):
        rows = Rows(args.width, args.exponent)
        projection, times = fit(rows, args.rows, args.dimension)
        peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
        wall = time.perf_counter() - start
        report = {'machine': machine(), 'rows': args.rows, 'width': args.width, 'dimension': args.dimension,
                  'exponent': args.exponent, 'threads': args.threads, **times, 'with_making_rows_s': round(wall, 1),
                  'cpu_s': round(time.process_time(), 1), 'peak_memory_mb': round(int(peak.split()[1]) * 1.024e-3),
                  **quality(rows, projection, min(2000, args.rows)),
                  'small_against_exact': against_exact(args.exponent)}
    text = json.dumps(report, indent=1)
    args.output.write_text(text + '\n')
    print(text)


if __name__ == '__main__':
    main()
