"""The arrays of a keyframe as maps of format 1 hold them, which are read, and no longer written."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segvlad_ros.types import Keypoints, PlaceDescription

TABLES = {
    'segments': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                ' descriptors BLOB NOT NULL, boxes BLOB NOT NULL, pixels BLOB NOT NULL)',
    'keypoints': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                 ' positions BLOB NOT NULL, depths BLOB NOT NULL, descriptors BLOB NOT NULL)',
}
COLUMNS = 's.descriptors', 's.boxes', 's.pixels', 'p.positions', 'p.depths', 'p.descriptors'


class ArraysV1(NamedTuple):
    """What the columns hold: float16, int32, int64; float32, float32, uint8."""

    descriptors: bytes
    boxes: bytes
    pixels: bytes
    positions: bytes | None
    depths: bytes | None
    keypoint_descriptors: bytes | None


Arrays = ArraysV1


def sizes_problem(sizes: tuple[int | None, ...], segments: int, points: int, dimension: int) -> str:
    """What is wrong with the sizes of the blobs, in the order of the columns; '' if nothing is."""
    descriptors, boxes, pixels, positions, depths, point_rows = sizes
    if (descriptors, boxes, pixels) != (2 * segments * dimension, 16 * segments, 8 * segments):
        return f'{segments} segments of dimension {dimension} in blocks of {descriptors}, {boxes} and {pixels} bytes'
    if positions is None:
        return f'{points} keypoints that are missing' if points else ''
    if (positions, depths) != (8 * points, 4 * points) or point_rows > 256 * points or point_rows % max(points, 1):
        return f'{points} keypoints in blocks of {positions}, {depths} and {point_rows} bytes'
    return ''


def unpack(arrays: ArraysV1, segments: int, points: int, dimension: int) -> PlaceDescription:
    """The description, whose descriptors are normalised again after float16.

    :raises TypeError, ValueError: bytes that were never written
    """
    rows = np.frombuffer(arrays.descriptors, '<f2').astype(np.float32).reshape(segments, dimension)
    if not np.isfinite(rows).all():
        raise ValueError('descriptors that are not finite')
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    keypoints = None
    if arrays.positions is not None:
        width = len(arrays.keypoint_descriptors) // points if points else 0
        keypoints = Keypoints(np.frombuffer(arrays.positions, '<f4').astype(np.float32).reshape(points, 2),
                              np.frombuffer(arrays.keypoint_descriptors, np.uint8).reshape(points, width),
                              np.frombuffer(arrays.depths, '<f4').astype(np.float32))
    boxes = np.frombuffer(arrays.boxes, '<i4').astype(np.int32).reshape(segments, 4)
    return PlaceDescription(rows, boxes, np.frombuffer(arrays.pixels, '<i8').astype(np.int64), keypoints=keypoints)
