"""What an answer takes, and what it finds, as the map grows: the shipped search against an exact one.

    python benchmark/map_search.py --data ../shared/data --work /tmp/loops [--largest 1e6] [--queries 200]

writes results/map_search.{json,md}. Maps are made (made_maps.py); both searches see the same queries, each in a process
of its own. The answer is that of a single query: search, vote, decision, and geometry of the candidates. Memory is what
a process holds for itself (RssAnon) once it has the map and has answered. The exact search is that of all segments in
float32, by blocks; its time counts the search of a map that lies in memory.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from drives import Recorder, real_trials
from made_maps import FLOOR, MadeMap, true_pairs
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.pipeline.presets import build_recognizer, load_preset
from segvlad_ros.recognition.voting import vote_weights
from segvlad_ros.threads import one_blas_thread

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_BLOCK = 400  # keyframes that the exact search compares at a time


def made_map(data: Path, work: Path) -> MadeMap:
    """Of the pairs of the real sets."""
    trials = [trial for title, trial in real_trials(Recorder(load_preset('classic'), work), data) if ',' not in title]
    return MadeMap(true_pairs(trials))


def wanted(keyframes: int, queries: int) -> list[int]:
    """The numbers of the keyframes that are asked for."""
    return np.random.default_rng(1).choice(keyframes, min(queries, keyframes), replace=False).tolist()


def measure_shipped(sizes: list[int], queries: int, data: Path, work: Path) -> Iterator[dict]:
    """One map that grows, and the answers at each size."""
    made, recognizer, longest = made_map(data, work), build_recognizer(load_preset('classic')), 0.0
    for size in sizes:
        while recognizer.segments < size:
            keyframe = made.keyframe(recognizer.count)
            begin = time.perf_counter()
            recognizer.add(keyframe)
            longest = max(longest, time.perf_counter() - begin)
        asked = [(number, made.query(number)) for number in wanted(recognizer.count, queries)]
        recognizer.recognize(asked[0][1], exclude_recent=False, independent=True)
        seconds, searches, right = [], [], []
        for number, query in asked:
            begin = time.perf_counter()
            answer = recognizer.recognize(query, exclude_recent=False, independent=True)
            seconds.append(time.perf_counter() - begin)
            searches.append(answer.timings['search'] + answer.timings['vote'])
            right.append(bool(answer.candidates) and answer.candidates[0].id.index == number + 1)
        yield {'segments': recognizer.segments, 'keyframes': recognizer.count,
               'query_segments': float(np.mean([len(query.description) for _, query in asked])),
               **_milliseconds('answer', seconds), **_milliseconds('search_vote', searches),
               'recall_at_1': float(np.mean(right)), 'resident_mb': _resident_mb(), 'longest_add_ms': 1e3 * longest}


def measure_exact(keyframes: int, queries: int, data: Path, work: Path) -> dict:
    """What comparing every segment finds: the keyframe with the best score of its own."""
    made = made_map(data, work)
    asked = [(number, made.query(number).description.descriptors) for number in wanted(keyframes, queries)]
    rows = np.concatenate([descriptors for _, descriptors in asked])
    starts = np.cumsum([0, *(len(descriptors) for _, descriptors in asked)])
    best, found, spent = np.full(len(asked), -1.0), np.full(len(asked), -1), 0.0
    with one_blas_thread():
        for first in range(0, keyframes, _BLOCK):
            block = [made.keyframe(number).description.descriptors
                     for number in range(first, min(first + _BLOCK, keyframes))]
            edges, segments = np.cumsum([0, *map(len, block)])[:-1], np.concatenate(block)
            begin = time.perf_counter()
            weights = vote_weights(np.maximum.reduceat(rows @ segments.T, edges, axis=1), FLOOR)
            scores = np.add.reduceat(weights, starts[:-1], axis=0) / np.diff(starts)[:, None]
            spent += time.perf_counter() - begin
            better = scores.max(axis=1) > best
            best[better], found[better] = scores.max(axis=1)[better], first + scores.argmax(axis=1)[better]
    return {'exact_recall_at_1': float(np.mean(found == [number for number, _ in asked])),
            'exact_ms': 1e3 * spent / len(asked), 'exact_queries': len(asked)}


def _milliseconds(name: str, seconds: list[float]) -> dict[str, float]:
    return {f'{name}_ms_p{share}': 1e3 * float(np.percentile(seconds, share)) for share in (50, 95)}


def _resident_mb() -> float:
    status = Path('/proc/self/status').read_text()
    return int(status.split('RssAnon:')[1].split()[0]) / 1024


def as_markdown(sizes: list[dict], where: dict) -> str:
    """One row a size."""
    rows = [(f'{row["segments"]:,}', f'{row["keyframes"]:,}',
             f'{row["answer_ms_p50"]:.0f} / {row["answer_ms_p95"]:.0f}',
             f'{row["search_vote_ms_p50"]:.1f} / {row["search_vote_ms_p95"]:.1f}', f'{row["exact_ms"]:.0f}',
             f'{row["recall_at_1"]:.3f}', f'{row["exact_recall_at_1"]:.3f} ({row["exact_queries"]})',
             f'{row["resident_mb"]:.0f}', f'{row["longest_add_ms"]:.0f}') for row in sizes]
    return '\n'.join([
        *heading('The search of a growing map', 'map_search.py', where,
                 'Preset `classic`, made maps (made_maps.py) and single queries; exact search compares every segment.'),
        *table(('segments', 'keyframes', 'answer ms p50 / p95', 'search and vote ms', 'exact ms', 'recall@1',
                'exact (queries)', 'RssAnon MB', 'longest add ms'), rows)]) + '\n'


def _shipped(sizes: list[int], queries: int, data: Path, work: Path) -> list[dict]:
    rows = []
    for row in measure_shipped(sizes, queries, data, work):
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--largest', type=float, default=1e6, help='segments of the largest map (%(default)g)')
    parser.add_argument('--queries', type=int, default=400, help='of each size (%(default)s)')
    parser.add_argument('--exact-queries', type=int, default=100, help='of them, also searched exactly (%(default)s)')
    args = parser.parse_args()
    sizes, where = [size for size in SIZES if size <= args.largest], machine('cpu')
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        rows = [row | pool.apply(measure_exact, (row['keyframes'], args.exact_queries, args.data, args.work))
                for row in pool.apply(_shipped, (sizes, args.queries, args.data, args.work))]
    write_results('map_search', where, {'sizes': rows}, as_markdown(rows, where))


if __name__ == '__main__':
    main()
