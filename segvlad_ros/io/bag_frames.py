"""Camera frames from a bag, each with the depth, intrinsics and odometry that belong to it.

Two passes: the first reads what is small and all stamps, so that the second can hand out each image with exactly its
nearest depth image and with odometry interpolated at its stamp, in the order of the bag and without holding more than
the few images that wait for a late depth image.
"""
from __future__ import annotations

import bisect
import logging
import struct
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import PoseHistory, StaticTransforms
from segvlad_ros.io import bag_types, image_codec
from segvlad_ros.io.bags import Bag, BagMessage, BagTopic, open_bag
from segvlad_ros.io.unused import Unused
from segvlad_ros.types import CameraModel, Frame, SegvladError

logger = logging.getLogger(__name__)
_IMAGES = (bag_types.IMAGE, bag_types.COMPRESSED_IMAGE)


@dataclass(frozen=True)
class BagTopics:
    """Where the inputs are. None takes what the bag makes obvious, '' does without.

    :ivar image: raw or compressed; the raw topic's name also finds ``<name>/compressed``
    :ivar depth: raw, ``compressedDepth`` or 16-bit PNG; it must have the size of the image (a registered depth image)
    """

    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    odom: str | None = None


class FrameReader:
    """The frames of one bag; iterating again reads again.

    :ivar topics: the topics that are used; '' for none
    :ivar total: images in the bag, for a progress bar
    :ivar frames, skipped, without_pose, without_depth: counts of the last or running iteration: frames handed out,
        images that could not be decoded (each reason is logged once, at the end), frames without odometry or depth
        although there is such a topic
    """

    def __init__(self, path: str | Path, topics: BagTopics | None = None, *, base_frame: str = '',
                 depth_tolerance_s: float = 0.02, odom_gap_s: float = 0.5, image_bits: int = 0):
        self._image_bits = image_bits
        self.path = Path(path)
        self._depth_tolerance_ns = round(depth_tolerance_s * 1e9)
        self._base_frame = base_frame
        self._odometry = PoseHistory(max_gap_s=odom_gap_s)
        self._static = StaticTransforms()
        self._camera: CameraModel | None = None
        with open_bag(path) as bag:
            self.topics = pick_topics(bag, topics or BagTopics())
            image_stamps, depth_stamps = self._survey(bag)
        self._depth_of = self._pair(image_stamps, sorted(depth_stamps))
        self.total = len(image_stamps)
        self._reset_counts()

    def _reset_counts(self) -> None:
        self.frames = self.skipped = self.without_pose = self.without_depth = 0
        self._unused, self._unused_depth = Unused('images'), Unused('depth images')

    def _survey(self, bag: Bag) -> tuple[list[int | None], set[int]]:
        """First pass: odometry, static transforms, intrinsics; stamps of the images in order, and of the depth."""
        used = self.topics
        image_stamps: list[int | None] = []
        depth_stamps: set[int] = set()
        for message in bag.messages({used.image, used.depth, used.camera_info, used.odom, '/tf_static'} - {''}):
            if message.topic == used.image:
                image_stamps.append(_header_stamp(message.data))
            elif message.topic == used.depth:
                depth_stamps.add(_header_stamp(message.data))
            elif message.topic != used.camera_info or self._camera is None:
                self._take(message.topic, bag.decode(message))
        return image_stamps, depth_stamps - {None}

    def _take(self, topic: str, fields) -> None:
        if fields is None:
            return
        if topic == self.topics.odom:
            pose = bag_types.pose_of(fields.pose.pose, fields.header.frame_id, fields.pose.covariance)
            if pose is not None:
                self._odometry.add(bag_types.stamp_of(fields), pose)
                self._base_frame = self._base_frame or fields.child_frame_id
        elif topic == self.topics.camera_info:
            if fields.width and np.any(fields.k):
                self._camera = CameraModel(fields.width, fields.height, np.array(fields.k).reshape(3, 3),
                                           np.array(fields.d), fields.distortion_model)
        else:
            for transform in fields.transforms:
                pose = bag_types.pose_of(transform.transform, transform.header.frame_id)
                if pose is not None:
                    self._static.add(pose, transform.child_frame_id)

    def _pair(self, image_stamps: list[int | None], depth_stamps: list[int]) -> list[int | None]:
        """For each image the stamp of the nearest depth image within the tolerance, or None."""
        pairs: list[int | None] = []
        for stamp in image_stamps:
            near: list[int] = []
            if stamp is not None:
                at = bisect.bisect_left(depth_stamps, stamp)
                near = [d for d in depth_stamps[max(0, at - 1):at + 1] if abs(d - stamp) <= self._depth_tolerance_ns]
            pairs.append(min(near, key=lambda d: abs(d - stamp)) if near else None)
        return pairs

    def __iter__(self) -> Iterator[Frame]:
        self._reset_counts()
        awaited = Counter(stamp for stamp in self._depth_of if stamp is not None)
        held: dict[int, BagMessage] = {}
        waiting: deque[tuple[BagMessage, int | None]] = deque()
        wanted = iter(self._depth_of)
        with open_bag(self.path) as bag:
            for message in bag.messages({self.topics.image, self.topics.depth} - {''}):
                if message.topic == self.topics.image:
                    waiting.append((message, next(wanted, None)))
                elif (stamp := _header_stamp(message.data)) in awaited:
                    held.setdefault(stamp, message)
                while waiting and (waiting[0][1] is None or waiting[0][1] in held):
                    image, depth_stamp = waiting.popleft()
                    depth = None if depth_stamp is None else held[depth_stamp]
                    frame = self._frame(bag, image, depth)
                    if depth_stamp is not None:
                        awaited[depth_stamp] -= 1
                        if not awaited[depth_stamp]:
                            del awaited[depth_stamp], held[depth_stamp]
                    if frame is not None:
                        self._count(frame)
                        yield frame
        if self._unused and not self.frames:
            raise SegvladError(f'{self.path}: none of its {len(self._unused)} images on {self.topics.image} can be '
                               f'used: {self._unused.main_reason}')
        self._unused.warn(self.path)
        self._unused_depth.warn(self.path)

    def _count(self, frame: Frame) -> None:
        self.frames += 1
        self.without_pose += bool(self.topics.odom) and frame.pose is None
        self.without_depth += bool(self.topics.depth) and frame.depth is None

    def _frame(self, bag: Bag, image: BagMessage, depth: BagMessage | None) -> Frame | None:
        fields = bag.decode(image)
        try:
            if fields is None:
                raise SegvladError('not a message of its type')
            rgb = _decode_image(fields, self._image_bits)
        except SegvladError as error:
            self.skipped += 1
            self._unused.add(str(error), image.stamp_ns)
            return None
        stamp = bag_types.stamp_of(fields)
        frame = Frame(rgb, stamp, frame_id=fields.header.frame_id, pose=self._odometry.at(stamp),
                      depth=self._depth(bag, depth, rgb.shape[:2]))
        if self._camera is not None and (self._camera.height, self._camera.width) == rgb.shape[:2]:
            frame = replace(frame, camera_model=self._camera)
        if self._base_frame and frame.frame_id:
            frame = replace(frame, base_from_camera=self._static.lookup(self._base_frame, frame.frame_id))
        return frame

    def _depth(self, bag: Bag, message: BagMessage | None, shape: tuple[int, int]) -> np.ndarray | None:
        fields = None if message is None else bag.decode(message)
        if fields is None:
            return None
        try:
            depth = _decode_depth(fields)
            if depth.shape != shape:
                raise SegvladError(f'it has {depth.shape[1]} x {depth.shape[0]} pixels, the image {shape[1]} x '
                                   f'{shape[0]}; use depth registered to the image')
            return depth
        except SegvladError as error:
            self._unused_depth.add(str(error), message.stamp_ns)
            return None


def read_frames(path: str | Path, topics: BagTopics | None = None, *, base_frame: str = '',
                depth_tolerance_s: float = 0.02, odom_gap_s: float = 0.5, image_bits: int = 0) -> FrameReader:
    """The frames of a bag in order, see :class:`FrameReader`.

    :param topics: None picks all from the bag
    :param base_frame: the robot's base, for ``base_from_camera``; '' takes the odometry's child frame
    :param depth_tolerance_s: a depth image further from the image than this is another one's
    :param odom_gap_s: odometry with a longer gap than this around the image is not interpolated
    :param image_bits: of the camera, in images of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    :raises SegvladError: no bag, no or several possible image topics, or a topic that is not there
    """
    return FrameReader(path, topics, base_frame=base_frame, depth_tolerance_s=depth_tolerance_s, odom_gap_s=odom_gap_s,
                       image_bits=image_bits)


def _header_stamp(data: bytes) -> int | None:
    """Stamp of a CDR message that begins with a Header, without decoding the rest."""
    if len(data) < 12:
        return None
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return seconds * 1_000_000_000 + nanoseconds


def _raw_fields(fields) -> dict:
    return {'height': fields.height, 'width': fields.width, 'encoding': fields.encoding,
            'is_bigendian': bool(fields.is_bigendian), 'step': fields.step, 'data': fields.data}


def _decode_image(fields, bits: int) -> np.ndarray:
    if hasattr(fields, 'encoding'):
        return image_codec.decode_image(**_raw_fields(fields), bits=bits)
    return image_codec.decode_compressed(fields.data, bits=bits)


def _decode_depth(fields) -> np.ndarray:
    if hasattr(fields, 'encoding'):
        return image_codec.decode_depth(**_raw_fields(fields))
    return image_codec.decode_compressed_depth(fields.data, fields.format)


def _is_depth(bag: Bag, topic: BagTopic) -> bool:
    """Look at the first message: a name alone does not tell depth from colour."""
    first = next(bag.messages({topic.name}), None)
    fields = None if first is None else bag.decode(first)
    if fields is None:
        return 'depth' in topic.name.lower()
    kind = fields.encoding if hasattr(fields, 'encoding') else fields.format
    return kind.startswith(('16UC1', '32FC1')) or 'compressedDepth' in kind


def _base_name(topic: str) -> str:
    """Name of the raw topic that a transport's topic belongs to."""
    for suffix in ('/compressed', '/compressedDepth'):
        topic = topic.removesuffix(suffix)
    return topic


def pick_topics(bag: Bag, asked: BagTopics) -> BagTopics:
    """Replace None by what the bag makes obvious, and check what is asked for.

    :raises SegvladError: naming the candidates
    """
    topics = [topic for topic in bag.info().topics if topic.count]
    by_name = {topic.name: topic for topic in topics}
    images = [topic for topic in topics if topic.msgtype in _IMAGES]

    def check(kind: str, name: str, types: tuple[str, ...], suffixes: tuple[str, ...] = ('',)) -> str:
        for suffix in suffixes:
            if name + suffix in by_name and by_name[name + suffix].msgtype in types:
                return name + suffix
        having = ', '.join(topic.name for topic in topics if topic.msgtype in types) or 'none'
        raise SegvladError(f'{bag.path}: no {kind} on {name!r}; topics of that type: {having}')

    if asked.image is None:
        cameras: dict[str, str] = {}
        for topic in images:  # sorted, so that the raw topic comes before its compressed one
            if not _is_depth(bag, topic):
                cameras.setdefault(_base_name(topic.name), topic.name)
        if len(cameras) != 1:
            found = ', '.join(f'{name} ({by_name[name].count})' for name in cameras.values())
            raise SegvladError(f'{bag.path}: has {len(cameras)} colour image topics{": " if found else ""}{found}; '
                               'name the one to use')
        image, = cameras.values()
    else:
        image = check('images', asked.image, _IMAGES, ('', '/compressed'))
    camera_info = asked.camera_info
    if camera_info is None:
        infos = [topic.name for topic in topics if topic.msgtype == bag_types.CAMERA_INFO]
        beside = f'{_base_name(image).rpartition("/")[0]}/camera_info'
        camera_info = beside if beside in infos else infos[0] if len(infos) == 1 else ''
    elif camera_info:
        camera_info = check('camera_info', camera_info, (bag_types.CAMERA_INFO,))
    return BagTopics(image, camera_info, _pick_depth(bag, images, image, asked, check),
                     _pick_odometry(bag, topics, asked, check))


def _pick_depth(bag: Bag, images: list[BagTopic], image: str, asked: BagTopics, check) -> str:
    if asked.depth is not None:
        return asked.depth and check('depth images', asked.depth, _IMAGES, ('', '/compressedDepth', '/compressed'))
    found: dict[str, str] = {}
    for topic in images:
        if topic.name != image and _is_depth(bag, topic):
            found.setdefault(_base_name(topic.name), topic.name)
    if len(found) > 1:
        logger.warning('%s: depth not used, for there are several topics: %s', bag.path, ', '.join(found.values()))
    return next(iter(found.values())) if len(found) == 1 else ''


def _pick_odometry(bag: Bag, topics: list[BagTopic], asked: BagTopics, check) -> str:
    if asked.odom is not None:
        return asked.odom and check('odometry', asked.odom, (bag_types.ODOMETRY,))
    found = [topic.name for topic in topics if topic.msgtype == bag_types.ODOMETRY]
    if len(found) > 1:
        logger.warning('%s: odometry not used, for there are several topics: %s', bag.path, ', '.join(found))
    return found[0] if len(found) == 1 else ''
