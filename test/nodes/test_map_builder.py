"""map_builder as a process: images of every kind become keyframes, bad ones are counted, the map survives a kill."""
import time

import cv2
import numpy as np
import pytest
from bag_samples import write_quick_preset
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry, Path
from node_harness import (
    EVERY_IMAGE,
    Robot,
    compressed_message,
    image_message,
    real_images,
    reliable,
    stamped,
)
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

from segvlad_ros.mapping.map_format import pack, unpack
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import PlaceDescriptor, SegVladStatus
from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor, to_place_descriptor
from segvlad_ros.srv import GetKeyframe, LoadMap, RemoveKeyframes, SaveMap

SENSORS = ('image', 'image/compressed', 'camera_info', 'depth', 'odom')


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 40, 80, 120, 160, 200])


@pytest.fixture
def builder(robot, namespace):
    def start(parameters=None, **named):
        return robot('map_builder', {**EVERY_IMAGE, **reliable(namespace, *SENSORS),
                                     'map': 'office', **(parameters or {})}, **named)
    return start


@pytest.mark.fault('image', 'another encoding, rows with padding', 'the same keyframe')
def test_every_encoding_gives_the_same_keyframe(builder, pictures):
    robot = builder()
    camera = robot.camera()
    kinds = [('rgb8', 0), ('bgr8', 0), ('bgra8', 0), ('rgb8', 5), ('mono8', 3), ('mono8', 0)]
    for number, (encoding, padding) in enumerate(kinds, start=1):
        robot.send(camera, image_message(pictures[0], number, encoding, padding))
        assert robot.keyframe(number).keyframe.index == number
    rows = [from_place_descriptor(message).description.descriptors for message in robot.keyframes]
    assert len(rows[0]) > 10
    for row in rows[1:4]:
        np.testing.assert_array_equal(row, rows[0])
    np.testing.assert_array_equal(rows[4], rows[5])
    assert rows[4].shape[1] == rows[0].shape[1]
    status = robot.statuses[-1]
    assert (status.keyframes, status.keyframes_processed, status.images_rejected) == (6, 6, 0)
    assert list(status.stages)
    assert all(seconds > 0 for seconds in status.stage_p95_seconds)


def test_compressed_images(builder, pictures):
    robot = builder({'image_transport': 'compressed'})
    camera = robot.camera(CompressedImage, 'image/compressed')
    robot.send(camera, compressed_message(pictures[0], 1.0))
    first = from_place_descriptor(robot.keyframe(1))
    assert first.id.stamp_ns == 10**9
    assert first.frame_id == 'camera_optical'
    broken = compressed_message(pictures[0], 2.0)
    broken.data = broken.data[:200]
    status = robot.send(camera, broken)
    assert status.images_rejected == 1
    robot.send(camera, compressed_message(pictures[1], 3.0))
    assert robot.keyframe(2).keyframe.index == 2


@pytest.mark.fault('image', 'a dark image: the lens is covered, the light is out',
                   'it is published and answered as rejected, and not stored')
def test_a_dark_image_is_answered_for_and_not_stored(builder, pictures):
    robot = builder()
    camera = robot.camera()
    for number, picture in enumerate((pictures[0], np.zeros_like(pictures[0]), pictures[1]), start=1):
        status = robot.send(camera, image_message(picture, number))
        assert robot.keyframe(number).keyframe.index == number
        assert ('image rejected: dark image' in status.message) == (number == 2)
    assert len(from_place_descriptor(robot.keyframes[1]).description) == 0
    robot.peer.wait(lambda: robot.statuses[-1].keyframes_processed == 3, 'three keyframes in the status')
    assert robot.statuses[-1].keyframes == 2


@pytest.mark.fault('topic', 'publishers that are reliable or best effort', 'both are taken')
@pytest.mark.parametrize('reliability', [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE])
def test_publishers_of_either_reliability(robot, pictures, reliability):
    robot = robot('map_builder', EVERY_IMAGE)
    camera = robot.camera(reliability=reliability)
    small = np.ascontiguousarray(pictures[0][::2, ::2])
    for attempt in range(1, 6):  # best effort may lose one
        camera.publish(image_message(small, attempt))
        try:
            robot.peer.wait(lambda: robot.keyframes, 'a keyframe', deadline_s=10)
            return
        except AssertionError:
            continue
    pytest.fail(robot.node.text())


@pytest.mark.fault('image', 'data shorter than its size says, an unknown encoding with control characters, a zero '
                   'stamp, a stamp long ago',
                   'each is refused, counted and named in one printable line; the next good image is taken')
def test_bad_images_are_reported_counted_and_survived(builder, pictures):
    robot = builder()
    camera = robot.camera()
    robot.send(camera, image_message(pictures[0], 100.0))
    corrupt = image_message(pictures[0], 101.0)
    corrupt.data = corrupt.data[:1000]
    unknown = image_message(pictures[0], 102.0)
    unknown.encoding = 'holographic8\n\x1b[2J'
    bad = [(corrupt, 'too short'), (image_message(pictures[0], 0.0), 'stamp is zero'), (unknown, 'holographic8'),
           (image_message(pictures[0], 50.0), 'jumped back')]
    for number, (message, words) in enumerate(bad, start=1):
        status = robot.send(camera, message)
        assert status.images_rejected == number
        assert words in status.message
        assert status.message.isprintable()
        assert status.state == SegVladStatus.MAPPING
    status = robot.send(camera, image_message(pictures[1], 51.0))
    assert (status.images_received, status.images_rejected, status.keyframes) == (6, 4, 2)
    assert status.message == ''
    assert robot.keyframe(2).header.stamp.sec == 51
    values = robot.peer.wait(lambda: _values(robot, 'input', lambda v: v['images rejected'] == '4'), 'diagnostics')
    assert values['backwards clock jumps'] == '1'


@pytest.mark.fault('image', 'a camera of 10 or 12 bits that sends 16',
                   'refused with the name of the parameter `image_bits`; read where that is set')
@pytest.mark.parametrize('bits', [0, 12])
def test_a_camera_of_12_bits_in_16_is_named_or_read(builder, pictures, bits):
    robot = builder({'image_bits': bits})
    camera = robot.camera()
    message = image_message(pictures[0], 1.0, 'mono8')
    grey = np.frombuffer(bytes(message.data), np.uint8).astype('<u2') << 4
    message.encoding, message.step, message.data = 'mono16', 2 * message.step, grey.tobytes()
    status = robot.send(camera, message)
    if bits:
        assert len(from_place_descriptor(robot.keyframe(1)).description) > 10
    else:
        assert (status.images_rejected, 'image_bits' in status.message) == (1, True)


@pytest.mark.fault('odometry', 'odometry that never comes',
                   'the image waits for `sync_timeout_s` at most; what is missing is said')
def test_missing_odometry_is_reported_and_not_waited_for(builder, pictures):
    robot = builder({'sync_timeout_s': 0.3})
    robot.peer.matched(robot.peer.publisher(Odometry, 'odom'))
    camera = robot.camera()
    begin = time.monotonic()
    status = robot.send(camera, image_message(pictures[0], 10.0))
    assert time.monotonic() - begin >= 0.3
    assert 'odom' in status.message
    assert robot.keyframe(1).pose_frame == ''
    values = robot.peer.wait(lambda: _values(robot, 'input', lambda v: v['images with a missing input'] == '1'),
                             'diagnostics')
    assert values['images rejected'] == '0'


def test_odometry_is_interpolated_at_the_stamp_of_the_image(builder, pictures):
    robot = builder({'sync_timeout_s': 10.0})
    markers = robot.peer.listen(MarkerArray, 'map_builder/markers')
    robot.peer.wait(lambda: robot.peer.node.count_publishers(f'{robot.node.name}/markers'), 'the markers')
    odometry = robot.peer.publisher(Odometry, 'odom')
    robot.peer.matched(odometry)
    camera = robot.camera()
    before = robot.statuses[-1].images_received
    camera.publish(image_message(pictures[0], 10.0))
    for seconds, x in ((9.9, 1.0), (10.1, 3.0)):
        message = stamped(Odometry(child_frame_id='base_link'), seconds, 'odom')
        message.pose.pose.position.x, message.pose.pose.orientation.w = x, 1.0
        odometry.publish(message)
    robot.status(lambda s: s.images_received > before, 'the image')
    keyframe = robot.keyframe(1)
    assert keyframe.pose_frame == 'odom'
    assert keyframe.pose.pose.position.x == pytest.approx(2.0, abs=1e-6)
    dots = robot.peer.wait(lambda: [m for message in markers for m in message.markers if m.points], 'dots')[-1]
    assert (dots.header.frame_id, dots.points[0].x) == ('odom', pytest.approx(2.0))


@pytest.mark.fault('camera', 'a depth image that is broken', 'the keyframe is made without it')
def test_depth_camera_info_and_the_mount_reach_the_keyframe(builder, pictures):
    mount = [0.1, 0.0, 0.5, -0.5, 0.5, -0.5, 0.5]
    robot = builder({'sync_timeout_s': 10.0, 'base_from_camera': mount})
    depth, info = robot.peer.publisher(Image, 'depth'), robot.peer.publisher(CameraInfo, 'camera_info')
    robot.peer.matched(depth)
    robot.peer.matched(info)
    camera = robot.camera()
    before = robot.statuses[-1].images_received
    camera.publish(image_message(pictures[0], 5.0))
    metres = np.full(pictures[0].shape[:2], 2000, '<u2')
    depth.publish(stamped(Image(height=360, width=480, encoding='16UC1', step=960, data=metres.tobytes()), 5.01))
    info.publish(stamped(CameraInfo(height=360, width=480, k=[400.0, 0, 240, 0, 400, 180, 0, 0, 1],
                            distortion_model='equidistant', d=[0.01, 0.0, 0.0, 0.0, 0.0]), 4.0))  # a T265's five
    status = robot.status(lambda s: s.images_received > before, 'the image')
    assert status.message == ''
    keyframe = from_place_descriptor(robot.keyframe(1))
    assert keyframe.camera_model.matrix[0, 0] == 400.0
    assert keyframe.camera_model.distortion.tolist() == [0.01, 0.0, 0.0, 0.0]
    assert keyframe.base_from_camera.frame == 'base_link'
    np.testing.assert_allclose([*keyframe.base_from_camera.translation, *keyframe.base_from_camera.quaternion], mount)
    broken = Image(height=360, width=480, encoding='rgb8', step=960, data=metres.tobytes())
    depth.publish(stamped(broken, 6.0))
    status = robot.send(camera, image_message(pictures[0], 6.0))
    assert 'depth image not used' in status.message
    assert (status.keyframes, status.images_rejected) == (2, 0)


@pytest.mark.fault('clock', 'an image that comes after a younger one', 'counted, and named with how late it is')
def test_a_late_image_is_counted_and_named(builder, pictures):
    robot = builder()
    camera = robot.camera()
    robot.send(camera, image_message(pictures[0], 6.0))
    status = robot.send(camera, image_message(pictures[1], 5.3))
    assert (status.keyframes, status.images_rejected) == (1, 1)
    assert '0.700 s before the last one: it came too late' in status.message


def test_optimised_poses_and_removals_reach_the_map(builder, pictures, tmp_path):
    robot = builder({'allow_removal': True})
    path = robot.peer.publisher(Path, 'optimized_path')
    robot.peer.matched(path)
    camera = robot.camera()
    for number in (1, 2, 3):
        robot.send(camera, image_message(pictures[number], number))
    message = stamped(Path(), 9.0, 'map')
    for seconds in (1.0, 3.0):
        pose = stamped(PoseStamped(), seconds, 'map')
        pose.pose.position.x, pose.pose.orientation.w = seconds * 10, 1.0
        message.poses.append(pose)
    path.publish(message)
    call = robot.peer.call

    def moved():
        answer = call(GetKeyframe, 'map_builder/get_keyframe', keyframe=robot.keyframe(2).keyframe)
        return answer.descriptor if answer.descriptor.optimized_frame == 'map' else None
    descriptor = robot.peer.wait(moved, 'the optimised pose')
    assert descriptor.optimized_pose.pose.position.x == pytest.approx(20.0)
    assert descriptor.pose_frame == ''  # nobody has measured one
    removed = call(RemoveKeyframes, 'map_builder/remove_keyframes', keyframes=[robot.keyframe(2).keyframe])
    assert (removed.success, removed.removed) == (True, 1), removed.message
    assert not call(RemoveKeyframes, 'map_builder/remove_keyframes').success
    assert _set_parameter(robot, 'allow_removal', False).successful
    refused = call(RemoveKeyframes, 'map_builder/remove_keyframes', session_id=robot.keyframe(1).keyframe.session_id)
    assert not refused.success
    assert 'allow_removal' in refused.message
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad') as place_map:
        assert [identity.index for identity in place_map.ids()] == [1, 3]


@pytest.mark.fault('clock', 'images faster or slower than in real time', 'header stamps decide, never the wall clock')
def test_the_gate_works_on_stamps(builder, pictures):
    robot = builder({'keyframe.min_interval_s': 0.5, 'keyframe.no_odometry_interval_s': 1.0})
    camera = robot.camera()
    for seconds in (1.0, 1.1, 1.9, 2.1):
        status = robot.send(camera, image_message(pictures[0], seconds))
    assert (status.images_received, status.keyframes_processed, status.images_dropped) == (4, 2, 0)


@pytest.mark.fault('image', 'an image without any texture', 'likewise')
def test_a_blank_image_is_published_but_not_stored(builder, pictures):
    robot = builder()
    camera = robot.camera()
    status = robot.send(camera, image_message(np.full_like(pictures[0], 128), 1.0))
    assert robot.keyframe(1).segment_count == 0
    assert (status.keyframes, status.keyframes_processed) == (0, 1)
    assert 'rejected' in status.message


def test_services(builder, pictures, tmp_path):
    robot = builder()
    camera = robot.camera()
    for number, picture in enumerate(pictures[:3], start=1):
        robot.send(camera, image_message(picture, number))
    call = robot.peer.call

    saved = call(SaveMap, 'map_builder/save_map', name='copy')
    assert (saved.success, saved.keyframes) == (True, 3), saved.message
    with PlaceMap.open(tmp_path / 'maps' / 'copy.segvlad', full_check=True) as copy:
        assert copy.count == 3
        assert saved.bytes == copy.bytes
    for name in ('../copy', '/tmp/copy', 'a/../../copy', ''):
        refused = call(SaveMap, 'map_builder/save_map', name=name, overwrite=True)
        assert not refused.success
        assert 'map name' in refused.message
    refused = call(SaveMap, 'map_builder/save_map', name='copy')
    assert not refused.success
    assert 'exists' in refused.message
    assert call(SaveMap, 'map_builder/save_map', name='copy', overwrite=True).success
    assert not call(SaveMap, 'map_builder/save_map', name='office', overwrite=True).success

    published = robot.keyframe(2)
    fetched = call(GetKeyframe, 'map_builder/get_keyframe', keyframe=published.keyframe)
    assert fetched.success
    stored = unpack(pack(from_place_descriptor(published), published.dimension), published.dimension, 'keyframe 2')
    _assert_same(fetched.descriptor, to_place_descriptor(stored, published.model_fingerprint))
    published.keyframe.index = 99
    assert not call(GetKeyframe, 'map_builder/get_keyframe', keyframe=published.keyframe).success

    assert call(SetBool, 'map_builder/pause', data=True).success
    robot.status(lambda s: s.state == SegVladStatus.PAUSED, 'pause')
    assert call(SetBool, 'map_builder/pause', data=False).success
    robot.running()

    assert call(Trigger, 'map_builder/reset_map').success
    robot.status(lambda s: s.keyframes == 0, 'an empty map')
    loaded = call(LoadMap, 'map_builder/load_map', name='copy')
    assert (loaded.success, loaded.keyframes) == (True, 3), loaded.message
    status = robot.send(camera, image_message(pictures[3], 4.0))
    assert status.keyframes == 4
    assert status.map_id == loaded.map_id
    assert not call(LoadMap, 'map_builder/load_map', name='copy', read_only=True).success
    assert not call(LoadMap, 'map_builder/load_map', name='copy', append=True).success
    assert not call(LoadMap, 'map_builder/load_map', name='nowhere').success


def test_the_lifecycle_goes_round_twice(builder, pictures):
    robot = builder({'autostart': False, 'append': True}, wait=False)
    robot.status(lambda s: s.state == SegVladStatus.UNCONFIGURED, 'an unconfigured node')
    assert not robot.transition(Transition.TRANSITION_ACTIVATE)
    assert not robot.peer.call(SaveMap, 'map_builder/save_map', name='x').success
    for turn in (1, 2):
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        assert robot.state() == 'inactive'
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        robot.running()
        camera = robot.camera()
        status = robot.send(camera, image_message(pictures[turn], turn))
        assert (status.keyframes, status.images_received) == (turn, 1)
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        robot.abandon(camera)
        assert robot.transition(Transition.TRANSITION_CLEANUP)
        assert robot.state() == 'unconfigured'
    assert robot.transition(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert robot.state() == 'finalized'


@pytest.mark.fault('node', 'a lifecycle manager resets a map_builder whose map has a name',
                   'it goes on in the map of its run; any other map of that name is refused')
def test_its_own_map_goes_on_after_a_reset(builder, pictures, launch, namespace, tmp_path):
    """As a lifecycle manager resets a node. Somebody else's map of that name is left alone."""
    robot = builder({'autostart': False}, wait=False)
    for turn in (1, 2):
        assert robot.transition(Transition.TRANSITION_CONFIGURE), robot.node.text()
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        robot.running()
        camera = robot.camera()
        assert robot.send(camera, image_message(pictures[turn], turn)).keyframes == turn
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        robot.abandon(camera)
        assert robot.transition(Transition.TRANSITION_CLEANUP)
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad') as mine:
        fingerprint, dimension = mine.fingerprint, mine.dimension
    PlaceMap.create(tmp_path / 'maps' / 'foreign.segvlad', fingerprint, dimension).close()
    assert _set_parameter(robot, 'map', 'foreign').successful
    assert not robot.transition(Transition.TRANSITION_CONFIGURE)
    robot.status(lambda s: 'map foreign.segvlad exists' in s.message, 'the refusal')


@pytest.mark.fault('node', 'a map_builder ends and is started again by the same launch',
                   'it goes on in its map as a new session; another launch is refused')
def test_a_process_of_the_same_run_goes_on_in_its_map(builder, launch, pictures, tmp_path):
    first = builder({'run_id': 'monday'})
    first.send(first.camera(), image_message(pictures[0], 1.0))
    assert first.node.stop() == 0
    for run_id in ('', 'tuesday'):
        other = launch('map_builder', {'map': 'office', 'run_id': run_id})
        assert other.wait() == 1
        assert 'office.segvlad exists' in other.text()
    again = builder({'run_id': 'monday'})
    assert again.running().keyframes == 1
    assert not any(status.images_received for status in again.statuses)  # none is of the process before
    assert again.send(again.camera(), image_message(pictures[1], 2.0)).keyframes == 2
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad') as place_map:
        assert len(place_map.sessions()) == 2


@pytest.mark.fault('node', 'a map_builder that cannot start: no such mask, no such calibration',
                   'it leaves no empty map behind: the corrected start finds the name free')
@pytest.mark.parametrize(('wrong', 'words'), [
    ({'mask_file': '/nowhere.png'}, '/nowhere.png: cannot be read'),
    ({'retention.max_keyframes': 9}, 'nowhere.json does not exist')], ids=['mask', 'calibration'])
def test_what_cannot_start_leaves_no_map(launch, wrong, words, tmp_path):
    preset = write_quick_preset(tmp_path)
    preset.write_text(f'{preset.read_text()}calibration: nowhere.json\n')
    node = launch('map_builder', {'map': 'office', 'preset': preset, **wrong})
    assert node.wait() == 1
    assert words in node.text()
    assert not [*tmp_path.rglob('*.segvlad')]


@pytest.mark.fault('node', 'a configure that fails under a lifecycle manager',
                   'state ERROR with the reason; it can be repeated')
def test_a_failed_configure_says_why_and_can_be_repeated(builder):
    robot = builder({'autostart': False, 'preset': 'nonsense'}, wait=False)
    robot.status(lambda s: s.state == SegVladStatus.UNCONFIGURED, 'an unconfigured node')
    assert not robot.transition(Transition.TRANSITION_CONFIGURE)
    status = robot.status(lambda s: s.state == SegVladStatus.ERROR, 'an error')
    assert 'nonsense' in status.message
    assert robot.state() == 'unconfigured'
    _set_parameter(robot, 'preset', 'classic')
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert not _set_parameter(robot, 'preset', 'nonsense').successful
    assert not _set_parameter(robot, 'diagnostics.drop_ratio_warn', 7.0).successful
    assert _set_parameter(robot, 'diagnostics.drop_ratio_warn', 0.5).successful


@pytest.mark.fault('node', 'a start that cannot succeed', 'status 1 and one line')
def test_a_start_that_fails_ends_with_one_line(launch, tmp_path):
    (tmp_path / 'maps').mkdir()
    (tmp_path / 'maps' / 'office.segvlad').write_bytes(b'no map')
    nodes = []
    for parameters, words in (({'map': 'office', 'append': True}, 'office.segvlad'), ({'map': 'office'}, 'exists'),
                              ({'preset': 'nonsense'}, 'unknown preset'), ({'map': '../x'}, 'map directory'),
                              ({'keyframe.min_distance_m': 'far'}, 'must be of type double')):
        nodes.append((launch('map_builder', parameters), words))
    for node, words in nodes:
        assert node.wait() == 1
        assert words in node.text()
        assert 'Traceback' not in node.text()


@pytest.mark.fault('node', 'kill -9 of a map_builder', 'what was published is in the map, which is whole')
def test_a_kill_loses_at_most_the_keyframe_in_flight(builder, pictures, tmp_path, monkeypatch):
    # what a killed process leaves in Fast DDS's shared memory has crashed the process of these tests once
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    robot = builder()
    camera = robot.camera()
    small = [cv2.resize(picture, (160, 120)) for picture in pictures]  # sure to pass through a socket's buffer
    for number in range(1, 7):
        camera.publish(image_message(small[number % len(small)], number))
        robot.keyframe(number)
    camera.publish(image_message(small[0], 7.0))  # in flight
    robot.node.kill()
    published = len(robot.keyframes)
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad', read_only=False) as survivor:
        assert survivor.verify() == []
        indices = [identity.index for identity in survivor.ids()]
    assert indices == list(range(1, len(indices) + 1))
    assert published <= len(indices) <= 7


@pytest.mark.fault('topic', 'a camera that is faster than the pipeline',
                   'the newest image wins; what was dropped is counted')
def test_a_free_running_camera_drops_and_counts(builder, pictures):
    robot = builder()
    camera = robot.camera(reliability=ReliabilityPolicy.RELIABLE, depth=1)
    message, sent = image_message(np.ascontiguousarray(pictures[0][::2, ::2]), 1.0), []

    def publish():
        sent.append(1.0 + 0.02 * len(sent))
        camera.publish(stamped(message, sent[-1]))
    timer = robot.peer.node.create_timer(0.02, publish)
    robot.status(lambda s: s.images_dropped > 3 and s.keyframes_processed > 3, 'drops and keyframes')
    timer.cancel()
    status = robot.status(lambda s: s.images_received == s.images_dropped + s.keyframes_processed, 'the end of work')
    assert status.images_received <= len(sent)
    assert status.images_rejected == 0
    values = robot.peer.wait(lambda: _values(robot, 'input', lambda v: int(v['images dropped']) > 3), 'diagnostics')
    assert 0 < float(values['drop ratio']) < 1
    assert float(values['input rate [Hz]']) > 1


@pytest.mark.fault('camera', 'a camera_info that changes in the middle of a run, to anything',
                   'what fits is used for its images; else there is no camera, one warning, and the run goes on')
def test_camera_info_may_say_anything_in_the_middle_of_a_run(builder, pictures):
    """What fits is used for the images it belongs to; else there is no camera, one warning, and the run goes on."""
    robot = builder({'depth_transport': 'compressedDepth', 'sync_timeout_s': 2.0})
    camera, infos = robot.camera(), robot.camera(CameraInfo, 'camera_info')
    depths = robot.camera(CompressedImage, 'depth/compressedDepth')
    small = cv2.resize(pictures[0], (320, 240))
    png = cv2.imencode('.png', np.full((240, 320), 2500, np.uint16))[1].tobytes()
    usual = {'width': 320, 'height': 240, 'distortion_model': 'plumb_bob', 'd': [0.0] * 5,
             'k': [300.0, 0.0, 160.0, 0.0, 300.0, 120.0, 0.0, 0.0, 1.0]}
    zoomed, nothing = [450.0, 0.0, 150.0, 0.0, 450.0, 118.0, 0.0, 0.0, 1.0], [0.0] * 9
    said = [({}, 300.0, ''), ({'k': zoomed}, 450.0, ''), ({'k': [np.nan] * 9}, 0.0, 'K is not finite'),
            ({'width': 640, 'height': 480}, 0.0, 'is of 640 x 480 pixels'), ({'k': nothing}, 0.0, 'not calibrated'),
            ({'distortion_model': 'omnidirectional', 'd': [0.1] * 5}, 0.0, 'omnidirectional'), ({}, 300.0, '')]
    for number, (changes, focal, why) in enumerate(said, start=1):
        infos.publish(stamped(CameraInfo(**{**usual, **changes}), 10.0 * number))
        depths.publish(stamped(CompressedImage(format='16UC1; compressedDepth png', data=bytes(12) + png),
                               10.0 * number))
        status = robot.send(camera, image_message(small, 10.0 * number))
        keyframe = robot.keyframe(number)
        assert keyframe.camera_info.k[0] == focal
        assert np.nanmax(keyframe.keypoint_depths) == pytest.approx(2.5)
        assert why in status.message
    assert robot.warnings('K is not finite') <= 1  # throttled, and never twice
    assert robot.statuses[-1].images_rejected == 0


@pytest.mark.fault('image', '700 bytes of JPEG that claim 9999 x 9999 pixels', 'refused by `max_megapixels`')
def test_an_image_that_no_camera_takes_is_refused(builder, pictures):
    """700 bytes of JPEG that claim 9999 x 9999 pixels were decoded into 300 MB, and described."""
    robot = builder({'image_transport': 'compressed'})
    camera = robot.camera(CompressedImage, 'image/compressed')
    small = cv2.imencode('.jpg', cv2.resize(pictures[0], (160, 120)))[1].tobytes()
    at = small.index(b'\xff\xc0') + 5
    bomb = small[:at] + (9999).to_bytes(2, 'big') * 2 + small[at + 4:]
    status = robot.send(camera, stamped(CompressedImage(format='bgr8; jpeg compressed bgr8', data=bomb), 1.0))
    assert '9999 x 9999 pixels refused: max_megapixels is 25' in status.message
    assert (status.images_rejected, status.keyframes_processed) == (1, 0)
    assert robot.send(camera, compressed_message(pictures[0], 2.0)).keyframes_processed == 1


def test_the_gate_changes_while_the_robot_drives(builder, pictures):
    robot = builder()
    camera = robot.camera()
    assert robot.send(camera, image_message(pictures[0], 1.0)).keyframes_processed == 1
    for name in ('min_interval_s', 'no_odometry_interval_s'):
        assert _set_parameter(robot, f'keyframe.{name}', 10.0).successful
    assert robot.send(camera, image_message(pictures[1], 10.9)).keyframes_processed == 1
    assert robot.send(camera, image_message(pictures[1], 11.0)).keyframes_processed == 2
    assert not _set_parameter(robot, 'keyframe.min_interval_s', -1.0).successful
    assert _set_parameter(robot, 'keyframe.min_interval_s', 1.0).successful
    assert _set_parameter(robot, 'keyframe.no_odometry_interval_s', 1.0).successful
    assert robot.send(camera, image_message(pictures[2], 12.0)).keyframes_processed == 3


@pytest.mark.fault('topic', 'no image comes; a publisher of another reliability',
                   'a warning with the topic after `no_images_warn_s`; the QoS that does not fit is named once')
def test_silence_and_a_wrong_qos_are_named(robot, namespace):
    robot = robot('map_builder', {**reliable(namespace, 'image'), 'diagnostics.no_images_warn_s': 0.5})
    values = robot.peer.wait(lambda: _status(robot, 'input', lambda s: s.level == DiagnosticStatus.WARN), 'a warning')
    assert f'on {namespace}/image' in values.message
    robot.peer.publisher(Image, 'image', reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.peer.wait(lambda: robot.warnings('incompatible RELIABILITY'), 'the QoS warning')
    robot.node.stop()
    assert robot.warnings('incompatible RELIABILITY') == 1
    assert robot.warnings(f'no images for . s on {namespace}/image') == 1


@pytest.mark.fault('topic', 'a publisher of another message type', 'a warning with both types, once')
def test_a_wrong_type_is_named(robot, namespace):
    robot = robot('map_builder')
    robot.peer.publisher(CompressedImage, 'image')
    odometry = robot.peer.publisher(PoseStamped, 'odom')
    says = [f'{namespace}/image is of sensor_msgs/msg/CompressedImage, sensor_msgs/msg/Image is expected',
            f'{namespace}/odom is of geometry_msgs/msg/PoseStamped, nav_msgs/msg/Odometry is expected']
    found = robot.peer.wait(lambda: _status(
        robot, 'input', lambda s: all(sentence in s.message for sentence in says)), 'both in the diagnostics')
    assert found.level == DiagnosticStatus.WARN
    robot.peer.node.destroy_publisher(odometry)
    robot.peer.wait(lambda: says[1] not in robot.diagnostics[-1].status[0].message, 'the diagnostics without odom')
    robot.node.stop()
    assert [robot.warnings(sentence) for sentence in says] == [1, 1]
    assert robot.warnings('set image_transport:=compressed') == 1


@pytest.mark.fault('node', 'two builders of one map', 'the second is refused')
def test_two_builders_cannot_write_one_map(builder, launch):
    builder()
    second = launch('map_builder', {'map': 'office', 'append': True}, {'__node': 'second'})
    assert second.wait() == 1
    assert 'office.segvlad' in second.text()


def _assert_same(found: PlaceDescriptor, expected: PlaceDescriptor) -> None:
    """All fields are equal; unknown depths are NaN, which differs from itself."""
    np.testing.assert_array_equal(found.keypoint_depths, expected.keypoint_depths)
    assert len(found.keypoints) == 2 * len(found.keypoint_depths) > 0
    for name in set(PlaceDescriptor.get_fields_and_field_types()) - {'keypoint_depths'}:
        assert getattr(found, name) == getattr(expected, name), name


def _status(robot: Robot, part: str, condition):
    for message in reversed(robot.diagnostics):
        for status in message.status:
            if status.name == f'{robot.node.name}: {part}' and condition(status):
                return status
    return None


def _values(robot: Robot, part: str, condition):
    found = _status(robot, part, lambda s: condition({v.key: v.value for v in s.values}))
    return found and {value.key: value.value for value in found.values}


def _set_parameter(robot: Robot, name: str, value):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    message = Parameter(name, value=value).to_parameter_msg()
    return robot.peer.call(SetParameters, f'{robot.private}/set_parameters', parameters=[message]).results[0]


