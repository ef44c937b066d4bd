"""Trajectory errors against hand-made ones."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectory import (
    absolute_errors,
    absolute_trajectory_error,
    align,
    relative_pose_errors,
)

from segvlad_ros.geometry import exponential
from segvlad_ros.types import SegvladError

numbers = st.floats(-3, 3)


def wave(n=40):
    t = np.linspace(0, 6, n)
    return np.stack([t, np.sin(t), 0.3 * np.cos(2 * t)], 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(numbers, min_size=6, max_size=6))
def test_alignment_finds_any_rigid_motion(twist):
    motion = exponential(np.array(twist))
    points = wave()
    found = align(points, points @ motion[:3, :3].T + motion[:3, 3])
    assert np.allclose(found, motion, atol=1e-9)
    assert absolute_errors(points, points @ motion[:3, :3].T + motion[:3, 3]).max() < 1e-9


def test_a_mirror_image_is_not_aligned_away():
    points = wave()
    motion = align(points, points * [1, 1, -1])
    assert np.isclose(np.linalg.det(motion[:3, :3]), 1)
    assert absolute_trajectory_error(points, points * [1, 1, -1]).rmse > 0.05


def test_a_wrong_scale_stays_an_error():
    points = wave()
    error = absolute_trajectory_error(1.1 * points, points)
    assert np.isclose(error.rmse, 0.1 * np.sqrt(np.mean(np.sum((points - points.mean(0)) ** 2, 1))), rtol=1e-6)
    assert error.median <= error.maximum


def test_points_on_a_line_and_all_in_one_place_have_an_error_too():
    line = np.outer(np.arange(5.0), [1, 2, 0])
    assert absolute_trajectory_error(line + [0, 0, 7], line).rmse < 1e-9
    assert absolute_trajectory_error(np.zeros((4, 3)), np.ones((4, 3))).rmse < 1e-9


def test_alignment_is_least_squares():
    rng = np.random.default_rng(1)
    truth = wave()
    points = truth + 0.1 * rng.standard_normal(truth.shape)
    best = absolute_trajectory_error(points, truth).rmse
    motion = align(points, truth)
    for _ in range(50):
        other = exponential(0.02 * rng.standard_normal(6)) @ motion
        assert np.sqrt(np.mean(np.sum((points @ other[:3, :3].T + other[:3, 3] - truth) ** 2, 1))) >= best


def test_relative_errors_are_those_of_the_motion():
    truth = np.stack([exponential(np.array([0.5 * k, 0, 0, 0, 0, 0])) for k in range(21)])
    bent = [np.eye(4)]
    for _ in range(20):
        bent.append(bent[-1] @ exponential(np.array([0.55, 0, 0, 0, 0, 0.01])))
    translation, rotation = relative_pose_errors(bent, truth, 2.0)
    assert np.isclose(rotation.rmse, 0.04, atol=1e-6)
    assert 0.19 < translation.rmse < 0.22
    moved = exponential(np.array([3, -1, 2, 0.4, 1, -0.3])) @ truth
    assert relative_pose_errors(moved, truth, 2.0)[0].maximum < 1e-9


@pytest.mark.parametrize(('points', 'truth'), [
    (np.zeros((4, 3)), np.zeros((5, 3))), (np.zeros((2, 3)), np.zeros((2, 3))), (np.zeros((4, 2)), np.zeros((4, 2))),
    (np.full((4, 3), np.nan), np.zeros((4, 3)))])
def test_what_has_no_error_is_refused(points, truth):
    with pytest.raises(SegvladError):
        absolute_trajectory_error(points, truth)


def test_a_path_shorter_than_the_distance_is_refused():
    poses = np.stack([np.eye(4)] * 3)
    with pytest.raises(SegvladError, match='long'):
        relative_pose_errors(poses, poses, 1.0)
