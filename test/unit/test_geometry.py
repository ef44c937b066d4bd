from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segvlad_ros.io import geometry
from segvlad_ros.io.geometry import PoseHistory, StaticTransforms
from segvlad_ros.types import Pose, SegvladError

finite = st.floats(-100, 100)
poses = st.builds(
    lambda t, q: Pose(np.array(t), geometry.unit_quaternion(np.array(q))),
    st.tuples(finite, finite, finite),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))


def at_x(x: float, frame: str = 'odom', yaw: float = 0.0) -> Pose:
    return Pose(np.array([x, 0.0, 0.0]), Rotation.from_euler('z', yaw).as_quat(), frame)


@given(poses)
def test_rotation_is_scipys(pose):
    np.testing.assert_allclose(geometry.to_matrix(pose)[:3, :3], Rotation.from_quat(pose.quaternion).as_matrix(),
                               atol=1e-12)


@given(poses)
def test_matrix_and_back(pose):
    back = geometry.from_matrix(geometry.to_matrix(pose))
    np.testing.assert_allclose(back.translation, pose.translation)
    assert geometry.rotation_angle(back, pose) < 1e-7


@pytest.mark.parametrize('axis', ['x', 'y', 'z'])
def test_matrix_of_half_a_turn(axis):
    turned = Pose(np.zeros(3), Rotation.from_euler(axis, np.pi).as_quat())
    back = geometry.from_matrix(geometry.to_matrix(turned))
    assert geometry.rotation_angle(back, turned) < 1e-7


@given(poses, poses)
def test_compose_is_matrix_product(a_from_b, b_from_c):
    np.testing.assert_allclose(geometry.to_matrix(geometry.compose(a_from_b, b_from_c)),
                               geometry.to_matrix(a_from_b) @ geometry.to_matrix(b_from_c), atol=1e-9)


@given(poses, poses)
def test_relative_leads_from_one_to_the_other(world_from_a, world_from_b):
    a_from_b = geometry.relative(world_from_a, world_from_b, 'a')
    assert a_from_b.frame == 'a'
    np.testing.assert_allclose(geometry.to_matrix(geometry.compose(world_from_a, a_from_b)),
                               geometry.to_matrix(world_from_b), atol=1e-9)


@given(poses, poses)
def test_angle_is_scipys(first, second):
    expected = (Rotation.from_quat(first.quaternion).inv() * Rotation.from_quat(second.quaternion)).magnitude()
    assert geometry.rotation_angle(first, second) == pytest.approx(expected, abs=1e-6)


def test_small_angle_keeps_its_digits():
    assert geometry.rotation_angle(at_x(0), at_x(0, yaw=1e-9)) == pytest.approx(1e-9, rel=1e-6)


@given(poses, poses, st.floats(0, 1))
def test_interpolation_turns_evenly_and_the_short_way(first, second, fraction):
    between = geometry.interpolate(first, second, fraction)
    whole = geometry.rotation_angle(first, second)
    assert geometry.rotation_angle(first, between) == pytest.approx(fraction * whole, abs=1e-5)
    np.testing.assert_allclose(between.translation,
                               first.translation + fraction * (second.translation - first.translation), atol=1e-9)


@pytest.mark.parametrize('quaternion', [np.zeros(4), np.full(4, np.nan)])
def test_no_rotation_is_refused(quaternion):
    with pytest.raises(SegvladError, match='no rotation'):
        geometry.unit_quaternion(quaternion)


class TestPoseHistory:
    def test_interpolates_at_the_stamp(self):
        history = PoseHistory()
        history.add(1_000_000_000, at_x(1, yaw=0.0))
        history.add(1_100_000_000, at_x(2, yaw=0.2))
        pose = history.at(1_025_000_000)
        assert pose.translation[0] == pytest.approx(1.25)
        assert geometry.rotation_angle(at_x(0), pose) == pytest.approx(0.05)
        assert pose.frame == 'odom'

    def test_guesses_nothing(self):
        history = PoseHistory(max_gap_s=0.5, max_extrapolation_s=0.05)
        assert history.at(1_000_000_000) is None
        history.add(1_000_000_000, at_x(1))
        history.add(3_000_000_000, at_x(2))
        assert history.at(2_000_000_000) is None  # a gap of 2 s
        assert history.at(3_200_000_000) is None  # 0.2 s after the last
        assert history.at(800_000_000) is None
        assert history.at(3_040_000_000).translation[0] == 2  # near enough
        assert history.at(1_000_000_000).translation[0] == 1

    def test_not_between_frames(self):
        history = PoseHistory(max_extrapolation_s=0)
        history.add(1_000_000_000, at_x(1, 'odom'))
        history.add(1_100_000_000, at_x(2, 'map'))
        assert history.at(1_050_000_000) is None

    def test_late_ones_are_sorted_in_and_old_ones_forgotten(self):
        history = PoseHistory(max_entries=2)
        for stamp in (1_000_000_000, 1_200_000_000, 1_100_000_000):
            history.add(stamp, at_x(stamp * 1e-9))
        assert history.at(1_150_000_000).translation[0] == pytest.approx(1.15)
        assert history.at(1_000_000_000) is None
        history.clear()
        assert len(history) == 0


class TestStaticTransforms:
    def tree(self) -> StaticTransforms:
        tree = StaticTransforms()
        tree.add(at_x(0.5, 'base_link'), 'mast')
        tree.add(at_x(0.25, 'mast', yaw=np.pi / 2), 'camera')
        tree.add(at_x(-1, '/base_link'), 'laser')
        return tree

    def test_down_the_tree(self):
        pose = self.tree().lookup('base_link', 'camera')
        np.testing.assert_allclose(pose.translation, [0.75, 0, 0])
        assert pose.frame == 'base_link'

    def test_up_and_across(self):
        np.testing.assert_allclose(self.tree().lookup('camera', 'base_link').translation, [0, 0.75, 0], atol=1e-12)
        np.testing.assert_allclose(self.tree().lookup('laser', 'mast').translation, [1.5, 0, 0])

    def test_unconnected_and_loops(self):
        tree = self.tree()
        tree.add(at_x(1, 'b'), 'a')
        tree.add(at_x(1, 'a'), 'b')
        assert tree.lookup('base_link', 'a') is None
        assert tree.lookup('b', 'a') is not None  # and it ends
