"""One robot, several cameras, one of them upside-down: a place is found from any of them, and poses are the base's."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import angle_of, relative, to_matrix
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.simulation.building import build_building
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, HEIGHT, WIDTH, Camera, camera_model, make_light
from segvlad_ros.simulation.routes import floor_pose
from segvlad_ros.types import Frame, Pose, Status

SECOND = 10 ** 9
AHEAD = Rotation.from_quat(BASE_FROM_CAMERA.quaternion)


def mount(x, y, z, yaw_deg=0.0, roll_deg=0.0):
    turn = Rotation.from_euler('z', yaw_deg, degrees=True) * AHEAD * Rotation.from_euler('z', roll_deg, degrees=True)
    return Pose(np.array([x, y, z]), turn.as_quat(), 'base_link')


MOUNTS = {'front': mount(0.3, 0.05, 1.1), 'rear': mount(-0.25, -0.1, 1.2, 180), 'hanging': mount(0.2, 0.0, 1.3, 0, 180),
          'left': mount(0.3, 0.0, 1.0, 0, -90), 'right': mount(0.3, 0.0, 1.0, 0, 90)}


class Robot:
    """Takes pictures of one building with whichever of its cameras."""

    def __init__(self):
        self.camera = Camera(build_building(1, 0.5))
        tall = camera_model()
        tall = replace(tall, width=HEIGHT, height=WIDTH - WIDTH % 60,
                       matrix=tall.matrix[[1, 0, 2]][:, [1, 0, 2]])  # on its side
        self.tall = Camera(self.camera.world, tall)
        self.light = make_light(np.array(self.camera.world.lamps), np.random.default_rng(0), 0.0)
        self.taken = 0

    def look(self, name, place, camera_name=None):
        self.taken += 1
        camera = self.tall if name in ('left', 'right') else self.camera
        base = floor_pose(*place, 'map')
        rgb, depth = camera.look(base, self.light, np.random.default_rng(self.taken), MOUNTS[name])
        frame = Frame(rgb, self.taken * SECOND, name if camera_name is None else camera_name, f'{name}_optical',
                      depth=depth, camera_model=camera.model, base_from_camera=MOUNTS[name])
        return base, frame


@pytest.fixture(scope='module')
def robot():
    return Robot()


SPOTS = [(3.5, 1.4, 0.0), (6.0, 1.4, 0.0), (8.5, 1.4, 0.0), (11.0, 1.4, 0.0)]


@pytest.fixture(scope='module')
def mapped(robot):
    """A drive along a corridor: all that the cameras ahead and behind saw."""
    places, bases = PlaceRecognizer('classic'), []
    for spot in SPOTS:
        for name in ('front', 'rear'):
            base, frame = robot.look(name, spot)
            places.add(frame)
            bases.append((name, base))
    return places, bases


def turned_round(place, ahead=0.2, aside=0.1):
    x, y, yaw = place
    return x + ahead, y + aside, yaw + np.pi - 0.08


@pytest.mark.parametrize(('asking', 'place', 'seen_by'), [
    ('front', SPOTS[1], 'front'), ('rear', SPOTS[2], 'rear'),
    ('front', turned_round(SPOTS[1]), 'rear'), ('rear', turned_round(SPOTS[2]), 'front'),
    ('hanging', SPOTS[2], 'front'), ('hanging', turned_round(SPOTS[2]), 'rear'),
    ('left', SPOTS[1], 'front'), ('right', SPOTS[1], 'front')])
def test_a_place_is_found_from_any_camera(robot, mapped, asking, place, seen_by):
    """On the way back the front camera sees what the rear camera mapped; the pose is that of the base, turned round."""
    places, bases = mapped
    place = np.add(place, (0.15, -0.1, 0.05))
    base, frame = robot.look(asking, place)
    answer = places.recognize(frame, independent=True)
    assert answer.status == Status.MATCHED, answer.reason
    best = answer.candidates[0]
    assert best.id.camera == seen_by == bases[best.entry][0]
    assert best.scale_source == 'depth'
    assert best.query_pose_in_match.frame == 'base_link'
    truth = to_matrix(relative(bases[best.entry][1], base, 'base_link'))
    wrong = np.linalg.inv(truth) @ to_matrix(best.query_pose_in_match)
    assert np.linalg.norm(wrong[:3, 3]) < 0.06
    assert np.degrees(angle_of(wrong)) < 1.0


def test_without_its_mounting_a_turned_camera_is_not_turned(robot, mapped):
    """Dense upright features know no picture that stands on its head: so it is the mounting that finds the place."""
    places, _ = mapped
    _, frame = robot.look('hanging', SPOTS[2])
    upright = places.recognize(frame, independent=True).candidates[0].score
    unknown = places.recognize(replace(frame, base_from_camera=None, stamp_ns=frame.stamp_ns + 1), independent=True)
    assert upright > 0.1
    assert max((found.score for found in unknown.candidates), default=0.0) < upright / 3
