"""Reads bags, without ROS and without dropping anything: frames for the pipeline, poses, raw messages.

A bag is a rosbag2 folder, or a bare ``.mcap`` or ``.db3`` file, also packed with zstd; ``bag_files.py`` finds its
files, ``bag_mcap.py`` and ``bag_sqlite.py`` read one. What is read is the same each time.
"""
from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import sound_pose
from segvlad_ros.io import zstd
from segvlad_ros.io.bag_files import open_files
from segvlad_ros.io.bag_storage import CDR, Storage, warnings_held_back
from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.text import said_by
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
ODOMETRY = 'nav_msgs/msg/Odometry'
POSE_STAMPED = 'geometry_msgs/msg/PoseStamped'
POSE_WITH_COVARIANCE_STAMPED = 'geometry_msgs/msg/PoseWithCovarianceStamped'
NAV_SAT_FIX = 'sensor_msgs/msg/NavSatFix'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'


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


@lru_cache(maxsize=1)
def typestore():
    """The message definitions of ROS 2 Jazzy, from rosbags; no ROS installation is needed."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SegvladError(f'rosbags cannot be imported ({error}); install it: pip install rosbags') from error
    return get_typestore(Stores.ROS2_JAZZY)


class Bag:
    """A bag that is open for reading; made by :func:`open_bag`.

    :ivar foreign: topics whose messages are not ROS 2's, with what they are: ``protobuf``, ``json``, ``ros1`` ...
    """

    def __init__(self, path: Path, files: list[Storage]):
        self.path, self._files = path, files
        self._topics = [[topic for topic in file.topics if topic.encoding == CDR] for file in files]
        self.foreign = {topic.name: topic.encoding for file in files for topic in file.topics if topic.encoding != CDR}
        self._store = typestore()

    def info(self) -> BagInfo:
        """Topics and times."""
        topics: dict[str, BagTopic] = {}
        for stored in chain(*self._topics):
            before = topics.get(stored.name, BagTopic(stored.name, stored.msgtype, 0, False))
            topics[stored.name] = BagTopic(stored.name, stored.msgtype, before.count + stored.count,
                                           before.latched or stored.latched)
        filled = [file for file in self._files if file.count]
        start_ns = min((file.start_ns for file in filled), default=0)
        end_ns = max((file.end_ns for file in filled), default=0)
        return BagInfo(tuple(topics[name] for name in sorted(topics)), start_ns, max(0, end_ns - start_ns) * 1e-9,
                       sum(topic.count for topic in topics.values()))

    def messages(self, topics: set[str] | None = None) -> Iterator[BagMessage]:
        """Recorded messages in the order of their time in the bag.

        :param topics: only these; None gives all
        """
        for file, stored in zip(self._files, self._topics):
            by_key = {topic.key: topic for topic in stored if topics is None or topic.name in topics}
            with reporting(self.path):
                for key, stamp_ns, data in file.messages(set(by_key)):
                    yield BagMessage(by_key[key].name, by_key[key].msgtype, stamp_ns, _unpacked(data))

    def decode(self, message: BagMessage):
        """A message with its fields, or None (logged) if its bytes are no such message."""
        try:
            return self._store.deserialize_cdr(message.data, message.msgtype)
        except Exception as error:  # whatever damaged bytes make the decoder do
            logger.warning('%s: a message on %s at %d ns is damaged (%s) and was passed over', self.path, message.topic,
                           message.stamp_ns, type(error).__name__)
            return None

    def close(self) -> None:
        """Close its files."""
        for file in self._files:
            file.close()


def _unpacked(data: bytes) -> bytes:
    """A message as it was published. Packed ones need no ``metadata.yaml`` to be known: CDR begins with a zero."""
    if not data.startswith(zstd.MAGIC):
        return data
    try:
        return zstd.decompress(data)
    except SegvladError:
        return data  # and so no message, which is said where it is decoded


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn whatever damaged bytes make of the reader into one line."""
    try:
        yield
    except SegvladError:
        raise
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror or error})') from error
    except Exception as error:
        raise SegvladError(f'{path}: cannot be read as a ROS 2 bag ({said_by(error, 200)})') from error


@contextmanager
def open_bag(path: str | Path) -> Iterator[Bag]:
    """Open a bag. What of it cannot be read, though the rest can, is logged once.

    :raises SegvladError: missing, no bag, no ROS 2 messages, or nothing of it can be read
    """
    path = Path(path)
    with ExitStack() as stack:
        with reporting(path), warnings_held_back():
            bag = stack.enter_context(closing(Bag(path, open_files(path))))
            _check_encoding(bag)
        yield bag


def _check_encoding(bag: Bag) -> None:
    """Refuse a bag without one ROS 2 message."""
    kinds = sorted(set(bag.foreign.values()))
    if not kinds or any(topic.count for topic in bag.info().topics):
        return
    if kinds == ['ros1']:
        raise SegvladError(f'{bag.path}: holds ROS 1 messages; convert the .bag that it was made from to ROS 2: '
                           'rosbags-convert --src RUN.bag --dst RUN')
    raise SegvladError(f'{bag.path}: holds {" and ".join(kinds)} messages (as Foxglove writes them), no ROS 2 messages '
                       '(cdr); record the ROS 2 topics with ros2 bag record')


def bag_info(path: str | Path) -> BagInfo:
    """Topics, counts and times of a bag."""
    with open_bag(path) as bag, reporting(bag.path):
        return bag.info()


def read_messages(path: str | Path, topics: set[str] | None = None) -> Iterator[BagMessage]:
    """Recorded messages as :meth:`Bag.messages` gives them, not decoded."""
    with open_bag(path) as bag:
        yield from bag.messages(topics)


def pose_of(message, frame: str, covariance: np.ndarray | None = None) -> Pose | None:
    """The pose of a geometry_msgs Pose or Transform.

    :param covariance: (36,) as in the message; all zeros mean unknown
    :returns: None where the numbers are not a pose (NaN, an unfilled quaternion)
    """
    place = message.translation if hasattr(message, 'translation') else message.position
    turn = message.rotation if hasattr(message, 'rotation') else message.orientation
    if covariance is not None:
        covariance = np.asarray(covariance, np.float64).reshape(6, 6)
        if not np.isfinite(covariance).all() or not covariance.any():
            covariance = None
    try:
        return sound_pose(Pose(np.array([place.x, place.y, place.z]), np.array([turn.x, turn.y, turn.z, turn.w]), frame,
                               covariance))
    except SegvladError:
        return None


def stamped_pose(message) -> Pose | None:
    """The pose of an Odometry, PoseStamped or PoseWithCovarianceStamped, see :func:`pose_of`."""
    if hasattr(message.pose, 'covariance'):
        return pose_of(message.pose.pose, message.header.frame_id, message.pose.covariance)
    return pose_of(message.pose, message.header.frame_id)


def read_poses(path: str | Path, topic: str) -> tuple[np.ndarray, list[Pose]]:
    """All poses of an Odometry, PoseStamped or PoseWithCovarianceStamped topic, by header stamp.

    :returns: stamps (n,) int64 nanoseconds ascending, and the poses; what is not a pose, or has stamp 0, is left out
    :raises SegvladError: no such topic, or it holds no poses
    """
    stamped: dict[int, Pose] = {}
    with open_bag(path) as bag:
        known = [each.name for each in bag.info().topics
                 if each.msgtype in (ODOMETRY, POSE_STAMPED, POSE_WITH_COVARIANCE_STAMPED)]
        if topic not in known:
            raise SegvladError(f'{path}: has no poses on {topic!r}; topics with poses: {", ".join(known) or "none"}')
        for message in bag.messages({topic}):
            fields = bag.decode(message)
            pose = None if fields is None else stamped_pose(fields)
            if pose is not None and stamp_ns(fields) > 0:
                stamped[stamp_ns(fields)] = pose
    stamps = sorted(stamped)
    return np.array(stamps, np.int64), [stamped[stamp] for stamp in stamps]
