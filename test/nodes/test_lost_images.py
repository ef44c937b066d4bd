"""Images that DDS loses: what the node counts against what was sent, over the middleware as it is by default."""
import os
import subprocess
import sys
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from node_harness import DEADLINE_S, PROBE_S, SECOND

from segvlad_ros.nodes.map_builder import MapBuilder
from segvlad_ros.ros.node.qos import VARIABLES, allow_large_images
from segvlad_ros.ros.output.conversions import from_time

STEP = SECOND // 30
CAMERA = f'STEP = {STEP}' + """
import array, sys, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node('camera')
publisher = node.create_publisher(Image, sys.argv[1], qos_profile_sensor_data)

stamp = int(sys.argv[2])

def publish(width, height):
    global stamp
    message = Image(width=width, height=height, step=3 * width, encoding='bgr8')
    message.data = array.array('B', bytes([90, 120]) * (3 * width * height // 2))
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    stamp += STEP
    publisher.publish(message)

for line in sys.stdin:
    count, width, height = map(int, line.split())
    begin = time.monotonic()
    for number in range(count):
        publish(width, height)
        time.sleep(max(0.0, begin + (number + 1) / 30 - time.monotonic()))
    print('done', flush=True)
"""


class Camera:
    """A process that publishes raw images, 30 a second.

    :param start: first stamp, nanoseconds
    :param environment: in which it runs
    :ivar sent: how many it has published
    """

    def __init__(self, topic, start, environment):
        self._process = subprocess.Popen([sys.executable, '-c', CAMERA, topic, str(start)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, env=environment)
        self.sent = 0

    def publish(self, count, width=160, height=120):
        self._process.stdin.write(f'{count} {width} {height}\n')
        self._process.stdin.flush()
        assert self._process.stdout.readline() == 'done\n'
        self.sent += count

    def end(self):
        self._process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def by_default(monkeypatch):
    """The environment of a user who has heard nothing of profiles; the node of this test runs in it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return dict(os.environ)


class Stream:
    """One camera and what the node counts of its images, from the first one on that arrived.

    :param start: first stamp, nanoseconds; behind all before
    """

    def __init__(self, robot, topic, start, environment):
        self._robot, self._start, self._before = robot, start, robot.statuses[-1]
        self._camera = Camera(topic, start, environment)

    def run(self, count):
        """Publish large images, and wait until what became of each is known.

        :return: how many were sent, received, lost
        """
        try:
            self._small_images_until(self._first, 'the first image')
            self._camera.publish(count, 640, 480)
            self._small_images_until(lambda: sum(self._counted()) == self._sent(), 'the fate of all')
        finally:
            self._camera.end()
        return self._sent(), *self._counted()

    def _small_images_until(self, condition, what):
        """What is lost is noticed when something behind it arrives, as an image that fits will in the end."""
        end = time.monotonic() + DEADLINE_S
        while True:
            self._camera.publish(1)
            try:
                return self._robot.peer.wait(condition, what, PROBE_S)
            except AssertionError:
                assert time.monotonic() < end, f'{what}: {self._camera.sent} sent; {self._robot.statuses[-1]}'

    def _first(self):
        """Stamp of the first image that arrived, which is a keyframe; those before met nobody who could miss them."""
        stamps = [from_time(keyframe.keyframe.stamp) for keyframe in self._robot.keyframes]
        return next((stamp for stamp in stamps if stamp >= self._start), None)

    def _sent(self):
        return self._camera.sent - (self._first() - self._start) // STEP

    def _counted(self):
        status, before = self._robot.statuses[-1], self._before
        return status.images_received - before.images_received, status.images_lost - before.images_lost


@pytest.mark.fault('topic', 'DDS loses large images on the way',
                   'counted from `message_lost` and from gaps of the stamps; the warning names the profile that helps')
def test_lost_images_are_counted_and_the_warning_says_what_helps(robot, namespace, by_default, monkeypatch):
    # a queue that is long enough: what is missing was lost on the way
    robot = robot('map_builder', {f'qos_overrides.{namespace}/image.subscription.depth': 200})

    def told(level, words):
        """The newest diagnostics, once they count as many as the status; they go out once a second."""
        lost = robot.statuses[-1].images_lost

        def found():
            return next((s for message in robot.diagnostics[-1:] for s in message.status
                         if s.name.endswith(': input') and s.level == level and words in s.message
                         and KeyValue(key='images lost', value=str(lost)) in s.values), None)
        return robot.peer.wait(found, f'diagnostics that say {words}, {lost} lost')

    sent, received, lost = Stream(robot, f'{namespace}/image', 1000 * SECOND, by_default).run(90)
    assert received + lost == sent
    assert lost > 0.1 * sent
    warning = told(DiagnosticStatus.WARN, 'are lost before they reach this node')
    assert 'fastdds_large_images.xml' in warning.message
    values = {value.key: value.value for value in warning.values}
    assert 0.1 < float(values['lost ratio']) < 1  # of the last hundred
    assert robot.warnings('are lost before they reach this node') == 1

    allow_large_images()  # on the publisher it is enough
    with_profile = dict(os.environ)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    sent, received, lost = Stream(robot, f'{namespace}/image', 2000 * SECOND, with_profile).run(110)
    assert (received, lost) == (sent, 0)
    told(DiagnosticStatus.OK, '')


@pytest.fixture
def builder(domain, tmp_path):
    """An active map_builder of this process."""
    rclpy.init(args=['--ros-args', '-p', f'map_directory:={tmp_path}'], domain_id=domain)
    node = MapBuilder()
    assert (node.trigger_configure().name, node.trigger_activate().name) == ('SUCCESS', 'SUCCESS')
    yield node
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def test_each_kind_of_loss_is_logged_when_it_begins(builder, capfd):
    """Depth that was lost while images were lost, too, was never said."""
    def logged(images=0, depth=0, come=0):
        """After some are lost, and images come, the warnings of two ticks."""
        for what, count in (('images', images), ('depth_images', depth)):
            builder.statistics.lost(what, count)
        for _ in range(come):
            builder.statistics.came('images')
        for _ in range(2):
            builder.status._tick()
        said = capfd.readouterr().err
        return said.count(' of the images are lost'), said.count(' of the depth images are lost')
    assert logged() == (0, 0)
    assert logged(images=10) == (1, 0)
    assert logged(depth=10) == (0, 1)
    assert logged(come=100) == (0, 0)
    assert logged(images=100) == (1, 0)
