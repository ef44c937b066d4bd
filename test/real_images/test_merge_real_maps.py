"""Merging maps of real images, through the commands: halves of an office, laps of a corridor, two buildings."""
from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.cli import main
from segvlad_ros.geometry import angle_of, to_matrix
from segvlad_ros.mapping.place_map import PlaceMap

TURN = Rotation.from_rotvec(np.random.default_rng(5).normal(0, 1, 3))
MOVE = np.random.default_rng(6).normal(0, 5, 3)


def command(capsys, *arguments):
    status = main(['map', *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def moved(row):
    place = TURN.apply([float(row[key]) for key in ('tx', 'ty', 'tz')]) + MOVE
    turned = TURN * Rotation.from_quat([float(row[key]) for key in ('qx', 'qy', 'qz', 'qw')])
    return {**row, **dict(zip(('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw'), [*place, *turned.as_quat()]))}


def office_half(capsys, office, folder, name, rows):
    """A map of some images with the poses of these rows."""
    with (folder / f'{name}.csv').open('w') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, 'image': row['image'].removeprefix('images/')} for row in rows)
    matrix = ', '.join(f'{value}' for value in np.loadtxt(office / 'K.txt').ravel())
    (folder / 'camera.yaml').write_text(
        f'image_width: 540\nimage_height: 360\ncamera_matrix: {{rows: 3, cols: 3, data: [{matrix}]}}\n'
        'distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n')
    status, _, said = command(capsys, 'build', 'images', office / 'images', '--poses', folder / f'{name}.csv',
                              '--camera', folder / 'camera.yaml', '--depth', office / 'depth', '--all-images',
                              '--output', folder / f'{name}.segvlad')
    assert status == 0, said
    return folder / f'{name}.segvlad'


@pytest.fixture(scope='module')
def laps(data, tmp_path_factory):
    """Lists of the images of two laps."""
    folder = tmp_path_factory.mktemp('laps')
    for name, numbers in (('one', range(1, 41)), ('two', range(41, 81))):
        (folder / f'{name}.txt').write_text('\n'.join(
            str(data / f'rtabmap_corridor_loop/images/{number:04d}.jpg') for number in numbers))
    return folder


def test_the_halves_of_an_office_fit_again(capsys, data, tmp_path):
    """Of every second image; the second half begins where the first one ends, and comes back to a few places."""
    office = data / 'hololens_office'
    with (office / 'poses.csv').open() as file:
        rows = list(csv.DictReader(file))[::2]
    half = len(rows) // 2
    first = office_half(capsys, office, tmp_path, 'first', rows[:half])
    later = office_half(capsys, office, tmp_path, 'later', [moved(row) for row in rows[half:]])
    status, out, said = command(capsys, 'merge', first, later, '--output', tmp_path / 'whole.segvlad', '--json')
    assert status == 0, said
    common, piece = json.loads(out)['pieces']
    assert common['is_common_frame'] and piece['aligned']
    assert piece['agreeing'] >= 5
    assert piece['residual_m']['p95'] < 0.1
    session = piece['sessions'][0]
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = TURN.as_matrix(), MOVE
    with PlaceMap.open(tmp_path / 'whole.segvlad', full_check=True) as place_map:
        assert place_map.count == len(rows)
        apart = np.array([np.linalg.inv(np.linalg.inv(motion) @ to_matrix(keyframe.pose))
                          @ to_matrix(keyframe.best_pose) for keyframe in place_map.keyframes()
                          if keyframe.id.session_id == session])
    assert len(apart) == len(rows) - half
    assert np.linalg.norm(apart[:, :3, 3], axis=1).max() <= 0.10
    assert np.degrees(angle_of(apart)).max() <= 2.0


def test_laps_without_intrinsics_are_joined_and_not_aligned(capsys, laps, tmp_path):
    for name in ('one', 'two'):
        output = tmp_path / f'{name}.segvlad'
        assert command(capsys, 'build', 'images', laps / f'{name}.txt', '--output', output)[0] == 0
    status, out, said = command(capsys, 'merge', tmp_path / 'one.segvlad', tmp_path / 'two.segvlad', '--output',
                                tmp_path / 'both.segvlad')
    assert status == 0, said
    assert 'joined without alignment' in out
    assert 'none with a metric pose, which takes depth, or intrinsics and odometry' in out
    with PlaceMap.open(tmp_path / 'both.segvlad', full_check=True) as place_map:
        assert place_map.count == 80
        assert not place_map.poses()


def test_two_buildings_are_refused(capsys, data, laps, tmp_path):
    (tmp_path / 'corridor.txt').write_text('\n'.join(map(str, sorted((data / 'corridor/ref').iterdir())[:30])))
    for name, images in (('one', laps / 'one.txt'), ('other', tmp_path / 'corridor.txt')):
        status, _, said = command(capsys, 'build', 'images', images, '--output', tmp_path / f'{name}.segvlad')
        assert status == 0, said
    status, _, said = command(capsys, 'merge', tmp_path / 'one.segvlad', tmp_path / 'other.segvlad', '--output',
                              tmp_path / 'both.segvlad')
    assert status == 2
    assert 'has nothing in common' in said.splitlines()[-1]
    assert not (tmp_path / 'both.segvlad').exists()
