"""Map on Monday, localise on Friday: in a map or a bag, by truth of every kind; and one line where truth is amiss."""
from __future__ import annotations

import json
import logging

import cv2
import numpy as np
import pytest
from bag_samples import scene, write_quick_preset
from scipy.spatial.transform import Rotation

from segvlad_ros.cli import main
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.types import Pose

SECOND = 1_000_000_000
CAMERA = ('--pose-files-of', 'camera')
MONDAY, FRIDAY = 1_700_000_000, 1_700_345_600
MAPPED = np.arange(12.0)  # metres, a place each
SEEN = [3, 4, 5, 6, 7, 50, 51, 9, 10]  # on Friday, a second each; 50 and 51 are new
TOPIC = '/ground_truth/pose'
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
# Where the camera sits: 0.3 m ahead of the base, looking to its left.
MOUNT = Pose(np.array([0.3, 0.0, 0.2]), Rotation.from_euler('z', 90, degrees=True).as_quat(), 'base_link')


def at(x, frame='map', yaw_deg=0.0):
    return Pose(np.array([x, 0.0, 0.0]), Rotation.from_euler('z', yaw_deg, degrees=True).as_quat(), frame)


def write_day(path, day, xs, truth=lambda x: [('write_pose', TOPIC, at(x))], mounted=True):
    """A drive past places, one a second; odometry begins at 0 each day.

    :param truth: of a position: methods of the writer, with topic and what they write
    """
    with BagWriter(path) as bag:
        if mounted:
            bag.write_static_transform(day * SECOND, MOUNT, 'camera')
        for second, x in enumerate(xs, 1):
            stamp = (day + second) * SECOND
            bag.write_odometry('/odom', stamp, at(x - xs[0], 'odom'))
            for method, topic, *value in truth(x):
                getattr(bag, method)(topic, stamp, *value)
            bag.write_image('/camera/image_raw', stamp, 'camera', scene(int(x), view=day + second))
    return path / f'{path.name}.mcap'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('days')


@pytest.fixture(scope='module')
def preset_file(folder):
    return write_quick_preset(folder)


@pytest.fixture(scope='module')
def days(folder):
    return write_day(folder / 'monday', MONDAY, MAPPED), write_day(folder / 'friday', FRIDAY, SEEN)


@pytest.fixture
def evaluate(capsys, preset_file):
    def call(friday, *options):
        capsys.readouterr()
        status = main(['evaluate', 'bag', str(friday), '--preset', str(preset_file), '--json', *map(str, options)])
        assert status == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)
    return call


@pytest.fixture
def refusal(capsys, preset_file):
    def call(friday, *options):
        capsys.readouterr()
        assert main(['evaluate', 'bag', str(friday), '--preset', str(preset_file), *map(str, options)]) == 2
        line, = capsys.readouterr().err.splitlines()
        return line
    return call


@pytest.fixture(scope='module')
def map_file(folder, preset_file, days):
    path = folder / 'office.segvlad'
    assert main(['map', 'build', 'bag', str(days[0]), '--preset', str(preset_file), '--output', str(path)]) == 0
    return path


def without_times(numbers):
    return {name: value for name, value in numbers.items() if name != 'ms_per_image'}


def test_a_map_of_monday_and_its_bag_give_the_same_numbers(days, map_file, evaluate):
    monday, friday = days
    of_map = evaluate(friday, '--map', map_file, '--map-truth', monday)
    of_bag = evaluate(friday, '--map-bag', monday)
    assert without_times(of_map) == without_times(of_bag)
    assert (of_map['map_keyframes'], of_map['images'], of_map['queries']) == (12, 9, 9)  # Friday's are not added
    assert of_map['queries_with_place'] == 7
    assert of_map['recall@1'] == of_map['precision'] == 1.0
    assert of_map['statuses'] == {'MATCHED': 5, 'NO_MATCH_LOW_SCORE': 2, 'NO_MATCH_TEMPORAL': 2}
    assert of_map['truth'] == {
        'poses': f'the truth on {TOPIC} of friday.mcap', 'map_poses': [f'the truth on {TOPIC} of monday.mcap'],
        'poses_of': 'base', 'map_keyframes_without_truth': 0, 'true_distance_m': 1.0, 'true_angle_deg': 40.0,
        'ignored_distance_m': 3.5, 'ignored_angle_deg': 60.0}


def independently_true(xs, mapped=MAPPED, limit=1.0):
    """How many positions have a map position within the limit."""
    return int((np.abs(np.subtract.outer(np.array(xs, float), mapped)) <= limit).any(axis=1).sum())


@pytest.mark.parametrize(('limit', 'expected'), [(0.4, 0), (0.6, 7), (44.0, 9)])
def test_the_limits_of_truth_are_options(tmp_path, days, map_file, evaluate, limit, expected):  # noqa: PLR0917
    friday = write_day(tmp_path / 'shifted', FRIDAY, np.array(SEEN) + 0.5)
    numbers = evaluate(friday, '--map', map_file, '--map-truth', days[0], '--true-distance-m', limit,
                       '--ignored-distance-m', 45)
    assert numbers['queries_with_place'] == expected == independently_true(np.array(SEEN) + 0.5, limit=limit)
    assert numbers['truth']['true_distance_m'] == limit


def test_what_is_seen_from_further_back_is_ignored_or_false_by_the_limits(tmp_path, days, map_file, evaluate):
    """Friday's positions are 2.1 m aside of Monday's route: by default no mistake, with a limit of 2 m one."""
    aside = ('--map', map_file, '--map-truth', tum(tmp_path / 'm.txt', MONDAY, MAPPED, False),
             '--ground-truth', tum(tmp_path / 'f.txt', FRIDAY, SEEN, False, 2.1), '--pose-files-of', 'base')
    shipped = evaluate(days[1], *aside)
    assert (shipped['ignored'], shipped['accepted'], shipped['precision']) == (5, 0, None)
    strict = evaluate(days[1], *aside, '--ignored-distance-m', 2)
    assert (strict['ignored'], strict['accepted'], strict['precision']) == (0, 5, 0.0)
    assert strict['truth']['ignored_distance_m'] == 2


def test_limits_that_contradict_each_other_are_refused(days, refusal):
    assert 'true_distance_m 5 and ignored_distance_m 3.5' in refusal(days[1], '--true-distance-m', 5)
    assert 'true_angle_deg 40 and ignored_angle_deg 39' in refusal(days[1], '--ignored-angle-deg', 39)
    assert 'at most 180' in refusal(days[1], '--ignored-angle-deg', 181)
    assert 'above 0' in refusal(days[1], '--true-distance-m', 'nan')


def tum(path, day, xs, of_camera, aside=0.0):
    """A TUM file of what a day's topic says; a camera is where the mount puts it."""
    turn = Rotation.from_quat(MOUNT.quaternion)
    rows = []
    for second, x in enumerate(xs, 1):
        place = np.array([x, aside, 0]) + (MOUNT.translation if of_camera else 0)
        rows.append([f'{day + second}.000000000', *place, *(turn.as_quat() if of_camera else UPRIGHT)])
    path.write_text('# stamp tx ty tz qx qy qz qw\n' + ''.join(' '.join(map(str, row)) + '\n' for row in rows))
    return path


@pytest.mark.parametrize('of_camera', [True, False])
def test_truth_in_tum_files(tmp_path, days, map_file, evaluate, of_camera):
    monday, friday = days
    numbers = evaluate(friday, '--map', map_file, '--map-truth', tum(tmp_path / 'm.txt', MONDAY, MAPPED, of_camera),
                       '--ground-truth', tum(tmp_path / 'f.txt', FRIDAY, SEEN, of_camera),
                       '--pose-files-of', 'camera' if of_camera else 'base')
    by_topic = evaluate(friday, '--map', map_file, '--map-truth', monday)
    assert without_times(numbers) | {'truth': 0} == without_times(by_topic) | {'truth': 0}
    mixed = evaluate(friday, '--map-bag', monday, '--true-distance-m', 0.2,  # one base, whichever tells
                     '--ground-truth', tum(tmp_path / 'f.txt', FRIDAY, SEEN, True), *CAMERA)
    assert mixed['queries_with_place'] == 7


def kitti(path, xs):
    """A camera that looks along x: its z axis is ahead, its x axis to the right."""
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
    rows = [np.column_stack([axes, [x, 0, 0]]).ravel() for x in xs]
    path.write_text(''.join(' '.join(map(str, row.tolist())) + '\n' for row in rows))
    return path


def test_truth_in_kitti_files_by_the_order_of_the_images_or_by_times(tmp_path, days, map_file, evaluate, refusal):
    monday, friday = days
    of_map, of_bag = kitti(tmp_path / 'monday.txt', MAPPED), kitti(tmp_path / 'friday.txt', SEEN)
    in_order = evaluate(friday, '--map-bag', monday, '--map-truth', of_map, '--ground-truth', of_bag, *CAMERA)
    assert (in_order['queries_with_place'], in_order['recall@1']) == (7, 1.0)
    line = refusal(friday, '--map', map_file, '--map-truth', of_map, '--ground-truth', of_bag, *CAMERA)
    assert 'KITTI poses have no stamps' in line and 'times.txt' in line
    line = refusal(friday, '--map-bag', monday, '--map-truth', of_bag, '--ground-truth', of_bag, *CAMERA)
    assert 'has 9 poses for 12 images' in line
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/times.txt').write_text(''.join(f'{MONDAY + second}\n' for second in range(1, 13)))
    timed = evaluate(friday, '--map', map_file, '--map-truth', kitti(tmp_path / 'a/poses.txt', MAPPED),
                     '--ground-truth', of_bag, *CAMERA)
    assert without_times(timed) | {'truth': 0} == without_times(in_order) | {'truth': 0}
    (tmp_path / 'a/times.txt').write_text(''.join(f'{second}\n' for second in range(12)))  # as KITTI has them
    line = refusal(friday, '--map', map_file, '--map-truth', tmp_path / 'a/poses.txt', '--ground-truth', of_bag,
                   *CAMERA)
    assert 'do not meet: their clocks differ' in line


LATITUDE, LONGITUDE = 48.137, 11.575
# WGS 84 radii at that latitude: a degree north is pi / 180 M, one east pi / 180 N cos(latitude).
SINE2 = np.sin(np.radians(LATITUDE)) ** 2
NORMAL_M = 6378137 / np.sqrt(1 - 0.00669437999014 * SINE2)
DEGREE_EAST_M = np.radians(1) * NORMAL_M * np.cos(np.radians(LATITUDE))


def fixes(sigma_m=0.0, also=()):
    return lambda x: [('write_fix', '/gps/fix', (LATITUDE, LONGITUDE + x / DEGREE_EAST_M), sigma_m), *also]


def test_truth_by_satellite_counts_by_distance_in_one_frame_of_both_days(tmp_path, evaluate, refusal, caplog):
    monday = write_day(tmp_path / 'monday', MONDAY, MAPPED, fixes())
    friday = write_day(tmp_path / 'friday', FRIDAY, np.array(SEEN) + 0.3, fixes(sigma_m=0.2))
    numbers = evaluate(friday, '--map-bag', monday, '--ground-truth-topic', '/gps/fix', '--true-distance-m', 0.4)
    assert numbers['queries_with_place'] == 7 == independently_true(np.array(SEEN) + 0.3, limit=0.4)
    assert numbers['recall@1'] == 1.0
    assert (numbers['truth']['true_angle_deg'], numbers['truth']['true_distance_m']) == (None, 0.4)
    assert numbers['closures']['count'] == 0
    line = refusal(friday, '--map-bag', monday, '--ground-truth-topic', '/gps/fix', '--true-distance-m', 0.1)
    assert 'none of 9 fixes on /gps/fix is exact enough' in line
    by_pose = write_day(tmp_path / 'posed', MONDAY, MAPPED)
    line = refusal(friday, '--map-bag', by_pose, '--ground-truth-topic', '/gps/fix', '--map-truth-topic', TOPIC)
    assert 'one is by satellite, the other is not' in line


def test_optimised_poses_of_a_map_are_truth_if_asked_for(tmp_path, days, preset_file, map_file, request):
    evaluate, refusal = map(request.getfixturevalue, ('evaluate', 'refusal'))
    images, poses, surveyed = tmp_path / 'images', tmp_path / 'poses.csv', tmp_path / 'surveyed.segvlad'
    images.mkdir()
    for place in range(12):
        cv2.imwrite(str(images / f'{place:02d}.png'), scene(place, view=place)[..., ::-1])
    turn = ','.join(map(str, MOUNT.quaternion))
    poses.write_text('image,tx,ty,tz,qx,qy,qz,qw\n' + ''.join(  # of the camera, which is the base of such a map
        f'{place:02d}.png,{place + MOUNT.translation[0]},0,0.2,{turn}\n' for place in range(12)))
    assert main(['map', 'build', 'images', str(images), '--poses', str(poses), '--output', str(surveyed), '--preset',
                 str(preset_file), '--all-images']) == 0
    numbers = evaluate(days[1], '--map', surveyed, '--map-truth', surveyed)
    assert (numbers['queries_with_place'], numbers['recall@1']) == (7, 1.0)
    assert 'odometry only, which is not ground truth' in refusal(days[1], '--map', map_file, '--map-truth', map_file)


# what could be silently wrong


def test_a_map_without_truth_is_refused(days, map_file, refusal):
    line = refusal(days[1], '--map', map_file)
    assert 'odometry is not ground truth' in line and '--map-truth' in line
    for option in (['--map-truth', days[0]], ['--follow'], ['--same-frame'], ['--map-truth-topic', TOPIC]):
        assert 'give --map or --map-bag' in refusal(days[1], *option)


def test_a_topic_where_all_truth_is_in_files_is_refused(tmp_path, days, map_file, evaluate, refusal):
    monday, friday = (tum(tmp_path / f'{day}.txt', day, xs, True) for day, xs in ((MONDAY, MAPPED), (FRIDAY, SEEN)))
    topic, loops = ['--ground-truth-topic', '/gps/fix'], ['--ground-truth', friday, *CAMERA]
    for maps in ([], ['--map', map_file, '--map-truth', monday], ['--map-bag', days[0], '--map-truth', monday],
                 ['--map-bag', days[0], '--map-truth-topic', TOPIC]):
        assert '--ground-truth-topic changes nothing without a bag' in refusal(days[1], *loops, *maps, *topic)
    for maps in (['--map', map_file], ['--map-bag', days[0]]):
        line = refusal(days[1], *maps, '--map-truth', monday, *CAMERA, '--map-truth-topic', '/gps/fix')
        assert '--map-truth-topic changes nothing without a bag' in line
    line = refusal(days[1], *loops, '--map-bag', days[0], *topic)
    assert '/gps/fix' in line and 'changes nothing' not in line  # the bag of the map has to have it


def test_truth_of_some_keyframes_is_said_and_the_others_count_neither_way(tmp_path, days, map_file, evaluate, caplog):
    part = tum(tmp_path / 'part.txt', MONDAY, MAPPED[:5], True)
    with caplog.at_level(logging.WARNING):
        numbers = evaluate(days[1], '--map', map_file, '--map-truth', part, *CAMERA)
    assert '7 of 12 keyframes have no true pose' in caplog.text
    assert numbers['truth']['map_keyframes_without_truth'] == 7
    assert numbers['ignored'] >= 1 and numbers['precision'] == 1.0


def test_base_and_camera_are_compared_only_where_the_mount_is_known(tmp_path, days, evaluate, refusal):
    monday = write_day(tmp_path / 'monday', MONDAY, MAPPED, mounted=False)
    friday = write_day(tmp_path / 'friday', FRIDAY, SEEN, mounted=False)
    of_cameras = [tum(tmp_path / 'm.txt', MONDAY, MAPPED, True), tum(tmp_path / 'f.txt', FRIDAY, SEEN, True)]
    for files in ([], ['--map-truth', of_cameras[0], '--ground-truth', of_cameras[1], *CAMERA]):
        assert evaluate(friday, '--map-bag', monday, *files)['queries_with_place'] == 7
    for options in (['--map-bag', monday, '--ground-truth', of_cameras[1], *CAMERA], ['--map-bag', days[0]],
                    ['--map-bag', monday, '--map-truth', of_cameras[0], *CAMERA]):
        assert "nothing tells where camera 'camera' sits" in refusal(friday, *options)
    line = refusal(friday, '--map-bag', days[0], '--ground-truth', of_cameras[1])
    assert 'give --pose-files-of base, or camera' in line
    assert evaluate(friday, '--map-bag', days[0], '--ground-truth', of_cameras[1], *CAMERA)['queries_with_place'] == 7


def test_frames_that_differ_or_begin_anew_are_refused(tmp_path, days, evaluate, refusal):
    monday, friday = days
    other = write_day(tmp_path / 'other', FRIDAY, SEEN, lambda x: [('write_pose', TOPIC, at(x, 'world'))])
    line = refusal(other, '--map-bag', monday)
    assert 'is in frame map' in line and 'in world' in line
    assert evaluate(other, '--map-bag', monday, '--same-frame')['recall@1'] == 1.0
    line = refusal(friday, '--map-bag', monday, '--ground-truth-topic', '/odom')
    assert 'odom begins anew with each run' in line
    assert evaluate(monday, '--ground-truth-topic', '/odom')['queries'] == 12  # of one run it is a truth that drifts
    two = write_day(tmp_path / 'two', FRIDAY, SEEN, lambda x: [('write_pose', TOPIC, at(x, f'map{x > 6}'))])
    assert 'in several frames, mapFalse and mapTrue' in refusal(two, '--map-bag', monday)


@pytest.mark.parametrize(('option', 'says'), [
    ('--map-truth', 'no-such'), ('--ground-truth', 'no-such'), ('--map-bag', 'no-such'), ('--map', 'no-such'),
    ('--map-truth', 'small.yaml: 1 values in its first line are not a pose'), ('--map-truth', 'words.npz')])
def test_a_source_that_is_none_is_named(folder, days, map_file, refusal, option, says):  # noqa: PLR0917
    known = {} if option == '--map-bag' else {'--map': map_file, '--map-truth': days[0]}
    options = {**known, option: folder / says.partition(':')[0]}
    assert says in refusal(days[1], *(word for pair in options.items() for word in pair))


def test_clocks_apart_are_refused(tmp_path, days, map_file, refusal):
    monday, friday = days
    line = refusal(friday, '--map', map_file, '--map-truth', friday)
    assert 'the stamps of its keyframes' in line and 'do not meet' in line
    late = tum(tmp_path / 'late.txt', FRIDAY + 3600, SEEN, True)
    line = refusal(friday, '--map-bag', monday, '--ground-truth', late, *CAMERA)
    assert f'the truth in {late}' in line and 'do not meet' in line
    line = refusal(friday, '--map-bag', monday, '--map-truth', late, *CAMERA)
    assert f'the truth in {late}' in line and 'do not meet' in line


def test_truth_that_covers_a_keyframe_twice_is_refused(days, map_file, refusal):
    line = refusal(days[1], '--map', map_file, '--map-truth', days[0], '--map-truth', days[0])
    assert 'both cover the keyframe at' in line


def test_a_map_of_another_fingerprint_is_refused(days, map_file, refusal):
    line = refusal(days[1], '--map', map_file, '--map-truth', days[0], '--set', 'projection.dimension=32')
    assert 'made with another preset or model' in line


def test_a_bag_in_a_map_of_itself_is_refused(days, map_file, refusal):
    monday, _ = days
    assert 'every image would find itself' in refusal(monday, '--map', map_file, '--map-truth', monday)


def test_a_map_of_another_place_is_said(tmp_path, days, evaluate, caplog):
    away = write_day(tmp_path / 'away', FRIDAY, [50, 51, 52])
    with caplog.at_level(logging.WARNING):
        numbers = evaluate(away, '--map-bag', days[0])
    assert 'of another place, the two truths are not in one frame, or' in caplog.text
    assert (numbers['queries_with_place'], numbers['accepted']) == (0, 0)
