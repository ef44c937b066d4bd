"""Reads one ``.mcap`` file of a bag, also one that ends in the middle."""
from __future__ import annotations

import heapq
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from segvlad_ros.io import mcap_records as mcap
from segvlad_ros.io.bag_storage import warn_once
from segvlad_ros.io.mcap_index import Chunk, read_index
from segvlad_ros.io.stamps import as_time

Message = tuple[int, int, bytes]
"""Key of the topic, time in the bag, bytes."""


class McapFile:
    """One ``.mcap`` file, see :class:`segvlad_ros.io.bag_storage.Storage`.

    :ivar profile: what the file says of itself: ``ros2``, ``ros1``, or ''
    :raises SegvladError: nothing of it can be read
    """

    def __init__(self, path: Path):
        self._path = path
        status = path.stat()
        self._index = index = read_index(path, status.st_size, status.st_mtime_ns)
        if index.note:
            warn_once(index.note)
        self._file = path.open('rb')
        self.profile = index.profile
        self.topics = index.topics()
        self.count = sum(index.counts.values())
        loose = [stamp for stamp, _, _ in index.loose]
        self.start_ns = min([chunk.start_ns for chunk in index.chunks if chunk.keys] + loose, default=0)
        self.end_ns = max([chunk.end_ns for chunk in index.chunks if chunk.keys] + loose, default=0)

    def messages(self, keys: set[int]) -> Iterator[Message]:
        """See :class:`segvlad_ros.io.bag_storage.Storage`; damaged chunks are passed over (logged)."""
        sources = [(chunk.start_ns, self._of_chunk(chunk, keys)) for chunk in self._index.chunks if chunk.keys & keys]
        loose = sorted(entry for entry in self._index.loose if entry[2] in keys)
        if loose:
            sources.append((loose[0][0], self._of_loose(loose)))
        return _merged(sources)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _of_chunk(self, chunk: Chunk, keys: set[int]) -> Callable[[], Iterator[Message]]:
        def read() -> Iterator[Message]:
            found = []
            try:
                data = mcap.read_chunk(self._file, chunk.offset)
                for code, begin, end in mcap.records(data):
                    if code == mcap.MESSAGE:
                        key, _, stamp = struct.unpack_from('<HIQ', data, begin)
                        if key in keys:
                            found.append((stamp, begin + 22, end, key))
            except mcap.DAMAGED as error:
                warn_once(f'{self._path}: has damaged pieces (the first at {as_time(chunk.start_ns)}: {error}), which '
                          'are passed over')
                found = []  # what came before the damage in this piece is none to trust either
            for stamp, begin, end, key in sorted(found):
                yield key, stamp, bytes(data[begin:end])
        return read

    def _of_loose(self, entries: list[tuple[int, int, int]]) -> Callable[[], Iterator[Message]]:
        def read() -> Iterator[Message]:
            for stamp, offset, key in entries:
                self._file.seek(offset + 1)
                length, = struct.unpack('<Q', self._file.read(8))
                yield key, stamp, self._file.read(length)[22:]
        return read


def _merged(sources: Iterable[tuple[int, Callable[[], Iterator[Message]]]]) -> Iterator[Message]:
    """Messages of several sources in the order of time; a source is opened when its first message is due.

    :param sources: time of the first message, and a function that opens it
    """
    waiting = deque(sorted(sources, key=lambda source: source[0]))
    opened: list[tuple[int, int, Message, Iterator[Message]]] = []
    number = 0
    while waiting or opened:
        if waiting and (not opened or waiting[0][0] <= opened[0][0]):
            rest = waiting.popleft()[1]()
            first = next(rest, None)
            if first is not None:
                heapq.heappush(opened, (first[1], number, first, rest))
            number += 1
            continue
        _, at, message, rest = opened[0]
        yield message
        following = next(rest, None)
        if following is None:
            heapq.heappop(opened)
        else:
            heapq.heapreplace(opened, (following[1], at, following, rest))
