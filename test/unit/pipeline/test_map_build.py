"""Maps made offline: of image files with poses, by the command, and of a bag as map_builder would make it."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from segvlad_ros.cli import main
from segvlad_ros.geometry import compose, identity, to_matrix
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import Pose

COUNT = 6
TURN = np.array([0.0, 0.6, 0.0, 0.8])
CAMERA = '1 PINHOLE 320 240 250 250 160.5 120.5\n'


def picture(number):
    """A wall of coloured boards, unlike any other."""
    rng = np.random.default_rng(number)
    wall = cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST)
    return cv2.add(wall, rng.integers(0, 40, wall.shape, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Images a quarter of a metre apart, with depth, a CSV file of poses and a camera."""
    for name in ('images', 'depth'):
        (tmp_path / name).mkdir()
    rows = ['image,tx,ty,tz,qx,qy,qz,qw']
    for number in range(COUNT):
        cv2.imwrite(str(tmp_path / f'images/{number}.png'), picture(number))
        cv2.imwrite(str(tmp_path / f'depth/{number}.png'), np.full((240, 320), 2500, np.uint16))
        rows.append(f'{number}.png,{0.25 * number},1,2,{",".join(map(str, TURN))}')
    (tmp_path / 'poses.csv').write_text('\n'.join(rows))
    (tmp_path / 'cameras.txt').write_text(CAMERA)
    return tmp_path


def build(folder, *options, capsys=None):
    status = main(['map', 'build', 'images', str(folder / 'images'), '--output', str(folder / 'map.segvlad'), '--json',
                   *map(str, options)])
    if status:
        return status, None
    return json.loads(capsys.readouterr().out), list(keyframes(folder / 'map.segvlad'))


def keyframes(path):
    with PlaceMap.open(path, full_check=True) as place_map:
        assert place_map.preset == 'classic'
        yield from place_map.keyframes()


def test_depth_of_another_shape_than_the_image_is_refused(folder, capsys):
    """As depth beside a photograph that its EXIF data turn: it would be read as registered."""
    cv2.imwrite(str(folder / 'depth/3.png'), np.full((320, 240), 2500, np.uint16))
    status, _ = build(folder, '--poses', folder / 'poses.csv', '--camera', folder / 'cameras.txt', '--depth',
                      folder / 'depth', '--all-images')
    assert status == 2 and '3.png: has 240 x 320 pixels, 3.png 320 x 240' in capsys.readouterr().err
    assert not (folder / 'map.segvlad').exists()


@pytest.mark.parametrize('known', ['--poses', '--camera'])
def test_an_image_that_exif_turns_is_refused_beside_what_is_known_of_its_pixels(folder, capsys, known):
    """Upside down it has the size of its camera, and its pose and depth would be those of other pixels."""
    path = folder / 'images/3.png'
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif)
    files = {'--poses': folder / 'poses.csv', '--camera': folder / 'cameras.txt'}
    assert build(folder, known, files[known], '--all-images')[0] == 2
    assert '3.png: its EXIF orientation turns it' in capsys.readouterr().err
    assert build(folder, '--all-images', capsys=capsys)[0]['keyframes'] == COUNT


def test_images_with_poses_depth_and_camera(folder, capsys):
    numbers, built = build(folder, '--poses', folder / 'poses.csv', '--camera', folder / 'cameras.txt', '--depth',
                           folder / 'depth', '--all-images', capsys=capsys)
    assert (numbers['images'], numbers['keyframes'], numbers['rejected']) == (COUNT, COUNT, {})
    assert [keyframe.id.stamp_ns for keyframe in built] == [10**9 * number for number in range(1, COUNT + 1)]
    for number, keyframe in enumerate(built):
        np.testing.assert_allclose(keyframe.pose.translation, [0.25 * number, 1, 2], atol=1e-12)
        np.testing.assert_allclose(keyframe.pose.quaternion, TURN, atol=1e-12)
        assert keyframe.pose.frame == keyframe.best_pose.frame == 'map'
        assert repr(keyframe.optimized.map_from_base) == repr(keyframe.pose)
        np.testing.assert_allclose(keyframe.camera_model.matrix, [[250, 0, 160], [0, 250, 120], [0, 0, 1]])
        assert np.nanmedian(keyframe.description.keypoints.depths) == 2.5
        np.testing.assert_array_equal(to_matrix(keyframe.base_from_camera), np.eye(4))


def test_keyframes_are_chosen_as_map_builder_does(folder, capsys):
    numbers, built = build(folder, '--poses', folder / 'poses.csv', capsys=capsys)
    assert (numbers['images'], numbers['keyframes']) == (COUNT, COUNT // 2)
    assert [keyframe.pose.translation[0] for keyframe in built] == [0, 0.5, 1.0]


def test_poses_of_the_base(folder, capsys):
    base_from_camera = Pose(np.array([0.2, 0.0, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]))
    _, built = build(folder, '--poses', folder / 'poses.csv', '--base-from-camera', *base_from_camera.translation,
                     *base_from_camera.quaternion, '--frame', 'hall', capsys=capsys)
    camera = compose(built[0].pose, built[0].base_from_camera)
    np.testing.assert_allclose(camera.translation, [0, 1, 2], atol=1e-12)
    assert abs(camera.quaternion @ TURN) == pytest.approx(1)
    assert (built[0].pose.frame, built[0].base_from_camera.frame) == ('hall', 'base_link')


def test_images_without_poses(folder, capsys):
    cv2.imwrite(str(folder / 'images/3.png'), np.zeros((240, 320, 3), np.uint8))
    numbers, built = build(folder, capsys=capsys)
    assert numbers['keyframes'] == COUNT - 1
    assert sum(numbers['rejected'].values()) == 1
    assert all(keyframe.pose is None and keyframe.optimized is None for keyframe in built)


def test_what_is_wrong_leaves_no_map(folder, capsys):
    (folder / 'thin.txt').write_text(CAMERA.replace('320 240', '640 240'))
    (folder / 'two.txt').write_text(CAMERA + CAMERA.replace('1 ', '2 ', 1))
    for name in ('other', 'damaged'):
        (folder / name).mkdir()
    (folder / 'damaged/0.png').write_bytes((folder / 'depth/0.png').read_bytes()[:100])
    camera = ['--camera', folder / 'cameras.txt']
    cases = [(['--camera', folder / 'thin.txt'], '0.png: is 320 x 240 pixels, its camera takes 640 x 240'),
             (['--camera', folder / 'two.txt'], '0.png: is of camera None, the known ones are 1, 2'),
             ([*camera, '--depth', folder / 'images'], '0.png: is not a 16-bit grey image'),
             ([*camera, '--depth', folder / 'other'], '0.png: there is no such depth image of 0.png'),
             ([*camera, '--depth', folder / 'damaged'], '0.png: compressed image of 100 bytes is damaged or cut off'),
             ([*camera, '--depth', folder / 'none'], 'no such folder'),
             (['--poses', folder / 'cameras.txt'], 'cameras.txt:1: '),
             (['--base-from-camera', *'0000000'], 'not a rotation')]
    for options, says in cases:
        assert build(folder, *options)[0] == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and says in said[0], said
    (folder / 'images/5.png').write_bytes(b'\x89PNG no more')
    assert build(folder)[0] == 2
    assert '5.png' in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir() if 'segvlad' in path.name) == []
    (folder / 'map.segvlad').write_bytes(b'mine')
    assert build(folder)[0] == 2
    assert 'exists already' in capsys.readouterr().err
    assert (folder / 'map.segvlad').read_bytes() == b'mine'


@pytest.mark.parametrize(('options', 'partner'), [
    (['--frame', 'hall'], '--poses'), (['--base-frame', 'cart'], '--base-from-camera'),
    (['--depth', 'depth'], '--camera'), (['--depth-units', '5000'], '--depth'), (['--rectified'], '--camera FILE.yaml'),
    (['--rectified', '--camera', 'cameras.txt'], '--camera FILE.yaml')])
def test_an_option_that_changes_nothing_names_what_it_lacks(folder, capsys, monkeypatch, options, partner):
    monkeypatch.chdir(folder)
    assert build(folder, *options)[0] == 2
    line, = capsys.readouterr().err.splitlines()
    assert f'{options[0]} changes nothing without {partner}: add that, or leave {options[0]} out' in line
    assert not (folder / 'map.segvlad').exists()


def test_bags_become_sessions(tmp_path, capsys):
    for name, first in (('monday', 0), ('tuesday', 3)):
        with BagWriter(tmp_path / name, storage='mcap') as bag:
            bag.write_static_transform(10**9, identity('base_link'), 'camera')
            for second in range(3):
                stamp = (second + 1) * 10**9
                bag.write_odometry('/odom', stamp, Pose(np.array([0.6 * second, 0, 0]), np.array([0, 0, 0, 1.0]),
                                                        'odom'), 'base_link')
                bag.write_image_jpeg('/image/compressed', stamp, 'camera', picture(first + second))
    output = tmp_path / 'week.segvlad'
    bags = [str(tmp_path / name) for name in ('monday', 'tuesday')]
    assert main(['map', 'build', 'bag', *bags, '--output', str(output)]) == 0
    assert '6 keyframes of 6 images' in capsys.readouterr().out
    found = list(keyframes(output))
    assert [keyframe.id.index for keyframe in found] == [1, 2, 3, 1, 2, 3]
    assert len({keyframe.id.session_id for keyframe in found}) == 2
    assert [round(keyframe.pose.translation[0], 6) for keyframe in found[:3]] == [0, 0.6, 1.2]
    assert found[0].optimized is None and found[0].pose.frame == 'odom'
