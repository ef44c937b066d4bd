from __future__ import annotations

import threading
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.mapping.exact_search import ends_well, finds_gpu, split_runs, uses_gpu
from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.types import SegvladError


def unit(rng, count, dimension=16):
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def build(rng, counts, dimension=16):
    index = SegmentIndex(codes=None)  # which a small map does not ask for
    parts = [unit(rng, count, dimension) for count in counts]
    assert [index.add(part) for part in parts] == list(range(len(counts)))
    rows = np.vstack([np.empty((0, dimension), np.float32), *parts])
    owners = np.repeat(np.arange(len(counts)), counts)
    segments = np.concatenate([np.arange(0), *map(np.arange, counts)])
    return index, rows, owners, segments


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 30), st.integers(0, 40),
       st.sets(st.integers(-2, 14)), st.integers(0, 2**32 - 1))
def test_equals_brute_force(counts, k, queries, excluded, seed):
    rng = np.random.default_rng(seed)
    index, rows, owners, segments = build(rng, counts)
    wanted = unit(rng, queries)
    similarities, found_owners, found_segments = index.search(wanted, k, excluded)

    expected = wanted @ rows.T
    expected[:, np.isin(owners, list(excluded))] = -np.inf
    order = np.argsort(-expected, axis=1, kind='stable')[:, :k]
    values = np.take_along_axis(expected, order, 1)
    usable = values.shape[1]
    np.testing.assert_allclose(similarities[:, :usable], values, atol=1e-5)
    real = np.isfinite(values)
    np.testing.assert_array_equal(np.where(real, owners[order], -1) if len(rows) else order,
                                  found_owners[:, :usable])
    np.testing.assert_array_equal(np.where(real, segments[order], -1) if len(rows) else order,
                                  found_segments[:, :usable])
    assert (found_owners[:, usable:] == -1).all()
    assert np.isneginf(similarities[:, usable:]).all()
    assert (similarities.dtype, found_owners.dtype, found_segments.dtype) == (np.float32, np.int64, np.int32)


def test_keyframes_are_compared_one_by_one():
    index, rows, owners, _ = build(np.random.default_rng(3), [3, 0, 5])
    similarities, segments = index.compare(rows[:4], [2, 1, 0])
    cosines = rows[:4] @ rows.T
    np.testing.assert_allclose(similarities[:, 0], cosines[:, 3:].max(axis=1), atol=1e-6)
    np.testing.assert_array_equal(segments[:, 0], cosines[:, 3:].argmax(axis=1))
    np.testing.assert_array_equal(segments[:, 2], cosines[:, :3].argmax(axis=1))
    assert np.isneginf(similarities[:, 1]).all() and (segments[:, 1] == -1).all()
    assert index.compare(rows, [])[0].shape == (8, 0)
    again, which = index.compare(rows[:4], [0, 2, 2])
    np.testing.assert_array_equal(again, similarities[:, [2, 0, 0]])
    np.testing.assert_array_equal(which, segments[:, [2, 0, 0]])


def test_a_query_that_changes_in_place_is_not_taken_for_the_one_before():
    index, rows, *_ = build(np.random.default_rng(3), [3, 5])
    query = rows[:1].copy()
    index.compare(query, [0])
    other = rows[1:2].copy()
    assert index.compare(other, [0])[1][0, 0] == 1
    assert index.compare(query, [0, 1])[1][0, 0] == 0


def test_counts_and_growth():
    rng = np.random.default_rng(0)
    index, rows, owners, _ = build(rng, [7] * 400)
    assert (index.entries, index.segments) == (400, 2800)
    _, found, _ = index.search(rows[::100], 1)
    np.testing.assert_array_equal(found[:, 0], owners[::100])


def test_an_entry_without_segments_is_never_found():
    rng = np.random.default_rng(0)
    index, rows, _, _ = build(rng, [3, 0, 2])
    _, owners, segments = index.search(rows, 5)
    assert set(owners.ravel()) == {0, 2}
    assert owners[4, 0] == 2
    assert segments[4, 0] == 1


def test_equal_rows_come_in_the_order_of_the_map():
    row = unit(np.random.default_rng(0), 1)
    index = SegmentIndex(codes=None)
    for _ in range(9):
        index.add(row)
    _, owners, _ = index.search(row, 9, excluded=[2, 5])
    np.testing.assert_array_equal(owners[0], [0, 1, 3, 4, 6, 7, 8, -1, -1])


def test_the_process_keeps_its_threads():
    index, rows, _, _ = build(np.random.default_rng(0), [30])
    threads = faiss.omp_get_max_threads()
    index.search(rows, 3)
    assert faiss.omp_get_max_threads() == threads


@pytest.mark.parametrize(('parts', 'expected'), [
    ({}, False), ({'get_num_gpus': lambda: 0}, False),
    ({'StandardGpuResources': object, 'get_num_gpus': lambda: 0}, False),
    ({'StandardGpuResources': object, 'get_num_gpus': lambda: 2}, True)])
def test_a_gpu_is_tried_where_faiss_supports_and_finds_one(parts, expected):
    assert finds_gpu(SimpleNamespace(**parts)) is expected


def test_a_faiss_that_aborts_on_the_gpu_is_found_out_and_outlived(caplog):
    """As faiss does that has no code for the GPU's architecture."""
    assert ends_well('import faiss')
    assert not caplog.records
    assert not ends_well('import os, sys; print("no kernel image", file=sys.stderr, flush=True); os.abort()')
    [record] = caplog.records
    assert 'no kernel image' in record.message and 'faiss-cuda' in record.message


@pytest.mark.skipif(hasattr(faiss, 'StandardGpuResources'), reason='this faiss is built for a GPU')
def test_faiss_without_gpu_support_searches_on_the_cpu():
    assert not uses_gpu(faiss)
    index, rows, owners, _ = build(np.random.default_rng(0), [4, 4])
    np.testing.assert_array_equal(index.search(rows, 1)[1][:, 0], owners)


@given(st.lists(st.integers(1, 40), max_size=8), st.integers(1, 50))
def test_runs_are_split_into_the_same_rows(lengths, most):
    edges = np.cumsum([0, *lengths])
    runs = list(zip(edges[:-1:2].tolist(), edges[1::2].tolist()))
    parts = split_runs(runs, most)
    assert all(0 < last - first <= most for first, last in parts)
    assert [row for run in parts for row in range(*run)] == [row for run in runs for row in range(*run)]
    assert split_runs(runs, 0) == runs


@pytest.mark.parametrize('most', [1, 7, 1000])
def test_a_search_in_pieces_finds_the_same(most):
    """As on a GPU, whose memory bounds the rows of a piece."""
    rng = np.random.default_rng(0)
    index, rows, _, _ = build(rng, [9, 0, 30, 14])
    whole = index.search(rows, 12, excluded=[0])
    index._most_rows = most
    for expected, found in zip(whole, index.search(rows, 12, excluded=[0])):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_adding_while_searching():
    rng = np.random.default_rng(0)
    index, rows, owners, _ = build(rng, [5] * 50)
    wrong = []

    def search():
        for _ in range(50):
            _, found, _ = index.search(rows, 1)
            wrong.extend(np.flatnonzero(found[:, 0] != owners))

    searcher = threading.Thread(target=search)
    searcher.start()
    while searcher.is_alive():
        index.add(unit(rng, 5))
        if index.entries > 5000:
            break
    searcher.join()
    assert not wrong


@pytest.mark.parametrize('rows', [np.zeros((2, 15), np.float32), np.zeros(16, np.float32),
                                  np.full((1, 16), np.nan, np.float32)])
def test_what_does_not_fit_is_refused(rows):
    index = SegmentIndex(codes=None)
    index.add(np.eye(16, dtype=np.float32))
    for call in (lambda: index.add(rows), lambda: index.search(rows, 1)):
        with pytest.raises(SegvladError):
            call()
    assert index.entries == 1
    with pytest.raises(SegvladError):
        index.search(np.zeros((1, 16), np.float32), 0)
