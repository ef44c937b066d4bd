"""Search and vote of an experiment of the paper, against the reference's procedure, on the same arrays.

200 queries of 100 segments against a map of 200,000 (2,000 images), 1,024 values each: unit rows of seeded clusters, so
that votes are close. The procedure (segvlad-spec.md 9, 10): a normalised copy of both sides, faiss's ``IndexFlatL2``,
200 neighbours of which 50 vote, and for every query the extremes of all similarities and a vote in a dictionary whose
keys are NumPy's integers, as iterating over an array gives them. Each
side runs in a process of its own; its peak is what it holds beyond the arrays that both are given. Writes
benchmark/results/paper_search.{json,md}.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine

IMAGES, QUERIES, SEGMENTS, WIDTH = 2000, 200, 100, 1024
_RANKS, _ASKED, _VOTING = 5, 200, 50


def make(folder: Path, images: int, queries: int) -> None:
    """Write ``map.npy`` and ``queries.npy``: query q shows image 7 q, among segments that many images have."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((500, WIDTH), dtype=np.float32)
    table = np.empty((images * SEGMENTS, WIDTH), np.float32)
    for first in range(0, len(table), SEGMENTS):
        table[first:first + SEGMENTS] = common[rng.integers(0, len(common), SEGMENTS)]
        table[first:first + SEGMENTS] += rng.standard_normal((SEGMENTS, WIDTH), dtype=np.float32)
    shown = np.concatenate([table[7 * number % images * SEGMENTS:][:SEGMENTS] for number in range(queries)])
    shown += 2 * rng.standard_normal(shown.shape, dtype=np.float32)
    for name, rows in (('map', table), ('queries', shown)):
        np.divide(rows, np.linalg.norm(rows, axis=1, keepdims=True), out=rows)
        np.save(folder / f'{name}.npy', rows)


def reference(references: np.ndarray, queries: np.ndarray) -> tuple[list[list[int]], float, float]:
    """Ranked images, and the seconds of search and vote."""
    import faiss

    start = time.perf_counter()
    index = faiss.IndexFlatL2(WIDTH)
    index.add(references / np.linalg.norm(references, axis=1)[:, None])
    distances, found = index.search(queries / np.linalg.norm(queries, axis=1)[:, None], _ASKED)
    searched = time.perf_counter()
    similarities, segments, ranked = 2 - distances[:, :_VOTING], found[:, :_VOTING], []
    image_of = np.repeat(np.arange(len(references) // SEGMENTS), SEGMENTS)
    for first in range(0, len(queries), SEGMENTS):
        low, high = np.min(similarities), np.max(similarities)
        weights = ((similarities[first:first + SEGMENTS] - low) / (high - low)).T.tolist()
        scores: dict[np.int64, float] = {}
        for of_rank, hit in zip(weights, segments[first:first + SEGMENTS].T.tolist()):
            for image, weight in list(zip(image_of[hit], of_rank)):
                scores[image] = scores[image] + weight if image in scores else weight
        ranked.append([int(image) for image in sorted(scores, key=scores.__getitem__, reverse=True)[:_RANKS]])
    return ranked, searched - start, time.perf_counter() - searched


def ours(references: np.ndarray, queries: np.ndarray) -> tuple[list[list[int]], float, float]:
    """Likewise."""
    from segvlad_ros.evaluation.reproduction import SegmentRows, nearest_segments, ranked_images

    map_images, query_images = (np.repeat(np.arange(len(rows) // SEGMENTS), SEGMENTS) for rows in (references, queries))
    start = time.perf_counter()
    retrieved = nearest_segments(SegmentRows(references, map_images), SegmentRows(queries, query_images))
    searched = time.perf_counter()
    ranked = ranked_images(retrieved, map_images, query_images, len(queries) // SEGMENTS)
    return ranked.tolist(), searched - start, time.perf_counter() - searched


def resident_mb(what: str) -> float:
    """``VmRSS``, now, or ``VmHWM``, the most so far, of this process."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def one_side(side: str, folder: Path) -> dict:
    """What one side took; in a process of its own."""
    arrays = np.load(folder / 'map.npy'), np.load(folder / 'queries.npy')
    before = resident_mb('VmRSS')
    ranked, search_s, vote_s = {'ours': ours, 'reference': reference}[side](*arrays)
    return {'search_s': search_s, 'vote_s': vote_s, 'peak_mb': resident_mb('VmHWM'),
            'arrays_mb': sum(rows.nbytes for rows in arrays) / 2 ** 20, 'beyond_mb': resident_mb('VmHWM') - before,
            'ranked': ranked}


def measure(images: int, queries: int, repeats: int) -> dict:
    """Both sides, by turns."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), images, queries)
        runs: dict[str, list[dict]] = {'reference': [], 'ours': []}
        for _ in range(repeats):
            for side, taken in runs.items():
                told = subprocess.run([sys.executable, __file__, '--side', side, '--folder', name], check=True,
                                      stdout=subprocess.PIPE, text=True).stdout
                taken.append(json.loads(told))
    ranked = [runs[side][0].pop('ranked') for side in runs]
    for taken in runs.values():
        for run in taken[1:]:
            del run['ranked']
    return {'queries': queries, 'map_images': images, 'segments_an_image': SEGMENTS, 'values': WIDTH, 'runs': runs,
            'queries_ranked_alike': sum(one == other for one, other in zip(*ranked)),
            'right_at_first': [sum(row[0] == 7 * number % images for number, row in enumerate(side))
                               for side in ranked]}


def rows_of(numbers: dict) -> list[list[object]]:
    """Rows of the page: medians, and the ratios of runs that followed each other."""
    runs = numbers['runs']
    rows = []
    for name, key in (('search, s', 'search_s'), ('vote, s', 'vote_s'), ('peak, MB', 'peak_mb'),
                      ('peak beyond the arrays, MB', 'beyond_mb')):
        theirs, own = ([run[key] for run in runs[side]] for side in ('reference', 'ours'))
        ratios = [their / max(our, 1e-9) for their, our in zip(theirs, own)]
        rows.append([name, f'{np.median(theirs):.3g}', f'{np.median(own):.3g}', f'{np.median(ratios):.3g}',
                     f'{min(ratios):.3g} to {max(ratios):.3g}'])
    return rows


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument('--images', type=int, default=IMAGES, help='of the map (%(default)s)')
    parser.add_argument('--queries', type=int, default=QUERIES, help='(%(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='(%(default)s)')
    parser.add_argument('--side', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args.side, args.folder)))
        return
    where = machine()
    numbers = measure(args.images, args.queries, args.repeats)
    about = (f'{args.queries} queries of {SEGMENTS} segments, a map of {args.images * SEGMENTS:,}; '
             f'{numbers["queries_ranked_alike"]} of the queries rank the same five images in the same order.')
    write_results('paper_search', where, numbers, page(
        heading('Search and vote of the paper', 'paper_search.py', where, about),
        ['', "the reference's procedure", 'ours', 'ratio', 'of each pair of runs'], rows_of(numbers)))


if __name__ == '__main__':
    main()
