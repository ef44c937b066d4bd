"""Which topics of a bag are the camera's: what is asked for, or what the bag makes obvious."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from segvlad_ros.io import bag_types
from segvlad_ros.io.bag_storage import warn_once
from segvlad_ros.io.bags import Bag, BagTopic
from segvlad_ros.types import SegvladError

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


def _is_depth(bag: Bag, topic: BagTopic) -> bool:
    """Look at the first message: a name alone does not tell depth from colour."""
    first = next(bag.messages({topic.name}), None)
    fields = None if first is None else bag.decode(first)
    if fields is None:
        return 'depth' in topic.name.lower()
    kind = fields.encoding if hasattr(fields, 'encoding') else fields.format
    return kind.startswith(('16UC1', '32FC1')) or 'compressedDepth' in kind


def _not_one(cameras: Collection[str], topics: dict[str, BagTopic]) -> str:
    """Why no colour topic was picked."""
    if not cameras:
        having = ', '.join(f'{topic.name} ({topic.msgtype})' for topic in topics.values()) or 'none'
        return f'has no topic with colour images; its topics: {having}'
    found = ', '.join(f'{name} ({topics[name].count})' for name in cameras)
    return f'has {len(cameras)} colour image topics: {found}; name the one to use'


def _foreign(bag: Bag) -> str:
    """The end of a refusal: what was recorded, but not by ROS 2."""
    return '; no ROS 2 messages: ' + ', '.join(f'{name} ({kind})' for name, kind in bag.foreign.items()) \
        if bag.foreign else ''


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
        raise SegvladError(f'{bag.path}: no {kind} on {name!r}; topics of that type: {having}{_foreign(bag)}')

    if asked.image is None:
        cameras: dict[str, str] = {}
        for topic in images:  # sorted, so that the raw topic comes before its compressed one
            if not _is_depth(bag, topic):
                cameras.setdefault(_base_name(topic.name), topic.name)
        if len(cameras) != 1:
            raise SegvladError(f'{bag.path}: {_not_one(cameras.values(), by_name)}{_foreign(bag)}')
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
        warn_once(f'{bag.path}: depth not used, for there are several topics: {", ".join(found.values())}')
    return next(iter(found.values())) if len(found) == 1 else ''


def _pick_odometry(bag: Bag, topics: list[BagTopic], asked: BagTopics, check) -> str:
    if asked.odom is not None:
        return asked.odom and check('odometry', asked.odom, (bag_types.ODOMETRY,))
    found = [topic.name for topic in topics if topic.msgtype == bag_types.ODOMETRY]
    if len(found) > 1:
        warn_once(f'{bag.path}: odometry not used, for there are several topics: {", ".join(found)}')
    return found[0] if len(found) == 1 else ''
