"""Images with known poses: every format, and one line that names file and line for whatever is wrong."""
from __future__ import annotations

import logging
import re

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import to_matrix
from segvlad_ros.io.camera_files import read_cameras
from segvlad_ros.io.pose_files import read_posed_images
from segvlad_ros.types import SegvladError

TURN = Rotation.from_rotvec([0.1, -0.4, 0.2])
PLACE = np.array([1.5, -2.0, 0.25])
QUATERNION = TURN.as_quat()
TUM = ' '.join(map(repr, [*PLACE.tolist(), *QUATERNION.tolist()]))


@pytest.fixture
def images(tmp_path):
    """A folder of images with the given names."""
    def make(*names):
        folder = tmp_path / 'images'
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / name), np.zeros((4, 6, 3), np.uint8))
        return folder
    return make


@pytest.fixture
def written(tmp_path):
    """A file with this text."""
    def make(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
    return make


def assert_the_pose(image):
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = TURN.as_matrix(), PLACE
    np.testing.assert_allclose(to_matrix(image.pose), expected, atol=1e-12)


def test_tum(images, written, caplog):
    folder = images('1305031102.175304.png', '1305031102.275304.png', '1305031200.000000.png')
    poses = written('groundtruth.txt', f'# timestamp tx ty tz qx qy qz qw\n\n1305031102.1753 {TUM}\n'
                                       f'1305031102.3753 3.5 -2.0 0.25 {TUM.split(" ", 3)[3]}\n')
    with caplog.at_level(logging.WARNING):
        first, second = read_posed_images(folder, poses)
    assert 'no pose for 1 of 3 images' in caplog.text
    assert (first.stamp_ns, first.path.name) == (1305031102175304000, '1305031102.175304.png')
    np.testing.assert_allclose(first.pose.translation, [1.50004, -2, 0.25], atol=1e-9)
    np.testing.assert_allclose(second.pose.translation, [2.50004, -2, 0.25], atol=1e-9)  # halfway, interpolated


def test_tum_with_stamps_in_nanoseconds(images, written):
    image, = read_posed_images(images('1403636579763555584.png'), written('a.txt', f'1403636579.763555584 {TUM}\n'))
    assert image.stamp_ns == 1403636579763555584
    assert_the_pose(image)


@pytest.mark.parametrize(('stamp', 'nanoseconds'), [
    ('1403636579763555584', 1403636579763555584),  # 19 digits: nanoseconds, as ROS and EuRoC have them
    ('0000000012300000000', 12_300_000_000),       # of simulated time, filled up with zeros
    ('1403636579763555', 1403636579763555000),     # 16 digits: microseconds, as NCLT and RobotCar name their images
    ('1403636579', 1403636579000000000),
    ('000012', 12_000_000_000),
    ('0000000000000012', 12_000_000_000),          # zeros in front make no stamp longer
    ('1403636579.763555584', 1403636579763555584),
    ('1.403636579763555584e9', 1403636579763555584)])
def test_the_digits_of_a_whole_stamp_tell_its_unit(images, written, stamp, nanoseconds):
    image, = read_posed_images(images(f'{stamp}.png'), written('a.txt', f'{stamp} {TUM}\n'))
    assert image.stamp_ns == nanoseconds


@pytest.mark.parametrize('stamp', ['12300000000', '1403636579763', '14036365797635555', '140363657976355558',
                                   '14036365797635555840'])
def test_a_whole_stamp_whose_unit_is_not_plain_is_refused(images, written, stamp):
    with pytest.raises(SegvladError, match=f':1: the stamp {stamp} .*: write seconds .*16 digits.*19'):
        read_posed_images(images('1.0.png'), written('a.txt', f'{stamp} {TUM}\n'))


def test_two_images_of_one_stamp_are_refused(images, written):
    folder = images('1.00.png', '1.0.png', '2.png')
    with pytest.raises(SegvladError, match=r'1\.00\.png: has the stamp of .*1\.0\.png.*leave one of them out'):
        read_posed_images(folder, written('a.txt', f'1.0 {TUM}\n'))


def test_an_underscore_is_no_part_of_a_stamp(images, written):
    with pytest.raises(SegvladError, match=r"12_5\.png: .*named after its stamp: '12_5' is not a stamp"):
        read_posed_images(images('12_5.png'), written('a.txt', f'125.0 {TUM}\n'))


def test_kitti(images, written):
    row = np.column_stack([TURN.as_matrix(), PLACE]).ravel()
    moved = row.copy()
    moved[3] += 1
    poses = written('00.txt', '\n'.join(' '.join(map(repr, each.tolist())) for each in (row, moved)) + '\n')
    folder = images('000009.png', '000010.png')
    first, second = read_posed_images(folder, poses)
    assert_the_pose(first)
    assert (first.stamp_ns, second.path.name, second.pose.translation[0]) == (None, '000010.png', 2.5)
    written('times.txt', '0.000000e+00\n1.037875e-01\n')
    assert [image.stamp_ns for image in read_posed_images(folder, poses)] == [1_000_000_000, 1_103_787_500]


def test_colmap(images, written):
    inverse = TURN.inv()
    x, y, z, w = inverse.as_quat().tolist()
    place = ' '.join(map(repr, (-inverse.apply(PLACE)).tolist()))
    poses = written('images.txt', '# Image list with two lines of data per image:\n'
                                  f'7 {w} {x} {y} {z} {place} 2 left/b 10.png\n1.0 2.0 -1 3.0 4.0 7\n'
                                  f'3 {w} {x} {y} {z} {place} 1 left/b 9.png\n\n')
    first, second = read_posed_images(images('left/b 9.png', 'left/b 10.png'), poses)
    assert_the_pose(first)
    assert [(image.path.name, image.camera) for image in (first, second)] == [('b 9.png', 1), ('b 10.png', 2)]


IMAGE_LINE = '{} 1 0 0 0 0.5 0 0 1 {}'
POINTS = '10.5 20 -1 3 4.25 7'
POINTS_AS_LONG_AS_AN_IMAGE = ' '.join(['1 2 3'] * 4)


@pytest.mark.parametrize('text', [
    '{a}\n\n{b}\n\n{c}\n\n', '{a}\n\n{b}\n\n{c}', '{a}\n{points}\n{b}\n{points}\n{c}\n{points}\n',
    '{a}\n{b}\n{c}\n', '{a}\n{points}\n{b}\n{c}\n{points}\n', '{a}\n\n{b}\n{c}\n{points}\n',
    '{a}\n# 0 points\n{b}\n\n\n\n{c}\n', '{a}\n{many}\n{b}\n{many}\n{c}\n',
    '{a}  \r\n \t\r\n{b}\r\n{points} \r\n{c}'],
    ids=['no points', 'no last line', 'points', 'no lines of points', 'some', 'other', 'comment', 'many', 'Windows'])
def test_colmap_with_and_without_lines_of_points(images, written, text):
    folder = images('a 1 2.png', 'b.png')
    (folder / '3').touch()
    lines = dict(zip('abc', map(IMAGE_LINE.format, (1, 2, 3), ('a 1 2.png', 'b.png', '3'))))
    poses = written('images.txt', text.format(**lines, points=POINTS, many=POINTS_AS_LONG_AS_AN_IMAGE))
    assert {image.path.name for image in read_posed_images(folder, poses)} == {'a 1 2.png', 'b.png', '3'}


@pytest.mark.parametrize(('text', 'line', 'says'), [
    ('{image}\n10.5 20 -1 3 4.25\n', 2, '5 values, COLMAP has 10 of an image'),  # cut off in a point
    ('{image}\n10.5 20 x\n', 2, '3 values, COLMAP has 10 of an image .* three of each of its points'),
    ('{image}\n10.5 20 -1.5\n', 2, '3 values, COLMAP has 10'),
    ('{image}\n{points}\n{points}\n', 3, '6 values, COLMAP has 10'),
    ('{image}\n{points}\n{long}\n', 3, "no image '1 2 3'"),
    ('{image}\n{points}\n1.5 2 3 4 5 6 7 8 9 10 11 12\n', 3, "'1.5' is not a number of an image"),
    ('{points} {points}\n', 1, "'10.5' is not a number of an image")])
def test_a_line_that_is_neither_an_image_of_colmap_nor_its_points(images, written, text, line, says):
    poses = written('images.txt', text.format(image=IMAGE_LINE.format(1, 'a.png'), points=POINTS,
                                              long=POINTS_AS_LONG_AS_AN_IMAGE))
    with pytest.raises(SegvladError, match=f'images.txt:{line}: .*{says}'):
        read_posed_images(images('a.png'), poses)


def test_csv(images, written):
    images('a.png', 'b.png')
    columns = 'image,tx,ty,tz,qx,qy,qz,qw'
    row = ','.join(TUM.split())
    poses = written('poses.csv', f'{columns},stamp,note\nimages/b.png,{row},2.5,x\nimages/a.png,{row},1.25,y\n')
    first, second = read_posed_images(poses.parent / 'images', poses)
    assert_the_pose(first)
    assert [(image.path.name, image.stamp_ns) for image in (first, second)] == [
        ('a.png', 1_250_000_000), ('b.png', 2_500_000_000)]
    images_only, = read_posed_images(poses.parent / 'images', written('p.csv', f'{columns}\na.png,{row}\n'))
    assert images_only.stamp_ns is None


@pytest.mark.parametrize('column', ['timestamp', 'time', 'Timestamp', ' stamp '])
def test_a_column_of_stamps_by_another_name(images, written, column):
    images('a.png')
    poses = written('poses.csv', f'#{column},Image,tx,ty,tz,qx,qy,qz,qw\n1.5,a.png,{GOOD}\n')
    image, = read_posed_images(poses.parent / 'images', poses)
    assert_the_pose(image)
    assert image.stamp_ns == 1_500_000_000


def test_columns_of_a_csv_that_are_not_read_are_named(images, written, caplog):
    poses = written('p.csv', f'{COLUMNS},note,,exposure_time,time\na.png,{GOOD},x,,0.01,1\n')
    with caplog.at_level(logging.WARNING):
        read_posed_images(images('a.png'), poses)
    assert 'p.csv: its columns note, exposure_time are not read' in caplog.text


@pytest.mark.parametrize('name', ['a.txt', 'k.txt', 'images.txt', 'p.csv'])
def test_a_byte_order_mark_is_no_text(images, written, name):
    text = {'a.txt': f'1.0 {TUM}\n', 'k.txt': IDENTITY_ROW, 'images.txt': IMAGE_LINE.format(1, '1.0.png'),
            'p.csv': f'{COLUMNS}\n1.0.png,{GOOD}\n'}[name]
    folder = images('1.0.png')
    written('times.txt', '\ufeff2.5')
    image, = read_posed_images(folder, written(name, '\ufeff' + text))
    assert image.pose is not None
    assert image.stamp_ns == {'a.txt': 1_000_000_000, 'k.txt': 3_500_000_000}.get(name)
    with pytest.raises(SegvladError, match=f'{name}: is not a text file in UTF-8; save it as one'):
        read_posed_images(folder, written(name, text.encode('utf-16')))


def test_a_byte_order_mark_before_cameras(written):
    assert list(read_cameras(written('cameras.txt', '\ufeff7 PINHOLE 640 480 500 510 320 240\n'))) == [7]
    assert read_cameras(written('front.yaml', '\ufeff' + ROS_YAML.lstrip()))[None].width == 640


GOOD = ','.join(TUM.split())
COLUMNS = 'image,tx,ty,tz,qx,qy,qz,qw'
IDENTITY_ROW = '1 0 0 0 0 1 0 0 0 0 1 0'


@pytest.mark.parametrize(('name', 'text', 'line', 'says'), [
    ('a.txt', f'1.0 {TUM}\n2.0 1 2 3\n', 2, '4 values, TUM has 8'),
    ('a.txt', f'1.0 {TUM}\n# x\n2.0 1 2 x 0 0 0 1\n', 3, 'are not 7 numbers'),
    ('a.txt', f'1.0 {TUM}\n2.0 1 2 nan 0 0 0 1\n', 2, 'not all finite'),
    ('a.txt', '1.0 1 2 1e300 0 0 0 1\n', 1, 'not all finite and below'),
    ('a.txt', '1.0 1 2 3 0 0 0 0\n', 1, 'not a rotation'),
    ('a.txt', f'1.0 {TUM}\n1.0 {TUM}\n', 2, 'not later than the one before'),
    ('a.txt', f'x {TUM}\n', 1, 'not a stamp in seconds'),
    ('a.txt', f'-5 {TUM}\n', 1, 'not above 0'),
    ('a.txt', f'nan {TUM}\n', 1, 'not a stamp in seconds'),
    ('a.txt', f'inf {TUM}\n', 1, 'not a stamp in seconds'),
    ('a.txt', f'1e99 {TUM}\n', 1, 'below'),
    ('a.txt', f'1.0 {TUM}\n', None, 'no pose within 0.5 s'),
    ('a.txt', '1 2 3\n', None, '3 values in its first line are not a pose'),
    ('a.txt', '', None, '0 values in its first line'),
    ('a.txt', b'\xff\xfe\x00', None, 'not a text file'),
    ('k.txt', f'{IDENTITY_ROW}\n1 0 0\n', 2, '3 values, KITTI has 12'),
    ('k.txt', '2 0 0 0 0 1 0 0 0 0 1 0\n', 1, 'not a rotation'),
    ('k.txt', '1 0 0 0 0 1 0 0 0 0 -1 0\n', 1, 'not a rotation'),
    ('k.txt', f'{IDENTITY_ROW}\n', None, 'has 1 poses, but'),
    ('images.txt', '1 1 0 0 0 0 0\n', 1, '7 values, COLMAP has 10'),
    ('images.txt', '1 1 0 0 0 0 0 0 1 200.png\n\n2 1 0 0 0 0 0 x 1 100.png\n\n', 3, 'are not 7 numbers'),
    ('images.txt', '1 1 0 0 0 0 0 0 one 100.png\n\n', 1, 'not a number of a camera'),
    ('images.txt', '1 0 0 0 0 0 0 0 1 100.png\n\n', 1, 'not a rotation'),
    ('images.txt', '1 1 0 0 0 0 0 0 1 x.png\n\n', 1, "no image 'x.png'"),
    ('images.txt', '1 1 0 0 0 0 0 0 1 100.png\n\n2 1 0 0 0 0 0 0 1 100.png\n\n', 3, 'a second time'),
    ('images.txt', '# nothing\n', None, 'names no image'),
    ('p.csv', 'image,tx\n', 1, 'no column ty'),
    ('p.csv', '', 1, 'no column image'),
    ('p.csv', f'{COLUMNS}\n100.png,{GOOD}\n200.png,1,2\n', 3, 'are not 7 numbers'),
    ('p.csv', f'{COLUMNS}\n100.png,{GOOD},9,9\n', 2, 'not one value for each'),
    ('p.csv', f'{COLUMNS}\n,{GOOD}\n', 2, 'not one value for each'),
    ('p.csv', f'{COLUMNS}\nx.png,{GOOD}\n', 2, "no image 'x.png'"),
    ('p.csv', f'{COLUMNS}\n100.png,{GOOD}\n100.png,{GOOD}\n', 3, 'a second time'),
    ('p.csv', f'{COLUMNS},stamp\n100.png,{GOOD},\n', 2, 'not a stamp in seconds'),
    ('p.csv', f'{COLUMNS}\n100.png,{GOOD}\n./100.png,{GOOD}\n', 3, 'a second time'),
    ('p.csv', f'{COLUMNS}\n100.png,{GOOD}\nimages/100.png,{GOOD}\n', 3, 'a second time'),
    ('p.csv', f'{COLUMNS},stamp\n100.png,{GOOD},1\n200.png,{GOOD},1.0\n', 3, '100.png; leave one of them out'),
    ('p.csv', f'{COLUMNS},tx\n100.png,{GOOD},1\n', 1, 'two columns are called tx'),
    ('p.csv', f'{COLUMNS},time,Stamp\n100.png,{GOOD},1,1\n', 1, 'two columns are called stamp or timestamp or time'),
    ('p.csv', f'{COLUMNS},stamp_ns\n100.png,{GOOD},1\n', 1, "the column 'stamp_ns' is not known: call it stamp"),
    ('images.txt', '1 1 0 0 0 0 0 0 1 100.png\n\n2 1 0 0 0 0 0 0 1 ./100.png\n\n', 3, 'a second time'),
    ('p.csv', f'{COLUMNS}\n{"x" * 5000},{GOOD}\n', 2, 'no image'),
    ('p.csv', f'{COLUMNS}\n', None, 'names no image'),
])
def test_what_is_wrong_is_said_in_one_line(images, written, *, name, text, line, says):
    folder = images('100.png', '200.png')
    path = written(name, text)
    with pytest.raises(SegvladError) as refused:
        read_posed_images(folder, path)
    said = str(refused.value)
    assert said.startswith(f'{path}:{line}: ' if line else f'{path}: '), said
    assert says in said
    assert '\n' not in said
    assert len(said) < 500


def test_other_files_that_are_wrong(images, written):
    folder = images('100.png', 'wall.png')
    with pytest.raises(SegvladError, match=r'wall.png.*named after its stamp.*not a stamp'):
        read_posed_images(folder, written('a.txt', f'100.0 {TUM}\n'))
    poses = written('k.txt', f'{IDENTITY_ROW}\n{IDENTITY_ROW}\n')
    for times, says in (('0\n', '1 stamps for 2 poses'), ('1\n1\n', ':2: .*not later'), ('x\n', ':1: .*not a stamp')):
        written('times.txt', times)
        with pytest.raises(SegvladError, match=f'times.txt.*{says}'):
            read_posed_images(folder, poses)
    with pytest.raises(SegvladError, match='missing.txt: cannot be read'):
        read_posed_images(folder, folder / 'missing.txt')


def test_colmap_cameras(written):
    cameras = read_cameras(written('cameras.txt', '# Camera list\n1 SIMPLE_RADIAL 640 480 500.5 320 240 0.1\n'
                                                  '2 OPENCV 640 480 500 510 320.5 240.5 0.1 0.2 0.001 0.002\n'
                                                  '3 OPENCV_FISHEYE 640 480 300 300 320 240 0.1 0.2 0.3 0.4\n'
                                                  '4 PINHOLE 640 480 500 510 320 240\n'
                                                  '5 SIMPLE_RADIAL_FISHEYE 640 480 300 320 240 0.1\n'
                                                  '6 RADIAL_FISHEYE 640 480 300 320 240 0.0 0.0\n'))
    assert list(cameras) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(cameras[1].matrix, [[500.5, 0, 319.5], [0, 500.5, 239.5], [0, 0, 1]])
    np.testing.assert_allclose(cameras[1].distortion, [0.1, 0, 0, 0, 0])
    np.testing.assert_allclose(cameras[2].matrix, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_allclose(cameras[2].distortion, [0.1, 0.2, 0.001, 0.002, 0])
    assert [model.distortion_model for model in cameras.values()] == [
        'plumb_bob', 'plumb_bob', 'equidistant', 'plumb_bob', 'equidistant', 'equidistant']
    assert not len(cameras[4].distortion)
    np.testing.assert_allclose(cameras[5].distortion, [0.1, 0, 0, 0])
    assert not cameras[6].straight


ROS_YAML = """
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 510, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [450, 0, 310, 0, 0, 460, 230, 0, 0, 0, 1, 0]}
"""


def test_a_ros_calibration(written):
    path = written('front.yaml', ROS_YAML)
    model = read_cameras(path)[None]
    assert (model.width, model.height, model.matrix[1, 1], model.distortion[1]) == (640, 480, 510, -0.2)
    rectified = read_cameras(path, rectified=True)[None]
    assert (rectified.matrix[0, 0], len(rectified.distortion)) == (450, 0)


@pytest.mark.parametrize(('name', 'text', 'says'), [
    ('c.txt', '1 WIDE 640 480 1 2 3\n', ":1: camera model 'WIDE' is not supported"),
    ('c.txt', '# x\n1 PINHOLE 640 480 500 510 320\n', ':2: 7 values, PINHOLE has 8'),
    ('c.txt', '1 PINHOLE 640 480 500 x 320 240\n', ':1: .*not a number'),
    ('c.txt', '1 PINHOLE 640 480 0 510 320 240\n', ':1: fx is 0 pixels'),
    ('c.txt', '1 PINHOLE 640 480 nan 510 320 240\n', ':1: K is not finite'),
    ('c.txt', '1 PINHOLE 640 480 500 500 320 240\n1 PINHOLE 640 480 500 500 320 240\n', ':2: .*second time'),
    ('c.txt', '1\n', ":1: camera model ''"),
    ('c.txt', '', 'has no cameras'), ('c.txt', b'\xff\xfe', 'not a text file'),
    ('c.yaml', 'x: [', 'not readable as YAML'), ('c.yaml', '3', 'not a ROS camera calibration'),
    ('c.yaml', ROS_YAML.replace('image_width: 640', ''), 'not a ROS camera calibration.*image_width'),
    ('c.yaml', ROS_YAML.replace('0, 0, 1]}\ndistortion_model', '0, 0]}\ndistortion_model'), 'has 8 values, not 9'),
    ('c.yaml', ROS_YAML.replace('[500, 0, 320, 0, 510, 240, 0, 0, 1]', '[0, 0, 0, 0, 0, 0, 0, 0, 0]'),
     'not calibrated'),
    ('c.yaml', ROS_YAML.replace('plumb_bob', 'wild'), "distortion_model is 'wild'"),
])
def test_wrong_camera_files(written, name, text, says):
    path = written(name, text)
    with pytest.raises(SegvladError, match=re.escape(str(path)) + '.*' + says) as refused:
        read_cameras(path)
    assert '\n' not in str(refused.value)
