"""The renderer against rays cast one by one, and against pictures that can be worked out by hand."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.geometry import compose, from_matrix, to_matrix
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, camera_model
from segvlad_ros.simulation.renderer import Renderer
from segvlad_ros.simulation.robot import build_camera
from segvlad_ros.simulation.world import World
from segvlad_ros.types import CameraModel

LOOKING_EAST = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # at the origin, x forward


@pytest.fixture(scope='module')
def camera():
    return build_camera(11, 0.6)


def quartered_wall():
    """A wall 2 m to the east, 2 m wide and high, seen from the origin: four colours."""
    target = World()
    image = np.zeros((200, 200, 3), np.uint8)
    image[:100, :100], image[:100, 100:], image[100:, :100] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    target.add_wall((2, 1), (2, -1), (-1.0, 1.0), target.add_texture(image), room='test')
    return target


def cast(renderer, world_from_camera, column, line):
    """Depth of what one pixel sees, by intersecting its ray with every rectangle."""
    matrix = renderer.camera.matrix
    ray = world_from_camera[:3, :3] @ np.array([(column - matrix[0, 2]) / matrix[0, 0],
                                                (line - matrix[1, 2]) / matrix[1, 1], 1.0])
    centre = world_from_camera[:3, 3]
    normal = np.cross(renderer.axes[:, 0], renderer.axes[:, 1])
    facing = normal @ ray > 1e-9  # not parallel, not from behind
    normal, origin, size = normal[facing], renderer.origin[facing], renderer.size[facing]
    depth = ((origin - centre) * normal).sum(1) / (normal @ ray)
    offset = np.einsum('ski,si->sk', renderer.axes[facing], centre + depth[:, None] * ray - origin)
    met = (depth > 0.05) & (offset >= -1e-3).all(1) & (offset <= size + 1e-3).all(1)
    return depth[met].min(initial=np.inf)


@pytest.mark.parametrize(('x', 'y', 'yaw', 'pitch'),
                         [(2.0, 1.4, 0.3, 0.0), (15.2, 4.0, 1.9, 0.25), (9.0, 8.0, 2.7, -0.3)])
def test_depth_is_what_rays_meet(camera, x, y, yaw, pitch):
    base = np.eye(4)
    cos, sin = np.cos(yaw), np.sin(yaw)
    base[:2, :2], base[:2, 3] = [[cos, -sin], [sin, cos]], (x, y)
    tilt = np.eye(4)
    tilt[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(pitch), np.sin(pitch), -np.sin(pitch), np.cos(pitch)
    pose = to_matrix(compose(from_matrix(base @ tilt), BASE_FROM_CAMERA))
    renderer = camera.renderer
    view = renderer.render(pose)
    rng = np.random.default_rng(5)
    wrong = 0
    for column, line in zip(rng.integers(0, 640, 150), rng.integers(0, 480, 150)):
        expected = cast(renderer, pose, column, line)
        wrong += not np.isclose(view.depth[line, column], expected, rtol=1e-4)
    assert wrong <= 1  # a ray through the very edge of something may fall to either side


def test_a_wall_lies_the_right_way_round():
    target = quartered_wall()
    view = Renderer(target.surfaces, target.textures, camera_model()).render(LOOKING_EAST)
    assert (view.albedo[100, 200] == (255, 0, 0)).all()  # above, to the left
    assert (view.albedo[100, 440] == (0, 255, 0)).all()
    assert (view.albedo[380, 200] == (0, 0, 255)).all()
    assert view.depth[100, 200] == pytest.approx(2.0, abs=1e-5)
    assert view.points[0, 100, 200] == pytest.approx(1.9, abs=1e-5)


def test_nothing_is_seen_from_behind_or_behind_the_camera():
    target = quartered_wall()
    renderer = Renderer(target.surfaces, target.textures, camera_model())
    beyond = LOOKING_EAST.copy()
    beyond[0, 3] = 3.0
    assert (renderer.render(beyond).surface == -1).all()
    turned = LOOKING_EAST.copy()
    turned[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ LOOKING_EAST[:3, :3]  # looks west, the wall is at its back
    assert (renderer.render(turned).surface == -1).all()
    turned[0, 3] = 3.0  # looks west at the wall's back
    view = renderer.render(turned)
    assert (view.surface == -1).all()
    assert np.isinf(view.depth).all()


def test_a_floor_that_begins_behind_the_camera_is_drawn_to_the_bottom_of_the_image():
    target = World()
    target.add_floor((-5, -5, 5, 5), -1.0, target.add_texture(np.full((50, 50, 3), 90, np.uint8)), room='test')
    model = CameraModel(640, 480, np.array([[465.0, 0, 319.5], [0, 465, 239.5], [0, 0, 1]]), np.zeros(5))
    view = Renderer(target.surfaces, target.textures, model).render(LOOKING_EAST)
    assert (view.surface[400:] == 0).all()
    assert view.depth[479, 320] == pytest.approx(465 / (479 - 239.5), rel=1e-5)
    assert (view.surface[:239] == -1).all()


def test_two_views_agree_about_where_things_are(camera):
    """A point seen from one pose is met at the same place from another, unless something is in front of it."""
    first = to_matrix(compose(from_matrix(np.eye(4) + np.pad([[1.8], [1.4]], ((0, 2), (3, 0)))), BASE_FROM_CAMERA))
    second = first.copy()
    second[:2, 3] += (0.8, -0.4)
    a, b = (camera.renderer.render(pose) for pose in (first, second))
    matrix = camera.model.matrix
    lines, columns = np.mgrid[20:460:37, 20:620:41]
    rays = np.stack([(columns - matrix[0, 2]) / matrix[0, 0], (lines - matrix[1, 2]) / matrix[1, 1],
                     np.ones(columns.shape)])
    points = first[:3, :3] @ (rays * a.depth[lines, columns]).reshape(3, -1) + first[:3, 3:]
    seen = second[:3, :3].T @ (points - second[:3, 3:])
    u, v = (np.rint(matrix[i, 0 if i == 0 else 1] * seen[i] / seen[2] + matrix[i, 2]).astype(int) for i in (0, 1))
    inside = (u >= 0) & (u < 640) & (v >= 0) & (v < 480) & (seen[2] > 0.1)
    difference = b.depth[v[inside], u[inside]] - seen[2, inside]
    assert inside.sum() > 80
    assert np.mean(np.abs(difference) < 0.02 * seen[2, inside]) > 0.8
    assert np.mean(difference > 0.1 * seen[2, inside]) < 0.05  # nothing is transparent
