"""What the search of a map of single vectors finds, and takes, as the map grows: the shipped one against an exact one.

    python benchmark/vector_search.py --data ../shared/data --work /tmp/vectors

writes results/vector_search.{json,md}. Vectors are those of `classic_image`. A made keyframe is put together of two
real images, drawn for each: word by word of
the vocabulary the residuals of the one or the other; its query is put together likewise of the two real queries that
show these places. So all that a made vector holds is real, it lies to its query as real ones do, and others share some
of it. Projected to fewer values (`projection.kind=seeded`) they are what a network's vectors look like: dense, and no
direction to be left out. Each size is loaded as a localizer does and answers queries; the exact answer compares with
every vector as it was described.
"""
from __future__ import annotations

import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from drives import real_trials
from made_maps import true_pairs
from map_search import Made, measure_shipped
from recorded_runs import Recorder
from tables import command_line, heading, page, write_results

from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Keyframe, KeyframeId

PRESET = 'classic_image'
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
LENGTHS = (8192, 512)  # values of a vector
QUERIES = 400
_OF, _WORDS = 2, 32
_BLOCK = 2000  # keyframes that the exact search compares at a time


def changes_of(length: int, exact: int | None = None) -> dict[str, object]:
    """Of the preset, for vectors of so many values."""
    changes = {} if length == LENGTHS[0] else {'projection.kind': 'seeded', 'projection.dimension': length}
    return changes | ({} if exact is None else {'search.exact_segments': exact})


class MadeVectors:
    """The keyframes and queries of a made map of single vectors, each by its number; see made_maps.MadeMap.

    :param pairs: a query, and the keyframe of its place, each
    :param dimension: of what is made
    """

    def __init__(self, pairs: list[tuple[Keyframe, Keyframe]], dimension: int) -> None:
        self._pairs, self.dimension = pairs, dimension
        rows = [np.concatenate([pair[side].description.descriptors for pair in pairs]) for side in (0, 1)]
        self._words = [side.reshape(len(pairs), _WORDS, -1) for side in rows]
        self._projection = None if dimension == rows[0].shape[1] else SeededProjection(
            _WORDS, rows[0].shape[1] // _WORDS, dimension)

    def keyframe(self, number: int) -> Keyframe:
        """A keyframe of the map, numbered from 0."""
        return self._made(number, 1)

    def query(self, number: int) -> Keyframe:
        """What somebody sees who comes back to where a keyframe was taken."""
        return self._made(number, 0)

    def rows(self, first: int, last: int, side: int = 1) -> np.ndarray:
        """(last - first, d) float32, the vectors of some keyframes."""
        return np.concatenate([self._row(number, side) for number in range(first, last)])

    def _row(self, number: int, side: int) -> np.ndarray:
        rng = np.random.default_rng((0, number))
        images = rng.choice(len(self._pairs), _OF, replace=False)[rng.integers(_OF, size=_WORDS)]
        row = self._words[side][images, np.arange(_WORDS)].reshape(1, -1)
        row = row if self._projection is None else self._projection.apply(row)
        return (row / np.linalg.norm(row)).astype(np.float32)

    def _made(self, number: int, side: int) -> Keyframe:
        real = self._pairs[number % len(self._pairs)][side]
        identity = KeyframeId(0, 'made' if side else 'query', number + 1, (number + 1) * 10**9)
        description = replace(real.description, descriptors=self._row(number, side), keypoints=None)
        return replace(real, id=identity, description=description, pose=None, optimized=None)


def made_vectors(data: Path, work: Path, length: int) -> MadeVectors:
    """Of the pairs of the real sets."""
    trials = real_trials(Recorder(load_preset(PRESET), work), data)
    return MadeVectors(true_pairs(trial for title, trial in trials if ',' not in title), length)


def make(keyframes: int, length: int, data: Path, work: Path) -> Made:
    """Write a map of so many keyframes."""
    wanted = np.random.default_rng(1).choice(keyframes, min(QUERIES, keyframes), replace=False).tolist()
    written = Made(work, keyframes, keyframes, wanted, PRESET, changes_of(length))
    written.write(made_vectors(data, work, length))
    return written


def measure_exact(made: Made, length: int, data: Path) -> dict:
    """Compare every vector with every query, as they were described."""
    vectors = made_vectors(data, made.folder, length)
    queries = np.concatenate([vectors.rows(number, number + 1, 0) for number in made.wanted])
    best, entries, spent = np.full(len(queries), -np.inf), np.zeros(len(queries), int), 0.0
    for first in range(0, made.keyframes, _BLOCK):
        rows = vectors.rows(first, min(first + _BLOCK, made.keyframes))
        begin = time.process_time()
        alone = [rows @ query for query in queries[:20]]  # as a robot asks
        spent += (time.process_time() - begin) / len(alone)
        cosines = queries @ rows.T
        found = cosines.argmax(axis=1)
        better = cosines[np.arange(len(queries)), found] > best
        best = np.where(better, cosines[np.arange(len(queries)), found], best)
        entries = np.where(better, first + found, entries)
    return {'exact_right': (entries == made.wanted).tolist(), 'exact_ms': 1e3 * spent,
            'exact_mb': made.keyframes * length * 4 / 2**20}


def measure(data: Path, work: Path) -> list[dict]:
    """A row a length and size."""
    rows = []
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for length in LENGTHS:
            for size in SIZES:
                made = pool.apply(make, (size, length, data, work))
                exact = pool.apply(measure_exact, (made, length, data))
                everywhere = replace(made, changes=changes_of(length, exact=0))  # candidates, however small the map
                shipped = pool.apply(measure_shipped, (everywhere,))
                right, exactly = np.array(shipped.pop('right')), np.array(exact.pop('exact_right'))
                rows.append({'values': length, **shipped, **exact, 'recall_at_1': float(right.mean()),
                             'exact_recall_at_1': float(exactly.mean()), 'lost': int((exactly & ~right).sum()),
                             'won': int((right & ~exactly).sum())})
                print(rows[-1], flush=True)
                made.path.unlink()
    return rows


def as_markdown(rows: list[dict], where: dict) -> str:
    """One row a length and size."""
    about = (f'{QUERIES} queries of made maps of single vectors (`classic_image`), the search by candidates against an '
             'exact one. Lost: queries that only the exact one answers rightly; won: only the other. CPU time: '
             'of an answer, p50, reading of codes and decision included; of the exact multiplication alone. Memory: '
             'RssAnon of the process that answers, and of the exact vectors alone.')
    lines = [(f'{row["values"]:,}', f'{row["keyframes"]:,}', f'{row["recall_at_1"]:.4f}',
              f'{row["exact_recall_at_1"]:.4f}', row['lost'], row['won'], f'{row["answer_cpu_ms_p50"]:.1f}',
              f'{row["exact_ms"]:.1f}', f'{row["resident_mb"]:.0f}', f'{row["exact_mb"]:.0f}') for row in rows]
    return page(heading('Maps of single vectors', 'vector_search.py', where, about),
                ('values', 'keyframes', 'recall@1', 'exact', 'lost', 'won', 'answer ms', 'exact ms', 'process MB',
                 'exact MB'), lines)


def main() -> None:
    """Measure and write."""
    args = command_line(__doc__, sets=True).parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    where = machine('cpu')
    rows = measure(args.data, args.work)
    write_results('vector_search', where, {'preset': PRESET, 'sizes': rows}, as_markdown(rows, where))


if __name__ == '__main__':
    main()
