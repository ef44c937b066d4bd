"""Camera frames from a bag, each with the depth, intrinsics and odometry that belong to it.

Two passes: the first reads what is small and all stamps, so that the second can hand out each image with exactly its
nearest depth image and with odometry interpolated at its stamp, in the order of the stamps and without holding more
than the few images that wait for a late image or depth image.
"""
from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from segvlad_ros.geometry import StaticTransforms
from segvlad_ros.io import bags
from segvlad_ros.io.bag_storage import warn_once
from segvlad_ros.io.bag_topics import BagTopics, pick_topics
from segvlad_ros.io.bags import Bag, BagMessage, open_bag
from segvlad_ros.io.camera_info import CameraInfos
from segvlad_ros.io.frame_assembler import BuiltinDecoder, FrameAssembler, InputSettings
from segvlad_ros.io.odometry_pieces import OdometryPieces
from segvlad_ros.io.stamps import LATE_S, as_time, nearest, order_of, spans_apart, stamp_ns
from segvlad_ros.types import Frame, SegvladError

logger = logging.getLogger(__name__)

_DEPTH_TOLERANCE_NS = 20_000_000  # a depth image or mask further from the image is another one's
_ODOM_GAP_S = 0.5  # over a longer gap around the image odometry is not interpolated
_REASONS = 3  # that are said of an input; damage can give every message one of its own
_BEHIND_STAMP = 12  # bytes of a CDR message that begins with a Header: encapsulation, seconds, nanoseconds


class FrameReader:
    """The frames of one bag in the order of their stamps; iterating again reads again.

    :param topics: None picks all from the bag
    :param settings: what messages cannot say of themselves
    :raises SegvladError: no bag, no or several possible image topics, a topic that is not there, or no image stamps
    :ivar topics: the topics that are used; '' for none
    :ivar total: images in the bag, for a progress bar
    :ivar odometry_leaps: how often odometry began anew
    :ivar stamps: header stamps of the images that have one, nanoseconds, in the order of the bag
    :ivar late: images that came behind newer ones; frames come in the order of their stamps all the same
    :ivar left_out: images that make no frame, for their stamp is 0 or they came too late to wait for them (logged)
    :ivar frames, skipped, without_pose, without_depth: counts of the last or running iteration: frames handed out,
        images that could not be decoded (each reason is logged once, at the end), frames without odometry or depth
        although there is such a topic
    """

    def __init__(self, path: str | Path, topics: BagTopics | None = None, settings: InputSettings | None = None):
        self.path, settings = Path(path), settings or InputSettings()
        self._odometry = OdometryPieces(max_gap_s=_ODOM_GAP_S)
        self._static = StaticTransforms()
        self._camera_infos = CameraInfos()
        self.odometry_leaps = 0
        self._said: dict[str, set[str]] = {}
        with open_bag(path) as bag:
            self.topics = pick_topics(bag, topics or BagTopics())
            self._assembler = FrameAssembler(
                settings, BuiltinDecoder(settings.image_bits),
                lambda target, source, stamp: self._static.lookup(target, source), self._say, self.topics.image)
            image_stamps, nearby_stamps, odometry_stamps = self._survey(bag)
        self.total = len(image_stamps)
        self._places = self._put_in_order(image_stamps)
        placed = [None if place is None else stamp for stamp, place in zip(image_stamps, self._places)]
        self._nearby_of = {topic: self._pair(placed, sorted(stamps)) for topic, stamps in nearby_stamps.items()}
        for topic, stamps in ((self.topics.odom, odometry_stamps), *nearby_stamps.items()):
            if apart := spans_apart(topic, stamps, f'the images on {self.topics.image}', self.stamps):
                warn_once(f'{path}: {apart}, and {topic} is not used; let the drivers stamp with one clock')
        self.frames = self.skipped = self.without_pose = self.without_depth = 0

    def _survey(self, bag: Bag) -> tuple[list[int | None], dict[str, set[int]], set[int]]:
        """First pass: odometry, static transforms, intrinsics.

        :return: stamps of images in order, of depth and of masks by topic, and of odometry
        """
        used = self.topics
        image_stamps: list[int | None] = []
        nearby_stamps: dict[str, set[int | None]] = {topic: set() for topic in (used.depth, used.mask) if topic}
        odometry_stamps: set[int | None] = set()
        for message in bag.messages({used.image, *nearby_stamps, used.camera_info, used.odom, '/tf_static'} - {''}):
            if message.topic == used.image:
                image_stamps.append(_header_stamp(message.data))
            elif message.topic in nearby_stamps:
                nearby_stamps[message.topic].add(_header_stamp(message.data))
            elif message.topic == used.camera_info:
                self._camera_infos.add(_header_stamp(message.data), message.data[_BEHIND_STAMP:],
                                       partial(bag.decode, message))
            else:
                if message.topic == used.odom:
                    odometry_stamps.add(_header_stamp(message.data))
                self._take(message.topic, bag.decode(message))
        return (image_stamps, {topic: stamps - {None} for topic, stamps in nearby_stamps.items()},
                odometry_stamps - {None})

    def _take(self, topic: str, fields) -> None:
        if fields is None:
            return
        if topic == self.topics.odom:
            pose = bags.stamped_pose(fields)
            stamp = stamp_ns(fields)
            if pose is None or stamp <= 0:
                self._say('odometry', f'messages on {topic} are not used: '
                          f'{"stamp 0" if stamp <= 0 else "their numbers are not a pose (NaN, or not a rotation)"}')
            elif self._odometry.add(stamp, pose, fields.child_frame_id):
                self.odometry_leaps += 1
                self._say('odometry', f'odometry leaps at {as_time(stamp)}, as if its driver was started again: '
                          'poses before and after it are not compared')
        else:
            for transform in fields.transforms:
                pose = bags.pose_of(transform.transform, transform.header.frame_id)
                if pose is not None:
                    self._static.add(pose, transform.child_frame_id)

    def _put_in_order(self, stamps: list[int | None]) -> list[int | None]:
        """For each image its number among the frames, None for those that make none (logged).

        :param stamps: header stamps as the images came; None of messages too short to have one
        :raises SegvladError: all stamps are 0
        """
        where = self.topics.image
        self.stamps = [stamp for stamp in stamps if stamp is not None and stamp > 0]
        unset = sum(stamp is not None and stamp <= 0 for stamp in stamps)
        if unset and not self.stamps:
            raise SegvladError(f'{self.path}: all images have stamp 0 ({unset} on {where}); the camera driver must '
                               'fill header.stamp: without it no image has a place in time, odometry or truth')
        order = order_of(self.stamps)
        self.late, self.left_out = order.late, order.too_late + unset
        if unset:
            warn_once(f'{self.path}: {unset} of {len(stamps)} images on {where} have stamp 0 and are left out; the '
                      'camera driver must fill header.stamp')
        if order.too_late:
            warn_once(f'{self.path}: {order.too_late} of {len(stamps)} images on {where} came more than {LATE_S:g} s '
                      'behind newer ones and are left out')
        if order.jumps:
            warn_once(f'{self.path}: the stamps of the images on {where} jump back by more than {LATE_S:g} s in '
                      f'{order.jumps} place(s), where a clock was set or the bag starts again: a new session begins')
        places = iter(order.places)
        return [next(places) if stamp is not None and stamp > 0 else None for stamp in stamps]

    def _pair(self, image_stamps: list[int | None], stamps: list[int]) -> list[int | None]:
        """For each image the nearest of the stamps of depth images or masks within the tolerance, or None."""
        if not stamps:
            return [None] * len(image_stamps)
        found = [None if stamp is None else stamps[nearest(stamps, stamp)] for stamp in image_stamps]
        return [None if near is None or abs(near - stamp) > _DEPTH_TOLERANCE_NS else near
                for near, stamp in zip(found, image_stamps)]

    def __iter__(self) -> Iterator[Frame]:
        self.frames = self.skipped = self.without_pose = self.without_depth = 0
        self._unused: dict[str, list[int]] = {}  # reasons, and times in the bag of the images that they struck
        waiting = _FrameQueue(self._places, self._nearby_of)
        with open_bag(self.path) as bag:
            for message in bag.messages({self.topics.image, *self._nearby_of}):
                if message.topic in self._nearby_of:
                    waiting.add_nearby(_header_stamp(message.data), message)
                elif not waiting.add_image(message) and _header_stamp(message.data) is None:
                    self._frame(bag, message, {})  # too short for an image: logged and counted there
                for image, nearby in waiting.ready():
                    frame = self._frame(bag, image, nearby)
                    if frame is not None:
                        self.frames += 1
                        self.without_pose += bool(self.topics.odom) and frame.pose is None
                        self.without_depth += bool(self.topics.depth) and frame.depth is None
                        yield frame
        if self._unused and not self.frames:
            main_reason = max(self._unused, key=lambda reason: len(self._unused[reason]))
            raise SegvladError(f'{self.path}: none of its {self.skipped} images on {self.topics.image} can be '
                               f'used: {main_reason}')
        reasons = list(self._unused.items())
        for reason, times in reasons[:_REASONS]:
            logger.warning('%s: %d images not used, the first at %d ns: %s', self.path, len(times), times[0], reason)
        if others := reasons[_REASONS:]:
            logger.warning('%s: %d images more not used, for %d other reasons', self.path,
                           sum(len(times) for _, times in others), len(others))

    def _frame(self, bag: Bag, image: BagMessage, nearby: dict[str, BagMessage]) -> Frame | None:
        fields, read = bag.decode(image), {topic: bag.decode(message) for topic, message in nearby.items()}
        try:
            if fields is None:
                raise SegvladError('not a message of its type')
            stamp = stamp_ns(fields)
            return self._assembler.frame(
                fields, depth=read.get(self.topics.depth), odometry=self._odometry.at(stamp),
                camera_info=self._camera_infos.nearest(stamp), mask=read.get(self.topics.mask))
        except SegvladError as error:
            self.skipped += 1
            self._unused.setdefault(str(error), []).append(image.stamp_ns)
            return None

    def _say(self, what: str, problem: str) -> None:
        """Why depth, camera_info or odometry is not used."""
        said = self._said.setdefault(what, set())
        if problem not in said and len(said) < _REASONS:
            said.add(problem)
            warn_once(f'{self.path}: {problem}')


class _FrameQueue:
    """Images until it is their turn, and their depth image and mask are there.

    :param places: for each image, as it comes, its number among the frames; None for those that make none
    :param nearby_of: by topic, for each image the stamp of what belongs to it there, None without
    """

    def __init__(self, places: list[int | None], nearby_of: dict[str, list[int | None]]):
        self._incoming = ((place, {topic: stamps[number] for topic, stamps in nearby_of.items()
                                   if stamps[number] is not None}) for number, place in enumerate(places))
        self._awaited = {topic: Counter(stamp for stamp in stamps if stamp is not None)
                         for topic, stamps in nearby_of.items()}
        self._images: dict[int, tuple[BagMessage, dict[str, int]]] = {}
        self._nearby: dict[tuple[str, int], BagMessage] = {}
        self._turn = 0

    def add_image(self, message: BagMessage) -> bool:
        """Take the next image; False if it has no turn."""
        place, stamps = next(self._incoming)
        if place is not None:
            self._images[place] = message, stamps
        return place is not None

    def add_nearby(self, stamp: int | None, message: BagMessage) -> None:
        """Take a depth image or a mask if an image wants it."""
        if stamp in self._awaited[message.topic]:
            self._nearby.setdefault((message.topic, stamp), message)

    def ready(self) -> Iterator[tuple[BagMessage, dict[str, BagMessage]]]:
        """Hand out the images whose turn it is, with what belongs to them by topic."""
        while self._turn in self._images:
            image, stamps = self._images[self._turn]
            if any(key not in self._nearby for key in stamps.items()):
                return
            del self._images[self._turn]
            self._turn += 1
            yield image, {topic: self._nearby[topic, stamp] for topic, stamp in stamps.items()}
            for topic, stamp in stamps.items():
                self._awaited[topic][stamp] -= 1
                if not self._awaited[topic][stamp]:
                    del self._awaited[topic][stamp], self._nearby[topic, stamp]


def _header_stamp(data: bytes) -> int | None:
    """Stamp of a CDR message that begins with a Header, without decoding the rest."""
    if len(data) < _BEHIND_STAMP:
        return None
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return seconds * 1_000_000_000 + nanoseconds
