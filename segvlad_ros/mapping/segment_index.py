"""Exact search among the segments of a map (segvlad-spec.md 9).

The index is derived data: it is filled from the map file or from live keyframes and never stored. Each added keyframe
is an *entry*, numbered from 0; its segments stay together, so that leaving out keyframes leaves a few runs of rows.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np

from segvlad_ros.types import SegvladError

_BLAS_FROM = 20
"""faiss is to multiply matrices from this little work on. It did so by itself up to 1.14; the default of 1.15 (128000)
searches 60 queries among 20000 segments in 150 ms of CPU time instead of 21."""

GPU_BYTES = 256 << 20
"""Map rows that are copied to a GPU at a time, and faiss's own scratch memory there: it is shared with the networks."""
_GPU_NEIGHBOURS = 2048  # most that faiss finds on a GPU

_Search = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise SegvladError(f'faiss cannot be imported ({error}); install it: pip install faiss-cpu') from error
    faiss.cvar.distance_compute_blas_threshold = min(faiss.cvar.distance_compute_blas_threshold, _BLAS_FROM)
    return faiss


@contextmanager
def _one_thread(faiss):
    """Keep this thread's searches on one core.

    faiss's threads wait by spinning: with two of them on two cores that have other work, the same search took 10 times
    longer than with one (measured, 300 ms against 30).
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def uses_gpu(faiss: Any) -> bool:
    """Whether this faiss was built for a GPU and finds one."""
    return hasattr(faiss, 'StandardGpuResources') and faiss.get_num_gpus() > 0


def _exact_search(faiss: Any) -> _Search:
    """(queries, rows, k) -> inner products (M, k) and row numbers (M, k), best first, on the GPU if there is one.

    The GPU's part has never been run: no machine with faiss-gpu was at hand where it was written.
    """
    def on_cpu(queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with _one_thread(faiss):
            return faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)

    if not uses_gpu(faiss):
        return on_cpu
    resources, lock = faiss.StandardGpuResources(), threading.Lock()  # resources serve one thread at a time
    resources.setTempMemory(GPU_BYTES)

    def on_gpu(queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k > _GPU_NEIGHBOURS:
            return on_cpu(queries, rows, k)
        try:
            with lock:
                return faiss.knn_gpu(resources, queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:  # of which an allocation that fails is the likely one
            reason = (str(error).splitlines() or [''])[0][:160]
            raise SegvladError(f'faiss failed on the GPU ({reason}); free its memory, or install faiss-cpu') from error

    return on_gpu


class SegmentIndex:
    """Cosine similarity of query segments to all segments of the map. Thread-safe.

    The search runs on a GPU where faiss-gpu is installed and finds one; that was never tried (:func:`_exact_search`).
    """

    def __init__(self) -> None:
        faiss = _faiss()
        self._nearest, self._on_gpu = _exact_search(faiss), uses_gpu(faiss)
        self._lock = threading.RLock()
        self._rows = np.empty((0, 0), np.float32)  # capacity; the first self._starts[-1] rows are used
        self._starts = [0]  # first row of each entry, and one past the last row

    @property
    def dimension(self) -> int:
        """Length d of a descriptor, which the first keyframe tells."""
        return self._rows.shape[1]

    @property
    def entries(self) -> int:
        """Number of keyframes added."""
        return len(self._starts) - 1

    @property
    def segments(self) -> int:
        """Number of segments added."""
        return self._starts[-1]

    def add(self, descriptors: np.ndarray) -> int:
        """Add one keyframe of (M, d) float32 unit rows, M may be 0, and return the number of its entry."""
        with self._lock:
            descriptors = self._checked(descriptors)
            if not self.entries:
                self._rows = np.empty((0, descriptors.shape[1]), np.float32)
            used, needed = self.segments, self.segments + len(descriptors)
            if needed > len(self._rows):
                rows = np.empty((max(needed, len(self._rows) * 3 // 2, 1024), self.dimension), np.float32)
                rows[:used] = self._rows[:used]
                self._rows = rows
            self._rows[used:needed] = descriptors
            self._starts.append(needed)
            return self.entries - 1

    def descriptors(self, entry: int) -> np.ndarray:
        """(M, d) float32, the segments of one keyframe."""
        with self._lock:
            return self._rows[self._starts[entry]:self._starts[entry + 1]]

    def search(self, descriptors: np.ndarray, k: int, excluded: Iterable[int] = ()
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The k most similar map segments of each query segment, best first.

        :param descriptors: (M, d) float32, unit rows
        :param k: at least 1
        :param excluded: entries that are not to be found
        :returns: cosine similarities (M, k) float32, entries (M, k) int64, segments within their entry (M, k) int32;
            -inf, -1, -1 where the map has fewer than k segments
        """
        if k < 1:
            raise SegvladError(f'number of neighbours {k} must be at least 1')
        queries = self._checked(descriptors)
        with self._lock:  # rows once written never change, so that the search itself needs no lock
            rows, starts = self._rows, np.array(self._starts)
        parts = [(np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64))]
        runs = _allowed_runs(starts, excluded) if len(queries) else []
        for first, last in split_runs(runs, GPU_BYTES // rows[0].nbytes if self._on_gpu and len(rows) else 0):
            more, at = self._nearest(queries, rows[first:last], min(k, last - first))
            parts.append((more, at + first))
        similarities, found = _best(k, *(np.hstack(tables) for tables in zip(*parts)))
        owners = np.where(found < 0, -1, np.searchsorted(starts, found, side='right') - 1)
        segments = np.where(found < 0, -1, found - starts[owners])
        return similarities, owners, segments.astype(np.int32)

    def _checked(self, descriptors: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(descriptors, np.float32)
        if rows.ndim != 2 or self.entries and rows.shape[1] != self.dimension:
            raise SegvladError(f'descriptors of shape {rows.shape} do not fit an index of dimension {self.dimension}')
        if not np.isfinite(rows).all():
            raise SegvladError('descriptors hold NaN or infinite values')
        return rows


def _allowed_runs(starts: np.ndarray, excluded: Iterable[int]) -> list[tuple[int, int]]:
    """Row ranges without the excluded entries; adjacent entries are one range."""
    allowed = np.ones(len(starts) - 1, np.int8)
    numbers = np.fromiter(excluded, np.int64)
    allowed[numbers[(numbers >= 0) & (numbers < len(allowed))]] = 0
    edges = np.flatnonzero(np.diff(allowed, prepend=0, append=0))
    return [(int(starts[first]), int(starts[last])) for first, last in edges.reshape(-1, 2)
            if starts[last] > starts[first]]


def split_runs(runs: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The same rows in ranges of at most this many; 0 leaves them whole."""
    if not most:
        return runs
    return [(start, min(start + most, last)) for first, last in runs for start in range(first, last, most)]


def _best(k: int, similarities: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best of several lists, best first; among equals, which faiss gives in any order, the earlier row first."""
    if similarities.shape[1] > 4 * k:  # a full sort of many lists takes longer than the search
        chosen = np.argpartition(-similarities, 2 * k, axis=1)[:, :2 * k]
        similarities, found = np.take_along_axis(similarities, chosen, 1), np.take_along_axis(found, chosen, 1)
    order = np.lexsort((found, -similarities), axis=1)[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(found, order, 1)
