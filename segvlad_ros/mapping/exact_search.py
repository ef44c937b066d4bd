"""faiss's exact search, on the GPU if there is one, on one core else, or on all."""
from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

_BLAS_FROM = 20
"""faiss is to multiply matrices from this little work on. It did so by itself up to 1.14; the default of 1.15 (128000)
searches 60 queries among 20000 segments in 150 ms of CPU time instead of 21."""

GPU_BYTES = 256 << 20
"""Map rows that are copied to a GPU at a time, and faiss's own scratch memory there: it is shared with the networks."""
_GPU_NEIGHBOURS = 2048  # most that faiss finds on a GPU
_SEARCH_ON_GPU = """
import faiss, numpy
row = numpy.ones((1, 8), numpy.float32)
faiss.knn_gpu(faiss.StandardGpuResources(), row, row, 1, metric=faiss.METRIC_INNER_PRODUCT)
"""
_TRIAL_S = 60


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise SegvladError(f'faiss cannot be imported ({error}); install it: pip install faiss-cpu') from error
    faiss.cvar.distance_compute_blas_threshold = min(faiss.cvar.distance_compute_blas_threshold, _BLAS_FROM)
    return faiss


@contextmanager
def _threads(faiss, number: int):
    """Keep this thread's searches on some cores; 0 leaves them as many as faiss takes."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def finds_gpu(faiss: Any) -> bool:
    """Whether this faiss was built for GPUs and finds one."""
    return hasattr(faiss, 'StandardGpuResources') and faiss.get_num_gpus() > 0


def uses_gpu(faiss: Any) -> bool:
    """Whether this faiss finds a GPU and can search on it."""
    return finds_gpu(faiss) and ends_well(_SEARCH_ON_GPU)


@lru_cache
def ends_well(program: str) -> bool:
    """Whether a Python program ends well in a process of its own; a warning says what of faiss it is about if not.

    Without code for the GPU's architecture faiss does not raise, it aborts: faiss-gpu-cu12 1.14.1.post1 did on an H100.
    """
    try:
        tried = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                               timeout=_TRIAL_S, check=False)
        status, words = tried.returncode, tried.stderr.strip().splitlines() or ['(no output)']
    except subprocess.TimeoutExpired:
        status, words = -1, [f'no answer within {_TRIAL_S} s']
    if status:
        logger.warning('this faiss cannot search on the GPU that it finds (%s): segments are searched on the CPU; '
                       'install a faiss that was built for this GPU, such as faiss-cuda', one_line(words[-1], 160))
    return not status


class ExactSearch:
    """The nearest of some rows by inner product. Thread-safe.

    faiss's threads wait by spinning: with two of them on two cores that have other work, the same search took 10 times
    longer than with one (measured, 300 ms against 30).

    :param threads: of a search on the CPU; 0: as many as there are cores, for work that has them to itself
    :raises SegvladError: faiss is not installed
    """

    def __init__(self, threads: int = 1) -> None:
        self._faiss, self._threads = _faiss(), threads
        self._resources, self._lock = None, threading.Lock()
        if uses_gpu(self._faiss):
            self._resources = self._faiss.StandardGpuResources()
            self._resources.setTempMemory(GPU_BYTES)

    def best(self, queries: np.ndarray, rows: np.ndarray, runs: Iterable[tuple[int, int]],
             k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of some runs of rows.

        :param queries: (M, d) float32
        :param rows: (N, d) float32
        :param runs: first row, and one past the last, of each
        :return: inner products (M, k) float32, best first, and row numbers (M, k) int64; -inf and -1 where there are
            fewer
        """
        parts = [(np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64))]
        runs = runs if len(queries) else ()
        on_gpu = self._resources is not None and len(rows)
        for first, last in split_runs(runs, GPU_BYTES // rows[0].nbytes if on_gpu else 0):
            more, at = self._nearest(queries, rows[first:last], min(k, last - first))
            parts.append((more, at + first))
        return _best(k, *(np.hstack(tables) for tables in zip(*parts)))

    def _nearest(self, queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss = self._faiss
        if self._resources is None or k > _GPU_NEIGHBOURS:
            with _threads(faiss, self._threads):
                return faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        try:
            with self._lock:  # resources serve one thread at a time
                return faiss.knn_gpu(self._resources, queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:  # of which an allocation that fails is the likely one
            raise SegvladError(f'faiss failed on the GPU ({one_line(error, 160)}); free its memory, or install '
                               'faiss-cpu') from error


def split_runs(runs: Iterable[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The same rows in ranges of at most this many; 0 leaves them whole."""
    if not most:
        return list(runs)
    return [(start, min(start + most, last)) for first, last in runs for start in range(first, last, most)]


def _best(k: int, similarities: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best of several lists, best first; among equals, which faiss gives in any order, the earlier row first."""
    if similarities.shape[1] > 4 * k:  # a full sort of many lists takes longer than the search
        chosen = np.argpartition(-similarities, 2 * k, axis=1)[:, :2 * k]
        similarities, found = np.take_along_axis(similarities, chosen, 1), np.take_along_axis(found, chosen, 1)
    order = np.lexsort((found, -similarities), axis=1)[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(found, order, 1)
