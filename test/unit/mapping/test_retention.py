"""What a bounded map gives up: duplicates first, then conditions, then places; never a last witness."""
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.mapping.retention import HELD, RetentionSettings, surplus
from segvlad_ros.types import SegvladError

KEYFRAMES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 30), st.integers(0, 1)),
                     min_size=1, max_size=25)


def held(keyframes):
    """Keyframes of (place, condition of the place, seen, closures); the lots are drawn in turn from both ends."""
    return np.array([(entry, place, 10 * place + condition, seen, closures, entry if entry % 2 else 99 - entry)
                     for entry, (place, condition, seen, closures) in enumerate(keyframes)], HELD)


def left(table, rows):
    return np.delete(table, rows)


def places(table):
    return Counter(table['place'].tolist())


def conditions(table):
    return Counter(table['condition'].tolist())


def coverage(table):
    """Places, roots of how many conditions they have, roots of how many keyframes those have: as the module says."""
    sizes = Counter(zip(table['place'].tolist(), table['condition'].tolist()))
    shown = Counter(place for place, _ in sizes)
    return len(shown), sum(map(math.sqrt, shown.values())), sum(map(math.sqrt, sizes.values()))


def witnessed(table):
    return set(table['place'][table['closures'] > 0].tolist())


@settings(max_examples=300, deadline=None)
@given(KEYFRAMES, st.integers(0, 30))
def test_the_cap_holds_and_every_witnessed_place_keeps_a_witness(keyframes, count):
    table = held(keyframes)
    rows = surplus(table, count)
    assert len(set(rows)) == len(rows) == min(count, len(table) - len(witnessed(table)))
    assert witnessed(left(table, rows)) == witnessed(table)


@settings(max_examples=300, deadline=None)
@given(KEYFRAMES, st.integers(0, 30))
def test_duplicates_go_before_conditions_and_conditions_before_places(keyframes, count):
    table = held([(*keyframe[:3], 0) for keyframe in keyframes])  # no witnesses: nothing else matters
    kept = left(table, surplus(table, count))
    if len(kept) >= len(conditions(table)):
        assert conditions(kept).keys() == conditions(table).keys()
    else:
        assert all(number == 1 for number in conditions(kept).values())
    if len(kept) >= len(places(table)):
        assert places(kept).keys() == places(table).keys()
    else:
        assert all(number == 1 for number in places(kept).values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 30), st.just(0)),
                min_size=2, max_size=9), st.integers(1, 8))
def test_no_choice_of_keyframes_would_have_covered_more(keyframes, count):
    """Greed is optimal here, for the groups are nested."""
    table = held(keyframes)
    count = min(count, len(table))
    rows = surplus(table, count)
    best = max(np.round(coverage(left(table, list(others))), 9).tolist()
               for others in itertools.combinations(range(len(table)), count))
    assert np.round(coverage(left(table, rows)), 9).tolist() == best


def test_of_equals_the_one_seen_least_recently_goes():
    table = held([(0, 0, 5, 0), (0, 0, 2, 0), (1, 0, 9, 0), (1, 0, 3, 0)])
    assert surplus(table, 2) == [1, 3]


def test_which_places_are_lost_is_drawn_by_lot():
    """The least recently seen place is the one that a robot on its rounds comes to next."""
    table = held([(0, 0, 1, 0), (1, 0, 2, 0), (2, 0, 3, 0), (3, 0, 4, 0)])
    assert table['lot'].tolist() == [99, 1, 97, 3]
    assert surplus(table, 4) == [1, 3, 2, 0]


def test_a_last_witness_outlives_what_was_seen_later():
    table = held([(0, 0, 1, 2), (0, 0, 9, 0), (1, 0, 5, 0)])
    assert surplus(table, 1) == [1]
    assert surplus(table, 3) == [1, 2]


@pytest.mark.parametrize('wrong', [{'max_keyframes': -1}, {'max_bytes': -1}, {'same_condition_score': 0.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(SegvladError, match='retention settings'):
        RetentionSettings(**wrong)
