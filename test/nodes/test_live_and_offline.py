"""The same input gives the same keyframes and answers, through the nodes and from the bag."""
from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml
from node_harness import DEADLINE_S, Robot

from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.frame_assembler import InputSettings
from segvlad_ros.io.masks import read_mask
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor
from segvlad_ros.types import CameraModel, Pose

SECOND = 10 ** 9
START = 1_700_000_000 * SECOND
IMAGES, LAP, LEAP, ZOOM = 70, 35, 49, 56
SIZE = 240, 180
BODY = 'body.png'  # beside the bag: what of each image is not the robot's own bonnet
MOUNT = Pose(np.array([0.2, 0.0, 0.4]), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link')
TOPICS = {'image': '/image/compressed', 'camera_info': '/camera_info', 'depth': '/depth', 'mask': '/mask',
          'odom': '/odom'}


def at(x, frame='odom'):
    return Pose(np.array([x, 0.1, 0.0]), np.array([0.0, 0.0, 0.1, 0.9949874371]), frame)


def camera(number):
    focal = 200.0 if number < ZOOM else 260.0
    return CameraModel(*SIZE, np.array([[focal, 0, 120], [0, focal, 90], [0, 0, 1]]), np.array([0.01, 0, 0, 0, 0]))


def somebody(number):
    """Who walks through the image, at half its size; now and then nobody is there."""
    usable = np.ones((SIZE[1] // 2, SIZE[0] // 2), bool)
    if number % 5:
        usable[20:, 10 * (number % 11):10 * (number % 11) + 25] = False
    return usable


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Two laps along a painted wall, and somebody before it; odometry starts again, and the lens changes."""
    path = tmp_path_factory.mktemp('bags') / 'run'
    bonnet = np.full(SIZE[::-1], 255, np.uint8)
    bonnet[-25:, 60:190] = 0
    assert cv2.imwrite(str(path.parent / BODY), bonnet)
    rng = np.random.default_rng(7)
    wall = cv2.resize(rng.integers(0, 255, (14, 260, 3), np.uint8), (60 * LAP, SIZE[1]), interpolation=cv2.INTER_CUBIC)
    wall = np.hstack([wall, wall[:, :SIZE[0]]])
    with BagWriter(path) as written:
        for number in range(IMAGES):
            stamp, left = START + number * SECOND, number % LAP * 60 + number // LAP * 7
            for step in range(4):
                way = number + step / 4 - 0.5
                written.write_odometry('/odom', stamp - SECOND // 2 + step * SECOND // 4,
                                       at(way if way < LEAP else way - LEAP))
            written.write_camera_info('/camera_info', stamp, 'wall_camera', camera(number))
            written.write_depth('/depth', stamp + 4_000_000, 'wall_camera',
                                np.full(SIZE[::-1], 1.0 + number % 7, np.float32))
            if number % 7 != 3:
                written.write_mask('/mask', stamp - 3_000_000, 'wall_camera', somebody(number))
            written.write_image_jpeg('/image/compressed', stamp, 'wall_camera', wall[:, left:left + SIZE[0]])
        written.write_odometry('/odom', START + IMAGES * SECOND, at(IMAGES - LEAP))
    return path


def quarter(folder):
    """The classic preset on images of a quarter of the size, which costs a third of the time."""
    preset = yaml.safe_load((config_directory() / 'classic.yaml').read_text())
    del preset['calibration']  # belongs to the full size
    preset['decision']['min_probability'] = 0.0
    preset['image'].update(width=320, height=240)
    preset['vocabulary'] = str(config_directory() / preset['vocabulary'])
    path = folder / 'quarter.yaml'
    path.write_text(yaml.safe_dump(preset))
    return str(path)


def offline(bag, without, preset_name):
    """Keyframes and answers, as the nodes' core gives them."""
    places = PlaceRecognizer(preset_name, gate=KeyframeGate())
    topics = BagTopics(**{'image': TOPICS['image'], 'mask': '/mask', **{name: '' for name in without}})
    for frame in FrameReader(bag, topics, InputSettings(base_from_camera=MOUNT, mask=read_mask(bag.parent / BODY))):
        number = (frame.stamp_ns - START) // SECOND
        walks = 'mask' not in without and number % 7 != 3 and number % 5 > 0
        assert (frame.mask[:-25].all() and not frame.mask[-1, 100]) == (not walks)
        keyframe = places.process(frame)
        if keyframe is not None:
            yield keyframe, places.recognize(keyframe, exclude_recent=True)
            places.add(keyframe)


def play(bag, namespace, without):
    remaps = [f'--remap={topic}:={namespace}{topic if name not in without else "/unused" + topic}'
              for name, topic in TOPICS.items()]
    return subprocess.run([sys.executable, '-m', 'segvlad_ros.cli', 'play', str(bag), '--paced', *remaps,
                           f'--wait-for={namespace}/map_builder', f'--wait-for={namespace}/localizer', '--deadline',
                           str(DEADLINE_S)], capture_output=True, text=True, env=os.environ, timeout=5 * DEADLINE_S,
                          check=False)


@pytest.mark.parametrize('without', [(), ('depth', 'mask'), ('camera_info', 'mask'), ('odom',)], ids='_'.join)
def test_the_same_bag_gives_the_same_answers(bag, peer, launch, namespace, without):
    preset = quarter(bag.parent) if without else 'classic'
    mount = [*MOUNT.translation.tolist(), *MOUNT.quaternion.tolist()]  # no wheel has tf2_msgs
    reliable = {f'qos_overrides.{namespace}{topic}.subscription.reliability': 'reliable' for topic in TOPICS.values()}
    builder = Robot(peer, launch('map_builder', {
        'preset': preset, 'image_transport': 'compressed', 'sync_timeout_s': 5.0, 'base_from_camera': mount,
        'mask_file': str(bag.parent / BODY), **reliable}))
    localizer = Robot(peer, launch('localizer', {'preset': preset, 'source': 'descriptors'}, {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe'}))
    builder.running()
    localizer.running()
    played = play(bag, namespace, without)
    assert played.returncode == 0, played.stderr + builder.node.text()
    wanted = list(offline(bag, without, preset))
    assert len(wanted) >= 50
    peer.wait(lambda: len(localizer.matches) >= len(wanted), 'all answers')
    live = [from_place_descriptor(message) for message in builder.keyframes]
    assert [keyframe.id.stamp_ns for keyframe in live] == [keyframe.id.stamp_ns for keyframe, _ in wanted]
    for keyframe, (expected, answer), message in zip(live, wanted, localizer.matches):
        same_keyframe(keyframe, expected)
        assert message.status == answer.status, (message.reason, answer.reason)
        assert [match.match.index for match in message.matches] == [found.id.index for found in answer.candidates]
        assert [match.score for match in message.matches] == pytest.approx(
            [found.score for found in answer.candidates], abs=1e-6)
    statuses = [answer.status.name for _, answer in wanted]
    assert statuses.count('MATCHED') >= 20, statuses
    assert sum(keyframe.pose is None for keyframe in live) == (len(live) if 'odom' in without else 1)  # the leap


def same_keyframe(live, offline):
    np.testing.assert_allclose(live.description.descriptors, offline.description.descriptors, atol=2e-3)
    np.testing.assert_array_equal(live.description.boxes, offline.description.boxes)
    for name in ('pose', 'base_from_camera'):
        one, two = getattr(live, name), getattr(offline, name)
        assert (one is None) == (two is None), name
        if one is not None:
            assert one.frame == two.frame
            np.testing.assert_allclose(one.translation, two.translation, atol=1e-9)
    assert (live.camera_model is None) == (offline.camera_model is None)
    if live.camera_model is not None:
        np.testing.assert_array_equal(live.camera_model.matrix, offline.camera_model.matrix)
    np.testing.assert_array_equal(live.description.keypoints.depths, offline.description.keypoints.depths)
