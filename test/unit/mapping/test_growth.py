"""Bytes an hour, by stamps."""
import math

from segvlad_ros.mapping.growth import HOUR_NS, Growth

MINUTE_NS = HOUR_NS // 60


def test_nothing_is_known_before_time_has_passed():
    growth = Growth(100)
    assert (growth.size, math.isnan(growth.per_hour)) == (100, True)
    growth.note(MINUTE_NS, 200)
    assert math.isnan(growth.per_hour)


def test_the_last_hour_counts():
    growth = Growth()
    for minute in range(60):
        growth.note((minute + 1) * MINUTE_NS, 1000 * minute)
    assert growth.per_hour == 60_000
    for minute in range(60, 130):  # the map is full
        growth.note((minute + 1) * MINUTE_NS, 59_000)
    assert growth.per_hour == 0


def test_a_clock_that_runs_backwards_begins_anew():
    growth = Growth()
    growth.note(5 * MINUTE_NS, 100)
    growth.note(MINUTE_NS, 200)
    assert math.isnan(growth.per_hour)
    growth.note(2 * MINUTE_NS, 300)
    assert growth.per_hour == 6000
