"""Arrays that grow together, and how often they are asked to."""
from __future__ import annotations

import numpy as np
import pytest
from map_samples import make_keyframe

from segvlad_ros.mapping.growing_columns import GrowingColumns
from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.searched_map import SearchedMap

KINDS = np.dtype([('number', np.int64), ('position', np.float64, 3)])


@pytest.mark.parametrize('rows', [0, 64, 65, 128, 129, 1000])
def test_there_is_room_for_as_many_rows_as_were_asked_for(rows):
    columns = GrowingColumns(KINDS)
    columns['number'][:] = np.arange(64)
    columns.hold(rows)
    assert len(columns) == len(columns['position']) >= rows
    assert columns['position'].shape[1:] == (3,)
    np.testing.assert_array_equal(columns['number'][:64], np.arange(64))
    assert not columns['number'][64:].any()


def test_growing_row_by_row_copies_seldom():
    columns = GrowingColumns(KINDS)
    columns.hold(65)
    assert len(columns) == 128


def test_a_keyframe_that_is_found_asks_each_table_for_room_once(monkeypatch):
    known, asked, hold = KnownKeyframes(SearchedMap(PlaceSettings(), OdometrySettings()), 1000), [], GrowingColumns.hold
    monkeypatch.setattr(GrowingColumns, 'hold', lambda self, rows: (asked.append(self), hold(self, rows)))
    for index in range(1, 71):
        keyframe = make_keyframe(index)
        assert known.find(keyframe, known.keep(keyframe), None) == index - 1
    assert len(asked) == 2 * 70
