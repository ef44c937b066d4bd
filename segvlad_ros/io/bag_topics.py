"""Which topics of a bag are the camera's: what is asked for, or what the bag makes obvious."""
from __future__ import annotations

import os
from dataclasses import dataclass

from segvlad_ros.io import bags
from segvlad_ros.io.bag_storage import warn_once
from segvlad_ros.io.bags import Bag, BagTopic
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class BagTopics:
    """Where the inputs are. None takes what the bag makes obvious, '' does without.

    :ivar image: raw or compressed; the raw topic's name also finds ``<name>/compressed``
    :ivar depth: raw, ``compressedDepth`` or 16-bit PNG; it must have the size of the image (a registered depth image)
    :ivar mask: mono8 or PNG, 0 where the image is covered; no bag makes it obvious
    """

    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    odom: str | None = None
    mask: str = ''


def pick_topics(bag: Bag, asked: BagTopics) -> BagTopics:
    """Replace None by what the bag makes obvious, and check what is asked for.

    :raises SegvladError: naming the candidates
    """
    topics = [topic for topic in bag.info().topics if topic.count]
    images = [topic for topic in topics if topic.msgtype in (bags.IMAGE, bags.COMPRESSED_IMAGE)]
    infos = [topic.name for topic in topics if topic.msgtype == bags.CAMERA_INFO]
    odometry = [topic.name for topic in topics if topic.msgtype == bags.ODOMETRY]
    mask = asked.mask and _checked(bag, 'masks', asked.mask, _names(images), ('', '/compressed'))
    images = [topic for topic in images if topic.name != mask]
    if asked.image is None:
        image = _pick_image(bag, topics, images)
    else:
        image = _checked(bag, 'images', asked.image, _names(images), ('', '/compressed'))
    camera_info = asked.camera_info
    if camera_info is None:
        beside = f'{_base_name(image).rpartition("/")[0]}/camera_info'
        camera_info = beside if beside in infos else infos[0] if len(infos) == 1 else ''
    elif camera_info:
        camera_info = _checked(bag, 'camera_info', camera_info, infos)
    depth = asked.depth
    if depth is None:
        others = [topic for topic in images if topic.name != image and _is_depth(bag, topic)]
        depth = _only(bag, 'depth', _nearest(image, _one_of_each_camera(others)))
    elif depth:
        depth = _checked(bag, 'depth images', depth, _names(images), ('', '/compressedDepth', '/compressed'))
    odom = asked.odom
    if odom is None:
        odom = _only(bag, 'odometry', odometry)
    elif odom:
        odom = _checked(bag, 'odometry', odom, odometry)
    return BagTopics(image, camera_info, depth, odom, mask)


def _pick_image(bag: Bag, topics: list[BagTopic], images: list[BagTopic]) -> str:
    found = _one_of_each_camera([topic for topic in images if not _is_depth(bag, topic)])
    if len(found) == 1:
        return found[0]
    if found:
        counts = {topic.name: topic.count for topic in images}
        problem = (f'has {len(found)} colour image topics: {", ".join(f"{name} ({counts[name]})" for name in found)}; '
                   'name the one to use')
    else:
        having = ', '.join(f'{topic.name} ({topic.msgtype})' for topic in topics) or 'none'
        problem = f'has no topic with colour images; its topics: {having}'
    raise SegvladError(f'{bag.path}: {problem}{_foreign(bag)}')


def _checked(bag: Bag, kind: str, name: str, fitting: list[str], suffixes: tuple[str, ...] = ('',)) -> str:
    """The topic that was asked for, by its name or by that without one of the suffixes."""
    found = next((name + suffix for suffix in suffixes if name + suffix in fitting), None)
    if found is None:
        raise SegvladError(f'{bag.path}: no {kind} on {name!r}; topics of that type: '
                           f'{", ".join(fitting) or "none"}{_foreign(bag)}')
    return found


def _only(bag: Bag, kind: str, found: list[str]) -> str:
    """The one topic of its kind; '' where there is none, or (said) where there are several."""
    if len(found) > 1:
        warn_once(f'{bag.path}: {kind} not used, for there are several topics: {", ".join(found)}')
    return found[0] if len(found) == 1 else ''


def _nearest(image: str, found: list[str]) -> list[str]:
    """Of several cameras' topics the one that shares most of the image's namespace, or all of them."""
    def shared(name: str) -> int:
        return len(os.path.commonprefix([image.split('/')[:-1], name.split('/')[:-1]]))

    nearest = [name for name in found if shared(name) == max(map(shared, found))]
    return nearest if len(nearest) == 1 else found


def _names(topics: list[BagTopic]) -> list[str]:
    return [topic.name for topic in topics]


def _one_of_each_camera(topics: list[BagTopic]) -> list[str]:
    """The raw topic of each camera if there is one, else the compressed one.

    :param topics: by name, so that the raw one comes first
    """
    found: dict[str, str] = {}
    for topic in topics:
        found.setdefault(_base_name(topic.name), topic.name)
    return list(found.values())


def _base_name(topic: str) -> str:
    """Name of the raw topic that a transport's topic belongs to."""
    return topic.removesuffix('/compressed').removesuffix('/compressedDepth')


def _is_depth(bag: Bag, topic: BagTopic) -> bool:
    """Look at the first message: a name alone does not tell depth from colour."""
    first = next(bag.messages({topic.name}), None)
    fields = None if first is None else bag.decode(first)
    if fields is None:
        return 'depth' in topic.name.lower()
    kind = fields.encoding if hasattr(fields, 'encoding') else fields.format
    return kind.startswith(('16UC1', '32FC1')) or 'compressedDepth' in kind


def _foreign(bag: Bag) -> str:
    """The end of a refusal: what was recorded, but not by ROS 2."""
    if not bag.foreign:
        return ''
    return '; no ROS 2 messages: ' + ', '.join(f'{name} ({kind})' for name, kind in bag.foreign.items())
