"""Real images by cameras that sit on their side or upside-down are found in a map of upright ones, where they are."""
from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import angle_of, compose, inverse, relative, to_matrix
from segvlad_ros.io.images import read_image
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import CameraModel, Frame, Pose, Status

LEVEL = Rotation.from_quat([-0.5, 0.5, -0.5, 0.5])  # of the optical frame on a base with x ahead, z up
WIDTH, HEIGHT = 540, 360
MAPPED, ASKED = ('0010', '0040', '0070', '0100', '0150'), ('0043', '0103')


def mount(turns):
    """Of a camera that has to be turned so often to the left to sit upright."""
    roll = Rotation.from_euler('z', -90 * turns, degrees=True)
    return Pose(np.array([0.1, 0.0, 0.4]), (LEVEL * roll).as_quat(), 'base_link')


@pytest.fixture(scope='module')
def office(data):
    """``frame(name, turns)``, as a camera that is screwed on like that would have taken it, and the true base."""
    folder = data / 'hololens_office'
    matrix = np.loadtxt(folder / 'K.txt')
    with (folder / 'poses.csv').open() as file:
        rows = {row['image'][-8:-4]: row for row in csv.DictReader(file)}

    def frame(name, turns=0):
        rgb = read_image(folder / f'images/{name}.jpg')
        depth = cv2.imread(str(folder / f'depth/{name}.png'), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        depth[depth == 0] = np.nan
        # the pixel (u, v) of an image that is turned to the right lands at (H - 1 - v, u)
        k = matrix
        width, height = WIDTH, HEIGHT
        for _ in range(turns):
            k = np.array([[k[1, 1], 0, height - 1 - k[1, 2]], [0, k[0, 0], k[0, 2]], [0, 0, 1]])
            width, height = height, width
        values = [float(rows[name][key]) for key in ('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')]
        camera = Pose(np.array(values[:3]), np.array(values[3:]), 'map')
        base = compose(camera, inverse(mount(0)))
        sensor = [np.ascontiguousarray(np.rot90(each, -turns)) for each in (rgb, depth)]
        return base, Frame(sensor[0], int(name) * 10 ** 9 + turns + 1, depth=sensor[1], frame_id='camera',
                           camera_model=CameraModel(width, height, k, np.zeros(0)), base_from_camera=mount(turns))
    return frame


def test_found_and_where_they_are(office):
    places, bases = PlaceRecognizer('classic'), []
    for name in MAPPED:
        base, frame = office(name)
        places.add(frame)
        bases.append(base)
    for name in ASKED:
        straight = places.recognize(office(name)[1], independent=True)
        assert straight.status == Status.MATCHED, straight.reason
        for turns in (1, 2, 3):
            base, frame = office(name, turns)
            answer = places.recognize(frame, independent=True)
            best, expected = answer.candidates[0], straight.candidates[0]
            assert (answer.status, best.entry, best.score) == (Status.MATCHED, expected.entry, expected.score)
            truth = to_matrix(relative(bases[best.entry], base, 'base_link'))
            for wanted in (truth, to_matrix(expected.query_pose_in_match)):
                wrong = np.linalg.inv(wanted) @ to_matrix(best.query_pose_in_match)
                assert np.linalg.norm(wrong[:3, 3]) < 0.1
                assert np.degrees(angle_of(wrong)) < 3
            unknown = Frame(frame.rgb, frame.stamp_ns)  # nobody says how it sits
            assert places.recognize(unknown, independent=True).candidates[0].score < best.score / 3
