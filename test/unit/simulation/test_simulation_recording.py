"""The bag of a simulated run, read back."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.cli import main
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bags import bag_info, read_poses
from segvlad_ros.simulation.robot import (
    CAMERA_INFO_TOPIC,
    DEPTH_TOPIC,
    IMAGE_TOPIC,
    ODOMETRY_TOPIC,
    TRUTH_TOPIC,
    SimulatedRobot,
    write_bag,
)
from segvlad_ros.simulation.scenario import load_scenario

SHORT = {'start_m': 30.0, 'speed': 3.0, 'image_rate_hz': 0.5, 'odometry_rate_hz': 10.0}


@pytest.fixture(scope='module')
def robot():
    return SimulatedRobot(load_scenario('demo', **SHORT))


@pytest.fixture(scope='module')
def bag(robot, tmp_path_factory):
    path = tmp_path_factory.mktemp('bags') / 'run'
    write_bag(robot, path)
    return path


def test_the_bag_has_the_topics_of_a_robot(robot, bag):
    topics = {topic.name: topic for topic in bag_info(bag).topics}
    assert topics[IMAGE_TOPIC].msgtype == 'sensor_msgs/msg/CompressedImage'
    assert topics[DEPTH_TOPIC].msgtype == 'sensor_msgs/msg/Image'
    assert topics['/tf_static'].latched
    assert {topics[name].count for name in (IMAGE_TOPIC, DEPTH_TOPIC, CAMERA_INFO_TOPIC)} == {robot.image_count}
    assert topics[ODOMETRY_TOPIC].count == topics[TRUTH_TOPIC].count == len(robot.drive.path)


def test_frames_come_back_as_they_were_seen(robot, bag):
    frames = list(FrameReader(bag))
    assert len(frames) == robot.image_count
    for number in (0, len(frames) - 1):
        seen, read = robot.frame(number), frames[number]
        assert read.stamp_ns == seen.stamp_ns
        np.testing.assert_allclose(read.depth, seen.depth, atol=0.00051)
        assert np.abs(read.rgb.astype(int) - seen.rgb).mean() < 4  # JPEG
        np.testing.assert_allclose(read.camera_model.matrix, seen.camera_model.matrix)
        np.testing.assert_allclose(read.base_from_camera.translation, seen.base_from_camera.translation)
        assert read.pose is not None


def test_truth_is_the_true_path(robot, bag):
    stamps, poses = read_poses(bag, TRUTH_TOPIC)
    assert stamps[0] == robot.frame(0).stamp_ns
    assert poses[0].frame == 'map'
    np.testing.assert_allclose([pose.translation[0] for pose in poses], robot.drive.path.x)


def test_the_same_run_gives_the_same_file(robot, bag, tmp_path):
    write_bag(SimulatedRobot(robot.scenario), tmp_path / 'run')
    for file in sorted(bag.iterdir()):
        assert (tmp_path / 'run' / file.name).read_bytes() == file.read_bytes()


def test_an_existing_bag_is_kept_unless_told_otherwise(bag, tmp_path, capsys):
    scenario = tmp_path / 'short.yaml'
    scenario.write_text('\n'.join(f'{key}: {value}' for key, value in {'seed': 11, **SHORT}.items()))
    before = (bag / 'metadata.yaml').stat().st_mtime_ns
    assert main(['simulate', '--output', str(bag), '--scenario', str(scenario)]) == 2
    assert 'exists' in capsys.readouterr().err
    assert (bag / 'metadata.yaml').stat().st_mtime_ns == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('irreplaceable')
    assert main(['simulate', '--output', str(tmp_path / 'mine'), '--scenario', str(scenario), '--overwrite']) == 2
    assert (tmp_path / 'mine' / 'thesis.tex').exists()
    assert main(['simulate', '--output', str(bag), '--scenario', str(scenario), '--overwrite']) == 0
    assert 'images with depth' in capsys.readouterr().out
    assert not [path for path in bag.parent.iterdir() if path != bag]


def test_wrong_arguments_end_with_status_2_and_one_line(tmp_path, capsys):
    for arguments in (['--scenario', 'nowhere'], ['--speed', '99']):
        assert main(['simulate', '--output', str(tmp_path / 'bag'), *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
