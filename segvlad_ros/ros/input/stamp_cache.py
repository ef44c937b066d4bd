"""The newest messages of one topic, asked for by stamp: message_filters' Cache where it imports, else its equal."""
from __future__ import annotations

from typing import Any

from rclpy.clock import ClockType
from rclpy.time import Time

from segvlad_ros.io.stamps import stamp_ns


class BuiltinCache:
    """The stand-in: nothing but a short list.

    :param size: most messages that are kept
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: list[Any] = []

    def add(self, message: Any) -> None:
        """Keep a message; the oldest goes when the cache is full."""
        self._messages.append(message)
        del self._messages[:-self._size]

    def around(self, stamp: int) -> list[Any]:
        """The last message up to a stamp in nanoseconds and the first one from there on, as far as there are such."""
        before = [m for m in self._messages if stamp_ns(m) <= stamp]
        after = [m for m in self._messages if stamp_ns(m) >= stamp]
        return [*before[-1:], *after[:1]]

    def nearest(self, stamp: int) -> Any | None:
        """The message whose stamp is nearest, or None without any."""
        return _nearest(self.around(stamp), stamp)


class MessageFiltersCache:
    """The same on ``message_filters.Cache``."""

    def __init__(self, size: int) -> None:
        import message_filters
        self._input = message_filters.SimpleFilter()
        self._cache = message_filters.Cache(self._input, size)

    def add(self, message: Any) -> None:
        """See :class:`BuiltinCache`."""
        self._input.signalMessage(message)

    def around(self, stamp: int) -> list[Any]:
        """See :class:`BuiltinCache`."""
        time = Time(nanoseconds=stamp, clock_type=ClockType.ROS_TIME)
        found = self._cache.getElemBeforeTime(time), self._cache.getElemAfterTime(time)
        return [message for message in found if message is not None]

    def nearest(self, stamp: int) -> Any | None:
        """See :class:`BuiltinCache`."""
        return _nearest(self.around(stamp), stamp)


StampCache = BuiltinCache | MessageFiltersCache


def make_cache(size: int) -> StampCache:
    """The cache this machine has."""
    try:
        return MessageFiltersCache(size)
    except ImportError:
        return BuiltinCache(size)


def _nearest(found: list[Any], stamp: int) -> Any | None:
    return min(found, key=lambda message: abs(stamp_ns(message) - stamp), default=None)
