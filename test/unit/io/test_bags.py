from __future__ import annotations

import logging
import random

import cv2
import numpy as np
import pytest

from segvlad_ros.geometry import rotation_angle
from segvlad_ros.io import bags
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.bags import bag_info, read_messages, read_poses
from segvlad_ros.io.frame_assembler import InputSettings
from segvlad_ros.io.image_codec import encode_depth
from segvlad_ros.types import CameraModel, Pose, SegvladError

START = 1_700_000_000_000_000_000
STEP = 100_000_000
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), np.array([0.1, 0.2, 0, 0, 0]))
MOUNT = Pose(np.array([0.1, 0.0, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link')


def picture(number: int) -> np.ndarray:
    small = np.random.default_rng(number).integers(0, 255, (3, 4, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_LINEAR)


def depth_of(number: int) -> np.ndarray:
    depth = np.full((48, 64), 1 + number / 10, np.float32)
    depth[0] = np.nan
    return depth


def at_x(x: float, frame='odom') -> Pose:
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame, np.eye(6))


def compressed_depth(number: int) -> np.ndarray:
    """As compressed_depth_image_transport packs it."""
    return np.append(np.zeros(12, np.uint8), cv2.imencode('.png', encode_depth(depth_of(number)))[1])


def write_run(path, storage='mcap', images=6, compressed=True):
    with BagWriter(path, storage) as bag:
        bag.write_static_transform(START, MOUNT, 'camera')
        for number in range(images):
            stamp = START + number * STEP
            bag.write_odometry('/odom', stamp - 30_000_000, at_x(number - 0.3))
            if compressed:
                bag.write_image_jpeg('/camera/image_raw/compressed', stamp, 'camera', picture(number), quality=98)
                later = stamp + 5_000_000
                bag.write('/camera/depth/image_raw/compressedDepth', bags.typestore().types[bags.COMPRESSED_IMAGE](
                    bag._header(later, 'camera'), '16UC1; compressedDepth png', compressed_depth(number)), later)
            else:
                bag.write_image('/camera/image_raw', stamp, 'camera', picture(number))
                bag.write_depth('/camera/depth/image_raw', stamp - 5_000_000, 'camera', depth_of(number))
            bag.write_camera_info('/camera/camera_info', stamp, 'camera', CAMERA)
            bag.write_camera_info('/camera/depth/camera_info', stamp, 'camera', CAMERA)
            bag.write_odometry('/odom', stamp + 20_000_000, at_x(number + 0.2))
            bag.write_pose('/truth', stamp, at_x(number, 'map'))
    return path


def refused(says, function, *args, **kwargs):
    with pytest.raises(SegvladError, match=says) as error:
        function(*args, **kwargs)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compressed', [True, False])
def test_frames_with_all_that_belongs_to_them(tmp_path, storage, compressed):
    reader = FrameReader(write_run(tmp_path / 'run', storage, compressed=compressed))
    frames = list(reader)
    assert (reader.total, reader.frames, reader.skipped, reader.without_pose, reader.without_depth) == (6, 6, 0, 0, 0)
    for number, frame in enumerate(frames):
        assert frame.stamp_ns == START + number * STEP
        assert frame.frame_id == 'camera'
        error = np.abs(frame.rgb.astype(int) - picture(number))
        assert error.mean() < 3 if compressed else error.max() == 0
        np.testing.assert_allclose(frame.pose.translation, [number, 0, 0], atol=1e-9)
        assert frame.pose.frame == 'odom'
        np.testing.assert_array_equal(frame.pose.covariance, np.eye(6))
        np.testing.assert_allclose(frame.depth, depth_of(number), atol=1e-3)
        np.testing.assert_array_equal(frame.camera_model.matrix, CAMERA.matrix)
        np.testing.assert_array_equal(frame.camera_model.distortion, CAMERA.distortion)
        np.testing.assert_array_equal(frame.base_from_camera.translation, MOUNT.translation)
        assert rotation_angle(frame.base_from_camera, MOUNT) < 1e-9
        assert frame.base_from_camera.frame == 'base_link'
    again = list(reader)
    assert all((a.rgb == b.rgb).all() and a.stamp_ns == b.stamp_ns for a, b in zip(frames, again))
    assert len(again) == 6


def test_bare_file(tmp_path):
    for storage, pattern in (('mcap', '*.mcap'), ('sqlite3', '*.db3')):
        file, = write_run(tmp_path / storage, storage).glob(pattern)
        assert len(list(FrameReader(file))) == 6


def test_info_and_messages(tmp_path):
    path = write_run(tmp_path / 'run')
    info = bag_info(path)
    topics = {topic.name: topic for topic in info.topics}
    assert topics['/odom'].count == 12
    assert topics['/camera/image_raw/compressed'].msgtype == bags.COMPRESSED_IMAGE
    assert [name for name, topic in topics.items() if topic.latched] == ['/tf_static']
    assert info.messages == sum(topic.count for topic in info.topics)
    assert info.duration_s == pytest.approx(0.55)
    assert info.start_ns == START - 30_000_000
    messages = list(read_messages(path))
    assert len(messages) == info.messages
    stamps = [message.stamp_ns for message in messages]
    assert stamps == sorted(stamps)
    truth = next(m for m in messages if m.topic == '/truth')
    assert bags.typestore().deserialize_cdr(truth.data, truth.msgtype).header.stamp.sec == START // 10**9
    assert {m.topic for m in read_messages(path, {'/truth'})} == {'/truth'}


def test_messages_are_ros_2s(tmp_path):
    """The bytes are those that rclpy reads."""
    serialization = pytest.importorskip('rclpy.serialization')
    odometry = pytest.importorskip('nav_msgs.msg').Odometry
    message = next(iter(read_messages(write_run(tmp_path / 'run'), {'/odom'})))
    read = serialization.deserialize_message(message.data, odometry)
    assert (read.header.frame_id, read.child_frame_id, read.pose.pose.position.x) == ('odom', 'base_link', -0.3)


def test_poses(tmp_path):
    path = write_run(tmp_path / 'run')
    stamps, poses = read_poses(path, '/truth')
    np.testing.assert_array_equal(stamps, START + np.arange(6) * STEP)
    assert [pose.translation[0] for pose in poses] == [0, 1, 2, 3, 4, 5]
    assert poses[0].frame == 'map'
    assert len(read_poses(path, '/odom')[1]) == 12
    refused(r"no poses on '/none'; topics with poses: /odom, /truth", read_poses, path, '/none')


class TestTopics:
    def test_what_is_not_obvious_has_to_be_named(self, tmp_path):
        path = tmp_path / 'two'
        with BagWriter(path) as bag:
            for name in ('left', 'right'):
                bag.write_image(f'/{name}/image_raw', START, name, picture(0))
                bag.write_image_jpeg(f'/{name}/image_raw/compressed', START, name, picture(0))
                bag.write_odometry(f'/{name}/odom', START, at_x(0))
        refused(r'2 colour image topics: /left/image_raw \(1\), /right/image_raw \(1\)', FrameReader, path)
        refused("no images on '/middle'", FrameReader, path, BagTopics(image='/middle'))
        refused("no odometry on '/odom'; topics of that type: /left/odom, /right/odom", FrameReader, path,
                BagTopics(image='/left/image_raw', odom='/odom'))
        reader = FrameReader(path, BagTopics(image='/left/image_raw', odom='/right/odom'))
        assert reader.topics == BagTopics('/left/image_raw', '', '', '/right/odom')
        assert next(iter(reader)).frame_id == 'left'
        assert FrameReader(path, BagTopics(image='/right/image_raw')).topics.odom == ''

    def test_raw_name_finds_the_compressed_topic(self, tmp_path):
        reader = FrameReader(write_run(tmp_path / 'run'), BagTopics(
            image='/camera/image_raw', depth='/camera/depth/image_raw', odom='', camera_info=''))
        assert reader.topics.image == '/camera/image_raw/compressed'
        assert reader.topics.depth == '/camera/depth/image_raw/compressedDepth'
        frame = next(iter(reader))
        assert frame.depth is not None
        assert (frame.pose, frame.camera_model) == (None, None)

    def test_base_frame_without_odometry(self, tmp_path):
        frame = next(iter(FrameReader(write_run(tmp_path / 'run'), BagTopics(odom=''))))
        np.testing.assert_array_equal(frame.base_from_camera.translation, MOUNT.translation)

    def test_no_images(self, tmp_path):
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_depth('/depth', START, 'camera', depth_of(1))
            bag.write_odometry('/odom', START, at_x(0))
        refused(r'no topic with colour images; its topics: /depth \(sensor_msgs/msg/Image\), /odom', FrameReader,
                tmp_path / 'run')


class TestMissingAndDamaged:
    @pytest.mark.fault('bag', 'damaged images in a bag', 'counted and passed over')
    def test_damaged_images_are_counted_and_passed_over(self, tmp_path, caplog):
        store = bags.typestore()
        stamp = store.types['builtin_interfaces/msg/Time'](START // 10**9, 1)
        header = store.types['std_msgs/msg/Header'](stamp, 'camera')
        compressed = store.types[bags.COMPRESSED_IMAGE]
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_image_jpeg('/image/compressed', START, 'camera', picture(0))
            for data in (b'', b'junk', b'\xff\xd8\xff\xe0'):
                bag.write('/image/compressed', compressed(header, 'jpeg', np.frombuffer(data, np.uint8)), START + 1)
            bag.write_image_jpeg('/image/compressed', START + STEP, 'camera', picture(1))
        reader = FrameReader(tmp_path / 'run')
        with caplog.at_level(logging.WARNING):
            assert [frame.stamp_ns for frame in reader] == [START, START + STEP]
        assert (reader.total, reader.frames, reader.skipped) == (5, 2, 3)
        assert len(caplog.records) == 3

    def test_a_fault_of_all_images_is_one_line(self, tmp_path, caplog):
        store = bags.typestore()
        image, header = store.types[bags.IMAGE], store.types['std_msgs/msg/Header']
        twelve_bits = picture(0)[..., 1].astype('<u2') << 4
        with BagWriter(tmp_path / 'run') as bag:
            for number in range(5):
                stamp = store.types['builtin_interfaces/msg/Time'](1 + number, 0)
                bag.write('/image', image(header(stamp, 'camera'), *twelve_bits.shape, 'mono16', 0,
                                          2 * twelve_bits.shape[1], np.frombuffer(twelve_bits.tobytes(), np.uint8)),
                          START + number)
        reader = FrameReader(tmp_path / 'run')
        with caplog.at_level(logging.WARNING):
            refused('none of its 5 images on /image can be used: mono16 .* image_bits .* 12', list, reader)
            assert reader.skipped == 5
            frames = list(FrameReader(tmp_path / 'run', settings=InputSettings(image_bits=12)))
        assert np.abs(frames[4].rgb[..., 0].astype(int) - picture(0)[..., 1]).max() <= 1
        assert not caplog.records

    def test_every_reason_is_said_once(self, tmp_path, caplog):
        store = bags.typestore()
        with BagWriter(tmp_path / 'run') as bag:
            header = bag._header(START, 'camera')
            bag.write_image_jpeg('/image/compressed', START, 'camera', picture(0))
            for length in [4] * 10 + [5, 6, 7, 8, 8]:
                message = store.types[bags.COMPRESSED_IMAGE](header, 'jpeg', np.zeros(length, np.uint8))
                bag.write('/image/compressed', message, START + 1)
        with caplog.at_level(logging.WARNING):
            assert len(list(FrameReader(tmp_path / 'run'))) == 1
        assert [record.getMessage().split(': ')[1] for record in caplog.records] == [
            *(f'{count} images not used, the first at {START + 1} ns' for count in (10, 1, 1)),
            '3 images more not used, for 2 other reasons']

    def test_depth_and_odometry_only_where_they_belong(self, tmp_path):
        with BagWriter(tmp_path / 'run') as bag:
            for number in range(6):
                stamp = START + number * STEP
                bag.write_image('/image', stamp, 'camera', picture(number))
                if number in (0, 1):
                    bag.write_odometry('/odom', stamp, at_x(number))
                if number == 3:  # late, and after the next image in the bag
                    late = depth_of(number)
                elif number == 4:
                    bag._writer.write(bag._connections['/depth'], stamp + 1, bag_bytes(bag, START + 3 * STEP, late))
                else:
                    bag.write_depth('/depth', stamp + (50_000_000 if number == 2 else 4_000_000), 'camera',
                                    depth_of(number))
        reader = FrameReader(tmp_path / 'run')
        frames = list(reader)
        assert [frame.stamp_ns for frame in frames] == [START + n * STEP for n in range(6)]
        assert [frame.depth is not None for frame in frames] == [True, True, False, True, False, True]
        assert frames[3].depth[5, 5] == pytest.approx(1.3)
        assert [frame.pose is not None for frame in frames] == [True, True, False, False, False, False]
        assert (reader.without_pose, reader.without_depth) == (4, 2)

    def test_depth_of_another_size_is_not_used(self, tmp_path, caplog):
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_image('/image', START, 'camera', picture(0))
            bag.write_depth('/depth', START, 'camera', depth_of(0)[:24])
        with caplog.at_level(logging.WARNING):
            frame, = FrameReader(tmp_path / 'run')
        assert frame.depth is None
        assert 'registered' in caplog.text

    @pytest.mark.fault('odometry', 'poses with NaN or a quaternion of zeros in a bag', 'passed over and said once')
    def test_poses_that_are_none(self, tmp_path, caplog):
        nothing = Pose(np.zeros(3), np.zeros(4), 'odom')
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_image('/image', START, 'camera', picture(0))
            bag.write_odometry('/odom', START, nothing)
            bag.write_odometry('/odom', START + 1, Pose(np.full(3, np.nan), np.array([0, 0, 0, 1.0]), 'odom'))
            bag.write_odometry('/odom', 0, at_x(1.0))
        frame, = FrameReader(tmp_path / 'run')
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert ['NaN' in text for text in said] == [False, True] and 'stamp 0' in said[0]
        assert frame.pose is None
        assert read_poses(tmp_path / 'run', '/odom')[1] == []

    def test_no_bags(self, tmp_path):
        refused('no such bag', bag_info, tmp_path / 'none')
        refused('there is no bag file', bag_info, tmp_path)
        other = tmp_path / 'run.txt'
        other.write_text('x')
        refused('is not a bag', bag_info, other)
        refused('rosbags-convert', bag_info, _with(tmp_path / 'old.bag', b'#ROSBAG V2.0'))

    @pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
    def test_random_bytes(self, tmp_path, suffix):
        rng = random.Random(1)
        magic = {'.mcap': b'\x89MCAP0\r\n', '.db3': b'SQLite format 3\0'}[suffix]
        for content in (b'', b'x', rng.randbytes(5000), magic, magic + rng.randbytes(5000),
                        magic + rng.randbytes(500) + magic):
            refused('bag|nothing can be read|is empty', bag_info, _with(tmp_path / f'run{suffix}', content))

    @pytest.mark.fault('bag', 'bytes of a bag that have changed', 'one line, or it is read')
    @pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
    def test_damaged_storage_ends_with_one_line_or_not_at_all(self, tmp_path, storage):
        path = write_run(tmp_path / 'run', storage, images=3)
        file, = path.glob('run.*')
        whole = file.read_bytes()
        rng = random.Random(2)
        refusals = 0
        for turn in range(24):
            damaged = bytearray(whole[:rng.randrange(len(whole))] if turn % 3 == 0 else whole)
            for _ in range(0 if turn % 3 == 0 else 20):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            file.write_bytes(damaged)
            try:
                list(FrameReader(path))
            except SegvladError as error:
                refusals += 1
                assert '\n' not in str(error)
        assert refusals > 4


def bag_bytes(bag: BagWriter, stamp: int, depth: np.ndarray) -> bytes:
    """A depth message whose stamp is not its time in the bag."""
    store = bag._store
    message = store.types[bags.IMAGE](bag._header(stamp, 'camera'), *depth.shape, '16UC1', 0, 2 * depth.shape[1],
                                           np.frombuffer(np.nan_to_num(depth * 1000).astype('<u2').tobytes(), np.uint8))
    return bytes(store.serialize_cdr(message, bags.IMAGE))


def _with(path, content):
    path.write_bytes(content)
    return path


class TestWriter:
    def test_nothing_is_overwritten(self, tmp_path):
        refused('exists already', BagWriter, tmp_path)
        refused('unknown bag storage', BagWriter, tmp_path / 'x', 'rosbag')

    def test_one_type_a_topic(self, tmp_path):
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_pose('/pose', START, at_x(0))
            refused('/pose holds', bag.write_odometry, '/pose', START, at_x(0))

    def test_an_unfinished_bag_is_no_bag(self, tmp_path):
        with pytest.raises(RuntimeError), BagWriter(tmp_path / 'run') as bag:
            bag.write_pose('/pose', START, at_x(0))
            raise RuntimeError('stopped')
        refused('before its first complete message', bag_info, tmp_path / 'run')
