"""Laps of benchmark/conditions.py are what its table says."""
from itertools import islice

import numpy as np
from conditions import lap_frames
from recorded_runs import simulated_frames

from segvlad_ros.geometry import distance, relative, rotation_angle

SEED = 101


def test_the_opposite_lap_looks_ahead_on_its_way_back():
    (first, begin), (second, then) = islice(lap_frames('opposite 1', SEED), 2)
    (_, reverse), = islice(simulated_frames('demo', seed=SEED, route='lap', run=1, reverse=True), 1)
    assert distance(begin, reverse) < 0.01
    np.testing.assert_allclose(rotation_angle(begin, reverse), np.pi, atol=1e-6)
    moved, told = relative(begin, then), relative(first.pose, second.pose)
    assert moved.translation[0] > 0.3  # ahead, in its own axes
    np.testing.assert_allclose(told.translation, moved.translation, atol=0.05)


def test_night_is_the_same_lap_in_the_dark():
    (day, at), = islice(lap_frames('day 1', SEED), 1)
    (night, there), = islice(lap_frames('night 1', SEED), 1)
    assert distance(at, there) == 0.0
    assert night.rgb.mean() < 0.5 * day.rgb.mean()
