"""Building, route, light and sensors of the simulated robot."""
from __future__ import annotations

import math
from dataclasses import replace
from zlib import crc32

import cv2
import numpy as np
import pytest

from segvlad_ros.simulation.building import (
    BLOCK_CENTRE,
    FURNITURE,
    ROOMS,
    TWINS,
    Room,
    build_building,
    find_walls,
)
from segvlad_ros.simulation.robot import WORLD_FRAME, SimulatedRobot, build_camera
from segvlad_ros.simulation.routes import ROUTES, PlanarPath, drive, floor_pose, odometry
from segvlad_ros.simulation.scenario import load_scenario, scenario_names
from segvlad_ros.types import SegvladError


@pytest.fixture(scope='module')
def robot():
    return SimulatedRobot(load_scenario('demo'))


def contains(room, x, y):
    return room.x0 <= x < room.x1 and room.y0 <= y < room.y1


def test_the_walls_of_two_joined_rooms_close_around_both():
    rooms = [Room('a', 0, 0, 4, 3, 's'), Room('b', 4, 1, 6, 2, 's')]
    walls = find_walls(rooms, 10)
    assert sum(wall.length for wall in walls) == pytest.approx(4 + 3 + 4 + 2 + 2 + 2 + 1)
    for wall in walls:
        right = wall.end - wall.start
        inward = np.array([right[1], -right[0]]) / wall.length  # of the viewer, who has the start at his left
        middle = (wall.start + wall.end) / 2 + 0.05 * inward
        assert any(contains(room, *middle) for room in rooms)
        assert not any(contains(room, *(middle - 0.1 * inward)) for room in rooms)


def test_long_walls_are_cut_into_panels():
    walls = find_walls([Room('a', 0, 0, 7, 2, 's')], 2.3)
    assert max(wall.length for wall in walls) <= 2.3
    assert sum(wall.length for wall in walls) == pytest.approx(18)


def shared_share(world):
    """Share of the textured area of the second twin that shows exactly what the first twin shows.

    A surface counts as shared when the other twin has one with identical texture pixels and size at the place that
    corresponds to it.
    """
    def look(surface):
        x, y, z = surface.centre
        if surface.room == TWINS[1]:
            x, y = 2 * BLOCK_CENTRE - (x, y)
        image = world.textures[surface.texture]
        return (*np.round(np.array([x, y, z]) * 20).astype(int), image.shape, crc32(image.tobytes()))

    seen = {look(surface) for surface in world.surfaces if surface.room == TWINS[0]}
    there = [surface for surface in world.surfaces if surface.room == TWINS[1]]
    shared = sum(surface.area for surface in there if look(surface) in seen)
    return shared / sum(surface.area for surface in there)


def test_the_twins_share_what_was_asked_for():
    assert shared_share(build_camera(11, 1.0).world) == pytest.approx(1.0)
    assert 0.6 <= shared_share(build_camera(11, 0.6).world) <= 0.75
    hard = load_scenario('aliasing')
    assert shared_share(build_building(hard.seed, hard.twin_share)) >= 0.8


def test_twins_look_alike_pixel_by_pixel_where_they_are_the_same():
    camera = build_camera(11, 1.0)
    views = []
    for (x, y), yaw in (((8.0, 1.2), 1.5), (2 * BLOCK_CENTRE - (8.0, 1.2), 1.5 + np.pi)):
        base = floor_pose(x, y, yaw, WORLD_FRAME)
        views.append(camera.view(base))
    np.testing.assert_allclose(views[0].depth, views[1].depth, rtol=1e-3)
    assert np.mean(np.abs(views[0].albedo.astype(int) - views[1].albedo) > 8) < 0.01


def test_the_twins_differ_in_the_panels_of_their_own(robot):
    frames = [robot.place(x, y, yaw, 0) for x, y, yaw in ((6.0, 1.2, 0.9), (11.0, 7.8, 0.9 + np.pi))]
    assert np.abs(frames[0].rgb.astype(int) - frames[1].rgb).mean() > 15


@pytest.mark.parametrize('name', scenario_names())
def test_every_scenario_has_at_most_450_images(name):
    scenario = load_scenario(name)
    path = drive(ROUTES[scenario.route], scenario.speed, 20)
    assert path.stamps_s[-1] * scenario.image_rate_hz <= 450


def test_the_street_is_straight_and_what_lies_ahead_stays_in_view():
    robot = SimulatedRobot(load_scenario('street'))
    path = robot.drive.path
    assert path.x[-1] - path.x[0] == pytest.approx(300, abs=0.2)
    assert np.ptp(path.y) == np.ptp(path.yaw) == 0
    near, far = robot.frame(0), robot.frame(robot.image_count - 1)
    assert np.isfinite(near.depth).all()  # sky and ends are closed
    assert near.depth[240, 320] > 300
    assert far.depth[240, 320] < 60
    assert near.rgb.std() > 20 and np.abs(near.rgb.astype(int) - far.rgb).mean() > 15


@pytest.mark.parametrize('route', [route for route in ROUTES if route != 'street'])
def test_a_drive_is_smooth_and_hits_nothing(route):
    speed, rate = 0.9, 20
    driven = drive(ROUTES[route], speed, rate)
    steps = np.hypot(np.diff(driven.path.x), np.diff(driven.path.y))
    assert steps.max() <= speed / rate * 1.05
    assert np.abs(np.diff(driven.path.yaw)).max() * rate < math.radians(100)
    boxes = []
    for room, pieces in FURNITURE.items():
        for piece in pieces:
            corners = piece.base
            boxes.append((corners.min(0), corners.max(0)))
            if room == 'corridor_a':
                boxes.append((2 * BLOCK_CENTRE - corners.max(0), 2 * BLOCK_CENTRE - corners.min(0)))
    for x, y in zip(driven.path.x, driven.path.y):
        assert any(contains(room, x, y) for room in ROOMS)
        for low, high in boxes:
            assert math.hypot(max(low[0] - x, 0, x - high[0]), max(low[1] - y, 0, y - high[1])) > 0.25


def test_the_loop_has_a_second_visit_from_beside_and_a_part_seen_once():
    driven = drive(ROUTES['loop'], 0.9, 5)
    path, first, second = driven.path, driven.visit == 0, driven.visit == 1
    distance = np.hypot(path.x[second][:, None] - path.x[first], path.y[second][:, None] - path.y[first])
    turned = np.abs((path.yaw[second][:, None] - path.yaw[first] + np.pi) % (2 * np.pi) - np.pi)
    same = (distance <= 1.0) & (turned <= math.radians(40))
    revisits = same.any(1)
    assert revisits.sum() * 0.9 / 5 > 12  # metres
    assert np.median(distance[revisits].min(1)) > 0.4
    assert np.median(np.degrees(turned[revisits][np.arange(revisits.sum()), distance[revisits].argmin(1)])) > 5
    assert distance[-1].min() > 4  # the end of the route is new


def test_a_route_driven_in_reverse_shows_the_same_views_backwards():
    forward = drive(ROUTES['lap'], 0.8, 20)
    backward = drive(ROUTES['lap'], 0.8, 20, reverse=True)
    np.testing.assert_allclose((backward.path.x[0], backward.path.y[0]), (forward.path.x[-1], forward.path.y[-1]),
                               atol=0.05)
    middle = len(forward.path) // 2
    nearest = np.hypot(backward.path.x - forward.path.x[middle], backward.path.y - forward.path.y[middle]).argmin()
    assert math.cos(backward.path.yaw[nearest] - forward.path.yaw[middle]) > 0.999


def test_reverse_gear_retraces_the_way_back():
    driven = drive(ROUTES['back'], 0.9, 20)
    back = np.flatnonzero(driven.visit == 1)
    heading = np.stack([np.cos(driven.path.yaw), np.sin(driven.path.yaw)], 1)[back[50:-50]]
    travel = np.stack([np.gradient(driven.path.x), np.gradient(driven.path.y)], 1)[back[50:-50]]
    assert ((heading * travel).sum(1) < 0).all()


@pytest.mark.parametrize('seed', range(4))
def test_odometry_is_off_by_two_percent_and_half_a_degree_a_metre(seed):
    x = np.linspace(0, 50, 2001)
    path = PlanarPath(x, np.zeros_like(x), np.zeros_like(x))
    reported = odometry(path, np.random.default_rng(seed))
    length = np.hypot(np.diff(reported.x), np.diff(reported.y)).sum()
    assert abs(length / 50 - 1) == pytest.approx(0.02, abs=0.006)
    assert abs(np.degrees(reported.yaw[-1])) / 50 == pytest.approx(0.5, abs=0.06)


def test_a_standing_robot_reports_no_motion():
    still = PlanarPath(np.ones(10), np.ones(10), np.ones(10))
    reported = odometry(still, np.random.default_rng(0))
    assert not reported.x.any()
    assert not reported.yaw.any()


def test_the_same_scenario_gives_the_same_bytes(robot):
    again = SimulatedRobot(robot.scenario)
    for number in (0, 200):
        first, second = robot.frame(number), again.frame(number)
        assert first.rgb.tobytes() == second.rgb.tobytes()
        assert first.depth.tobytes() == second.depth.tobytes()
    assert [p[1].translation.tolist() for p in robot.poses()] == [p[1].translation.tolist() for p in again.poses()]


def test_another_seed_is_another_building_and_another_run_the_same_in_other_light(robot):
    frame = robot.frame(30)
    other_run = SimulatedRobot(replace(robot.scenario, run=1)).frame(30)
    other_seed = SimulatedRobot(replace(robot.scenario, seed=12)).frame(30)
    np.testing.assert_array_equal(frame.depth, other_run.depth)
    detail = [image.rgb[..., 1] - cv2.GaussianBlur(image.rgb[..., 1].astype(np.float32), (0, 0), 8)
              for image in (frame, other_run, other_seed)]
    alike = [np.corrcoef(detail[0].ravel(), other.ravel())[0, 1] for other in detail[1:]]
    assert alike[0] > 0.8
    assert alike[1] < 0.5
    assert np.abs(frame.rgb.mean((0, 1)) - other_run.rgb.mean((0, 1))).max() > 2


def test_the_whole_image_shows_something_everywhere_on_the_route(robot):
    for number in range(0, robot.image_count, 40):
        frame = robot.frame(number)
        assert np.isfinite(frame.depth).all()
        assert frame.depth.min() > 0.3
        assert 60 < frame.rgb.mean() < 190
        assert frame.rgb.std() > 25


def test_a_placement_shows_what_the_robot_saw_there(robot):
    frame = robot.frame(250)
    x, y = frame.pose.translation[:2]
    yaw = 2 * math.atan2(frame.pose.quaternion[2], frame.pose.quaternion[3])
    placed = robot.place(x, y, yaw, 250)
    np.testing.assert_allclose(placed.depth, frame.depth, rtol=1e-4)
    assert np.abs(placed.rgb.astype(int) - frame.rgb).mean() < 4  # noise only
    assert placed.stamp_ns == frame.stamp_ns


def test_a_run_can_begin_anywhere_on_its_route_but_not_behind_its_end():
    driven = drive(ROUTES['lap'], 0.8, 20)
    later = drive(ROUTES['lap'], 0.8, 20, start_m=12.0)
    np.testing.assert_allclose((later.path.x[0], later.path.y[0]), (driven.path.x[300], driven.path.y[300]), atol=0.05)
    with pytest.raises(SegvladError, match='the route is only 38 m long'):
        drive(ROUTES['lap'], 0.8, 20, start_m=50.0)


def test_unknown_scenarios_and_values_are_refused_in_one_line(tmp_path):
    with pytest.raises(SegvladError, match='use aliasing, demo'):
        load_scenario('office')
    with pytest.raises(SegvladError, match='speed'):
        load_scenario('demo', speed=-1.0)
    for text, problem in (('sed: 3', "did you mean 'seed'"), ('seed: x', 'seed'), ('[1', 'not readable as YAML'),
                          ('[' * 5000, 'not readable as YAML'), ('3', 'section'), ('seed: 1\nroute: moon', 'route')):
        path = tmp_path / 'scenario.yaml'
        path.write_text(text)
        with pytest.raises(SegvladError, match=problem):
            load_scenario(str(path))
