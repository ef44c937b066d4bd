"""Cameras on their side or upside-down: described as if upright, told in the pixels that the camera delivered."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.description.upright import quarter_turns, turned, turned_back
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import Frame, Keypoints, PlaceDescription, Pose

LEVEL = Rotation.from_quat([-0.5, 0.5, -0.5, 0.5])  # x right, y down, z ahead in x ahead, y left, z up


def mount(roll_deg, pitch_deg=0.0, yaw_deg=0.0):
    """A camera that is rolled to the right about its axis, then looks up by the pitch, then to the left by the yaw."""
    turn = Rotation.from_euler('ZY', [yaw_deg, -pitch_deg], degrees=True)
    return Pose(np.zeros(3), (turn * LEVEL * Rotation.from_euler('z', roll_deg, degrees=True)).as_quat(), 'base_link')


@pytest.mark.parametrize(('roll_deg', 'turns'), [(0, 0), (40, 0), (-40, 0), (50, 3), (90, 3), (135.1, 2), (180, 2),
                                                 (-179, 2), (-90, 1), (-50, 1)])
@pytest.mark.parametrize(('pitch_deg', 'yaw_deg'), [(0, 0), (-60, 30), (60, 180)])
def test_turns_by_the_roll_of_the_mounting(roll_deg, turns, pitch_deg, yaw_deg):
    """What a camera that is rolled to the right sees is rolled to the left: three turns to the left are one back."""
    assert quarter_turns(mount(roll_deg, pitch_deg, yaw_deg)) == turns


@pytest.mark.parametrize('pitch_deg', [90, -90, 80, -80])
def test_a_camera_that_looks_straight_up_or_down_is_left_as_it_is(pitch_deg):
    assert quarter_turns(mount(180, pitch_deg)) == 0
    assert quarter_turns(None) == 0
    assert quarter_turns(Pose(np.zeros(3), np.array([0.0, 0, 0, 1]))) == 0  # the camera itself, or a body frame


@pytest.mark.parametrize('turns', [0, 1, 2, 3])
def test_what_was_found_lies_where_it_was(turns):
    """Marks of a turned image lead back to the pixels of the image as it was."""
    height, width = 30, 50
    image = np.arange(height * width).reshape(height, width)
    upright = turned(image, turns)
    positions = np.array([[0, 0], [7, 3], [upright.shape[1] - 1, upright.shape[0] - 1]], np.float32)
    boxes = np.array([[2, 1, 5, 4], [0, 0, *upright.shape[::-1]]], np.int32)
    found = PlaceDescription(np.zeros((2, 8), np.float32), boxes, np.full(2, 9), keypoints=Keypoints(
        positions, np.zeros((3, 4), np.uint8), np.zeros(3, np.float32)))
    back = turned_back(found, turns, image.shape)
    assert back.boxes.dtype == np.int32
    assert back.keypoints.positions.dtype == np.float32
    for (x, y), (u, v) in zip(back.keypoints.positions.astype(int), positions.astype(int)):
        assert image[y, x] == upright[v, u]
    for (x, y, across, down), (u, v, wide, high) in zip(back.boxes, boxes):
        inside, there = image[y:y + down, x:x + across], upright[v:v + high, u:u + wide]
        assert sorted(inside.ravel()) == sorted(there.ravel())
        assert inside.shape == (there.shape if turns % 2 == 0 else there.shape[::-1])


@pytest.mark.parametrize(('roll_deg', 'turns'), [(180, 2), (90, 3), (-90, 1)])
def test_a_turned_camera_makes_the_description_of_an_upright_one(roll_deg, turns):
    """Pixel for pixel the same picture, depth and mask, by a camera that was screwed on otherwise."""
    coarse = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    depth = np.linspace(1, 5, 320 * 240, dtype=np.float32).reshape(240, 320)
    mask = np.ones((240, 320), bool)
    mask[200:, 60:150] = False
    places = PlaceRecognizer('classic')
    straight = places.describe(Frame(rgb, 1, depth=depth, mask=mask, base_from_camera=mount(0))).description
    sensor = [np.ascontiguousarray(np.rot90(each, -turns)) for each in (rgb, depth, mask)]
    frame = Frame(sensor[0], 2, depth=sensor[1], mask=sensor[2], base_from_camera=mount(roll_deg))
    found = places.describe(frame).description
    assert np.array_equal(found.descriptors, straight.descriptors)
    assert np.array_equal(found.keypoints.depths, straight.keypoints.depths)
    assert np.array_equal(turned_back(straight, -turns % 4, (0, 0)).boxes[:, 2:], found.boxes[:, 2:])
    seen = sensor[1][tuple(np.rint(found.keypoints.positions[:, ::-1]).astype(int).T)]
    known = np.isfinite(found.keypoints.depths)
    assert found.keypoints.depths[known] == pytest.approx(seen[known], abs=0.03)
    unknown = places.describe(Frame(sensor[0], 3)).description  # nobody says how it sits
    assert not np.array_equal(unknown.descriptors[:5], straight.descriptors[:5])
