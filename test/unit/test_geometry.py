from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segvlad_ros import geometry
from segvlad_ros.geometry import PoseHistory, StaticTransforms
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


@given(poses, poses, st.integers(0, 10**9))
def test_interpolation_turns_evenly_and_the_short_way(first, second, stamp):
    fraction = stamp / 10**9
    known, places, turns = geometry.interpolated(
        np.array([0, 10**9]), *(np.array([getattr(pose, name) for pose in (first, second)])
                                for name in ('translation', 'quaternion')),
        np.array([stamp]), max_gap=10**9, max_extrapolation=0)
    between = replace(first, translation=places[0], quaternion=turns[0])
    assert known.all()
    whole = geometry.rotation_angle(first, second)
    assert geometry.rotation_angle(first, between) == pytest.approx(fraction * whole, abs=1e-5)
    np.testing.assert_allclose(between.translation,
                               first.translation + fraction * (second.translation - first.translation), atol=1e-9)


@given(st.lists(poses, min_size=1, max_size=5))
def test_angle_of_one_matrix_and_of_many(many):
    matrices = np.array([geometry.to_matrix(pose) for pose in many])
    expected = [geometry.rotation_angle(geometry.identity(), pose) for pose in many]
    np.testing.assert_allclose(geometry.angle_of(matrices), expected, atol=1e-7)
    np.testing.assert_allclose([geometry.angle_of(matrix[:3, :3]) for matrix in matrices], expected, atol=1e-7)


def test_small_angle_of_a_matrix_keeps_its_digits():
    assert geometry.angle_of(geometry.to_matrix(at_x(0, yaw=1e-9))) == pytest.approx(1e-9, rel=1e-6)


def test_a_matrix_that_is_not_finite_is_refused():
    with pytest.raises(SegvladError, match='not finite'):
        geometry.from_matrix(np.full((4, 4), np.nan))


@given(poses, st.tuples(*[st.floats(-1, 1)] * 6))
def test_adjoint_carries_a_small_motion_to_the_other_side(pose, twist):
    small, matrix = 1e-6 * np.array(twist), geometry.to_matrix(pose)
    moved = matrix @ geometry.exponential(small) @ np.linalg.inv(matrix)
    np.testing.assert_allclose(moved, geometry.exponential(geometry.adjoint(matrix) @ small), atol=1e-8)


def test_skew_is_the_cross_product():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose((geometry.skew(first) @ second[..., None])[..., 0], np.cross(first, second))


def test_covariances_change_their_axes_and_their_order():
    """Vague along one line only, 30 degrees to the left of the match's x and 10 of the query's."""
    line, seen = (np.array([np.cos(angle), np.sin(angle), 0]) for angle in np.radians([30, 10]))
    ros, wanted = np.zeros((2, 6, 6))
    ros[:3, :3], ros[5, 5] = np.outer(line, line), 4.0
    wanted[:3, :3], wanted[5, 5] = np.outer(seen, seen), 4.0
    pose = replace(at_x(3, 'match', yaw=np.radians(20)), covariance=ros)
    tangent = geometry.tangent_covariance(pose)
    np.testing.assert_allclose(tangent, wanted, atol=1e-12)
    np.testing.assert_allclose(np.diag(geometry.rotation_first(tangent)), [*np.diag(wanted)[3:], *np.diag(wanted)[:3]],
                               atol=1e-12)
    back = geometry.from_tangent(geometry.to_matrix(pose), tangent, 'match')
    np.testing.assert_allclose(back.covariance, ros, atol=1e-12)
    assert back.frame == 'match'


@pytest.mark.parametrize('quaternion', [np.zeros(4), np.full(4, np.nan)])
def test_no_rotation_is_refused(quaternion):
    with pytest.raises(SegvladError, match='not a rotation'):
        geometry.unit_quaternion(quaternion)


@pytest.mark.parametrize('wrong', [np.eye(5), np.full((6, 6), np.nan), np.diag([1] * 5 + [-1.0]), -1e-9 * np.eye(6)])
def test_what_is_not_a_covariance_is_refused(wrong):
    with pytest.raises(SegvladError, match='covariance'):
        geometry.check_covariance(wrong)


def test_a_covariance_may_be_flat_and_rounded():
    for good in (np.zeros((6, 6)), np.diag([0.01, 0.04, 0, 0, 0, 0.001]), np.diag([1, 1, 1, 1, 1, -1e-9])):
        geometry.check_covariance(good)


def test_a_leading_slash_is_no_part_of_a_frame_and_a_robot_is_one_body():
    assert geometry.same_frame('/base_link', 'base_link') and not geometry.same_frame('base_link', 'base_footprint')
    assert geometry.is_one_body('/a/base_link', 'a/base_footprint') and geometry.is_one_body('', 'torso')
    assert not geometry.is_one_body('a/base_link', 'b/base_link') and not geometry.is_one_body('base_link', 'torso')


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

    def test_the_covariance_is_that_of_the_nearer_end(self):
        history = PoseHistory()
        for number in (1, 2):
            history.add(number * 100_000_000, replace(at_x(number), covariance=number * np.eye(6)))
        assert [history.at(stamp).covariance[0, 0] for stamp in (149_000_000, 151_000_000)] == [1, 2]

    def test_many_stamps_are_answered_like_each_of_them(self):
        rng = np.random.default_rng(0)
        history = PoseHistory(max_gap_s=0.3, max_extrapolation_s=0.04)
        stamps = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(50_000_000, 500_000_000, 60))
        known = [at_x(stamp % 1e9, yaw=rng.uniform(-3, 3)) for stamp in stamps.tolist()]
        for stamp, pose in zip(stamps.tolist(), known):
            history.add(stamp, pose)
        wanted = np.append(rng.integers(stamps[0] - 10**9, stamps[-1] + 10**9, 300), stamps)
        table = [np.array([getattr(pose, name) for pose in known]) for name in ('translation', 'quaternion')]
        limits = {'max_gap': 300_000_000, 'max_extrapolation': 40_000_000}
        found, places, turns = geometry.interpolated(stamps, *table, wanted, **limits)
        assert 100 < found.sum() < 300
        for number, stamp in enumerate(wanted.tolist()):
            single = history.at(stamp)
            assert (single is not None) == found[number]
            if single is not None:
                np.testing.assert_allclose(places[number], single.translation)
                np.testing.assert_allclose(turns[number], single.quaternion, atol=1e-9)
        nothing = [values[:0] for values in (stamps, *table)]
        assert not geometry.interpolated(*nothing, wanted, **limits)[0].any()
        assert not len(geometry.interpolated(stamps, *table, wanted[:0], **limits)[0])

    def test_a_pose_that_holds_is_two_poses_however_long(self):
        history = PoseHistory(max_gap_s=0.5)
        history.add(10**9, at_x(1))
        for second in range(2, 3600):
            history.hold(second * 10**9)
        history.add(3600 * 10**9, at_x(2))
        assert (len(history), history.newest_stamp_ns()) == (3, 3600 * 10**9)
        assert [history.at(stamp * 10**9).translation[0] for stamp in (1, 2, 1800, 3599, 3600)] == [1, 1, 1, 1, 2]
        assert history.at(3599_500_000_000) is None  # a gap like any other
        history.clear()
        history.add(10**9, at_x(1))
        history.add(3599 * 10**9, at_x(1))
        assert history.at(1800 * 10**9) is None

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
