"""Truths of two days in two frames give themselves away by the matches that geometry measures."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.evaluation.frame_check import MeasuredMatch, frames_apart
from segvlad_ros.geometry import compose, relative
from segvlad_ros.types import Pose


def pose(x, y, yaw_deg):
    return Pose(np.array([x, y, 0.0]), Rotation.from_euler('z', yaw_deg, degrees=True).as_quat())


def matches(rng, bag_from_map, count=12, noise_m=0.1):
    """Queries near keyframes of the map; the bag's truth is in a frame of its own."""
    for _ in range(count):
        match = pose(*rng.uniform(-20, 20, 2), rng.uniform(-180, 180))
        query = compose(match, pose(*rng.uniform(-0.5, 0.5, 2), rng.uniform(-20, 20)))
        measured = compose(relative(match, query), pose(*rng.normal(0, noise_m, 2), 0))
        yield MeasuredMatch(match, measured, compose(bag_from_map, query))


@pytest.mark.parametrize('moved', [(30, 0, 0), (0, 0, 90), (-4, 2, 170)])
def test_one_transform_between_all_is_said(moved):
    rng = np.random.default_rng(0)
    wrong = list(matches(rng, pose(200, 0, 0), 3))
    said = frames_apart([*matches(rng, pose(*moved)), *wrong], 3.5)
    assert 'are not in one frame' in said


def test_what_is_right_or_wrong_in_its_own_way_is_not():
    rng = np.random.default_rng(1)
    assert frames_apart(list(matches(rng, pose(0, 0, 0))), 3.5) is None
    assert frames_apart(list(matches(rng, pose(2, 0, 0))), 3.5) is None  # below the limit
    astray = [next(matches(rng, pose(*rng.uniform(-99, 99, 2), rng.uniform(-180, 180)))) for _ in range(12)]
    assert frames_apart(astray, 3.5) is None
    assert frames_apart(list(matches(rng, pose(30, 0, 0), 4)), 3.5) is None  # too few to say
    assert frames_apart([*matches(rng, pose(0, 0, 0), 8), *matches(rng, pose(30, 0, 0), 6)], 3.5) is None
