"""Search among the segments of a map: exact in a small one (segvlad-spec.md 9), in a large one of its best keyframes.

The index is derived data: it is filled from the map file or from live keyframes and never stored. Each added keyframe
is an *entry*, numbered from 0; its segments stay together, so that leaving out keyframes leaves a few runs of rows.
Of a large map it holds what finds the best keyframes, and asks for the codes of their segments.

All descriptors, those of queries too, are here as codes see them, rotated: cosines are the same, and nothing has to be
rotated back.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from segvlad_ros.description.scalar_quantizer import ScalarQuantizer
from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.candidate_index import CandidateIndex
from segvlad_ros.mapping.exact_search import ExactSearch
from segvlad_ros.types import SegvladError

EXACT_SEGMENTS = 20_000
"""Maps of more segments are searched in their best keyframes. An exact search takes a time that grows with the map
(benchmark/results/map_search.md), and 2 kB of memory a segment; of the real sets hololens_office is larger, and is
recognised no worse for it (benchmark/results/shipped.md)."""
OF_ONE_PLACE = 4
"""Keyframes of a large map whose segments are compared, at most, that show one place."""
_SPARE = 1024  # segments of the keyframe that makes a map a large one

_Compared = dict[int, tuple[np.ndarray, np.ndarray]]


def looked_at(keyframes: int, of_vectors: bool = False) -> int:
    """In how many of its keyframes a large map is searched: 32 up to 10,000, 40 of 100,000; of single vectors, which
    are read and compared in a hundredth of the time, 128 and 404.
    """
    growth = max(1.0, keyframes / 10_000)
    return int(128 * growth ** 0.5 if of_vectors else 32 * growth ** 0.1)


class SegmentIndex:
    """Cosine similarity of query segments to the segments of the map. Thread-safe.

    The search of a small map runs on a GPU where a faiss for GPUs is installed and finds one.

    :param codes: gives the codes of some keyframes' segments, (M, code_bytes) uint8 each, of a large map; see
        :func:`~segvlad_ros.mapping.arrays_v2.quantizer`
    :param exact_segments: a larger map is searched in its best keyframes only
    """

    def __init__(self, codes: Callable[[Sequence[int]], list[np.ndarray]],
                 exact_segments: int = EXACT_SEGMENTS) -> None:
        self._exact = ExactSearch()
        self._codes, self._exact_segments = codes, exact_segments
        self._lock = threading.RLock()
        self._rows = np.empty((0, 0), np.float32)  # of a small map; the first self.segments rows are used
        self._starts = np.zeros((1, 1), np.int64)  # likewise: first row of each entry, and one past the last row
        self._entries = 0
        self._compared: tuple[np.ndarray | None, _Compared] = None, {}  # the last query, and with what it was compared
        self._growing = CandidateIndex()
        self._candidates: CandidateIndex | None = None  # of a large map

    @property
    def dimension(self) -> int:
        """Length d of a descriptor, which the first keyframe tells."""
        return self._rows.shape[1]

    @property
    def entries(self) -> int:
        """Number of keyframes added."""
        return self._entries

    @property
    def segments(self) -> int:
        """Number of segments added."""
        return int(self._starts[self._entries, 0])

    def add(self, descriptors: np.ndarray) -> int:
        """Add one keyframe and return the number of its entry. Where memory runs out nothing of it stays.

        :param descriptors: (M, d) float32, what its codes stand for; M may be 0
        """
        descriptors = self._checked(descriptors)
        with self._lock:
            rows, last = self._rows, self.segments + len(descriptors)
            if self._candidates is None:
                if not self.dimension:  # all at once, so that nothing is copied later; memory is taken as it is used
                    rows = np.empty((self._exact_segments + _SPARE, descriptors.shape[1]), np.float32)
                rows = _appended(rows, self.segments, descriptors)
            starts = _appended(self._starts, self._entries + 1, np.array([[last]]))
            self._growing.add(descriptors)
            self._rows, self._starts = rows, starts
            self._entries += 1
            if self._candidates is None and last > self._exact_segments and self._growing.ready:
                self._candidates, self._rows = self._growing, np.empty((0, self.dimension), np.float32)
            return self._entries - 1

    def select(self, entries: Sequence[int]) -> None:
        """Keep some entries, ascending, and give them the numbers from 0; the codes that are asked for are of the new
        ones from then on. What has become small is searched as a small map.
        """
        with self._lock:
            growing = self._growing.select(np.asarray(entries, np.int64))
            counts = np.diff(self._starts[:self._entries + 1, 0])[list(entries)]
            small = not growing.ready or counts.sum() <= self._exact_segments
            rows = np.empty((0, self.dimension), np.float32)
            if small:
                found = [self.descriptors(entry) for entry in entries]
                counts = np.array([len(each) for each in found], np.int64)  # a large map's removed ones have none left
                rows = np.empty((max(self._exact_segments + _SPARE, counts.sum()), self.dimension), np.float32)
                rows[:counts.sum()] = np.concatenate(found or [rows[:0]])
            starts, self._growing = np.concatenate([[0], np.cumsum(counts)])[:, None], growing
            self._entries = len(entries)  # first: who asks for `segments` meanwhile has no lock
            self._candidates = None if small else self._growing
            self._rows, self._starts = rows, starts
            self._compared = None, {}

    def descriptors(self, entry: int) -> np.ndarray:
        """(M, d) float32, the segments of one keyframe."""
        with self._lock:
            if self._candidates is None:
                return self._rows[slice(*self._starts[entry:entry + 2, 0])]
        return quantizer(self.dimension).seen(self._codes([entry])[0])

    def search(self, descriptors: np.ndarray, k: int, excluded: Iterable[int] = (),
               places: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The most similar map segments of each query segment, best first.

        In a small map these are the k best of all. In a large one they are the best of each keyframe that is most like
        the query, however many these are.

        :param descriptors: (M, d) float32, unit rows
        :param k: at least 1
        :param excluded: entries that are not to be found
        :param places: (E,) int, the place of every keyframe, so that a large map is not searched in the same one only
        :returns: cosine similarities (M, K) float32, entries (M, K) int64, segments within their entry (M, K) int32;
            -inf, -1, -1 where the map has fewer
        """
        if k < 1:
            raise SegvladError(f'number of neighbours {k} must be at least 1')
        queries = self._checked(descriptors)
        with self._lock:  # what was added never changes, so that the search itself needs no lock
            rows, starts, candidates = self._rows, self._starts[:self._entries + 1, 0], self._candidates
        allowed = _allowed(starts, excluded)
        if candidates is None:
            return self._search_all(queries, k, rows, starts, allowed)
        groups = np.arange(len(allowed)) if places is None else places
        entries = candidates.best(queries, looked_at(len(allowed), candidates.of_vectors), allowed, groups,
                                  OF_ONE_PLACE)
        self._compared = None, {}  # so that an answer does not depend on those before
        return _best_of_each(*self.compare(queries, entries), entries)

    def compare(self, descriptors: np.ndarray, entries: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The most similar segment of each of some keyframes.

        :param descriptors: (M, d) float32, unit rows
        :returns: (M, C) float32, cosine similarities, -inf for a keyframe without segments; (M, C) int32, which segment
            it is, within the keyframe
        """
        queries, entries = self._checked(descriptors), np.asarray(entries, np.int64).tolist()
        with self._lock:
            rows, starts, candidates = self._rows, self._starts[:self._entries + 1, 0], self._candidates
            of, known = self._compared
        if of is not queries:  # what was searched is mostly compared with some of what was found
            known = {}
        new = list(dict.fromkeys(entry for entry in entries if entry not in known))
        if candidates is None:
            found = [_most_similar(queries @ rows[starts[entry]:starts[entry + 1]].T) for entry in new]
        else:
            found = _compare_codes(quantizer(self.dimension), queries, self._codes(new))
        known = known | dict(zip(new, found))
        self._compared = queries, known
        similarities, segments = np.empty((2, len(entries), len(queries)))
        for number, entry in enumerate(entries):
            similarities[number], segments[number] = known[entry]
        return similarities.T.astype(np.float32), segments.T.astype(np.int32)

    def _search_all(self, queries: np.ndarray, k: int, rows: np.ndarray, starts: np.ndarray,
                    allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        similarities, found = self._exact.best(queries, rows, _allowed_runs(starts, allowed), k)
        owners = np.where(found < 0, -1, np.searchsorted(starts, found, side='right') - 1)
        segments = np.where(found < 0, -1, found - starts[owners])
        return similarities, owners, segments.astype(np.int32)

    def _checked(self, descriptors: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(descriptors, np.float32)
        if rows.ndim != 2 or self.dimension and rows.shape[1] != self.dimension:
            raise SegvladError(f'descriptors of shape {rows.shape} do not fit an index of dimension {self.dimension}')
        if not np.isfinite(rows).all():
            raise SegvladError('descriptors hold NaN or infinite values')
        return rows


def _compare_codes(coder: ScalarQuantizer, queries: np.ndarray, codes: Sequence[np.ndarray],
                   ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each keyframe's codes the most similar segment to each of (M, d) rotated queries."""
    if not codes:
        return []
    rows = coder.decode_rotated(np.concatenate(codes))
    cosines = queries @ rows.T
    cosines *= coder.length / np.sqrt(np.einsum('ij,ij->i', rows, rows))
    edges = np.cumsum([0, *map(len, codes)])
    # one beside the other, all as wide as the widest, they are gone through in a fraction of the time
    table = np.full((len(queries), len(codes), max(map(len, codes))), -np.inf, np.float32)
    for number, (first, last) in enumerate(zip(edges, edges[1:])):
        table[:, number, :last - first] = cosines[:, first:last]
    return list(zip(*(found.T for found in _most_similar(table))))


def _most_similar(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 and int, the largest value along the last axis and where it stands; -inf and -1 where there are none."""
    if not cosines.shape[-1]:
        return np.full(cosines.shape[:-1], -np.inf, np.float32), np.full(cosines.shape[:-1], -1)
    nearest = cosines.argmax(axis=-1)
    largest = np.take_along_axis(cosines, nearest[..., None], -1)[..., 0]
    return largest, np.where(np.isneginf(largest), -1, nearest)


def _appended(table: np.ndarray, used: int, rows: np.ndarray) -> np.ndarray:
    """The table, or a larger copy of it, with rows behind those that are used; it is small where it is copied."""
    if used + len(rows) > len(table):
        larger = np.empty((max(used + len(rows), len(table) * 5 // 4, 1024), rows.shape[1]), rows.dtype)
        larger[:used] = table[:used]
        table = larger
    table[used:used + len(rows)] = rows
    return table


def _best_of_each(similarities: np.ndarray, segments: np.ndarray,
                  entries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M, C) each, with every row sorted by similarity; the keyframe that is most like the query first among equals."""
    order = np.argsort(-similarities, axis=1, kind='stable')
    return (np.take_along_axis(similarities, order, 1), entries[order], np.take_along_axis(segments, order, 1))


def _allowed(starts: np.ndarray, excluded: Iterable[int]) -> np.ndarray:
    """(E,) bool, the entries that have segments and are not excluded; unknown numbers are passed over."""
    allowed = np.diff(starts) > 0
    numbers = np.fromiter(excluded, np.int64)
    allowed[numbers[(numbers >= 0) & (numbers < len(allowed))]] = False
    return allowed


def _allowed_runs(starts: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Row ranges of the allowed entries; adjacent entries are one range."""
    edges = np.flatnonzero(np.diff(allowed, prepend=0, append=0))
    return [(int(starts[first]), int(starts[last])) for first, last in edges.reshape(-1, 2)
            if starts[last] > starts[first]]
