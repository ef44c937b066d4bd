"""Keypoints of a map's keyframe in few bytes: of SIFT some 32 of each with a depth, 30 without, instead of 140.

A position takes 16 bits a coordinate, in the finest unit that reaches over the image, a depth 16 as a float, which is
wrong by 0.05 % at most where a depth camera is by 2 %, and a value of a RootSIFT descriptor 2: they are enough for the
map's side of a comparison, 1 is not (benchmark/results/small_keyframes.md). That is 38 bytes; zlib saves a sixth. Of
XFeat's descriptors, half as long, it is 22.
"""
from __future__ import annotations

import struct
import zlib

import numpy as np

from segvlad_ros.types import Keypoints, SegvladError

# Number of keypoints and bytes of a descriptor; the unit of positions is 2**-exponent pixels; whether depths follow.
_HEADER = struct.Struct('<HHbB')
_MOST, _WIDEST, _MOST_BYTES = 0xFFFF, 256, 1 << 23  # keypoints, bytes of a descriptor, and of what zlib unpacks
_FINEST, _COARSEST = 6, -6  # exponents: of smaller units nothing is known, and no image needs larger ones
_PER_BYTE = 4
_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)


class _Levels:
    """Which bytes of descriptors become which of four levels.

    :param begin: where the levels begin, from the second on
    :param stand: the values that they stand for
    """

    def __init__(self, begin: tuple[int, ...], stand: tuple[int, ...]) -> None:
        self.of_value = np.searchsorted(begin, np.arange(256), side='right').astype(np.uint8)
        self.in_byte = np.array(stand, np.uint8)[np.arange(256)[:, None] >> _SHIFTS & 3]


# Of least error on images of ../shared/data/training (S. Lloyd, IEEE Trans. Information Theory 1982).
_OF_ROOT_SIFT = _Levels((18, 46, 80), (6, 31, 61, 99))  # keypoints.py
_OF_XFEAT = _Levels((98, 128, 159), (81, 113, 142, 176))  # features/xfeat_keypoints.py
_XFEAT_WIDTH = 64


def _levels(width: int) -> _Levels:
    """Those of descriptors of so many values, which is all that a keypoint says of its kind."""
    return _OF_XFEAT if width == _XFEAT_WIDTH else _OF_ROOT_SIFT


def pack_keypoints(keypoints: Keypoints) -> bytes:
    """Keypoints as bytes.

    :raises SegvladError: arrays that do not fit each other, positions that are NaN or in no image
    """
    positions = np.asarray(keypoints.positions, np.float32)
    descriptors, depths = np.asarray(keypoints.descriptors, np.uint8), np.asarray(keypoints.depths, np.float32)
    count, width = len(positions), descriptors.shape[-1]
    if positions.shape != (count, 2) or depths.shape != (count,) or descriptors.ndim != 2 or len(descriptors) != count:
        raise SegvladError(f'keypoints with positions of shape {positions.shape}, depths of {depths.shape} and '
                           f'descriptors of {descriptors.shape}')
    if count > _MOST or width > _WIDEST:
        raise SegvladError(f'{count} keypoints (at most {_MOST}) of {width} bytes (at most {_WIDEST})')
    corners = np.maximum(positions.astype(np.float64) + 0.5, 0)  # the image begins at -1/2
    reach = corners.max(initial=0)
    exponent = next((unit for unit in range(_FINEST, _COARSEST - 1, -1) if reach * 2.0 ** unit <= 0xFFFF), None)
    if exponent is None:
        raise SegvladError(f'keypoints at positions up to {reach}, which no image has, cannot be stored')
    with np.errstate(over='ignore'):
        halves = depths.astype('<f2')
    halves[~np.isfinite(halves)] = np.nan
    known = bool(np.isfinite(halves).any())
    levels = np.pad(_levels(width).of_value[descriptors], ((0, 0), (0, -width % _PER_BYTE)))
    levels = levels.reshape(count, levels.shape[1] // _PER_BYTE, _PER_BYTE) << _SHIFTS
    plain = (_HEADER.pack(count, width, exponent, known),
             np.rint(corners * 2.0 ** exponent).astype('<u2').tobytes(), halves.tobytes() if known else b'',
             np.bitwise_or.reduce(levels, axis=2).tobytes())
    return zlib.compress(b''.join(plain), level=9)


def unpack_keypoints(packed: bytes) -> Keypoints:
    """The keypoints of :func:`pack_keypoints`, as near as they were kept.

    :raises SegvladError: bytes that it did not make; nothing is read beyond them
    """
    plain = _inflated(packed)
    count, width, exponent, known = _HEADER.unpack_from(plain)
    sizes = 4 * count, 2 * count * known, -(-width // _PER_BYTE) * count
    if known > 1 or not _COARSEST <= exponent <= _FINEST or len(plain) != _HEADER.size + sum(sizes):
        raise SegvladError(f'{count} keypoints of {width} bytes in a block of {len(plain)}')
    places, halves, levels = (np.frombuffer(plain, kind, offset=begin, count=size // np.dtype(kind).itemsize)
                             for kind, begin, size in zip(('<u2', '<f2', np.uint8), np.cumsum((_HEADER.size, *sizes)),
                                                          sizes))
    positions = places.reshape(count, 2) * 2.0 ** -exponent - 0.5
    depths = halves.astype(np.float32) if known else np.full(count, np.nan, np.float32)
    descriptors = _levels(width).in_byte.take(levels, axis=0).reshape(count, -(-width // _PER_BYTE) * _PER_BYTE)
    return Keypoints(positions.astype(np.float32), descriptors[:, :width], depths)


def _inflated(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, _MOST_BYTES)
    except zlib.error:
        raise SegvladError(f'keypoints in {len(packed)} bytes that zlib did not write') from None
    if not unpacker.eof or unpacker.unused_data or len(plain) < _HEADER.size:
        raise SegvladError(f'keypoints in {len(packed)} bytes that are cut off, joined or of more than {_MOST_BYTES}')
    return plain
