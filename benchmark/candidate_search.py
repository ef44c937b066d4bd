"""How the keyframes that are worth a look are found in a large map: the shipped cascade against faiss's indices.

    python benchmark/candidate_search.py --data ../shared/data --work /tmp/loops [--segments 1e6] [--queries 400]

writes results/candidate_search.{json,md}. The map is made (made_maps.py). An exact search tells which keyframe has the
best score for each query; where that is the one that was asked for, it should be among the few that are handed on. An
index over all segments finds the nearest ones of each query segment, and votes; ours goes through representatives. One
thread each, since another one may have the other cores.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from made_maps import FLOOR
from map_search import best_keyframes, made_map
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.candidate_index import CandidateIndex
from segvlad_ros.recognition.voting import vote_online
from segvlad_ros.threads import one_blas_thread

KINDS = ('PQ128x4fs', 'PQ64x4fs', 'SQ8', 'RaBitQ')
HANDED_ON = (16, 32, 48, 64)
_PROBED, _NEIGHBOURS = (8, 32), 50
_TRAINED_WITH = 64  # segments a list
Search = Callable[[np.ndarray], np.ndarray]
"""(M, d) query -> keyframes, best first."""


def cascade(keyframes: list[np.ndarray]) -> tuple[Search, float]:
    """The shipped one, and bytes a keyframe."""
    index = CandidateIndex()
    for rows in keyframes:
        index.add(rows.astype(np.float32))
    allowed, groups = np.ones(len(keyframes), bool), np.arange(len(keyframes))
    size = sum(sketch.bytes for sketch in index._sketches)
    return lambda rows: index.best(rows, max(HANDED_ON), allowed, groups, 1), size


def voting(keyframes: list[np.ndarray], kind: str, segments: int) -> tuple[Callable[[int], Search], float]:
    """An index of faiss by the number of lists probed, and bytes a keyframe."""
    lists = 1 << round(np.log2(2 * segments ** 0.5))
    index = faiss.index_factory(keyframes[0].shape[1], f'IVF{lists},{kind}', faiss.METRIC_INNER_PRODUCT)
    sample = np.concatenate(keyframes[::max(segments // (lists * _TRAINED_WITH), 1)]).astype(np.float32)
    index.train(sample)
    for first in range(0, len(keyframes), 500):
        index.add(np.concatenate(keyframes[first:first + 500]).astype(np.float32))
    owners = np.repeat(np.arange(len(keyframes)), [len(rows) for rows in keyframes])
    places, weights = np.arange(len(keyframes)), np.ones(len(keyframes))

    def probing(probed: int) -> Search:
        def search(rows: np.ndarray) -> np.ndarray:
            index.nprobe = probed
            cosines, found = index.search(rows, _NEIGHBOURS)
            votes = vote_online(cosines, np.where(found < 0, -1, owners[found]), places, FLOOR, weights)
            return np.argsort(-votes.shares, kind='stable')[:max(HANDED_ON)]
        return search
    return probing, (index.code_size + 8) * segments / len(keyframes)


def judged(name: str, search: Search, asked: list[tuple[np.ndarray, int]], build_s: float, size: float) -> dict:
    """What is lost of what an exact search finds, and the time.

    :param asked: queries, each with the keyframe that an exact search finds
    """
    seconds, ranks = [], []
    for rows, wanted in asked:
        begin = time.perf_counter()
        found = search(rows)
        seconds.append(time.perf_counter() - begin)
        at = np.flatnonzero(found == wanted)
        ranks.append(int(at[0]) if len(at) else len(found))
    row = {'search': name, 'ms_p50': 1e3 * float(np.median(seconds)), 'build_s': build_s, 'bytes_per_keyframe': size,
           'lost': {str(count): float(np.mean(np.array(ranks) >= count)) for count in HANDED_ON}}
    print(row, flush=True)
    return row


def measure(data: Path, work: Path, segments: int, queries: int) -> dict:
    """All of them."""
    made, keyframes = made_map(data, work), []
    while sum(map(len, keyframes)) < segments:
        keyframes += [made.keyframe(len(keyframes) + more).description.descriptors.astype(np.float16)
                      for more in range(100)]
    wanted = np.random.default_rng(1).choice(len(keyframes), queries, replace=False)
    asked = [made.query(number).description.descriptors for number in wanted.tolist()]
    best = best_keyframes(made, len(keyframes), asked)[0][:, 0]
    right = np.flatnonzero(best == wanted)
    asked, total = [(asked[number], int(best[number])) for number in right], sum(map(len, keyframes))
    rows = []
    with one_blas_thread():
        faiss.omp_set_num_threads(1)
        begin = time.perf_counter()
        search, size = cascade(keyframes)
        rows.append(judged('cascade of representatives', search, asked, time.perf_counter() - begin, size))
        for kind in KINDS:
            faiss.omp_set_num_threads(2)
            begin = time.perf_counter()
            probing, size = voting(keyframes, kind, total)
            built = time.perf_counter() - begin
            faiss.omp_set_num_threads(1)
            rows += [judged(f'IVF, {kind}, {probed} lists', probing(probed), asked, built, size)
                     for probed in _PROBED]
    return {'segments': total, 'keyframes': len(keyframes), 'queries': queries, 'exactly_right': len(right),
            'searches': rows}


def as_markdown(report: dict, where: dict) -> str:
    """One row a search."""
    rows = [(row['search'], *(f'{100 * row["lost"][str(count)]:.2f}' for count in HANDED_ON), f'{row["ms_p50"]:.1f}',
             f'{row["build_s"]:.0f}', f'{row["bytes_per_keyframe"] / 1e3:.1f}') for row in report['searches']]
    about = (f'A made map of {report["segments"]:,} segments in {report["keyframes"]:,} keyframes; '
             f'{report["exactly_right"]} of {report["queries"]} queries that an exact search answers rightly. Lost: '
             'per cent of these for which the right keyframe is not among so many that are handed on. One thread, but '
             'for building the indices of faiss, which were trained on a part of the map itself.')
    return page(heading('Which keyframes are worth a look', 'candidate_search.py', where, about),
                ('search', *(f'lost at {count}' for count in HANDED_ON), 'ms p50', 'built in s', 'kB a keyframe'), rows)


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--segments', type=float, default=1e6, help='of the map (%(default)g)')
    parser.add_argument('--queries', type=int, default=400, help='(%(default)s)')
    args = parser.parse_args()
    where = machine('cpu')
    report = measure(args.data, args.work, round(args.segments), args.queries)
    write_results('candidate_search', where, report, as_markdown(report, where))


if __name__ == '__main__':
    main()
