"""The front door on made images: arrays, frames, refusals, and closing loops."""
from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from segvlad_ros import PlaceRecognizer
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline import mapper
from segvlad_ros.types import CameraModel, Frame, Pose, SegvladError, Status


def picture(number, shift=0):
    """A wall of coloured boards, unlike any other; shifted by some pixels."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 255, (9, 14, 3), np.uint8)
    wall = cv2.resize(small, (448, 288), interpolation=cv2.INTER_NEAREST)
    wall = cv2.add(wall, rng.integers(0, 40, wall.shape, np.uint8))
    return np.ascontiguousarray(wall[24:264, 40 + shift:360 + shift])


def at(x):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')


@pytest.fixture(scope='module')
def places():
    made = PlaceRecognizer('classic')
    for number in range(8):
        assert made.add(picture(number)) == number
    return made


def test_an_array_is_found_again(places):
    answer = places.recognize(picture(5, shift=6))
    assert answer.status == Status.MATCHED
    assert answer.candidates[0].entry == 5
    assert places.recognize(picture(99)).status != Status.MATCHED
    assert len(places) == answer.map_keyframes == 8


def test_a_drive_closes_its_loop_and_describes_each_image_once(monkeypatch):
    places, described, pictured = PlaceRecognizer(), [], []
    describe, thumbnail = places.describer.describe, mapper.thumbnail
    monkeypatch.setattr(places.describer, 'describe', lambda *args: described.append(1) or describe(*args))
    monkeypatch.setattr(mapper, 'thumbnail', lambda rgb: pictured.append(1) or thumbnail(rgb))
    answers = []
    for second, number in enumerate([*range(6), *range(6)]):
        frame = Frame(picture(number, shift=second // 6 * 4), (1 + 20 * second) * 10 ** 9, pose=at(8.0 * number))
        answers.append(places.recognize(frame, exclude_recent=True))
        places.add(frame)
    assert len(described) == len(pictured) == 12
    assert Status.MATCHED not in [answer.status for answer in answers[:6]]
    found = [answer.candidates[0].entry for answer in answers[6:] if answer.status == Status.MATCHED]
    assert len(found) >= 5 and found == sorted(found) and set(found) <= set(range(6))


def test_a_buffer_that_a_camera_fills_anew_is_another_image(places):
    buffer = picture(3)
    assert places.recognize(buffer).candidates[0].entry == 3
    buffer[:] = picture(6)
    assert places.recognize(buffer).candidates[0].entry == 6


def test_the_pose_counts_that_comes_with_the_image_when_it_is_added():
    places, image = PlaceRecognizer(), picture(3)
    places.recognize(image)
    places.add(image, at(4.0))
    assert places.recognizer.keyframe(0).pose.translation[0] == 4.0


@pytest.mark.parametrize(('image', 'said'), [
    (np.zeros((48, 64), np.uint8), 'not uint8 of shape (48, 64)'), (np.zeros((48, 64, 3)), 'not float64'),
    ('office.jpg', 'not str'), (np.zeros((48, 64, 4), np.uint8), 'shape (48, 64, 4)')])
def test_what_is_no_image(places, image, said):
    for ask in (places.add, places.recognize):
        with pytest.raises(SegvladError) as refusal:
            ask(image)
        assert said in str(refusal.value)


def test_what_cannot_be_remembered(places):
    with pytest.raises(SegvladError, match='not added'):
        places.add(np.zeros((240, 320, 3), np.uint8))
    assert places.recognize(np.zeros((240, 320, 3), np.uint8)).status == Status.QUERY_REJECTED
    bad = CameraModel(320, 240, np.eye(3), np.zeros(0))
    with pytest.raises(SegvladError, match='fx is 1 pixels'):
        places.add(Frame(picture(1), 10 ** 9, camera_model=bad))


TURNED = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(('known', 'said'), [
    ({'pose': Pose(np.zeros(3), np.zeros(4), 'odom')}, 'is not a rotation'),
    ({'pose': Pose(np.full(3, np.nan), TURNED, 'odom')}, 'NaN or infinite'),
    ({'pose': Pose(np.zeros(2), TURNED, 'odom')}, '3 numbers of translation'),
    ({'pose': (1.0, 2.0, 3.0)}, 'a pose is a segvlad_ros.types.Pose, not tuple'),
    ({'pose': Pose(np.zeros(3), TURNED, 'odom', np.eye(3))}, '6 x 6 of covariance'),
    ({'base_from_camera': Pose(np.zeros(3), np.zeros(4), 'base')}, 'is not a rotation'),
    ({'stamp_ns': 2 ** 70}, 'stamp_ns'), ({'stamp_ns': 1.5}, 'stamp_ns'),
    ({'depth': np.zeros((320, 240), np.float32)}, 'depth'), ({'depth': np.ones((240, 320), np.uint16)}, 'metres'),
    ({'depth': [[1.0, 2.0]]}, 'not list'), ({'depth': np.ones((240, 320, 1), np.float32)}, 'shape (240, 320, 1)'),
    ({'camera_model': CameraModel(640, 480, np.diag([500.0, 500.0, 1.0]), np.zeros(0))}, '640 x 480')])
def test_a_frame_that_is_refused_leaves_nothing_behind(tmp_path, known, said):
    places = PlaceRecognizer()
    places.add(picture(1))
    frame = Frame(picture(2), **{'stamp_ns': 10 ** 9, **known})
    for ask in (places.add, places.recognize, places.process):
        with pytest.raises(SegvladError, match=re.escape(said)):
            ask(frame)
    assert places.add(picture(3)) == 1
    assert [identity.index for identity in places.recognizer.ids] == [1, 2]
    assert places.recognizer.ids[1].stamp_ns == 2 * 10 ** 9
    answer = places.recognize(picture(3, shift=4))
    assert answer.candidates[0].entry == 1 and answer.candidates[0].evidence
    places.save(tmp_path / 'map.segvlad')
    assert len(PlaceRecognizer.load(tmp_path / 'map.segvlad')) == 2


def test_depth_may_be_smaller_than_the_image_and_a_quaternion_of_any_length(places):
    frame = Frame(picture(2), 10 ** 9, pose=Pose(np.zeros(3), 2 * TURNED, 'odom'),
                  depth=np.ones((120, 160), np.float64))
    assert np.array_equal(places.describe(frame).pose.quaternion, TURNED)


@pytest.mark.parametrize(('top_k', 'exclude_frames'), [(1.5, 0), (0, 0), (-1, 0), ('3', 0), (3, -1), (3, 0.5)])
def test_counts_that_are_none(places, top_k, exclude_frames):
    with pytest.raises(SegvladError, match='top_k|exclude_frames'):
        places.recognize(picture(2), top_k=top_k, exclude_frames=exclude_frames)


@pytest.mark.parametrize('preset', [None, 3, ['classic']])
def test_what_is_no_preset(preset):
    with pytest.raises(SegvladError, match='give the name of one'):
        PlaceRecognizer(preset)


def test_a_map_of_another_pipeline_is_refused(places, tmp_path):
    places.save(tmp_path / 'map.segvlad')
    with pytest.raises(SegvladError, match='exists'):
        places.save(tmp_path / 'map.segvlad')
    with PlaceMap.create(tmp_path / 'old.segvlad', {'digest': 'x'}, 512):
        pass
    with pytest.raises(SegvladError, match='give preset'):
        PlaceRecognizer.load(tmp_path / 'old.segvlad')
    with pytest.raises(SegvladError, match='another preset'):
        PlaceRecognizer.load(tmp_path / 'old.segvlad', 'classic')
    assert len(PlaceRecognizer.load(tmp_path / 'map.segvlad')) == 8
