"""`segvlad play` as a process: what it publishes, and how it waits for those who listen."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from nav_msgs.msg import Odometry
from node_harness import CTRL_C, DEADLINE_S, LATCHED, Robot
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from segvlad_ros.io.bags import read_messages
from segvlad_ros.msg import PlaceDescriptor, SegVladStatus
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.simulation.robot import IMAGE_TOPIC, ODOMETRY_TOPIC, SimulatedRobot, write_bag
from segvlad_ros.simulation.scenario import load_scenario


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A drive of 11 s with six images."""
    path = tmp_path_factory.mktemp('bags') / 'run'
    write_bag(SimulatedRobot(load_scenario('demo', start_m=30.0, speed=3.0, image_rate_hz=0.5,
                                           odometry_rate_hz=10.0)), path)
    return path


@pytest.fixture
def play(domain, namespace, tmp_path):
    """Starts `segvlad play` with the bag's topics in the test's namespace."""
    started = []

    def start(bag, *arguments):
        remaps = [f'{old}:={namespace}/{new}' for old, new in (
            (IMAGE_TOPIC, 'image/compressed'), (ODOMETRY_TOPIC, 'odom'), ('/camera/camera_info', 'camera_info'),
            ('/camera/depth/image_raw', 'depth'))]
        renamed = [word for remap in remaps for word in ('--remap', remap)]
        command = [*CTRL_C, sys.executable, '-m', 'segvlad_ros.cli', 'play', str(bag), *renamed, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=os.environ))
        return started[-1]
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(DEADLINE_S)


def ended(process):
    """Exit status, output and errors."""
    out, errors = process.communicate(timeout=2 * DEADLINE_S)
    return process.returncode, out, errors


def stamps_of(bag, topic):
    return [message.stamp_ns for message in read_messages(bag) if message.topic == topic]


def _as_many(received, expected):
    return len(received) >= len(expected)


def active_status(images_received=0, **fields):
    return SegVladStatus(state=SegVladStatus.LOCALIZING, images_received=images_received, **fields)


def test_everything_is_published_in_order_with_a_clock(bag, play, peer, namespace):
    images = peer.listen(CompressedImage, 'image/compressed', 100)
    odometry = peer.listen(Odometry, 'odom', 1000)
    clock = peer.listen(Clock, '/clock', 10000)
    status, out, errors = ended(play(bag, '--rate', '4'))
    assert status == 0, errors
    assert '6 images' in out
    for received, topic in ((images, IMAGE_TOPIC), (odometry, ODOMETRY_TOPIC)):
        expected = stamps_of(bag, topic)
        peer.wait(partial(_as_many, received, expected), f'all of {topic}')
        assert [from_time(message.header.stamp) for message in received] == expected
    ticks = [from_time(message.clock) for message in clock]
    assert ticks == sorted(ticks)
    assert len(ticks) > 2 * len(odometry)  # it goes on between messages
    assert ticks[-1] <= stamps_of(bag, ODOMETRY_TOPIC)[-1]


def test_raw_depth_images_reach_best_effort_subscribers(bag, play, peer):
    """They are larger than Fast DDS's default shared memory, see ros/transport.py."""
    best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    peer.listen(CompressedImage, 'image/compressed', 10)
    depth = peer.listen(Image, 'depth', best_effort)
    status, _, errors = ended(play(bag, '--rate', '2'))
    assert status == 0, errors
    peer.wait(lambda: len(depth) == 6, 'six depth images')
    assert {(image.encoding, image.height, image.width) for image in depth} == {('16UC1', 480, 640)}


def test_paced_play_loses_nothing_on_the_way_through_both_nodes(bag, play, peer, launch, namespace):
    """Every image reaches the map_builder, every keyframe the localizer, however slow they are."""
    builder = Robot(peer, launch('map_builder', {
        'image_transport': 'compressed', 'keyframe.min_interval_s': 3.0, 'sync_timeout_s': 5.0,
        **{f'qos_overrides.{namespace}/{topic}.subscription.reliability': 'reliable'
           for topic in ('image/compressed', 'camera_info', 'depth', 'odom')}}))
    localizer = Robot(peer, launch('localizer', {'source': 'descriptors'}, {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe'}))
    builder.running()
    localizer.running()
    status, _, errors = ended(play(bag, '--paced', f'--wait-for={namespace}/map_builder',
                                   f'--wait-for={namespace}/localizer', '--deadline', str(DEADLINE_S)))
    assert status == 0, errors + builder.node.text() + localizer.node.text()
    last = builder.status(lambda s: s.images_received == 6, 'six images')
    assert (last.images_dropped, last.images_rejected) == (0, 0)
    assert last.keyframes_processed == 3  # two seconds between the images, three asked for
    localizer.status(lambda s: s.keyframes_processed == 3, 'three answers')
    peer.wait(partial(_as_many, localizer.matches, range(3)), 'three answers')
    assert [answer.query.index for answer in localizer.matches] == [1, 2, 3]
    assert [keyframe.pose_frame for keyframe in builder.keyframes] == ['odom'] * 3, builder.node.text()


def test_no_image_goes_out_before_the_one_before_is_dealt_with(bag, play, peer, namespace):
    statuses = peer.node.create_publisher(SegVladStatus, '~/status', LATCHED)
    log = []

    def take(image):
        log.append('image')
        timer = peer.node.create_timer(0.15, lambda: finish(timer))

    def finish(timer):
        timer.cancel()
        log.append('done')
        statuses.publish(active_status(images_received=100 + log.count('done')))

    peer.node.create_subscription(CompressedImage, 'image/compressed', take, 10)
    heartbeat = peer.node.create_timer(
        0.2, lambda: statuses.publish(active_status(images_received=100 + log.count('done'))))
    status, _, errors = ended(play(bag, '--paced'))
    heartbeat.cancel()
    assert status == 0, errors
    assert log == ['image', 'done'] * 6


def test_no_image_goes_out_before_keyframes_reach_who_takes_them(bag, play, peer):
    """A keyframe from before the map_builder has found the localizer would be waited for in vain."""
    maker, taker = peer.another('maker'), peer.another('taker')
    images = peer.listen(CompressedImage, 'image/compressed', 100)
    log = []
    maker.create_subscription(CompressedImage, 'image/compressed', lambda image: log.append('image'), 100)
    taker.create_subscription(PlaceDescriptor, 'maker/keyframes', log.append, 10)
    said = [node.create_publisher(SegVladStatus, '~/status', LATCHED) for node in (maker, taker)]

    def say(subscribers):
        for publisher, takers in zip(said, (subscribers, 0)):
            publisher.publish(active_status(log.count('image'), keyframe_subscribers=takers))

    heartbeat = maker.create_timer(0.1, lambda: say(int('found' in log)))
    playing = play(bag, '--paced')
    peer.wait(lambda: maker.count_publishers('image/compressed'), 'the player')
    taker.create_timer(3.0, lambda: log.append('found'))  # longer than it would wait for anything else
    status, _, errors = ended(playing)
    heartbeat.cancel()
    assert status == 0, errors
    assert log[0] == 'found' and len(images) == 6


@pytest.mark.fault('topic', '`play --paced` and a node that died', 'reported after the deadline')
def test_a_node_that_never_answers_is_reported_not_waited_for_forever(bag, play, peer):
    statuses = peer.node.create_publisher(SegVladStatus, '~/status', LATCHED)
    images = peer.listen(CompressedImage, 'image/compressed', 100)
    heartbeat = peer.node.create_timer(0.1, lambda: statuses.publish(active_status()))
    status, out, errors = ended(play(bag, '--paced', '--deadline', '8'))
    heartbeat.cancel()
    assert status == 1
    assert '6 images were not processed in time' in out
    assert 'has not dealt with an image after 8 s' in errors
    peer.wait(lambda: len(images) == 6, 'all images all the same')


@pytest.mark.parametrize(('arguments', 'problem'), [
    (['--deadline', '1'], 'nobody subscribes'),
    (['--remap=/nope:=/x'], 'has no topic /nope'),
    (['--remap=nope'], 'write /from:=/to'),
    (['--remap=/ground_truth/pose:=/a//b'], "must not contain repeated '/'"),
    (['--remap=/ground_truth/pose:=/a{b}'], 'unknown substitution'),
    (['--remap=/ground_truth/pose:=/clock'], 'cannot be published as /clock, which is of rosgraph_msgs/msg/Clock'),
    (['--remap=/ground_truth/pose:=/rosout'], 'cannot be published as /rosout: '),
    (['--remap=/ground_truth/pose:=/a', '--remap=/ground_truth/pose:=/b'], '--remap is given twice'),
    (['--image-topic', '/front'], 'has no image topic /front'),
    (['--rate', '0'], 'not a number above 0'),
])
def test_what_cannot_be_played_ends_with_status_2_and_one_line(bag, play, arguments, problem):
    status, _, errors = ended(play(bag, *arguments))
    assert status == 2
    assert problem in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_bag_that_ends_in_the_middle_is_played_up_to_there(bag, play, peer, tmp_path):
    file, = bag.glob('*.mcap')
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(file.read_bytes()[:file.stat().st_size * 2 // 3])
    images = peer.listen(CompressedImage, 'image/compressed', 100)
    status, out, errors = ended(play(cut, '--rate', '4'))
    assert status == 0, errors
    expected = stamps_of(cut, IMAGE_TOPIC)
    assert 0 < len(expected) < 6
    assert f'{len(expected)} images' in out
    assert 'ends in the middle' in errors
    assert len(errors.strip().splitlines()) == 1
    peer.wait(partial(_as_many, images, expected), 'the images up to the cut')


@pytest.mark.fault('bag', '`play` of random bytes', 'status 2 and one line')
def test_random_bytes_and_missing_bags_end_with_status_2(play, tmp_path):
    (tmp_path / 'junk.mcap').write_bytes(os.urandom(2000))
    for path in (tmp_path / 'junk.mcap', tmp_path / 'missing'):
        status, _, errors = ended(play(path))
        assert status == 2
        assert len(errors.strip().splitlines()) == 1


@pytest.mark.fault('tool', 'Ctrl-C in `segvlad play`',
                   'status 130, no traceback')
def test_ctrl_c_ends_it_without_a_word(bag, play, peer):
    """While it plays; its --remap is not meant for rcl, which would complain of it."""
    images = peer.listen(CompressedImage, 'image/compressed', 100)
    process = play(bag)
    peer.wait(lambda: images, 'the first image')
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, '', '')
