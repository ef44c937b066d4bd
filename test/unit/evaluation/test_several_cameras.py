"""A robot that looks ahead and back: each camera is asked about by itself, and is where it looks."""
from __future__ import annotations

import json

import numpy as np
import pytest
from bag_samples import scene, write_quick_preset
from scipy.spatial.transform import Rotation

from segvlad_ros.cli import main
from segvlad_ros.io.bag_topics import BagTopics, pick_topics
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.bags import open_bag
from segvlad_ros.types import Pose

SECOND = 1_000_000_000
MONDAY, FRIDAY = 1_700_000_000, 1_700_345_600
YAW_DEG = {'front': 0, 'rear': 180}
TOPICS = ['--image-topic', '/front/image_raw', '--image-topic', '/rear/image_raw']


def pose(x, yaw_deg, frame):
    return Pose(np.array([x, 0.0, 0.0]), Rotation.from_euler('z', yaw_deg, degrees=True).as_quat(), frame)


def write_day(path, day, xs, yaw_deg=0, transforms=True):
    """Places along x look one way or the other: what is seen depends on where a camera looks."""
    with BagWriter(path) as bag:
        for camera, turned in YAW_DEG.items():
            if transforms:
                bag.write_static_transform(day * SECOND, pose(0.0, turned, 'base_link'), camera)
        for second, x in enumerate(xs, 1):
            stamp = (day + second) * SECOND
            bag.write_odometry('/odom', stamp, pose(second, 0, 'odom'))
            bag.write_pose('/ground_truth/pose', stamp, pose(x, yaw_deg, 'map'))
            bag.write_fix('/fix', stamp, (48.0, 11.0 + 1e-5 * x))
            for camera, turned in YAW_DEG.items():
                number = x + 100 * ((yaw_deg + turned) % 360 == 180)
                bag.write_image(f'/{camera}/image_raw', stamp, camera, scene(number, view=day + second + turned))
    return path / f'{path.name}.mcap'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cameras')
    write_quick_preset(folder)
    write_day(folder / 'monday', MONDAY, range(8))
    return folder


@pytest.fixture(scope='module')
def map_file(folder):
    path = folder / 'both.segvlad'
    monday, preset = str(folder / 'monday/monday.mcap'), str(folder / 'small.yaml')
    assert main(['map', 'build', 'bag', monday, *TOPICS, '--preset', preset, '--output', str(path)]) == 0
    return path


@pytest.fixture
def evaluate(capsys, folder):
    def call(bag, *options, status=0):
        capsys.readouterr()
        arguments = ['--preset', folder / 'small.yaml', '--json', *options]
        assert main(['evaluate', 'bag', str(bag), *map(str, arguments)]) == status
        said = capsys.readouterr()
        return said.err if status else json.loads(said.out)
    return call


@pytest.mark.parametrize('yaw_deg', [0, 180])  # on the way back the rear camera sees what the front camera saw
def test_each_camera_is_localised_in_the_map_of_both(tmp_path, folder, map_file, evaluate, yaw_deg):
    friday = write_day(tmp_path / 'friday', FRIDAY, [2, 3, 4, 5, 6, 40], yaw_deg)
    known = ['--map', map_file, '--map-truth', folder / 'monday/monday.mcap']
    both = evaluate(friday, *known, *TOPICS)
    assert (both['map_keyframes'], both['queries'], both['queries_with_place']) == (16, 12, 10)
    assert both['recall@1'] == 1.0
    alone = [evaluate(friday, *known, '--image-topic', f'/{camera}/image_raw') for camera in YAW_DEG]
    for name in ('queries', 'queries_with_place', 'accepted', 'ignored'):
        assert both[name] == sum(numbers[name] for numbers in alone)
    assert [numbers['recall@1'] for numbers in alone] == [1.0, 1.0]
    of_bag = evaluate(friday, '--map-bag', folder / 'monday/monday.mcap', *TOPICS)
    assert {**of_bag, 'ms_per_image': 0} == {**both, 'ms_per_image': 0}


def test_what_cannot_be_judged_is_refused(tmp_path, folder, map_file, evaluate):
    friday = write_day(tmp_path / 'friday', FRIDAY, [2, 3, 4])
    assert 'name the one to use' in evaluate(friday, '--map-bag', folder / 'monday/monday.mcap', status=2)
    assert 'close loops of one at a time' in evaluate(friday, *TOPICS, status=2)
    known = ['--map', map_file, '--map-truth', folder / 'monday/monday.mcap']
    assert 'close loops of one at a time' in evaluate(friday, *known, *TOPICS, '--follow', status=2)
    (tmp_path / 'f.txt').write_text(f'{FRIDAY + 1} 2 0 0 0 0 0 1\n')
    files = ['--ground-truth', tmp_path / 'f.txt', '--pose-files-of', 'camera']
    assert 'is of a camera, and there are several' in evaluate(friday, *known, *TOPICS, *files, status=2)
    fixes = ['--map-bag', folder / 'monday/monday.mcap', '--ground-truth-topic', '/fix']
    assert 'do not tell which way several cameras look' in evaluate(friday, *fixes, *TOPICS, status=2)
    one = evaluate(friday, *fixes, '--image-topic', '/front/image_raw')
    assert (one['queries_with_place'], one['truth']['true_angle_deg']) == (3, None)
    unknown = write_day(tmp_path / 'unknown', FRIDAY, [2, 3, 4], transforms=False)
    line = evaluate(unknown, *known, '--image-topic', '/front/image_raw', status=2)
    assert "nothing tells where camera 'front' sits" in line


def test_each_camera_has_the_depth_of_its_namespace(tmp_path):
    with BagWriter(tmp_path / 'run') as bag:
        for camera in YAW_DEG:
            bag.write_image(f'/{camera}/color/image_raw', SECOND, camera, scene(1))
            bag.write_depth(f'/{camera}/depth/image_raw', SECOND, camera, np.ones((120, 160), np.float32))
    with open_bag(tmp_path / 'run') as bag:
        picked = [pick_topics(bag, BagTopics(f'/{camera}/color/image_raw')) for camera in YAW_DEG]
    assert [topics.depth for topics in picked] == ['/front/depth/image_raw', '/rear/depth/image_raw']
