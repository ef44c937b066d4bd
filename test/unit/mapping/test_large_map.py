"""The search of a map that is too large to compare with all of it."""
import threading

import numpy as np
import pytest
from map_samples import as_stored

from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.candidate_index import SAMPLE, CandidateIndex, best_of_groups
from segvlad_ros.mapping.representatives import representatives
from segvlad_ros.mapping.segment_index import OF_ONE_PLACE, SegmentIndex, looked_at
from segvlad_ros.mapping.sketches import spread

DIMENSION = 64


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scene(rng, count=30):
    """Segments that gather around a few directions, as overlapping neighbourhoods do."""
    centres = rng.standard_normal((6, DIMENSION))
    return unit(centres[rng.integers(6, size=count)] + 0.5 * rng.standard_normal((count, DIMENSION)))


def seen_again(rng, rows):
    return unit(rows + 0.6 * rng.standard_normal(rows.shape) / 8)


@pytest.fixture(scope='module')
def scenes():
    rng = np.random.default_rng(0)
    return [scene(rng) for _ in range(400)]


class Stored(list):
    """Scenes that were stored, and an index of them."""

    def __init__(self, exact_segments):
        self.index = SegmentIndex(lambda entries: [self[entry] for entry in entries], exact_segments)

    def add(self, rows):
        """Of rows as codes see them."""
        self.append(quantizer(DIMENSION).encode(quantizer(DIMENSION).unrotated(rows)))
        self.index.add(quantizer(DIMENSION).seen(self[-1]))


def indexed(scenes, exact_segments):
    stored = Stored(exact_segments)
    for rows in scenes:
        stored.add(rows)
    return stored.index


def best_keyframe(index, rows, **search):
    similarities, owners, _ = index.search(rows, 50, **search)
    score = np.zeros(index.entries)
    for row, owner in zip(similarities, owners):
        values, first = np.unique(owner, return_index=True)
        score[values] += row[first]
    return int(score.argmax())


def test_a_few_directions_stand_for_all_segments():
    rng = np.random.default_rng(1)
    centres = unit(rng.standard_normal((5, DIMENSION)))
    owners = np.repeat(np.arange(5), (4, 9, 1, 7, 3))
    rows = unit(centres[owners] + 0.02 * rng.standard_normal((24, DIMENSION)))
    found, sizes = representatives(rows, [5])[0]
    nearest = (found @ centres.T).argmax(axis=1)
    assert sorted(nearest) == list(range(5))
    np.testing.assert_array_equal(sizes[np.argsort(nearest)], [4, 9, 1, 7, 3])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_several_numbers_at_once_are_found_as_one_by_one(scenes):
    for count in (0, 2, 30):
        rows = scenes[3][:count]
        for most, (found, sizes) in zip((4, 16, 40), representatives(rows, (4, 16, 40))):
            alone, alone_sizes = representatives(rows, [most])[0]
            np.testing.assert_allclose(found, alone, atol=1e-6)
            np.testing.assert_array_equal(sizes, alone_sizes)


@pytest.mark.parametrize('count', [0, 1, 3])
def test_fewer_segments_than_representatives(count):
    rows = np.eye(DIMENSION, dtype=np.float32)[:count]
    found, sizes = representatives(rows, [8])[0]
    assert found.shape == (count, DIMENSION)
    np.testing.assert_array_equal(sizes, np.ones(count))
    np.testing.assert_allclose(found @ rows.T @ (rows @ found.T), np.eye(count), atol=1e-6)


def test_equal_segments_have_representatives_that_are_finite():
    found, sizes = representatives(np.tile(np.eye(1, DIMENSION, dtype=np.float32), (9, 1)), [4])[0]
    assert np.isfinite(found).all()
    assert sizes.sum() == 9


def test_a_large_map_finds_what_an_exact_search_finds(scenes):
    rng = np.random.default_rng(2)
    large = indexed(scenes, exact_segments=1000)
    asked = rng.choice(len(scenes), 60, replace=False)
    assert [best_keyframe(large, seen_again(rng, scenes[number])) for number in asked] == asked.tolist()


def test_similarities_are_those_of_an_exact_search_as_far_as_codes_go(scenes):
    large, query = indexed(scenes, exact_segments=1000), seen_again(np.random.default_rng(3), scenes[77])
    similarities, owners, segments = large.search(query, 50)
    assert similarities.shape == (30, looked_at(len(scenes)))
    exact = np.array([[row @ scenes[owner][segment] for row, owner, segment in zip(query, *pair)]
                      for pair in zip(owners.T, segments.T)]).T
    assert np.sqrt(np.mean((similarities - exact) ** 2)) < 0.03
    assert (np.diff(similarities, axis=1) <= 0).all()


def test_long_descriptors_have_the_directions_that_their_products_would_give(monkeypatch):
    rows = unit(np.random.default_rng(0).standard_normal((SAMPLE, 2, 200)) * np.linspace(1, 3, 200))
    rows[100:] = rows[:28]  # equal images say nothing new
    found = []
    for short in (200, 0):
        monkeypatch.setattr('segvlad_ros.mapping.candidate_index._SHORT', short)
        index = CandidateIndex()
        for row in rows:
            index.add(row)
        found.append(index._directed(np.eye(200, dtype=np.float32)))
    ours, theirs = (axes[:, :90] * np.sign(axes[:, :90].sum(axis=0)) for axes in found)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.isfinite(found[1]).all()


def test_a_large_map_of_one_long_vector_a_keyframe():
    """As of a whole-image descriptor: nothing of it takes the square of ten thousand values."""
    rng = np.random.default_rng(0)
    coder = quantizer(10_000)
    codes = [coder.encode(unit(rng.standard_normal((1, 10_000)))) for _ in range(300)]
    index = SegmentIndex(lambda entries: [codes[entry] for entry in entries], 260)
    for code in codes:
        index.add(coder.seen(code))
    for entry in (3, 150, 299):
        near = unit(coder.decode(codes[entry]) + 0.01 * rng.standard_normal((1, 10_000)))
        assert index.search(coder.rotated(near), 5)[1][0, 0] == entry


@pytest.mark.parametrize('size', [48, 512])
def test_a_large_map_of_vectors_without_leading_directions_loses_nothing(size):
    """As of a network whose values are decorrelated; some queries are hardly more like their place than like others."""
    rng, coder = np.random.default_rng(0), quantizer(size)
    rows = unit(rng.standard_normal((3000, size)))
    codes = [coder.encode(row[None]) for row in rows]
    large, small = (SegmentIndex(lambda entries: [codes[entry] for entry in entries], most) for most in (300, 3000))
    for code in codes:
        large.add(coder.seen(code))
        small.add(coder.seen(code))
    asked = rows[:200] + 1.8 / size ** 0.5 * rng.standard_normal((200, size)).astype(np.float32)
    found, exact = (np.array([index.search(row[None], 1)[1][0, 0] for row in coder.rotated(unit(asked))])
                    for index in (large, small))
    assert np.count_nonzero(exact == np.arange(200)) > 60
    np.testing.assert_array_equal(found, exact)


def test_what_comes_with_more_segments_into_a_map_of_vectors_is_found(scenes):
    index = indexed([*(rows[:1] for rows in scenes[:390]), *scenes[390:]], exact_segments=300)
    for entry in (5, 380, 393, 399):
        assert best_keyframe(index, scenes[entry][:1 if entry < 390 else None]) == entry


def test_vectors_seen_in_more_directions_have_the_same_inner_products(scenes):
    rows = scenes[0]
    seen = spread(rows, 4096)
    assert seen.shape == (len(rows), 4096)
    np.testing.assert_allclose(seen @ seen.T, rows @ rows.T, atol=1e-5)
    apart = np.mean((seen[0] > 0) != (seen[1] > 0)) * np.pi  # as signs in directions drawn at random are
    assert apart == pytest.approx(np.arccos(rows[0] @ rows[1]), abs=0.1)


def test_keyframes_that_are_left_out_are_not_found(scenes):
    large, query = indexed(scenes, exact_segments=1000), scenes[200]
    assert best_keyframe(large, query) == 200
    excluded = [200, *range(300, 400)]
    assert not np.isin(large.search(query, 50, excluded)[1], excluded).any()
    assert large.search(query, 50, range(400))[1].size == 0


def test_a_place_that_was_seen_often_does_not_hide_the_others(scenes):
    rng = np.random.default_rng(4)
    often = [*scenes[:100], *(seen_again(rng, scenes[50]) for _ in range(200))]
    places = np.array([*range(100), *[50] * 200])
    large = indexed(often, exact_segments=1000)
    owners = large.search(seen_again(rng, scenes[50]), 50, places=places)[1][0]
    assert len(owners) == looked_at(len(often))
    assert np.bincount(places[owners]).max() == OF_ONE_PLACE


def test_the_same_map_gives_the_same_answers_however_it_grew(scenes):
    query = seen_again(np.random.default_rng(5), scenes[10])
    grown = Stored(exact_segments=1000)
    for number, rows in enumerate(scenes):
        grown.add(rows)
        if number % 7 == 0:
            grown.index.search(query, 5)
    for one, other in zip(grown.index.search(query, 50), indexed(scenes, exact_segments=1000).search(query, 50)):
        np.testing.assert_array_equal(one, other)


def test_descriptors_of_a_large_map_are_as_stored(scenes):
    small, large = indexed(scenes[:2 * SAMPLE], 10_000), indexed(scenes[:2 * SAMPLE], 100)
    np.testing.assert_allclose(small.descriptors(7), large.descriptors(7), atol=1e-6)
    coder = quantizer(DIMENSION)
    np.testing.assert_allclose(coder.unrotated(large.descriptors(7)), as_stored(coder.unrotated(scenes[7])), atol=1e-6)


def test_keyframes_of_a_large_map_are_compared_as_those_of_a_small_one(scenes):
    small, large = indexed(scenes[:2 * SAMPLE], 10_000), indexed([*scenes[:2 * SAMPLE], scenes[0][:0]], 100)
    query = scenes[9]
    (similarities, segments), (of_codes, by_codes) = (index.compare(query, [8, 9, 30]) for index in (small, large))
    np.testing.assert_allclose(similarities, of_codes, atol=1e-5)
    np.testing.assert_array_equal(segments, by_codes)
    assert np.isneginf(large.compare(query, [2 * SAMPLE, 3])[0][:, 0]).all()


def test_empty_keyframes_are_no_candidates(scenes):
    empty = len(scenes) // 2
    index = indexed([*scenes[:empty], np.zeros((0, DIMENSION), np.float32), *scenes[empty:]], exact_segments=500)
    assert index.entries == len(scenes) + 1
    assert empty not in index.search(scenes[0], 5)[1]


def test_a_map_of_fewer_keyframes_than_the_directions_need_is_compared_with_all_of_it(scenes):
    few, query = scenes[:2 * SAMPLE - 1], seen_again(np.random.default_rng(7), scenes[5])
    for one, other in zip(indexed(few, 0).search(query, 5), indexed(few, 10**6).search(query, 5)):
        np.testing.assert_array_equal(one, other)


def test_a_query_without_segments_finds_nothing(scenes):
    assert indexed(scenes, exact_segments=1000).search(np.zeros((0, DIMENSION), np.float32), 5)[0].shape[0] == 0


@pytest.fixture(scope='module')
def many():
    """As many small keyframes as fill blocks, and need every stage of the search."""
    rng = np.random.default_rng(6)
    return [scene(rng, 6) for _ in range(4200)]


@pytest.fixture(scope='module')
def filled(many):
    index = CandidateIndex()
    for rows in many:
        index.add(rows)
    return index


def test_keyframes_on_both_sides_of_the_end_of_a_block_are_found(many, filled):
    for number in (0, SAMPLE - 1, SAMPLE, 2 * SAMPLE, 1023, 1024, 2047, 2048, 4095, 4096, 4199):
        best = filled.best(many[number], 5, np.ones(len(many), bool), np.arange(len(many)), 1)
        assert best[0] == number


def test_what_is_not_allowed_and_what_came_later_changes_nothing_else(many, filled):
    first = 2000
    index = CandidateIndex()
    for rows in many[:first]:
        index.add(rows)
    allowed = np.arange(first) % 3 > 0
    asked = (many[7], 20, allowed, np.arange(first), 1)
    before = index.best(*asked)
    assert allowed[before].all()
    np.testing.assert_array_equal(before, filled.best(*asked))


def test_every_stage_takes_only_its_share_of_a_group(many, filled):
    groups = np.minimum(np.arange(len(many)), 20)  # all but twenty are one group
    best = filled.best(many[3000], 40, np.ones(len(many), bool), groups, 4)
    assert best[0] == 3000
    assert np.bincount(groups[best]).max() == 4
    assert len(best) == 24


def test_the_best_of_groups_are_those_of_the_definition():
    rng = np.random.default_rng(5)
    for _ in range(500):
        number, share, count = rng.integers(0, 60), rng.integers(1, 5), rng.integers(1, 30)
        scores, groups = rng.integers(0, 12, number).astype(np.float32), rng.integers(0, rng.integers(1, 20), number)
        wanted, taken = [], {}
        for best in np.argsort(-scores, kind='stable'):
            if taken.setdefault(groups[best], 0) < share:
                taken[groups[best]] += 1
                wanted.append(best)
        np.testing.assert_array_equal(best_of_groups(scores, count, groups, share), np.sort(wanted[:count]))


def test_what_was_added_is_found_while_more_is_added(many):
    index, failures = CandidateIndex(), []
    for rows in many[:2 * SAMPLE]:
        index.add(rows)
    held = [2 * SAMPLE]

    def search():
        rng = np.random.default_rng(8)
        while held[0] < len(many):
            count = held[0]
            number = int(rng.integers(count))
            if index.best(many[number], 3, np.ones(count, bool), np.arange(count), 1)[0] != number:
                failures.append((number, count))

    searching = threading.Thread(target=search)
    searching.start()
    for rows in many[2 * SAMPLE:]:
        index.add(rows)
        held[0] += 1
    searching.join()
    assert not failures


def selected(scenes, entries, exact_segments):
    """An index of all scenes that keeps some of them, and one of these alone."""
    stored = Stored(exact_segments)
    for rows in scenes:
        stored.add(rows)
    stored.index.select(entries)
    stored[:] = [stored[entry] for entry in entries]
    return stored.index, indexed([scenes[entry] for entry in entries], exact_segments)


@pytest.mark.parametrize('kept', [slice(0, 330), slice(100, 400), slice(0, 400, 40)])
def test_a_large_map_that_keeps_some_keyframes_finds_these(scenes, kept):
    entries = list(range(400))[kept]
    index, alone = selected(scenes, entries, 1000)
    assert (index.entries, index.segments) == (alone.entries, alone.segments) == (len(entries), 30 * len(entries))
    rng = np.random.default_rng(3)
    for number in range(0, len(entries), 7):
        assert best_keyframe(index, seen_again(rng, scenes[entries[number]])) == number
    before = index.entries
    index.add(scenes[0])
    assert index.entries == before + 1


def test_a_map_that_has_become_small_is_compared_with_all_of_it_again(scenes):
    index, alone = selected(scenes, list(range(20, 40)), 1000)
    query = scenes[25]
    for found, expected in zip(index.search(query, 40), alone.search(query, 40)):
        np.testing.assert_array_equal(found, expected)
