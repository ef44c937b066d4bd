"""Nodes as real processes, and a peer that talks to them over real DDS: it waits for answers, with deadlines."""
from __future__ import annotations

import array
import functools
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from shared_data import shared

from segvlad_ros.cli.processes import NodeCommand, abort
from segvlad_ros.msg import PlaceDescriptor, PlaceMatchArray, SegVladStatus
from segvlad_ros.ros.output.conversions import to_time

DEADLINE_S = 240.0  # for a machine that is busy with other work; on an idle one nothing here takes long
PROBE_S = 2.0  # a call that is tried again may be lost
SECOND = 10**9
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CTRL_C = ('env', '--default-signal=INT')  # before a command: a shell's background jobs ignore SIGINT, and so would it
EVERY_IMAGE = {'keyframe.min_interval_s': 0.0, 'keyframe.no_odometry_interval_s': 0.0}


def real_images(folder: str, names: list[int], size: tuple[int, int] = (480, 360)) -> list[np.ndarray]:
    """Images of a real data set.

    :param size: width and height they are resized to
    """
    paths = [shared(f'data/{folder}/{name:04d}.jpg') for name in names]
    return [cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), size) for path in paths]


def image_message(rgb: np.ndarray, seconds: float, encoding: str = 'rgb8', padding: int = 0) -> Image:
    """An image as a camera driver sends it.

    :param padding: bytes behind each row
    """
    convert = {'rgb8': None, 'bgr8': cv2.COLOR_RGB2BGR, 'bgra8': cv2.COLOR_RGB2BGRA, 'mono8': cv2.COLOR_RGB2GRAY}
    pixels = rgb if convert[encoding] is None else cv2.cvtColor(rgb, convert[encoding])
    rows = np.ascontiguousarray(pixels).reshape(len(rgb), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding, step=rows.shape[1])
    message.data = array.array('B', rows.tobytes())
    return stamped(message, seconds)


def compressed_message(rgb: np.ndarray, seconds: float) -> CompressedImage:
    """The image as PNG, so that nothing is lost."""
    _, data = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return stamped(CompressedImage(format='rgb8; png compressed bgr8', data=array.array('B', data.tobytes())), seconds)


def stamped(message, seconds: float, frame: str = 'camera_optical'):
    """The message with its header filled."""
    message.header.stamp = to_time(round(seconds * SECOND))
    message.header.frame_id = frame
    return message


def reliable(namespace: str, *topics: str) -> dict[str, str]:
    """Parameters that make sensor subscriptions reliable, so that each message that is sent arrives: also the first,
    of which the publisher knows the subscription already, and the subscription may not know the publisher.
    """
    return {f'qos_overrides.{namespace}/{topic}.subscription.reliability': 'reliable' for topic in topics}


class NodeProcess:
    """One node in its own process.

    :param prefix: what its command line begins with
    """

    def __init__(self, executable: str, namespace: str, log: Path, parameters: dict, remappings: dict, *,
                 prefix: Sequence[str] = ()) -> None:
        texts = {name: str(value).lower() if isinstance(value, bool) else f'{value!r}' if value == '' else str(value)
                 for name, value in parameters.items()}
        command = [*prefix, *NodeCommand(executable, {'__ns': namespace, **remappings}, texts).line()]
        self.name = f'{namespace}/{executable}'
        self.log = log
        self.started_ns = time.time_ns()
        with log.open('wb') as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> int:
        """End it as a user does, with SIGINT.

        :return: exit status
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            abort(self.process)
            pytest.fail(f'{self.name} did not end; it said:\n{self.text()}')

    def kill(self) -> None:
        """Like a power cut."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors='replace')


class Peer:
    """The other side: publishes, subscribes, calls; one thread spins, and waiting is for a condition."""

    def __init__(self, context, namespace: str) -> None:
        self.namespace = namespace
        self._context, self._others = context, []
        self.node = rclpy.create_node('peer', namespace=namespace, context=context)
        self._changed = threading.Condition()
        self._clients: dict[str, object] = {}
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop spinning."""
        self._executor.shutdown()
        self._thread.join(DEADLINE_S)
        for node in (self.node, *self._others):
            node.destroy_node()

    def another(self, name: str):
        """One more node, which the same thread spins."""
        return self.spin(rclpy.create_node(name, namespace=self.namespace, context=self._context))

    def spin(self, node):
        """Have the same thread spin a node, and destroy it at the end."""
        self._others.append(node)
        self._executor.add_node(node)
        return node

    def listen(self, kind, topic: str, qos=10, since_ns: int = 0) -> list:
        """Collect the messages of a topic.

        :param since_ns: what was sent before this time of the system's clock does not count
        """
        messages = []

        def take(message, about):
            if about['source_timestamp'] >= since_ns:
                with self._changed:
                    messages.append(message)
                    self._changed.notify_all()
        self.node.create_subscription(kind, topic, take, qos)
        return messages

    def wait(self, condition, what: str, deadline_s: float = DEADLINE_S):
        """Wait until a condition is true; it is looked at again whenever a message has come.

        :return: what the condition gave
        """
        end = time.monotonic() + deadline_s
        with self._changed:
            while not (result := condition()):
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f'waited {deadline_s:g} s for {what}')
                self._changed.wait(min(left, 0.05))  # matched endpoints do not notify
        return result

    def publisher(self, kind, topic: str, reliability=ReliabilityPolicy.RELIABLE, depth: int = 10):
        """A publisher; wait for :meth:`matched` before it is used."""
        return self.node.create_publisher(kind, topic, QoSProfile(depth=depth, reliability=reliability))

    def matched(self, publisher, count: int = 1) -> None:
        """Wait until a publisher has its subscribers."""
        self.wait(lambda: publisher.get_subscription_count() >= count, f'a subscriber on {publisher.topic_name}')

    def call(self, kind, service: str, /, **fields):
        """Call a service and wait for its answer."""
        if service not in self._clients:
            self._clients[service] = self._connected_client(kind, service)
        return self._answer(self._clients[service], kind.Request(**fields), DEADLINE_S)

    def _connected_client(self, kind, service: str):
        """A client whose answers arrive.

        A service may be seen before its node has seen where we want the answer, and then the answer is dropped
        without a word. What we announce arrives in order: once a probe that was made later is answered, the node
        knows of the client that was made before it.
        """
        client = self.node.create_client(kind, service)
        probe = self.node.create_client(GetParameters, f'{service.rsplit("/", 1)[0]}/get_parameters')
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                self._answer(probe, GetParameters.Request(), PROBE_S)
                break
            except AssertionError:
                if time.monotonic() > end:
                    raise
        self.node.destroy_client(probe)
        return client

    def _answer(self, client, request, deadline_s: float):
        self.wait(client.service_is_ready, f'the service {client.srv_name}')
        future = client.call_async(request)
        try:
            return self.wait(lambda: future.done() and future.result(), f'the answer of {client.srv_name}', deadline_s)
        finally:
            client.remove_pending_request(future)


class Robot:
    """A node under test with its peer: sends images one at a time and knows what became of each."""

    def __init__(self, peer: Peer, node: NodeProcess) -> None:
        self.peer, self.node = peer, node
        private = node.name.rsplit('/', 1)[1]
        self.private = private
        # of this process: one of the same name that has ended may still be heard
        listen = functools.partial(peer.listen, since_ns=node.started_ns)
        self.statuses = listen(SegVladStatus, f'{private}/status',
                               QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.diagnostics = listen(DiagnosticArray, '/diagnostics')
        # a subscription that no publisher finds would keep a player waiting
        self.keyframes = listen(PlaceDescriptor, f'{private}/keyframes', 100) if private == 'map_builder' else []
        self.matches = listen(PlaceMatchArray, f'{private}/matches', 100)

    def status(self, condition, what: str) -> SegVladStatus:
        """Wait for a status."""
        def fitting():
            if self.node.process.poll() is not None:
                raise AssertionError(f'{self.node.name} has ended:\n{self.node.text()}')
            return self.statuses[-1] if self.statuses and condition(self.statuses[-1]) else None
        try:
            return self.peer.wait(fitting, what)
        except AssertionError as error:
            raise AssertionError(f'{error}; last status {self.statuses[-1:]}; log:\n{self.node.text()}') from None

    def running(self) -> SegVladStatus:
        """Wait until the node is active, and until its unlatched messages reach us (what it says before is lost)."""
        name = self.node.name.strip('/')
        self.status(lambda s: any(name in status.name for message in self.diagnostics for status in message.status),
                    'diagnostics')
        return self.status(lambda s: s.state in (SegVladStatus.MAPPING, SegVladStatus.LOCALIZING), 'an active node')

    def camera(self, kind=Image, topic: str = 'image', **qos):
        """A publisher of images that the node listens to."""
        publisher = self.peer.publisher(kind, topic, **qos)
        self.peer.matched(publisher)
        return publisher

    def abandon(self, publisher) -> None:
        """Wait until the node has unsubscribed, and remove the publisher."""
        self.peer.wait(lambda: publisher.get_subscription_count() == 0, 'the node to unsubscribe')
        self.peer.node.destroy_publisher(publisher)

    def send(self, publisher, message) -> SegVladStatus:
        """Publish one image and wait until its fate is known.

        :return: the status after it
        """
        before = self.statuses[-1].images_received
        publisher.publish(message)
        return self.status(lambda s: s.images_received > before, f'the fate of image {before + 1}')

    def keyframe(self, count: int) -> PlaceDescriptor:
        """Wait for the keyframe with a number, counted from 1."""
        return self.peer.wait(lambda: len(self.keyframes) >= count and self.keyframes[count - 1], f'keyframe {count}')

    def answer(self, count: int) -> PlaceMatchArray:
        """Wait for the answer with a number, counted from 1."""
        return self.peer.wait(lambda: len(self.matches) >= count and self.matches[count - 1], f'answer {count}')

    def transition(self, transition: int) -> bool:
        """Ask for a lifecycle transition."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.peer.call(ChangeState, f'{self.private}/change_state', transition=request.transition).success

    def state(self) -> str:
        """The lifecycle state."""
        return self.peer.call(GetState, f'{self.private}/get_state').current_state.label

    def warnings(self, pattern: str) -> int:
        """How often a line was logged."""
        return len(re.findall(pattern, self.node.text()))
