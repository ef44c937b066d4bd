"""Geometry on scenes of known truth: poses and their direction, covariance, and every way to be no place."""
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segvlad_ros.geometry import compose, distance, from_matrix, identity, inverse, relative, rotation_angle, to_matrix
from segvlad_ros.types import CameraModel, Keyframe, KeyframeId, Keypoints, PlaceDescription
from segvlad_ros.verification.scale import with_odometry_depths
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.verify import verify
from segvlad_ros.verification.view import View

SIZE = 640, 480
CAMERA = CameraModel(*SIZE, np.array([[465.0, 0, 319.5], [0, 465.0, 239.5], [0, 0, 1]]), np.zeros(5))
BOXES = np.array([[0, 0, *SIZE]], np.int32)
OPTICAL = from_matrix(np.array([[0, 0, 1, 0.15], [-1, 0, 0, 0.02], [0, -1, 0, 1.1], [0, 0, 0, 1.0]]), 'base_link')
TILTED = compose(OPTICAL, from_matrix(np.block([[cv2.Rodrigues(np.array([0.2, -0.1, 0.0]))[0], np.ones((3, 1)) * 0.1],
                                                [np.zeros((1, 3)), np.ones((1, 1))]])))


def base_pose(x, y, yaw):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = x, y
    return from_matrix(matrix, 'map')


class Scene:
    """Points with looks of their own, in front of a robot at the origin that looks along x."""

    def __init__(self, seed=0, count=400, depths=(2.0, 7.0)):
        rng = np.random.default_rng(seed)
        x = rng.uniform(*depths, count)
        self.points = np.stack([x, rng.uniform(-0.8, 0.8, count) * x, 1.1 + rng.uniform(-0.5, 0.5, count) * x], 1)
        self.looks = rng.integers(0, 120, (count, 128)).astype(np.uint8)

    def view(self, pose, *, mount=OPTICAL, camera=CAMERA, noise=0.3, strangers=0, deep=True, depth_noise=0.0, seed=1):
        """What a robot at a pose sees; ``strangers`` points look like the scene's and lie anywhere."""
        rng = np.random.default_rng(seed)
        world_from_camera = to_matrix(compose(pose, mount))
        seen = (self.points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
        front = seen[:, 2] > 0.3
        pixels = np.full((len(seen), 2), -1.0)
        pixels[front] = cv2.projectPoints(seen[front], np.zeros(3), np.zeros(3), camera.matrix,
                                          camera.distortion)[0][:, 0]
        pixels += rng.normal(0, noise, pixels.shape)
        pixels[:strangers] = rng.uniform(0, SIZE, (strangers, 2))
        kept = (front & (pixels >= 0).all(1) & (pixels < SIZE).all(1)) | (np.arange(len(seen)) < strangers)
        depths = seen[:, 2] * (1 + rng.normal(0, depth_noise, len(seen))) if deep else np.full(len(seen), np.nan)
        points = Keypoints(pixels[kept].astype(np.float32), self.looks[kept], depths[kept].astype(np.float32))
        description = PlaceDescription(np.zeros((1, 8), np.float32), BOXES, np.ones(1, np.int64), keypoints=points)
        return View.of(Keyframe(KeyframeId(0, 's', 1, 1), description, camera_model=camera, base_from_camera=mount))


QUERY, MATCH = base_pose(0.3, 0.5, 0.25), base_pose(-0.2, -0.1, -0.1)
TRUTH = relative(MATCH, QUERY)  # T_match_query


def errors(pose, truth=TRUTH):
    return distance(pose, truth), np.degrees(rotation_angle(pose, truth))


def without_calibration(view):
    return replace(view, camera_model=None)


@pytest.mark.parametrize('deep', ['both', 'match', 'query'])
@pytest.mark.parametrize('seed', range(3))
def test_the_pose_with_depth(deep, seed):
    scene = Scene(seed)
    query = scene.view(QUERY, mount=TILTED, strangers=60, deep=deep != 'match', seed=seed)
    match = scene.view(MATCH, strangers=40, deep=deep != 'query', seed=seed + 50)
    found = verify(query, match)
    assert found.proven, found.reason
    assert (found.model, found.scale_source) == ('pnp', 'depth')
    translation, rotation = errors(found.query_pose_in_match)
    assert translation < 0.02
    assert rotation < 0.3
    assert found.query_pose_in_match.frame == 'base_link'


def test_the_pose_is_that_of_the_query_in_the_match_and_not_the_reverse():
    scene = Scene()
    query, match = scene.view(QUERY), scene.view(MATCH, seed=2)
    straight, swapped = verify(query, match).query_pose_in_match, verify(match, query).query_pose_in_match
    assert errors(straight)[0] < 0.02
    assert errors(straight, inverse(TRUTH))[0] > 0.5
    assert errors(swapped, inverse(TRUTH))[0] < 0.02
    assert errors(swapped)[0] > 0.5


@pytest.mark.parametrize('deep', ['both', 'match', 'query'])
def test_the_errors_are_as_large_as_the_covariance_says(deep):
    """With the noise that is reckoned with: of a position in either image, and of a depth camera's depth."""
    squared, points_only = [], VerificationSettings(position_error_m=0, angle_error_rad=0)
    for seed in range(40):
        scene = Scene(seed % 4, count=200)
        query = scene.view(QUERY, mount=TILTED, noise=0.96, deep=deep != 'match', depth_noise=0.02, seed=seed)
        match = scene.view(MATCH, noise=0.96, deep=deep != 'query', depth_noise=0.02, seed=seed + 100)
        pose = verify(query, match, settings=points_only).query_pose_in_match
        turn = to_matrix(pose)[:3, :3] @ to_matrix(TRUTH)[:3, :3].T  # about the fixed axes of the match's base
        error = np.concatenate([pose.translation - TRUTH.translation, cv2.Rodrigues(turn)[0][:, 0]])
        assert np.all(np.linalg.eigvalsh(pose.covariance) > 0)
        squared.append(error @ np.linalg.solve(pose.covariance, error))
    assert 4 < np.mean(squared) < 8.5  # 6 if exact


def test_the_covariance_never_claims_more_than_calibration_allows():
    scene, limits = Scene(), VerificationSettings()
    views = scene.view(QUERY), scene.view(MATCH, seed=2)
    query, match = (replace(view, base_from_camera=identity()) for view in views)
    camera = verify(query, match).query_pose_in_match
    least = np.repeat([limits.position_error_m, limits.angle_error_rad], 3)
    assert np.all(np.sqrt(np.diag(camera.covariance)) >= least)


def test_the_covariance_is_in_the_axes_of_the_match():
    scene = Scene(depths=(8.0, 9.0))
    ahead = base_pose(0.0, 0.0, 0.0)
    left = base_pose(0.0, 0.0, np.pi / 2)  # the match's x is now the scene's -y
    seen_from = {'ahead': ahead, 'left': left}
    sideways = compose(inverse(left), OPTICAL)
    found, points_only = {}, VerificationSettings(position_error_m=0, angle_error_rad=0)
    for name, pose in seen_from.items():
        mount = OPTICAL if name == 'ahead' else replace(sideways, frame='base_link')
        found[name] = verify(scene.view(ahead), scene.view(pose, mount=mount, seed=3),
                             settings=points_only).query_pose_in_match.covariance
    along, across = found['ahead'], found['left']
    # the same camera, on a base that is turned by a quarter: x takes the place of y, roll that of pitch
    assert np.allclose(along[0, 0], across[1, 1], rtol=0.2)
    assert np.allclose(along[1, 1], across[0, 0], rtol=0.2)
    assert np.allclose(along[3, 3], across[4, 4], rtol=0.2)
    assert np.allclose(along[2, 2], across[2, 2], rtol=0.2)
    assert along[1, 1] > 1.3 * along[0, 0] or along[0, 0] > 1.3 * along[1, 1]


def test_without_depth_there_is_a_place_but_no_metric_pose():
    scene = Scene()
    found = verify(scene.view(QUERY, deep=False, strangers=80), scene.view(MATCH, deep=False, seed=2))
    assert found.proven
    assert (found.model, found.degenerate, found.scale_source) == ('essential', '', '')
    assert found.query_pose_in_match is None
    points = scene.points
    rays = [points - to_matrix(compose(pose, OPTICAL))[:3, 3] for pose in (QUERY, MATCH)]
    cosines = (rays[0] * rays[1]).sum(1) / np.linalg.norm(rays[0], axis=1) / np.linalg.norm(rays[1], axis=1)
    assert found.parallax_rad == pytest.approx(np.median(np.arccos(cosines)), rel=0.2)


def test_without_calibration_the_fundamental_matrix_tells():
    scene = Scene()
    found = verify(*map(without_calibration, (scene.view(QUERY, strangers=80), scene.view(MATCH, seed=2))))
    assert found.proven
    assert found.model == 'fundamental'
    assert np.isnan(found.parallax_rad)
    assert found.query_pose_in_match is None


def test_depth_without_mounting_proves_the_place_without_a_pose():
    scene = Scene()
    query, match = (replace(view, base_from_camera=None) for view in (scene.view(QUERY), scene.view(MATCH, seed=2)))
    found = verify(query, match)
    assert (found.proven, found.model, found.query_pose_in_match) == (True, 'pnp', None)
    mounted = verify(*(replace(view, base_from_camera=identity()) for view in (query, match)))
    assert errors(mounted.query_pose_in_match, compose(compose(inverse(OPTICAL), TRUTH), OPTICAL))[0] < 0.02


def test_the_lens_is_taken_into_account():
    wide = replace(CAMERA, distortion=np.array([-0.28, 0.07, 0.001, -0.001, 0.0]))
    scene = Scene(4)
    query, match = scene.view(QUERY, camera=wide), scene.view(MATCH, camera=wide, seed=2)
    found = verify(query, match)
    assert errors(found.query_pose_in_match)[0] < 0.02
    ignored = verify(*(replace(view, camera_model=CAMERA) for view in (query, match)))
    assert ignored.query_pose_in_match is None or errors(ignored.query_pose_in_match)[0] > 0.03


def test_two_different_cameras():
    other = CameraModel(*SIZE, np.array([[380.0, 0, 330], [0, 390.0, 230], [0, 0, 1]]), np.zeros(0))
    scene = Scene(5)
    for deep in (True, False):
        found = verify(scene.view(QUERY, camera=other, deep=deep), scene.view(MATCH, seed=2, deep=deep))
        assert found.proven
        assert found.model == ('pnp' if deep else 'essential')
        if deep:
            assert errors(found.query_pose_in_match)[0] < 0.02


def test_a_flat_scene_is_named():
    scene = Scene(6)
    scene.points[:, 0] = 4.0
    views = scene.view(QUERY, deep=False), scene.view(MATCH, deep=False, seed=2)
    found = verify(*map(without_calibration, views))
    assert found.proven
    assert (found.model, found.degenerate) == ('homography', 'planar')
    assert 'plane' in found.reason


def test_a_camera_that_stood_still_is_named():
    scene = Scene(7)
    found = verify(scene.view(MATCH, deep=False), scene.view(MATCH, deep=False, seed=2))
    assert found.proven
    assert found.degenerate in ('planar', 'low_parallax')
    assert found.query_pose_in_match is None


@pytest.mark.parametrize(('pose', 'case'), [(base_pose(-4.5, 0.0, 0.0), 'too_far'),
                                            (base_pose(1.0, 3.5, -0.9), 'turned_away')])
def test_the_same_scene_from_another_place_is_another_place(pose, case):
    scene = Scene(8, count=1500)
    limits = {'too_far': {}, 'turned_away': {'max_distance_m': 5.0, 'max_angle_rad': np.radians(45)}}
    settings = VerificationSettings(**limits[case])
    found = verify(scene.view(pose), scene.view(base_pose(0, 0, 0), seed=2), settings=settings)
    assert found.case == case, found.reason
    assert found.refuted
    assert not found.proven
    assert found.query_pose_in_match is None


def test_the_same_scene_from_two_and_a_half_metres_behind_has_a_metric_pose():
    scene, behind = Scene(8, count=1500), base_pose(-2.5, 0.0, 0.0)
    found = verify(scene.view(behind), scene.view(base_pose(0, 0, 0), seed=2))
    assert found.proven, found.reason
    assert errors(found.query_pose_in_match, behind)[0] < 0.05


def along_the_lines_of_a_street(outwards, paired=40, others=160):
    """Two views whose points are paired along lines through the vanishing point: as facades that repeat themselves are.

    :param outwards: the share that moves away from the vanishing point, as all do if the robot drove on
    """
    rng = np.random.default_rng(3)
    count = paired + others
    turn, near = rng.uniform(0, 2 * np.pi, count), rng.uniform(60, 150, count)
    far = near + np.where(np.arange(count) % 10 < 10 * outwards, 1, -0.4) * rng.uniform(10, 80, count)
    ray = np.stack([np.cos(turn), np.sin(turn)], 1)
    looks, unknown = rng.integers(0, 120, (paired, 128)), np.full(count, np.nan, np.float32)

    def view(reach):
        pixels = (np.array(SIZE) / 2 + ray * reach[:, None] + rng.normal(0, 0.3, (count, 2))).astype(np.float32)
        own = np.concatenate([looks, rng.integers(0, 120, (others, 128))]).astype(np.uint8)
        return View(Keypoints(pixels, own, unknown), BOXES, CAMERA)
    return view(far), view(near)


@pytest.mark.parametrize('calibrated', [True, False])
def test_points_that_would_lie_behind_the_camera_prove_nothing(calibrated):
    for outwards in (1.0, 0.5):
        views = along_the_lines_of_a_street(outwards)
        found = verify(*(views if calibrated else map(without_calibration, views)))
        assert found.correspondences == 40
        assert found.proven == (outwards == 1.0), found.reason


@pytest.mark.parametrize('deep', [True, False])
def test_another_scene_is_no_place(deep):
    found = verify(Scene(1).view(QUERY, deep=deep), Scene(2).view(MATCH, deep=deep))
    assert found.case == 'too_few_correspondences'
    assert found.inliers == 0


@pytest.mark.parametrize('deep', [True, False])
def test_the_same_things_elsewhere_are_no_place(deep):
    scene = Scene(9)
    match = scene.view(MATCH, deep=deep, seed=2)
    scene.points[:] = scene.points[np.random.default_rng(0).permutation(len(scene.points))]
    found = verify(scene.view(QUERY, deep=deep), match)
    assert found.case in ('too_few_inliers', 'low_inlier_share', 'no_model')
    assert found.correspondences > 100


@pytest.mark.parametrize('deep', [True, False])
def test_one_object_that_was_carried_along_is_no_place(deep):
    scene, elsewhere = Scene(10, count=60), Scene(11)
    scene.points = np.array([4.0, 0.3, 1.3]) + (scene.points - scene.points.mean(0)) * [0.08, 0.06, 0.06]
    other = Scene(12)
    for place in (elsewhere, other):
        place.looks[:60], place.points[:60] = scene.looks, scene.points
    found = verify(elsewhere.view(QUERY, deep=deep), other.view(MATCH, deep=deep, seed=2))
    assert found.case == 'clustered'
    assert found.query_pose_in_match is None


@pytest.mark.parametrize('length', [0, 128])  # a map file does not keep it
@pytest.mark.parametrize('empty', ['query', 'match', 'both'])
def test_no_keypoints_are_no_error(empty, length):
    view = Scene().view(QUERY)
    none = replace(view, keypoints=Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, length), np.uint8),
                                             np.zeros(0, np.float32)), depth_error=np.zeros(0))
    found = verify(none if empty != 'match' else view, none if empty != 'query' else view)
    assert found.case == 'too_few_correspondences'


def test_points_on_one_line_are_no_error():
    scene = Scene(13)
    scene.points[:, 2] = 1.1
    scene.points[:, 0] = 4.0
    for deep in (True, False):
        query, match = scene.view(QUERY, deep=deep, noise=0.0), scene.view(MATCH, deep=deep, noise=0.0)
        assert not verify(query, match).proven
        assert not verify(without_calibration(query), without_calibration(match)).proven


def test_evidence_of_segments_is_used():
    scene = Scene(14)
    query, match = scene.view(QUERY, strangers=40), scene.view(MATCH, seed=2)
    found = verify(query, match, np.array([[0, 0]]))
    assert found.proven
    assert errors(found.query_pose_in_match)[0] < 0.02


def test_the_same_views_give_the_same_answer_to_the_bit():
    scene = Scene(15)
    for change in (lambda view: view, lambda view: replace(view, scale_source='', keypoints=replace(
            view.keypoints, depths=np.full_like(view.keypoints.depths, np.nan)))):
        query, match = change(scene.view(QUERY, strangers=150)), change(scene.view(MATCH, strangers=90, seed=2))
        first = verify(query, match)
        cv2.setRNGSeed(77)
        verify(Scene(3).view(QUERY), Scene(3).view(MATCH))
        second = verify(query, match)
        assert np.array_equal(first.pairs, second.pairs)
        assert first.parallax_rad == second.parallax_rad
        if first.query_pose_in_match is not None:
            assert np.array_equal(first.query_pose_in_match.translation, second.query_pose_in_match.translation)
            assert np.array_equal(first.query_pose_in_match.covariance, second.query_pose_in_match.covariance)


class TestOdometryScale:
    NEIGHBOUR = base_pose(-0.15, 0.5, 0.0)

    def views(self, seed=16):
        scene = Scene(seed)
        return tuple(scene.view(pose, deep=False, seed=seed + n)
                     for n, pose in enumerate((QUERY, MATCH, self.NEIGHBOUR)))

    def test_the_pose_has_the_scale_of_the_odometry(self):
        query, match, neighbour = self.views()
        known = with_odometry_depths(match, [(neighbour, relative(MATCH, self.NEIGHBOUR))])
        assert known.scale_source == 'odometry'
        found = verify(query, known)
        assert (found.model, found.scale_source) == ('pnp', 'odometry')
        translation, rotation = errors(found.query_pose_in_match)
        assert translation < 0.05
        assert rotation < 0.5

    def test_a_wrong_length_of_the_way_is_within_the_covariance(self):
        query, match, neighbour = self.views()
        way = relative(MATCH, self.NEIGHBOUR)
        longer = replace(way, translation=way.translation * 1.05)
        pose = verify(query, with_odometry_depths(match, [(neighbour, longer)])).query_pose_in_match
        error = pose.translation - TRUTH.translation
        assert np.linalg.norm(error) > 0.02
        assert error @ np.linalg.solve(pose.covariance[:3, :3], error) < 9

    def test_odometry_that_the_images_contradict_gives_no_scale(self):
        _, match, neighbour = self.views()
        for wrong in (base_pose(-0.15, -0.7, 0.0), base_pose(-0.15, 0.5, 0.4)):
            assert with_odometry_depths(match, [(neighbour, relative(MATCH, wrong))]) is match

    def test_a_robot_that_did_not_move_gives_no_scale(self):
        scene = Scene(17)
        match, same = scene.view(MATCH, deep=False), scene.view(MATCH, deep=False, seed=9)
        assert with_odometry_depths(match, [(same, relative(MATCH, MATCH))]) is match

    def test_nothing_is_done_without_calibration_or_beside_a_depth_camera(self):
        query, match, neighbour = self.views()
        way = relative(MATCH, self.NEIGHBOUR)
        for view in (without_calibration(match), replace(match, base_from_camera=None), Scene(16).view(MATCH)):
            assert with_odometry_depths(view, [(neighbour, way)]) is view
        assert with_odometry_depths(match, [(without_calibration(neighbour), way)]) is match
        assert with_odometry_depths(match, []) is match
