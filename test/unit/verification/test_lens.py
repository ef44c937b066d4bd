"""Lenses that bend the image: rays as the model's own formula has them, and poses in a world seen through a fisheye."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from segvlad_ros.description.keypoints import KeypointDetector
from segvlad_ros.geometry import angle_of, relative, to_matrix
from segvlad_ros.simulation.building import build_building
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, Camera, make_light
from segvlad_ros.simulation.fisheye import REACH_RAD, rays_of
from segvlad_ros.simulation.routes import floor_pose
from segvlad_ros.types import CameraModel
from segvlad_ros.verification.lens import MAX_ANGLE_RAD, ideal_pixels, seen_pixels, stretch
from segvlad_ros.verification.scale import with_odometry_depths
from segvlad_ros.verification.verify import verify
from segvlad_ros.verification.view import View

BENT, IDEAL = (-0.012, 0.006, -0.002, 0.0), (0.0, 0.0, 0.0, 0.0)


def fisheye_model(coefficients):
    """An equidistant lens whose circle fills the width of the image."""
    reach = REACH_RAD * (1 + sum(k * REACH_RAD ** (2 * power) for power, k in enumerate(coefficients, 1)))
    matrix = np.array([[319 / reach, 0, 319.5], [0, 319 / reach, 239.5], [0, 0, 1]])
    return CameraModel(640, 480, matrix, np.array(coefficients), 'equidistant')


def some_pixels(model, count=2000):
    return np.random.default_rng(0).integers(0, [model.width, model.height], (count, 2))


@pytest.mark.parametrize('coefficients', [BENT, IDEAL])
def test_rays_of_a_fisheye_are_its_formulas(coefficients):
    model = fisheye_model(coefficients)
    pixels = some_pixels(model)
    rays = rays_of(model)[pixels[:, 1], pixels[:, 0]]
    angles = np.arccos(rays[:, 2])
    found = ideal_pixels(pixels, model)
    seen = np.isfinite(found[:, 0])
    near = np.nan_to_num(angles, nan=9.0) < MAX_ANGLE_RAD  # NaN is outside of the lens's circle
    assert np.array_equal(seen, near)
    assert 1200 < seen.sum() < 1900
    assert (angles > np.pi / 2).sum() > 50  # rays that look backwards, and none of them is used
    expected = rays[seen, :2] / rays[seen, 2:] * np.diag(model.matrix)[:2] + model.matrix[:2, 2]
    assert np.abs(found[seen] - expected).max() < 1e-5
    assert np.abs(seen_pixels(found[seen], model) - pixels[seen]).max() < 1e-6


def test_stretch_is_that_of_the_formula():
    """Along the radius f / cos^2, across it f tan(a) / a, of an equidistant lens."""
    model = fisheye_model(IDEAL)
    angles = np.radians([1.0, 20, 45, 60, 75, 84])
    pixels = model.matrix[:2, 2] + np.outer(angles, [0.6, 0.8]) * np.diag(model.matrix)[:2]
    expected = np.sqrt(np.tan(angles) / angles) / np.cos(angles)
    assert stretch(pixels, model) == pytest.approx(expected, rel=0.01)
    assert expected[-1] > 20
    straight = replace(model, distortion=np.zeros(0), distortion_model='plumb_bob')
    assert np.array_equal(stretch(pixels, straight), np.ones(6))
    assert np.array_equal(ideal_pixels(pixels, straight), pixels)


@pytest.mark.parametrize(('name', 'coefficients'), [
    ('plumb_bob', [-0.3, 0.09, 0.001, -0.001, 0.0]),
    ('rational_polynomial', [0.4, -0.2, 1e-4, 1e-4, 0.02, 0.7, -0.15, 0.05])])
def test_other_models_come_back_to_where_they_were(name, coefficients):
    model = CameraModel(640, 480, np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), np.array(coefficients), name)
    rays = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 2))
    pixels = cv2.projectPoints(np.column_stack([rays, np.ones(500)]), np.zeros(3), np.zeros(3), model.matrix,
                               model.distortion)[0][:, 0]
    assert np.abs(ideal_pixels(pixels, model) - (rays * 400 + [320, 240])).max() < 1e-4


@pytest.mark.parametrize(('focal', 'coefficients'), [
    (300.0, [-0.3, 0.1, 0, 0, 0]),  # 94 degrees wide, nearly folding at its corners
    (400.0, [-0.38, 0.15, 0, 0, -0.02]), (390.5, [-0.28340811, 0.07395907, 0.00019359, 1.76e-05, 0])])
def test_all_of_a_wide_lens_is_used_and_exact_to_its_corners(focal, coefficients):
    """Five steps of a fixed point, OpenCV's default, are a pixel off there, and what is further off was left out."""
    model = CameraModel(640, 480, np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]]), np.array(coefficients),
                        'plumb_bob')
    pixels = np.stack(np.meshgrid(np.arange(0, 640, 8), np.arange(0, 480, 8)), -1).reshape(-1, 2)
    found = ideal_pixels(pixels, model)
    used = np.isfinite(found).all(axis=1)
    assert np.abs(seen_pixels(found[used], model) - pixels[used]).max() < 0.1
    assert used.mean() > 0.998  # OpenCV 5 uses all; 4.6 finds no way to 7 of 4,800, at the very corners of the widest


def test_where_the_polynomial_folds_there_is_no_ray():
    """The radius r (1 - r^2 / 2) has its largest value at r = 0.816: nothing is seen beyond 0.544 focal lengths."""
    model = CameraModel(640, 480, np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]]),
                        np.array([-0.5, 0, 0, 0, 0]), 'plumb_bob')
    found = ideal_pixels([[320 + 300 * 0.3, 240], [320 + 300 * 0.7, 240], [630, 470]], model)
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, False]


@pytest.fixture(scope='module', params=[BENT, IDEAL], ids=['bent', 'ideal'])
def world(request):
    camera = Camera(build_building(1, 0.5), fisheye_model(request.param))
    light = make_light(np.array(camera.world.lamps), np.random.default_rng(0), 0.0)
    detect = KeypointDetector()

    def look(place, seed):
        base = floor_pose(*place, 'map')
        keypoints = detect(*camera.look(base, light, np.random.default_rng(seed)))
        return base, View(keypoints, np.zeros((0, 4), np.int32), camera.model, BASE_FROM_CAMERA, 'depth',
                          np.full(len(keypoints.depths), 0.02))
    return look


def without_depths(view):
    return replace(view, keypoints=replace(view.keypoints, depths=view.keypoints.depths * np.nan), scale_source='')


PLACES = [((4.0, 1.4, 0.0), (0.5, 0.2, 0.1)), ((15.2, 3.0, 1.57), (0.3, 0.3, 0.2)),
          ((1.8, 5.0, -1.57), (0.0, 0.6, 0.2))]


@pytest.mark.parametrize(('place', 'moved'), PLACES)
def test_metric_poses_through_a_fisheye(world, place, moved):
    match_base, match = world(place, 1)
    query_base, query = world(np.add(place, moved), 2)
    beside_base, beside = world(np.add(place, (0.35 * np.cos(place[2]), 0.35 * np.sin(place[2]), 0)), 3)
    assert (~match.in_sight).sum() > 30  # keypoints at the rim and behind
    triangulated = with_odometry_depths(without_depths(match),
                                        [(without_depths(beside), relative(match_base, beside_base, 'base_link'))])
    truth = to_matrix(relative(match_base, query_base, 'base_link'))
    for source, map_view, asking, limits in (('depth', match, query, (0.02, 0.3)),
                                             ('odometry', triangulated, without_depths(query), (0.05, 1.0))):
        found = verify(asking, map_view)
        assert (found.case, found.scale_source) == ('verified', source), found.reason
        wrong = np.linalg.inv(truth) @ to_matrix(found.query_pose_in_match)
        assert np.linalg.norm(wrong[:3, 3]) < limits[0]
        assert np.degrees(angle_of(wrong)) < limits[1]
        assert map_view.in_sight[found.pairs[:, 1]].all()
        assert asking.in_sight[found.pairs[:, 0]].all()
    flat = verify(without_depths(query), without_depths(match))
    assert (flat.case, flat.model) == ('verified', 'essential'), flat.reason


def test_what_looks_backwards_says_nothing(world):
    """Keypoints behind the camera, matched with anything, neither prove nor refute."""
    _, match = world(PLACES[0][0], 1)
    _, query = world(np.add(*PLACES[0]), 2)
    model = match.camera_model
    around = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.column_stack([np.cos(around), np.sin(around)])
    rim = (model.matrix[:2, 2] + (model.width / 2 - 3) * circle).astype(np.float32)
    noise = np.random.default_rng(3).integers(0, 120, (60, 128), np.uint8)

    def rimmed(view):
        keypoints = view.keypoints
        return replace(view, keypoints=replace(
            keypoints, positions=np.concatenate([keypoints.positions, rim]),
            descriptors=np.concatenate([keypoints.descriptors, noise]),
            depths=np.concatenate([keypoints.depths, np.full(60, 2.0, np.float32)])))
    plain, more = verify(query, match), verify(rimmed(query), rimmed(match))
    assert (more.case, more.correspondences) == (plain.case, plain.correspondences)
    assert np.array_equal(more.pairs, plain.pairs)
