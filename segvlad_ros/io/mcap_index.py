"""Where the messages of an mcap file are: by its summary, or where that is missing, by looking through the file."""
from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from segvlad_ros.io import mcap_records as mcap
from segvlad_ros.io.bag_storage import CDR, StoredTopic, is_latched
from segvlad_ros.io.stamps import as_time
from segvlad_ros.types import SegvladError

_FOOTER_SIZE = mcap.PREFIX + 20


@dataclass(frozen=True)
class Chunk:
    """A chunk with messages.

    :ivar start_ns, end_ns: times of its first and last message
    :ivar offset: of its record in the file
    :ivar keys: of the channels that it has messages of
    """

    start_ns: int
    end_ns: int
    offset: int
    keys: frozenset[int]


@dataclass
class Index:
    """What is in the file.

    :ivar indexed: messages of which an index in the file knows
    :ivar loose: messages outside of chunks: time, offset of the record in the file, channel
    :ivar counts: messages by channel
    :ivar note: what of the file is not read; '' where all is
    """

    profile: str = ''
    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, mcap.Channel] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    loose: list[tuple[int, int, int]] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    indexed: int = 0
    note: str = ''

    def topics(self) -> list[StoredTopic]:
        """The topics as the bag reader wants them."""
        return [StoredTopic(key, channel.topic, *self._kind(channel), self.counts[key],
                            is_latched(channel.topic, channel.metadata.get('offered_qos_profiles', '')))
                for key, channel in sorted(self.channels.items())]

    def _kind(self, channel: mcap.Channel) -> tuple[str, str]:
        """Message type, and encoding: some converters say ``cdr`` of whatever they store; the schema knows better."""
        name, schema = self.schemas.get(channel.schema, ('', ''))
        if schema == 'ros1msg':
            return name, 'ros1'
        if channel.encoding in ('', CDR):
            return name, CDR if schema in ('', 'ros2msg', 'ros2idl', 'omgidl') else schema
        return name, channel.encoding


@lru_cache(maxsize=16)
def read_index(path: Path, size: int, changed_ns: int) -> Index:
    """Index a file; kept, for a bag is opened several times, and looking through one takes long.

    :param size, changed_ns: of the file, so that a changed one is read again
    :raises SegvladError: nothing of it can be read
    """
    with path.open('rb') as file:
        index = Index()
        try:
            begin = _read_header(file, index)
        except mcap.DAMAGED:
            raise SegvladError(f'{path}: ends or is damaged before its first message; nothing can be read from it, '
                               'copy it anew from the robot') from None
        try:
            whole = _read_summary(file, size, index)
        except mcap.DAMAGED:
            whole = False
        if not whole:
            index = Index(index.profile)
            _look_through(file, path, begin, size, index)
    return index


def _read_header(file: BinaryIO, index: Index) -> int:
    """:return: where the records begin."""
    file.seek(len(mcap.MAGIC))
    code, length = struct.unpack('<BQ', file.read(mcap.PREFIX))
    if code != mcap.HEADER or length > 1 << 20:
        raise ValueError('no header')
    index.profile = mcap.Fields(file.read(length)).text()
    return file.tell()


def _read_summary(file: BinaryIO, size: int, index: Index) -> bool:
    """Fill an index from the file's summary.

    :return: whether it accounts for all messages; schemas, chunks and counts may each be missing in a sound file
    :raises: mcap.DAMAGED
    """
    end = size - len(mcap.MAGIC) - _FOOTER_SIZE
    file.seek(end)
    footer = mcap.Fields(file.read())
    code, length, start, _, checksum = footer.numbers('BQQQI')
    if (code, length, footer.bytes(8)) != (mcap.FOOTER, 20, mcap.MAGIC) or not 0 < start < end:
        return False
    file.seek(start)
    data = memoryview(file.read(end - start + _FOOTER_SIZE - 4))
    if checksum and zlib.crc32(data) != checksum:
        return False
    total = None
    for code, first, last in mcap.records(data[:end - start]):
        content = data[first:last]
        if code == mcap.SCHEMA:
            index.schemas.update([mcap.read_schema(content)])
        elif code == mcap.CHANNEL:
            index.channels.update([mcap.read_channel(content)])
        elif code == mcap.CHUNK_INDEX:
            _add_indexed_chunk(index, content)
        elif code == mcap.STATISTICS:
            fields = mcap.Fields(content)
            total, *_ = fields.numbers('QHIIIIQQ')
            index.counts.update(fields.pairs('HQ'))
    return total is not None and total == sum(index.counts.values()) == index.indexed \
        and index.counts.keys() <= index.channels.keys() \
        and all(c.schema in index.schemas or not c.schema for c in index.channels.values())


def _add_indexed_chunk(index: Index, content: memoryview) -> None:
    fields = mcap.Fields(content)
    start_ns, end_ns, offset, _ = fields.numbers('QQQQ')
    keys = fields.pairs('HQ').keys()
    length, = fields.numbers('Q')  # of its index records: 15 bytes a channel, and 16 a message
    index.indexed += (length - 15 * len(keys)) // 16
    index.chunks.append(Chunk(start_ns, end_ns, offset, frozenset(keys)))


def _look_through(file: BinaryIO, path: Path, at: int, size: int, index: Index) -> None:
    """Fill an index by going from record to record, as far as the file is sound.

    :param at: where the records begin
    """
    damaged = 0
    whole = False
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
                _add_record(code, memoryview(file.read(length)), at, index)
        except mcap.DAMAGED:
            damaged += 1
        at = after
    unknown = sum(index.counts[key] for key in index.counts.keys() - index.channels.keys())
    index.counts = Counter({key: count for key, count in index.counts.items() if key in index.channels})
    index.note = _note(path, index, whole, damaged, unknown)


def _add_chunk(file: BinaryIO, offset: int, index: Index) -> None:
    data = mcap.read_chunk(file, offset)
    stamps, keys = [], Counter()
    for code, begin, end in mcap.records(data):
        if code == mcap.MESSAGE:
            key, _, stamp = struct.unpack_from('<HIQ', data, begin)
            stamps.append(stamp)
            keys[key] += 1
        elif code in (mcap.SCHEMA, mcap.CHANNEL):
            _add_record(code, data[begin:end], offset, index)
    if stamps:
        index.chunks.append(Chunk(min(stamps), max(stamps), offset, frozenset(keys)))
        index.counts.update(keys)


def _add_record(code: int, content: memoryview, offset: int, index: Index) -> None:
    if code == mcap.SCHEMA:
        index.schemas.update([mcap.read_schema(content)])
    elif code == mcap.CHANNEL:
        index.channels.update([mcap.read_channel(content)])
    else:
        key, _, stamp = struct.unpack_from('<HIQ', content)
        index.loose.append((stamp, offset, key))
        index.counts[key] += 1


def _note(path: Path, index: Index, whole: bool, damaged: int, unknown: int) -> str:
    """What of the file is not read; nothing where it only has no summary.

    :param damaged: pieces that cannot be unpacked
    :param unknown: messages whose topic was named in such a piece
    :raises SegvladError: nothing is left
    """
    count = sum(index.counts.values())
    if whole and not damaged:
        return ''
    if not count:
        raise SegvladError(f'{path}: ends or is damaged before its first complete message; nothing can be read from '
                           'it, copy it anew from the robot')
    last = as_time(max([chunk.end_ns for chunk in index.chunks] + [stamp for stamp, _, _ in index.loose]))
    lost = f'; {damaged} damaged pieces are passed over' if damaged else ''
    lost += f', with them {unknown} messages whose topics were named there' if unknown else ''
    what = 'is damaged' if whole else 'ends in the middle (power loss, full disk, unfinished copy)'
    return f'{path}: {what}: its {count} messages up to {last} are read{lost}'
