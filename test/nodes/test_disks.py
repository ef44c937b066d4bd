"""The nodes on real disks that are full or read-only: they say so in one line, go on, and lose nothing."""
import shutil

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_harness import EVERY_IMAGE, image_message, real_images, reliable
from small_disk import inside, on_small_disk

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import PlaceMatchArray, SegVladStatus
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.srv import SaveMap
from segvlad_ros.types import Frame


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 40, 80, 120, 160, 200])


@pytest.fixture
def disk(tmp_path):
    (tmp_path / 'disk').mkdir()
    return tmp_path / 'disk'


def worker(robot):
    """What the newest diagnostics say of the worker."""
    found = [status for message in robot.diagnostics for status in message.status
             if status.name == f'{robot.node.name}: worker']
    return found[-1]


@pytest.mark.fault('disk', 'the disk is full',
                   'the keyframe is refused, the map stays whole; an ERROR from the third on, until one is stored '
                   'again')
def test_a_full_disk_is_an_error_until_a_keyframe_is_stored(robot, namespace, pictures, disk, tmp_path):
    """Frames that are not stored come in between, as from every camera: they say nothing of the disk."""
    robot = robot('map_builder', {'map': 'office', 'map_directory': disk, 'keyframe.no_odometry_interval_s': 1.0,
                                  'diagnostics.latency_warn_s': 3600.0, **reliable(namespace, 'image')},
                  prefix=on_small_disk(disk, 2000))
    filler = inside(robot.node.process.pid, disk) / 'filler'
    filler.write_bytes(bytes(1_000_000))
    camera, second = robot.camera(), 0

    def keyframe():
        nonlocal second
        second += 1
        status = robot.send(camera, image_message(pictures[second % len(pictures)], second))
        robot.send(camera, image_message(pictures[0], second + 0.1))  # the gate passes it by
        return status

    def dark_keyframe():
        nonlocal second
        second += 1
        robot.send(camera, image_message(np.zeros_like(pictures[0]), second))

    status = keyframe()
    while not status.message:
        assert second < 30
        status = keyframe()
    stored = status.keyframes
    assert (stored, len(robot.keyframes)) == (second - 1, second - 1)
    keyframe()
    dark_keyframe()
    status = keyframe()
    line = f'{disk}/office.segvlad: the disk is full; free some space, what was stored before is whole'
    assert status.message == f'the worker failed: {line}'
    status = robot.status(lambda s: s.state == SegVladStatus.ERROR, 'the state ERROR')
    assert status.message == f'the worker failed: {line}'
    robot.peer.wait(lambda: worker(robot).level == DiagnosticStatus.ERROR, 'the ERROR of the diagnostics')
    assert worker(robot).message == f'3 failures in a row: {line}'
    saved = robot.peer.call(SaveMap, 'map_builder/save_map', name='copy')
    assert (saved.success, saved.message) == (False, line.replace('office', 'copy'))

    filler.unlink()
    status = keyframe()
    robot.status(lambda s: s.state == SegVladStatus.MAPPING, 'the state MAPPING')
    assert (status.message, status.keyframes) == ('', stored + 1)
    robot.peer.wait(lambda: worker(robot).level == DiagnosticStatus.OK, 'the OK of the diagnostics')
    robot.keyframe(stored + 1)
    shutil.copy(inside(robot.node.process.pid, disk) / 'office.segvlad', tmp_path)
    with PlaceMap.open(tmp_path / 'office.segvlad', full_check=True) as place_map:
        assert {identity.index for identity in place_map.ids()} == {
            message.keyframe.index for message in robot.keyframes if message.segment_count}
    assert 'Traceback' not in robot.node.text()


@pytest.mark.fault('disk', 'a read-only disk under a map_builder', 'refused at the start, in one line')
def test_a_builder_does_not_start_on_a_read_only_disk(launch, pictures, disk, tmp_path):
    places = PlaceRecognizer()
    places.add(Frame(pictures[0], 10**9))
    places.save(tmp_path / 'office.segvlad')
    prefix = on_small_disk(disk, 2000, holding=tmp_path / 'office.segvlad', read_only=True)
    nodes = [launch('map_builder', {'map_directory': folder, **parameters}, prefix=prefix) for folder, parameters in (
        (disk, {'map': 'office', 'append': True}), (disk, {'map': 'other'}), (disk / 'new', {'map': 'office'}))]
    for node, word in zip(nodes, ('office.segvlad: cannot be written', 'other.segvlad: cannot be opened',
                                  'new: Read-only file system')):
        assert node.wait() == 1
        assert f'cannot configure: {disk}/{word}' in node.text()
        assert 'Traceback' not in node.text()


@pytest.mark.fault('disk', 'a read-only disk under a localizer', 'works, and changes no byte')
def test_a_localizer_leaves_the_map_and_its_folder_as_they_are(robot, namespace, pictures, disk, tmp_path):
    places = PlaceRecognizer()
    for number, picture in enumerate(pictures):
        places.add(Frame(picture, 10**9 * (10 * number + 1)))
    places.save(tmp_path / 'office.segvlad')
    before = (tmp_path / 'office.segvlad').read_bytes()
    robot = robot('localizer', {**EVERY_IMAGE, 'map': 'office', 'map_directory': disk, **reliable(namespace, 'image')},
                  prefix=on_small_disk(disk, 4000, holding=tmp_path / 'office.segvlad', read_only=True))
    camera = robot.camera()
    for number in (1, 2, 3):
        robot.send(camera, image_message(pictures[2], 1000.0 + number))
        assert robot.answer(number).status == PlaceMatchArray.MATCHED
    folder = inside(robot.node.process.pid, disk)
    assert [path.name for path in folder.iterdir()] == ['office.segvlad']
    assert (folder / 'office.segvlad').read_bytes() == before
