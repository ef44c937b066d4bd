"""Width and height of a compressed image from its header, before a decoder takes memory for the pixels."""
from __future__ import annotations

import struct

from segvlad_ros.types import SegvladError

FORMATS = 'JPEG, PNG, WebP, BMP or PPM/PGM'
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # TEM, RSTn, SOI
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn


def _jpeg(data: bytes) -> tuple[int, int]:
    """Walk the markers up to the scan; a complete file has an end marker behind it."""
    at, size = 2, None
    while True:
        if data[at] != 0xFF:
            raise ValueError('marker expected')
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH:
            at += 2
            continue
        if marker == 0xDA:  # start of scan
            break
        if marker == 0xD9:
            raise ValueError('no scan')
        length, = struct.unpack_from('>H', data, at + 2)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, at + 5)
            size = width, height
        at += 2 + length
    if size is None:
        raise ValueError('no frame header')
    # inside the scan 0xFF is followed by 0 or a restart marker, so that 0xFFD9 is the end and nothing else
    if data.find(b'\xff\xd9', at) < 0:
        raise ValueError('the end is missing')
    return size


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b'IHDR':
        raise ValueError('no header chunk')
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b'VP8 ' and data[23:26] == b'\x9d\x01\x2a':
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b'VP8L' and data[20] == 0x2F:
        bits, = struct.unpack_from('<I', data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8X':
        width = int.from_bytes(data[24:27], 'little') + 1
        height = int.from_bytes(data[27:30], 'little') + 1
        return width, height
    raise ValueError('unknown chunk')


def _bmp(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from('<ii', data, 18)
    return width, abs(height)  # negative: rows run downwards


def _pnm(data: bytes) -> tuple[int, int]:
    words: list[bytes] = []
    for line in data[2:1024].split(b'\n'):
        words += line.split(b'#')[0].split()
        if len(words) >= 2:
            return int(words[0]), int(words[1])
    raise ValueError('no size')


_READERS = ((b'\xff\xd8\xff', 0, _jpeg), (b'\x89PNG\r\n\x1a\n', 0, _png), (b'WEBP', 8, _webp), (b'BM', 0, _bmp),
            (b'P5', 0, _pnm), (b'P6', 0, _pnm), (b'P2', 0, _pnm), (b'P3', 0, _pnm))


def image_size(data: bytes) -> tuple[int, int]:
    """Size of a JPEG, PNG, WebP, BMP or PNM image as its header states it.

    :param data: the whole compressed image
    :returns: width, height in pixels, both at least 1
    :raises SegvladError: unknown format, broken header or (JPEG) a missing end
    """
    for magic, at, reader in _READERS:
        if data[at:at + len(magic)] != magic:
            continue
        try:
            width, height = reader(data)
        except (IndexError, struct.error, ValueError) as error:
            raise SegvladError(f'compressed image of {len(data)} bytes is damaged or cut off ({error})') from None
        if width < 1 or height < 1:
            raise SegvladError(f'compressed image is damaged: its header says {width} x {height} pixels')
        return width, height
    raise SegvladError(f'{len(data)} bytes are no {FORMATS} image')
