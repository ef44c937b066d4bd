"""Reads bags, without ROS and without dropping anything: frames for the pipeline, poses, raw messages.

A bag is a rosbag2 folder, or a bare ``.mcap`` or ``.db3`` file. What is read is the same each time.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvlad_ros.io import bag_types
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag.

    :ivar msgtype: e.g. ``sensor_msgs/msg/Image``
    :ivar latched: recorded as transient local (``/tf_static``)
    """

    name: str
    msgtype: str
    count: int
    latched: bool


@dataclass(frozen=True)
class BagInfo:
    """What is in a bag.

    :ivar topics: by name
    :ivar start_ns: time of the first message
    :ivar duration_s: from the first message to the last
    """

    topics: tuple[BagTopic, ...]
    start_ns: int
    duration_s: float
    messages: int


@dataclass(frozen=True)
class BagMessage:
    """One recorded message.

    :ivar stamp_ns: time in the bag
    :ivar data: CDR bytes, which ``rclpy.serialization`` and publishers take
    """

    topic: str
    msgtype: str
    stamp_ns: int
    data: bytes


class Bag:
    """A bag that is open for reading; made by :func:`open_bag`."""

    def __init__(self, path: Path, reader):
        self.path = path
        self._reader = reader
        self._store = bag_types.typestore()

    def info(self) -> BagInfo:
        """Topics and times."""
        topics: dict[str, BagTopic] = {}
        for connection in self._reader.connections:
            before = topics.get(connection.topic)
            count = connection.msgcount + (before.count if before else 0)
            latched = any(profile.durability.name == 'TRANSIENT_LOCAL'
                          for profile in connection.ext.offered_qos_profiles) or bool(before and before.latched)
            topics[connection.topic] = BagTopic(connection.topic, connection.msgtype, count, latched)
        empty = self._reader.message_count == 0
        return BagInfo(tuple(topics[name] for name in sorted(topics)), 0 if empty else self._reader.start_time,
                       0.0 if empty else max(0, self._reader.duration - 1) * 1e-9, self._reader.message_count)

    def messages(self, topics: set[str] | None = None) -> Iterator[BagMessage]:
        """Recorded messages in the order of their time in the bag.

        :param topics: only these; None gives all
        """
        connections = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not connections:
            return
        iterator = self._reader.messages(connections)
        while True:
            with reporting(self.path):
                item = next(iterator, None)
            if item is None:
                return
            connection, stamp_ns, data = item
            yield BagMessage(connection.topic, connection.msgtype, stamp_ns, bytes(data))

    def decode(self, message: BagMessage):
        """A message with its fields, or None (logged) if its bytes are no such message."""
        try:
            return self._store.deserialize_cdr(message.data, message.msgtype)
        except Exception as error:  # whatever damaged bytes make the decoder do
            logger.warning('%s: a message on %s at %d ns is damaged (%s) and was passed over', self.path, message.topic,
                           message.stamp_ns, type(error).__name__)
            return None


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn whatever the reader makes of damaged bytes into one line; it raises nearly every built-in exception."""
    try:
        yield
    except SegvladError:
        raise
    except Exception as error:
        text = ' '.join(str(error).split())[:200]
        raise SegvladError(f'{path}: cannot be read as a ROS 2 bag ({type(error).__name__}: {text})') from error


@contextmanager
def open_bag(path: str | Path) -> Iterator[Bag]:
    """Open a bag.

    :raises SegvladError: missing, no bag, damaged
    """
    path = Path(path)
    bag_types.typestore()
    from rosbags.rosbag2 import Reader
    if not path.exists():
        raise SegvladError(f'{path}: no such bag')
    if path.suffix == '.bag':
        raise SegvladError(f'{path}: is a ROS 1 bag; convert it: rosbags-convert --src {path} --dst {path.stem}')
    if path.is_dir() and not (path / 'metadata.yaml').is_file():
        raise SegvladError(f'{path}: is a folder without metadata.yaml, no bag (or one that was not finished; give its '
                           '.mcap or .db3 file)')
    if path.is_file() and path.suffix not in ('.mcap', '.db3'):
        raise SegvladError(f'{path}: is no bag; give a rosbag2 folder, or a .mcap or .db3 file')
    with reporting(path):
        reader = Reader(path)
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


def bag_info(path: str | Path) -> BagInfo:
    """Topics, counts and times of a bag."""
    with open_bag(path) as bag, reporting(bag.path):
        return bag.info()


def read_messages(path: str | Path, topics: set[str] | None = None) -> Iterator[BagMessage]:
    """Recorded messages in the order of their time in the bag, not decoded.

    :param topics: only these; None gives all
    """
    with open_bag(path) as bag:
        yield from bag.messages(topics)


_POSE_READERS: dict[str, Callable[[object], Pose | None]] = {
    bag_types.ODOMETRY:
        lambda m: bag_types.pose_of(m.pose.pose, m.header.frame_id, m.pose.covariance),
    bag_types.POSE_WITH_COVARIANCE_STAMPED:
        lambda m: bag_types.pose_of(m.pose.pose, m.header.frame_id, m.pose.covariance),
    bag_types.POSE_STAMPED:
        lambda m: bag_types.pose_of(m.pose, m.header.frame_id),
}


def read_poses(path: str | Path, topic: str) -> tuple[np.ndarray, list[Pose]]:
    """All poses of an Odometry, PoseStamped or PoseWithCovarianceStamped topic, by header stamp.

    :returns: stamps (n,) int64 nanoseconds ascending, and the poses; numbers that are no pose are left out
    :raises SegvladError: no such topic, or it holds no poses
    """
    stamped: dict[int, Pose] = {}
    with open_bag(path) as bag:
        known = {t.name: t.msgtype for t in bag.info().topics if t.msgtype in _POSE_READERS}
        if topic not in known:
            raise SegvladError(f'{path}: has no poses on {topic!r}; topics with poses: {", ".join(known) or "none"}')
        for message in bag.messages({topic}):
            fields = bag.decode(message)
            pose = None if fields is None else _POSE_READERS[message.msgtype](fields)
            if pose is not None:
                stamped[bag_types.stamp_of(fields)] = pose
    stamps = sorted(stamped)
    return np.array(stamps, np.int64), [stamped[stamp] for stamp in stamps]
