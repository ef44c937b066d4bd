"""Images that DDS loses: what the node counts against what was sent, over the middleware as it is by default."""
import os
import subprocess
import sys
import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_harness import DEADLINE_S, PROBE_S

from segvlad_ros.ros.node.qos import VARIABLES, allow_large_images

CAMERA = """
import array, sys, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node('camera')
publisher = node.create_publisher(Image, sys.argv[1], qos_profile_sensor_data)

def publish(width, height):
    message = Image(width=width, height=height, step=3 * width, encoding='bgr8')
    message.data = array.array('B', bytes([90, 120]) * (3 * width * height // 2))
    message.header.stamp = node.get_clock().now().to_msg()
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

    :param environment: in which it runs
    :ivar sent: how many it has published
    """

    def __init__(self, topic, environment):
        self._process = subprocess.Popen([sys.executable, '-c', CAMERA, topic], stdin=subprocess.PIPE,
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


@pytest.mark.fault('topic', 'DDS loses large images on the way',
                   'counted from `message_lost` and from gaps of the stamps; the warning names the profile that helps')
def test_lost_images_are_counted_and_the_warning_says_what_helps(robot, namespace, by_default, monkeypatch):
    # a queue that is long enough: what is missing was lost on the way
    robot = robot('map_builder', {f'qos_overrides.{namespace}/image.subscription.depth': 200})

    def stream(environment, count):
        """What a camera has sent, and how many of that were counted as received and as lost."""
        camera = Camera(f'{namespace}/image', environment)

        def small_images_until(condition, what):
            """What is lost is noticed when something behind it arrives, as an image that fits will in the end."""
            end = time.monotonic() + DEADLINE_S
            while True:
                camera.publish(1)
                try:
                    return robot.peer.wait(lambda: condition(robot.statuses[-1]), what, PROBE_S)
                except AssertionError:
                    assert time.monotonic() < end, f'{what}: {camera.sent} sent; {robot.statuses[-1]}'

        def fates(status):
            return status.images_received + status.images_lost
        try:
            unknown = fates(robot.statuses[-1])
            small_images_until(lambda status: fates(status) > unknown, 'the first image')
            before, camera.sent = robot.statuses[-1], 0
            camera.publish(count, 640, 480)
            small_images_until(lambda status: fates(status) - fates(before) == camera.sent, 'the fate of all')
        finally:
            camera.end()
        after = robot.statuses[-1]
        return camera.sent, after.images_received - before.images_received, after.images_lost - before.images_lost

    def told(level, words):
        def found():
            return next((s for message in reversed(robot.diagnostics[-3:]) for s in message.status
                         if s.name.endswith(': input') and s.level == level and words in s.message), None)
        return robot.peer.wait(found, f'diagnostics that say {words}')

    sent, received, lost = stream(by_default, 90)
    assert received + lost == sent
    assert lost > 0.1 * sent
    warning = told(DiagnosticStatus.WARN, 'are lost before they reach this node')
    assert 'fastdds_large_images.xml' in warning.message
    values = {value.key: value.value for value in warning.values}
    assert int(values['images lost']) == lost
    assert float(values['lost ratio']) == pytest.approx(lost / sent, abs=0.01)
    assert robot.warnings('are lost before they reach this node') == 1

    allow_large_images()  # on the publisher it is enough
    with_profile = dict(os.environ)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    sent, received, lost = stream(with_profile, 110)
    assert (received, lost) == (sent, 0)
    told(DiagnosticStatus.OK, '')
