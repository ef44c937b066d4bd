"""ROS 2 in a command, and nodes as processes without ``ros2 launch``, which a pip installation does not have."""
from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from segvlad_ros.types import Pose, SegvladError

END_S = 10.0
DOMAINS = range(1, 101)  # above 101 the ports meet Linux' ephemeral ones


@contextmanager
def own_domain() -> Iterator[int]:
    """Put this process, and those that it starts, into a ROS domain which it has to itself while a block lasts.

    Who is in the same domain on the same machine is heard. To be called before :func:`ros_running`.

    :raises SegvladError: all domains are taken
    """
    for number in random.sample(DOMAINS, len(DOMAINS)):
        lock = _lock_of(number)
        if lock is not None:
            with lock:
                os.environ.update(ROS_DOMAIN_ID=str(number), ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
                yield number
                return
    raise SegvladError('all ROS domains of this machine are taken')


def _lock_of(number: int) -> IO[bytes] | None:
    """A file that keeps a domain as long as it is open; None: taken, or the file is another user's, or a link."""
    path = Path(tempfile.gettempdir()) / f'segvlad_ros_domain_{number}.lock'
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), 'rb')
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


@contextmanager
def ros_running() -> Iterator[None]:
    """Have rclpy initialised while a ``with`` block lasts.

    :raises SegvladError: ROS 2 or our messages are not installed
    """
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        import segvlad_ros.ros.input.player  # noqa: F401  (needs all that we need of ROS)
        from segvlad_ros.ros.node.qos import allow_large_images
    except ImportError as error:
        raise SegvladError(f'no ROS 2 in this environment ({error}): source it, or pip install this package') from None
    allow_large_images()
    # The command line is ours: rclpy would read --remap in it. And Ctrl-C is a KeyboardInterrupt: rclpy would shut down
    # below whoever is publishing.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


@dataclass(frozen=True)
class NodeCommand:
    """How to start one node.

    :ivar name: 'map_builder' or 'localizer'
    :ivar remaps: topics and services, from and to
    :ivar parameters: values as in a ``-p name:=value`` argument
    """

    name: str
    remaps: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    def line(self) -> list[str]:
        """The command line, with the running interpreter; the node ends with the process that starts it."""
        remaps = [word for name, target in self.remaps.items() for word in ('-r', f'{name}:={target}')]
        parameters = [word for name, value in self.parameters.items() for word in ('-p', f'{name}:={value}')]
        return [sys.executable, '-X', 'faulthandler', '-m', 'segvlad_ros.io.child_processes',
                f'segvlad_ros.nodes.{self.name}', '--ros-args', *remaps, *parameters]


def abort(process: subprocess.Popen) -> None:
    """End a node that hangs; it logs where each of its threads is, if it still can."""
    process.send_signal(signal.SIGABRT)  # for faulthandler, see :meth:`NodeCommand.line`
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class NodeProcesses:
    """Runs nodes while a ``with`` block lasts, and ends them as a user does; their output goes to ``<name>.log``.

    :param commands: what to start
    :param logs: folder of the logs
    :ivar processes: by name of the node
    :raises SegvladError: at the end of a block that has gone well, one has not ended well
    """

    def __init__(self, commands: list[NodeCommand], logs: Path) -> None:
        self._commands, self._logs = commands, logs
        self.processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> NodeProcesses:
        self._logs.mkdir(parents=True, exist_ok=True)
        for command in self._commands:
            with self._log(command.name).open('w') as log:
                self.processes[command.name] = subprocess.Popen(command.line(), stdout=log, stderr=log)
        return self

    def __exit__(self, raised: type[BaseException] | None, *exception: Any) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                abort(process)
        for name, process in self.processes.items():
            if raised is None and process.returncode != 0:
                raise self._ended(name, process)

    def check(self) -> None:
        """See that all nodes run.

        :raises SegvladError: one has ended
        """
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise self._ended(name, process)

    def _ended(self, name: str, process: subprocess.Popen) -> SegvladError:
        words = self._log(name).read_text(errors='replace').strip().splitlines() or ['(no output)']
        return SegvladError(f'{name} ended with status {process.returncode}: {words[-1]} (see {self._log(name)})')

    def _log(self, name: str) -> Path:
        return self._logs / f'{name}.log'


def loop_closure_nodes(preset: str, maps: Path, mount: Pose, camera: str = '/camera') -> list[NodeCommand]:
    """A map_builder that describes a camera's images, and a localizer that answers its keyframes.

    :param maps: folder of the map
    :param mount: the camera's optical frame in the base frame
    :param camera: namespace of the topics ``image_raw/compressed``, ``camera_info`` and ``depth/image_raw``
    """
    topics = {'image': f'{camera}/image_raw', 'camera_info': f'{camera}/camera_info',
              'depth': f'{camera}/depth/image_raw', 'odom': '/odom'}
    received = (f'{topics["image"]}/compressed', topics['camera_info'], topics['depth'], topics['odom'])
    return [
        NodeCommand('map_builder', topics, {
            'preset': preset, 'map_directory': str(maps), 'image_transport': 'compressed',
            'base_from_camera': str([float(value) for value in (*mount.translation, *mount.quaternion)]),
            # a player waits for the nodes; on a busy machine they shall lose nothing either
            'sync_timeout_s': '5.0',
            **{f'qos_overrides.{topic}.subscription.reliability': 'reliable' for topic in received}}),
        NodeCommand('localizer',
                    {'keyframes': '/map_builder/keyframes', 'get_keyframe': '/map_builder/get_keyframe',
                     'removed_keyframes': '/map_builder/removed_keyframes'},
                    {'preset': preset, 'source': 'descriptors', 'publish_evidence': 'true'}),
    ]
