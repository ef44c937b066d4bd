"""Positions by satellite: what counts as a fix, and metres between fixes."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.satellite_fixes import east_north, read_fixes
from segvlad_ros.types import SegvladError

SECOND = 1_000_000_000


@pytest.mark.parametrize(('origin', 'place', 'metres'), [  # pymap3d 3.2.0, geodetic2enu at height 0
    ((48.0, 11.0), (48.001, 11.0), (0.0, 111.1903323)),
    ((48.0, 11.0), (48.0, 11.001), (74.6253536, 0.0004840)),
    ((48.0, 11.0), (48.01, 11.02), (1492.2185831, 1112.0977385)),
    ((-33.87, 151.2), (-33.86, 151.21), (925.3606982, 1109.1544894)),
])
def test_metres_east_and_north(origin, place, metres):
    found, = east_north(np.array([place]), np.array(origin))
    np.testing.assert_allclose(found, metres, atol=1e-6)


def test_messages_without_a_fix_are_left_out(tmp_path):
    with BagWriter(tmp_path / 'run') as bag:
        bag.write_fix('/fix', 3 * SECOND, (48.0, 11.0), sigma_m=0.02)
        bag.write_fix('/fix', 1 * SECOND, (48.5, 11.5))
        bag.write_fix('/fix', 0, (48.0, 11.0))
        bag.write_fix('/fix', 4 * SECOND, (np.nan, 11.0))
        bag.write_fix('/fix', 5 * SECOND, (91.0, 11.0))
        bag.write_fix('/fix', 6 * SECOND, (48.0, 11.0), status=-1)
    fixes = read_fixes(tmp_path / 'run', '/fix')
    assert fixes.stamps.tolist() == [1 * SECOND, 3 * SECOND]
    np.testing.assert_array_equal(fixes.degrees, [[48.5, 11.5], [48.0, 11.0]])
    np.testing.assert_allclose(fixes.sigma_m, [0.0, 0.02])
    with pytest.raises(SegvladError, match='topics with it: /fix'):
        read_fixes(tmp_path / 'run', '/gps')
