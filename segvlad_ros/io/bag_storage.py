"""What the files of a bag have in common, whatever their format."""
from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from segvlad_ros.io.yaml_text import parse_yaml
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)
_said: set[str] = set()
_held: list[list[str]] = []  # warnings that wait, a list for each block that holds them back

CDR = 'cdr'
"""The one encoding of messages that we read: that of ROS 2."""

Message = tuple[int, int, bytes]
"""Key of the topic, time in the bag, bytes."""


@dataclass(frozen=True)
class StoredTopic:
    """One topic of one file.

    :ivar key: the file's number for it
    :ivar msgtype: e.g. ``sensor_msgs/msg/Image``
    :ivar encoding: ``cdr``, or what is not a ROS 2 message: ``ros1``, ``protobuf``, ``json`` ...
    :ivar latched: recorded as transient local
    """

    key: int
    name: str
    msgtype: str
    encoding: str
    count: int
    latched: bool


class Storage(Protocol):
    """One open file of a bag.

    :ivar start_ns, end_ns: times of the first and last message, 0 where there is none
    :ivar count: number of messages, those of other encodings included
    """

    topics: list[StoredTopic]
    start_ns: int
    end_ns: int
    count: int

    def messages(self, keys: set[int]) -> Iterator[Message]:
        """The messages of these topics, in the order of time."""

    def close(self) -> None:
        """Close the file."""


def warn_once(text: str) -> None:
    """Log a warning about a file. Files are opened again and again; what is wrong with them is said once."""
    if _held:
        _held[-1].append(text)
    elif text not in _said:
        _said.add(text)
        logger.warning(text)


@contextmanager
def warnings_held_back() -> Iterator[None]:
    """Log warnings at the end, and not at all after an exception: a bag that is refused is refused in one line."""
    _held.append([])
    try:
        yield
    finally:
        texts = _held.pop()
    for text in texts:
        warn_once(text)


def is_latched(topic: str, qos: str) -> bool:
    """Whether a topic was published as transient local, by its recorded QoS profiles.

    :param qos: YAML (numbers up to Humble, words later); '' where they are unknown
    """
    try:
        known = [profile['durability'] for profile in parse_yaml(qos) or []]
    except (SegvladError, TypeError, KeyError):
        known = []
    return any(value in (1, 'transient_local') for value in known) or (not known and topic == '/tf_static')
