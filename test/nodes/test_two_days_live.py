"""Map on Monday, localise on Friday: what the nodes answer is what ``segvlad evaluate bag --map`` measures."""
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from bag_samples import scene, write_quick_preset
from node_harness import DEADLINE_S, Robot

from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
from segvlad_ros.evaluation.known_map import KnownMap
from segvlad_ros.evaluation.true_poses import read_true_poses
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.frame_assembler import InputSettings
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.pipeline.map_build import build_map
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import CameraModel, Pose

SECOND = 10**9
CAMERA = CameraModel(160, 120, np.array([[140.0, 0, 80], [0, 140, 60], [0, 0, 1]]), np.zeros(5))
MOUNT = Pose(np.array([0.2, 0.0, 0.4]), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link')
TOPICS = ['/image/compressed', '/camera_info', '/odom']
DAYS = {'monday': (1_700_000_000, [*range(14)]),
        'friday': (1_700_345_600, [*range(3, 10), 40, 41, 42, 43, 44, 45, 46, 40, 41, 42])}  # of which 40.. are new


def at(x, frame):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame)


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    folder = tmp_path_factory.mktemp('days')
    write_quick_preset(folder)
    for name, (day, places) in DAYS.items():
        with BagWriter(folder / name) as bag:
            for number, place in enumerate(places):
                stamp = (day + number) * SECOND
                for step in range(4):  # odometry of its own on each day: so many metres since it was switched on
                    bag.write_odometry('/odom', stamp - SECOND // 2 + step * SECOND // 4,
                                       at(number + step / 4 - 0.5, 'odom'))
                bag.write_camera_info('/camera_info', stamp, 'camera', CAMERA)
                bag.write_pose('/ground_truth/pose', stamp, at(place, 'map'))
                bag.write_image_jpeg('/image/compressed', stamp, 'camera', scene(place, view=stamp))
            bag.write_odometry('/odom', stamp + SECOND // 2, at(len(places) - 0.5, 'odom'))
    return folder


def offline(days, map_file, follow):
    """The answers of the evaluation, and where they were found."""
    places = PlaceRecognizer(days / 'small.yaml', gate=KeyframeGate())
    settings = InputSettings(base_from_camera=MOUNT)  # no wheel has tf2_msgs
    if map_file is None:
        map_file = days / f'of_the_bag_{follow}.segvlad'
        build_map(map_file, places, [FrameReader(days / 'monday', settings=settings)])
    evaluation = BagEvaluation(
        [FrameReader(days / 'friday', settings=settings)], read_true_poses(days / 'friday'), places,
        known_map=KnownMap(map_file, [read_true_poses(days / 'monday')], 'office'), follow=follow)
    return evaluation.run(lambda values, title, total: values).outcomes


def play(bag, namespace, *nodes):
    remaps = [f'--remap={topic}:={namespace}{topic}' for topic in TOPICS]
    played = subprocess.run(
        [sys.executable, '-m', 'segvlad_ros.cli', 'play', str(bag), '--paced', *remaps, '--deadline', str(DEADLINE_S),
         *(f'--wait-for={namespace}/{node}' for node in nodes)],
        capture_output=True, text=True, env=os.environ, timeout=5 * DEADLINE_S, check=False)
    assert played.returncode == 0, played.stderr


@pytest.mark.parametrize('follow', [False, True])
def test_the_nodes_answer_as_the_evaluation_does(days, peer, launch, namespace, tmp_path, follow):  # noqa: PLR0917
    camera = {'preset': days / 'small.yaml', 'image_transport': 'compressed', 'sync_timeout_s': 5.0,
              'base_from_camera': [*MOUNT.translation.tolist(), *MOUNT.quaternion.tolist()],
              **{f'qos_overrides.{namespace}{topic}.subscription.reliability': 'reliable' for topic in TOPICS}}
    builder = Robot(peer, launch('map_builder', {**camera, 'map': 'office'}))
    builder.running()
    play(days / 'monday', namespace, 'map_builder')
    assert builder.node.stop() == 0
    if follow:
        launch('map_builder', {**camera, 'map': 'friday'})
        own = {'source': 'descriptors', 'preset': days / 'small.yaml'}
    else:
        own = camera
    localizer = Robot(peer, launch('localizer', {**own, 'map': 'office'}, {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe'}))
    localizer.running()
    play(days / 'friday', namespace, 'localizer', *(['map_builder'] if follow else []))

    for map_file in (tmp_path / 'maps/office.segvlad', None):  # the live one, and one that is made of Monday's bag
        wanted = offline(days, map_file, follow)
        assert len(wanted) == len(DAYS['friday'][1])
        peer.wait(lambda: len(localizer.matches) >= len(DAYS['friday'][1]), 'all answers')
        for expected, message in zip(wanted, localizer.matches, strict=True):
            answer = expected.recognition
            assert message.status == answer.status, (expected.query, message.reason, answer.reason)
            assert [match.match.index for match in message.matches] == [
                found.id.index for found in answer.candidates[:len(message.matches)]]
            assert [match.score for match in message.matches] == pytest.approx(
                [found.score for found in answer.candidates[:len(message.matches)]], abs=1e-6)
    statuses = [outcome.recognition.status.name for outcome in wanted]
    assert statuses.count('MATCHED') >= 4, statuses
    found = [outcome.recognition.candidates[0].entry for outcome in wanted if outcome.recognition.candidates]
    own = sum(entry >= len(DAYS['monday'][1]) for entry in found)  # keyframes of Friday
    assert own >= 3 if follow else own == 0, found
    assert sum(bool(outcome.truth.true) for outcome in wanted) == (10 if follow else 7)
