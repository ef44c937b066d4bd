"""What an answer takes, and what it finds, as the map grows: the shipped search against an exact one.

    segvlad benchmark map [--data ../shared/data] [--largest 1e6] [--output FILE.json]

Maps are made (made_maps.py) of real images where --data has them, else of images of the simulated building. Each size
has three processes, one after the other: one writes the map and the queries; one loads the map as a localizer does and
answers the queries; and one compares every segment of every keyframe, as it was described, with those of the queries.
The exact answer is the shipped one in all but the keyframes that are looked at: they are the best ones by that
comparison. Both see the same queries. An answer is that of a single query: search, vote, decision, and geometry of the
candidates. Memory is what a process holds for itself (RssAnon) once it has answered.
"""
from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from drives import real_trials, simulated_trials
from made_maps import FLOOR, MadeMap, true_pairs
from recorded_runs import Recorder, arrays_of, with_arrays
from tables import heading, page

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.segment_index import looked_at
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.recognition.voting import vote_weights
from segvlad_ros.types import Keyframe, Recognition, SegvladError

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
EXACT_QUERIES = {10_000_000: 40}
"""Queries that are searched exactly, where these are fewer than all, for time."""
SETS = ('corridor', 'rtabmap_corridor_loop', 'hololens_office')
_SEED = 101  # of the simulated building, where there are no real images
_BLOCK = 400  # keyframes that the exact search compares at a time
_FIRST = 5  # queries that are answered once before any counts


@dataclass(frozen=True)
class Made:
    """A made map on the disk, and queries beside it.

    :ivar wanted: numbers of the keyframes that the queries ask for, which name the files of the queries
    :ivar preset, changes: what answers
    """

    folder: Path
    keyframes: int
    segments: int
    wanted: list[int]
    preset: str = 'classic'
    changes: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of the map."""
        return self.folder / f'{self.segments}.segvlad'

    def query(self, number: int) -> Keyframe:
        """What somebody sees who comes back to where a keyframe was taken."""
        with PlaceMap.open(self.folder / 'queries.segvlad') as queries:
            return with_arrays(queries.keyframe(self._row(number)), dict(np.load(self._arrays(number))))

    def settings(self) -> Preset:
        """Of what answers."""
        return load_preset(self.preset, dict(self.changes))

    def write(self, made: MadeMap) -> None:
        """Write map and queries."""
        write = partial(PlaceMap.write, fingerprint=self.settings().fingerprint(), dimension=made.dimension,
                        overwrite=True)
        write(self.path, map(made.keyframe, range(self.keyframes)))
        queries = [made.query(number) for number in self.wanted]
        write(self.folder / 'queries.segvlad', queries)
        for number, query in zip(self.wanted, queries):
            np.savez(self._arrays(number), **arrays_of(query))

    def _row(self, number: int) -> int:
        return self.wanted.index(number) + 1

    def _arrays(self, number: int) -> Path:
        return self.folder / f'query_{number}.npz'


def made_map(data: Path | None, work: Path) -> MadeMap:
    """Of the pairs of the real sets, or of the simulated building's."""
    recorder = Recorder(load_preset('classic'), work)
    trials = real_trials(recorder, data) if data else simulated_trials(recorder, _SEED)
    return MadeMap(true_pairs(trial for title, trial in trials if ',' not in title))


def make(size: int, queries: int, data: Path | None, work: Path) -> Made:
    """Write a map of so many segments."""
    made, keyframes, segments = made_map(data, work), 0, 0
    while segments < size:
        segments += made.segments(keyframes)
        keyframes += 1
    wanted = np.random.default_rng(1).choice(keyframes, min(queries, keyframes), replace=False).tolist()
    written = Made(work, keyframes, segments, wanted)
    written.write(made)
    return written


def measure_shipped(made: Made) -> dict:
    """Load the map as a localizer does, and answer."""
    recognizer = build_recognizer(made.settings())
    begin = time.perf_counter()
    with PlaceMap.open(made.path) as place_map:
        recognizer.load(place_map)
        size = place_map.bytes
    loaded = time.perf_counter() - begin
    before = _resident_mb()
    for number in made.wanted[:_FIRST]:
        _answer(recognizer, made.query(number))
    seconds, spent, searches, right = [], [], [], []
    for number in made.wanted:
        query = made.query(number)
        begin, before_s = time.perf_counter(), time.process_time()
        answer = _answer(recognizer, query)
        seconds.append(time.perf_counter() - begin)
        spent.append(time.process_time() - before_s)
        searches.append(answer.timings['search'] + answer.timings['vote'])
        right.append(_is(answer, number))
    return {'segments': recognizer.segments, 'keyframes': recognizer.count, 'queries': len(made.wanted),
            **_milliseconds('answer', seconds), **_milliseconds('answer_cpu', spent),
            **_milliseconds('search_vote', searches), 'right': right,
            'resident_mb': _resident_mb(), 'resident_before_answers_mb': before, 'load_s': loaded,
            'bytes_per_keyframe': size / recognizer.count}


def measure_exact(made: Made, queries: int, data: Path | None) -> dict:
    """Compare every segment with every one, and answer with the keyframes that are most like the query then."""
    wanted = made.wanted[:queries]
    rows = [made.query(number).description.descriptors for number in wanted]
    found, spent = best_keyframes(made_map(data, made.folder), made.keyframes, rows)
    recognizer = build_recognizer(load_preset('classic'))
    with PlaceMap.open(made.path) as place_map:
        recognizer.load(place_map)
    right = []
    for number, entries in zip(wanted, found):
        recognizer._known.index._candidates = _Known(entries)
        right.append(_is(_answer(recognizer, made.query(number)), number))
    return {'exact_right': right, 'exact_ms_p50': 1e3 * spent / len(wanted), 'exact_queries': len(wanted),
            'exact_score_recall_at_1': float(np.mean([entries[0] == number for number, entries in zip(wanted, found)]))}


class _Known:
    """Stands where an index has its candidates, and knows them."""

    of_vectors = False

    def __init__(self, entries: np.ndarray) -> None:
        self._entries = entries

    def best(self, rows: np.ndarray, count: int, allowed: np.ndarray, groups: np.ndarray, share: int) -> np.ndarray:
        return self._entries[allowed[self._entries]][:count]


def best_keyframes(made: MadeMap, keyframes: int, queries: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """(Q, C) entries of the keyframes with the best scores of their own, best first, and the seconds it took."""
    rows, starts = np.concatenate(queries), np.cumsum([0, *map(len, queries)])
    best = np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
    spent = 0.0
    for first in range(0, keyframes, _BLOCK):
        block = [made.keyframe(number).description.descriptors
                 for number in range(first, min(first + _BLOCK, keyframes))]
        edges, segments = np.cumsum([0, *map(len, block)])[:-1], np.concatenate(block)
        begin = time.perf_counter()
        scores = np.concatenate([
            vote_weights(np.maximum.reduceat(rows[one:other] @ segments.T, edges, axis=1), FLOOR).mean(axis=0)[None]
            for one, other in zip(starts, starts[1:])])
        numbers = np.tile(np.arange(first, first + len(block)), (len(queries), 1))
        both, entries = np.hstack([best[0], scores]), np.hstack([best[1], numbers])
        order = np.argsort(-both, axis=1, kind='stable')[:, :looked_at(keyframes)]
        best = np.take_along_axis(both, order, 1), np.take_along_axis(entries, order, 1)
        spent += time.perf_counter() - begin
    return best[1], spent


def _answer(recognizer: Recognizer, query: Keyframe) -> Recognition:
    return recognizer.recognize(query, exclude_recent=False, independent=True)


def _is(answer: Recognition, number: int) -> bool:
    return bool(answer.candidates) and answer.candidates[0].id.index == number + 1


def _milliseconds(name: str, seconds: list[float]) -> dict[str, float]:
    return {f'{name}_ms_p{share}': 1e3 * float(np.percentile(seconds, share)) for share in (50, 95)}


def _resident_mb() -> float:
    status = Path('/proc/self/status').read_text()
    return int(status.split('RssAnon:')[1].split()[0]) / 1024


def measure(data: Path | None, work: Path, largest: float, queries: int, exact_queries: int | None = None) -> dict:
    """The report.

    :param data: folder of the image sets; None: images of the simulated building
    :param exact_queries: of each size; None: all, or as many as :data:`EXACT_QUERIES` says
    """
    if data is not None and (missing := [name for name in SETS if not (data / name).is_dir()]):
        raise SegvladError(f'{data}: has no folder {missing[0]}; give the folder of the image sets as --data')
    where, rows = machine('cpu'), []
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for size in (size for size in SIZES if size <= largest):
            made = pool.apply(make, (size, queries, data, work))
            shipped = pool.apply(measure_shipped, (made,))
            asked = min(exact_queries or EXACT_QUERIES.get(size, queries), len(made.wanted))
            exact = pool.apply(measure_exact, (made, asked, data))
            rows.append(_row(shipped, exact))
            if size != SIZES[-1]:
                made.path.unlink()
    return {'machine': where, 'images': 'real' if data else 'simulated', 'preset': 'classic', 'sizes': rows}


def _row(shipped: dict, exact: dict) -> dict:
    right, exactly = shipped.pop('right'), exact.pop('exact_right')
    return {**shipped, 'recall_at_1': float(np.mean(right)),
            'recall_at_1_of_exact_queries': float(np.mean(right[:len(exactly)])),
            'exact_recall_at_1': float(np.mean(exactly)), **exact}


def as_markdown(report: dict) -> str:
    """One row a size."""
    rows = [(f'{row["segments"]:,}', f'{row["keyframes"]:,}',
             f'{row["answer_ms_p50"]:.0f} / {row["answer_ms_p95"]:.0f}',
             f'{row["search_vote_ms_p50"]:.1f} / {row["search_vote_ms_p95"]:.1f}', f'{row["exact_ms_p50"]:.0f}',
             f'{row["recall_at_1"]:.4f} ({row["queries"]})',
             f'{row["recall_at_1_of_exact_queries"]:.4f} / {row["exact_recall_at_1"]:.4f} ({row["exact_queries"]})',
             f'{row["exact_score_recall_at_1"]:.3f}', f'{row["resident_mb"]:.0f}',
             f'{row["bytes_per_keyframe"] / 1e3:.1f}', f'{row["load_s"]:.1f}') for row in report['sizes']]
    return page(
        heading('The search of a growing map', 'map_search.py', report['machine'],
                f'Preset `{report["preset"]}`, maps made of {report["images"]} images (made_maps.py), single queries. '
                'Exact search compares all queries at once, block by block, on as many threads as there are cores; '
                'its time is the mean of a query.'),
        ('segments', 'keyframes', 'answer ms p50 / p95', 'search and vote ms', 'exact search ms', 'recall@1 (queries)',
         'of exact queries / exact answer', 'best by score alone', 'RssAnon MB', 'kB a keyframe on disk',
         'loaded in s'), rows)


def plot(report: dict, path: Path) -> None:
    """Time, memory and recall over the size of the map."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    rows = report['sizes']
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout='constrained')
    for axis, label, lines in zip(axes, ('ms', 'RssAnon, MB', 'recall@1'), (
            ('answer_ms_p50', 'answer_ms_p95', 'search_vote_ms_p50', 'exact_ms_p50'), ('resident_mb',),
            ('recall_at_1', 'exact_recall_at_1'))):
        for name in lines:
            axis.plot([row['segments'] for row in rows], [row[name] for row in rows], marker='o', label=name)
        axis.set(xscale='log', xlabel='segments', ylabel=label)
        axis.set_ylim(*((0, 1) if label == 'recall@1' else (0, None)))
        axis.legend()
    axes[0].set(yscale='log', ylim=(1, None))
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
