"""The arrays of a keyframe as maps of format 2 hold them: some 38 kB with ``classic``, a fifth of what they are.

Descriptors are codes of 3 bits a value, and keypoints of 2 bits a value of theirs; what that costs is in
benchmark/results/small_keyframes.md. Codes of what was decoded are the same codes, so that a keyframe loses nothing
more on its way from map to map.
"""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.description.scalar_quantizer import ScalarQuantizer
from segvlad_ros.types import PlaceDescription, SegvladError

TABLES = {
    'segments': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                ' codes BLOB NOT NULL, boxes BLOB NOT NULL, pixels BLOB NOT NULL)',
    'keypoints': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE, packed BLOB NOT NULL)',
}
COLUMNS = 's.codes', 's.boxes', 's.pixels', 'p.packed'
BITS = 3  # of a descriptor's value
_MOST_BYTES_OF_KEYPOINT = 300  # packed; a guard for what is read, not what they take


class ArraysV2(NamedTuple):
    """What the columns hold: codes; uint16, uint32; what :mod:`~segvlad_ros.description.keypoint_codec` makes."""

    codes: bytes
    boxes: bytes
    pixels: bytes
    keypoints: bytes | None


Arrays = ArraysV2


@lru_cache(maxsize=4)
def quantizer(dimension: int) -> ScalarQuantizer:
    """What makes the codes of descriptors of d values."""
    return ScalarQuantizer(dimension, BITS)


def pack(description: PlaceDescription, dimension: int) -> ArraysV2:
    """The columns of a description; arrays that do not fit each other or the map raise SegvladError."""
    count = len(description)
    rows = np.asarray(description.descriptors, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise SegvladError(f'descriptors of shape {rows.shape} do not fit a map of dimension {dimension}')
    boxes, pixels = np.asarray(description.boxes), np.asarray(description.pixels)
    if boxes.size != 4 * count or pixels.size != count:
        raise SegvladError(f'{count} segments with {boxes.size // 4} boxes and {pixels.size} areas')
    if count and (min(boxes.min(), pixels.min()) < 0 or boxes.max() > 0xFFFF or pixels.max() > 0xFFFFFFFF):
        raise SegvladError('segments with boxes or areas that no image has cannot be stored')
    return ArraysV2(quantizer(dimension).encode(rows).tobytes(), boxes.astype('<u2').tobytes(),
                    pixels.astype('<u4').tobytes(),
                    None if description.keypoints is None else pack_keypoints(description.keypoints))


def sizes_problem(sizes: tuple[int | None, ...], segments: int, points: int, dimension: int) -> str:
    """What is wrong with the sizes of the blobs, in the order of the columns; '' if nothing is."""
    codes, boxes, pixels, keypoints = sizes
    if (codes, boxes, pixels) != (segments * quantizer(dimension).code_bytes, 8 * segments, 4 * segments):
        return f'{segments} segments of dimension {dimension} in blocks of {codes}, {boxes} and {pixels} bytes'
    if keypoints is None:
        return f'{points} keypoints that are missing' if points else ''
    if keypoints > 100 + _MOST_BYTES_OF_KEYPOINT * points:
        return f'{points} keypoints in {keypoints} bytes'
    return ''


def unpack(arrays: ArraysV2, segments: int, points: int, dimension: int) -> PlaceDescription:
    """The description; descriptors are a little longer than 1, so that their cosines are right on average.

    :raises TypeError, ValueError, SegvladError: bytes that were never written
    """
    rows = quantizer(dimension).decode(codes(arrays, segments, dimension))
    return replace(without_descriptors(arrays, segments, points), descriptors=rows)


def codes(arrays: ArraysV2, segments: int, dimension: int) -> np.ndarray:
    """(M, code_bytes) uint8, the codes of the descriptors."""
    return np.frombuffer(arrays.codes, np.uint8).reshape(segments, quantizer(dimension).code_bytes)


def without_descriptors(arrays: ArraysV2, segments: int, points: int) -> PlaceDescription:
    """The description with no row of descriptors; raises as :func:`unpack`."""
    keypoints = None if arrays.keypoints is None else unpack_keypoints(arrays.keypoints)
    if keypoints is not None and len(keypoints.positions) != points:
        raise ValueError(f'{points} keypoints of which {len(keypoints.positions)} are there')
    boxes = np.frombuffer(arrays.boxes, '<u2').astype(np.int32).reshape(segments, 4)
    return PlaceDescription(np.zeros((0, 0), np.float32), boxes,
                            np.frombuffer(arrays.pixels, '<u4').astype(np.int64), keypoints=keypoints)
