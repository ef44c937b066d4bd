"""Reads one ``.mcap`` file of a bag, also one that ends in the middle.

Where its messages are is read from its summary, or where that is missing, by looking through the file.
"""
from __future__ import annotations

import heapq
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from segvlad_ros.io import mcap_records as mcap
from segvlad_ros.io.bag_storage import CDR, Message, StoredTopic, is_latched, warn_once
from segvlad_ros.io.stamps import as_time
from segvlad_ros.types import SegvladError

_FOOTER_SIZE = mcap.PREFIX + 20


class McapFile:
    """One ``.mcap`` file, see :class:`segvlad_ros.io.bag_storage.Storage`.

    :raises SegvladError: nothing of it can be read
    """

    def __init__(self, path: Path):
        self._path = path
        status = path.stat()
        self._index = _read_index(path, status.st_size, status.st_mtime_ns)
        if self._index.note:
            warn_once(self._index.note)
        self._file = path.open('rb')
        self.topics = self._index.topics()
        self.count = self._index.counts.total()
        self.start_ns, self.end_ns = self._index.span()

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

    def _of_chunk(self, chunk: _Chunk, keys: set[int]) -> Iterator[Message]:
        found = []
        try:
            data = mcap.read_chunk(self._file, chunk.offset)
            for code, begin, end in mcap.records(data):
                if code == mcap.MESSAGE:
                    key, stamp_ns = mcap.message_prefix(data, begin)
                    if key in keys:
                        found.append((stamp_ns, begin + mcap.MESSAGE_PREFIX, end, key))
        except mcap.DAMAGED as error:
            warn_once(f'{self._path}: has damaged pieces (the first at {as_time(chunk.start_ns)}: {error}), which '
                      'are passed over')
            return  # what came before the damage in this piece is none to trust either
        for stamp_ns, begin, end, key in sorted(found):
            yield key, stamp_ns, bytes(data[begin:end])

    def _of_loose(self, entries: list[tuple[int, int, int]]) -> Iterator[Message]:
        for stamp_ns, offset, key in entries:
            self._file.seek(offset + 1)
            length, = struct.unpack('<Q', self._file.read(8))
            yield key, stamp_ns, self._file.read(length)[mcap.MESSAGE_PREFIX:]


def _merged(sources: list[tuple[int, Iterator[Message]]]) -> Iterator[Message]:
    """Messages of several sources in the order of time; of a source nothing is read before its first is due.

    :param sources: time of the first message, and the messages in the order of time
    """
    sources = sorted(sources, key=lambda source: source[0])
    due = [(start_ns, number, None, messages) for number, (start_ns, messages) in enumerate(sources)]
    while due:  # a sorted list is a heap
        _, number, message, messages = due[0]
        if message is not None:
            yield message
        following = next(messages, None)
        if following is None:
            heapq.heappop(due)
        else:
            heapq.heapreplace(due, (following[1], number, following, messages))


@dataclass(frozen=True)
class _Chunk:
    """A chunk's first and last time, where its record is in the file, and the channels that it has messages of."""

    start_ns: int
    end_ns: int
    offset: int
    keys: frozenset[int]


@dataclass(frozen=True)
class _Channel:
    """A topic's channel: the number of its schema (0 without one), and the encoding of its messages."""

    topic: str
    schema: int
    encoding: str
    metadata: dict[str, str]


@dataclass
class _McapIndex:
    """What is in the file.

    :ivar schemas: name and encoding by number
    :ivar loose: messages outside of chunks: time, offset of the record in the file, channel
    :ivar counts: messages by channel
    :ivar note: what of the file is not read; '' where all is
    """

    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, _Channel] = field(default_factory=dict)
    chunks: list[_Chunk] = field(default_factory=list)
    loose: list[tuple[int, int, int]] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    note: str = ''

    def topics(self) -> list[StoredTopic]:
        """The topics as the bag reader wants them."""
        return [StoredTopic(key, channel.topic, *self._kind(channel), self.counts[key],
                            is_latched(channel.topic, channel.metadata.get('offered_qos_profiles', '')))
                for key, channel in sorted(self.channels.items())]

    def _kind(self, channel: _Channel) -> tuple[str, str]:
        """Message type, and encoding: some converters say ``cdr`` of whatever they store; the schema knows better."""
        name, schema = self.schemas.get(channel.schema, ('', ''))
        if schema == 'ros1msg':
            return name, 'ros1'
        if channel.encoding in ('', CDR):
            return name, CDR if schema in ('', 'ros2msg', 'ros2idl', 'omgidl') else schema
        return name, channel.encoding

    def span(self) -> tuple[int, int]:
        """Times of the first and last message, 0 where there is none."""
        loose = [stamp_ns for stamp_ns, _, _ in self.loose]
        return (min([chunk.start_ns for chunk in self.chunks] + loose, default=0),
                max([chunk.end_ns for chunk in self.chunks] + loose, default=0))

    def add(self, code: int, content: memoryview, offset: int) -> None:
        """Take a schema, a channel or a message outside of chunks, whose record is there in the file; skip others."""
        fields = mcap.Fields(content)
        if code == mcap.SCHEMA:
            key, = fields.numbers('H')
            self.schemas[key] = fields.text(), fields.text()
        elif code == mcap.CHANNEL:
            key, schema = fields.numbers('HH')
            self.channels[key] = _Channel(fields.text(), schema, fields.text(), fields.texts())
        elif code == mcap.MESSAGE:
            key, stamp_ns = mcap.message_prefix(content)
            self.loose.append((stamp_ns, offset, key))
            self.counts[key] += 1


@lru_cache(maxsize=16)
def _read_index(path: Path, size: int, changed_ns: int) -> _McapIndex:
    """Index a file; kept, for a bag is opened several times, and looking through one takes long.

    :param size, changed_ns: of the file, so that a changed one is read again
    :raises SegvladError: nothing of it can be read
    """
    with path.open('rb') as file:
        try:
            begin = _skip_header(file)
        except mcap.DAMAGED:
            raise SegvladError(f'{path}: ends or is damaged before its first message; nothing can be read from it, '
                               'copy it anew from the robot') from None
        try:
            index = _read_summary(file, size)
        except mcap.DAMAGED:
            index = None
        return index or _look_through(file, path, begin, size)


def _skip_header(file: BinaryIO) -> int:
    """:return: where the records begin."""
    file.seek(len(mcap.MAGIC))
    code, length = struct.unpack('<BQ', file.read(mcap.PREFIX))
    if code != mcap.HEADER or length > 1 << 20:
        raise ValueError('no header')
    mcap.Fields(file.read(length)).text()  # the profile; DAMAGED where it is cut off
    return file.tell()


def _read_summary(file: BinaryIO, size: int) -> _McapIndex | None:
    """The index that the file's summary holds.

    :return: None if it does not account for all messages; schemas, chunks and counts may each be missing in a sound
        file
    :raises: mcap.DAMAGED
    """
    end = size - len(mcap.MAGIC) - _FOOTER_SIZE
    file.seek(end)
    footer = mcap.Fields(file.read())
    code, length, start, _, checksum = footer.numbers('BQQQI')
    if (code, length, footer.bytes(8)) != (mcap.FOOTER, 20, mcap.MAGIC) or not 0 < start < end:
        return None
    file.seek(start)
    data = memoryview(file.read(end - start + _FOOTER_SIZE - 4))
    if checksum and zlib.crc32(data) != checksum:
        return None
    index, total, indexed = _McapIndex(), None, 0
    for code, first, last in mcap.records(data[:end - start]):
        fields = mcap.Fields(data[first:last])
        if code == mcap.CHUNK_INDEX:
            start_ns, end_ns, offset, _ = fields.numbers('QQQQ')
            keys = fields.pairs('HQ').keys()
            length, = fields.numbers('Q')  # of its index records: 15 bytes a channel, and 16 a message
            indexed += (length - 15 * len(keys)) // 16
            if keys:
                index.chunks.append(_Chunk(start_ns, end_ns, offset, frozenset(keys)))
        elif code == mcap.STATISTICS:
            total, *_ = fields.numbers('QHIIIIQQ')
            index.counts.update(fields.pairs('HQ'))
        elif code != mcap.MESSAGE:
            index.add(code, data[first:last], start)
    is_whole = total is not None and total == index.counts.total() == indexed \
        and index.counts.keys() <= index.channels.keys() \
        and all(channel.schema in index.schemas or not channel.schema for channel in index.channels.values())
    return index if is_whole else None


def _look_through(file: BinaryIO, path: Path, at: int, size: int) -> _McapIndex:
    """Index a file by going from record to record, from where they begin and as far as it is sound."""
    index, damaged, whole = _McapIndex(), 0, False
    while at + mcap.PREFIX <= size:
        file.seek(at)
        code, length = struct.unpack('<BQ', file.read(mcap.PREFIX))
        if code in (mcap.FOOTER, mcap.DATA_END):
            whole = True
            break
        after = at + mcap.PREFIX + length
        if not code or after > size:  # no operation is 0: blocks that were never written are full of zeros
            break
        try:
            if code == mcap.CHUNK:
                _add_chunk(file, at, index)
            elif code in (mcap.SCHEMA, mcap.CHANNEL, mcap.MESSAGE):
                index.add(code, memoryview(file.read(length)), at)
        except mcap.DAMAGED:
            damaged += 1
        at = after
    unknown = sum(index.counts.pop(key) for key in index.counts.keys() - index.channels.keys())
    index.note = _note(path, index, whole, damaged, unknown)
    return index


def _add_chunk(file: BinaryIO, offset: int, index: _McapIndex) -> None:
    data = mcap.read_chunk(file, offset)
    stamps, keys = [], Counter()
    for code, begin, end in mcap.records(data):
        if code == mcap.MESSAGE:
            key, stamp_ns = mcap.message_prefix(data, begin)
            stamps.append(stamp_ns)
            keys[key] += 1
        else:
            index.add(code, data[begin:end], offset)
    if stamps:
        index.chunks.append(_Chunk(min(stamps), max(stamps), offset, frozenset(keys)))
        index.counts.update(keys)


def _note(path: Path, index: _McapIndex, whole: bool, damaged: int, unknown: int) -> str:
    """What of the file is not read; nothing where it only has no summary.

    :param damaged: pieces that cannot be unpacked
    :param unknown: messages whose topic was named in such a piece
    :raises SegvladError: nothing is left
    """
    if whole and not damaged:
        return ''
    if not index.counts.total():
        raise SegvladError(f'{path}: ends or is damaged before its first complete message; nothing can be read from '
                           'it, copy it anew from the robot')
    lost = f'; {damaged} damaged pieces are passed over' if damaged else ''
    lost += f', with them {unknown} messages whose topics were named there' if unknown else ''
    what = 'is damaged' if whole else 'ends in the middle (power loss, full disk, unfinished copy)'
    return f'{path}: {what}: its {index.counts.total()} messages up to {as_time(index.span()[1])} are read{lost}'
