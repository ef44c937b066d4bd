"""The page of faults is what the tests say, and no row stands there twice."""
from collections import Counter

from fault_matrix import AREAS, PAGE, faults, page


def test_the_page_is_that_of_the_tests():
    assert PAGE.read_text() == page(), 'run: python test/fault_matrix.py'


def test_there_are_enough_rows_of_every_kind():
    rows = faults()
    assert len(rows) >= 60
    assert {row.area for row in rows} == set(AREAS)
    assert [what for what, count in Counter(row.what for row in rows).items() if count > 1] == []
    assert all(row.what and row.then and '|' not in row.what + row.then for row in rows)
