"""The records of an mcap file (https://mcap.dev/spec), one by one.

Our own, for the reader of rosbags needs a whole file: an end, and schemas that it knows on every topic.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from segvlad_ros.io import zstd
from segvlad_ros.types import SegvladError

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END = 1, 2, 3, 4, 5, 6, 8, 11, 15
PREFIX = 9  # operation code and length
MESSAGE_PREFIX = 22  # of a message's content, before its data

DAMAGED = (struct.error, UnicodeDecodeError, SegvladError, ValueError, IndexError)
"""What reading damaged records raises."""


class Fields:
    """Takes the fields of a record one after the other; :data:`DAMAGED` where it is too short."""

    def __init__(self, data: bytes | memoryview):
        self._data = memoryview(data)
        self._at = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Little-endian numbers, in the letters of :mod:`struct`."""
        values = struct.unpack_from(f'<{layout}', self._data, self._at)
        self._at += struct.calcsize(f'<{layout}')
        return values

    def bytes(self, length: int | None = None) -> memoryview:
        """So many bytes; None reads a length of 32 bits before them."""
        length = self.numbers('I')[0] if length is None else length
        if self._at + length > len(self._data):
            raise ValueError('a field goes beyond its record')
        self._at += length
        return self._data[self._at - length:self._at]

    def text(self) -> str:
        """A text with its length before it."""
        return str(self.bytes(), 'utf-8')

    def pairs(self, layout: str) -> dict:
        """A list of pairs of numbers."""
        return dict(struct.iter_unpack(f'<{layout}', self.bytes()))

    def texts(self) -> dict[str, str]:
        """Texts by names."""
        inner = Fields(self.bytes())
        found = {}
        while inner._at < len(inner._data):
            key = inner.text()
            found[key] = inner.text()
        return found


def records(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Records in memory: operation code, and where the content begins and ends in it.

    :raises ValueError: the last one is cut off
    """
    at = 0
    while at < len(data):
        code, length = struct.unpack_from('<BQ', data, at)
        at += PREFIX + length
        if at > len(data):
            raise ValueError('a record is cut off')
        yield code, at - length, at


def message_prefix(data: bytes | memoryview, begin: int = 0) -> tuple[int, int]:
    """Channel and time in the bag of the message whose content begins there."""
    key, _, stamp_ns = struct.unpack_from('<HIQ', data, begin)
    return key, stamp_ns


def read_chunk(file: BinaryIO, offset: int) -> memoryview:
    """The unpacked records of a chunk.

    :param offset: of its record in the file
    :raises: :data:`DAMAGED`, also where the checksum says so
    """
    code, length = struct.unpack('<BQ', _exactly(file, offset, PREFIX))
    if code != CHUNK:
        raise ValueError('no chunk where there should be one')
    fields = Fields(_exactly(file, offset + PREFIX, length))
    *_, size, checksum = fields.numbers('QQQI')
    compression = fields.text()
    data = _unpacked(fields.bytes(fields.numbers('Q')[0]), compression)
    if len(data) != size:
        raise ValueError('a chunk has not the size that it states')
    if checksum and zlib.crc32(data) != checksum:
        raise ValueError('the checksum of a chunk is wrong')
    return memoryview(data)


def _exactly(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset + length > file.seek(0, 2):  # before memory is asked for: damaged numbers may be any
        raise ValueError('a record is cut off')
    file.seek(offset)
    return file.read(length)


def _unpacked(data: memoryview, compression: str) -> bytes | memoryview:
    if not compression:
        return data
    if compression == 'zstd':
        return zstd.decompress(bytes(data))
    if compression == 'lz4':
        from lz4.frame import decompress
        try:
            return decompress(bytes(data))
        except RuntimeError as error:
            raise ValueError(f'damaged lz4 data ({error})') from None
    raise SegvladError(f'its chunks are packed with {compression!r}, which is neither zstd nor lz4; convert it: '
                       'mcap compress')
