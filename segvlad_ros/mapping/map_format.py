"""Format v1 of the map file: its tables, and keyframes in and out of them.

What the file holds, little-endian throughout:

- ``metadata``: JSON text by key (``map_id``, ``created_ns``, ``dimension``, ``fingerprint``; later ``calibration``),
  and under ``digest`` the BLAKE2b of all others
- ``sessions``: one run of one robot; ``last_number`` is the highest keyframe number ever given, so that none is reused
- ``keyframes``: identity, pose as measured, intrinsics, thumbnail, and a BLAKE2b over all that belongs to the keyframe,
  its session's identity, segments and keypoints included, for SQLite has no page checksums
- ``segments``, ``keypoints``: the arrays of one keyframe; descriptors of segments are float16
- ``optimized_poses``: what a back-end made of a pose, in its own frame; the measured one is never overwritten
- ``witnesses``, where the map is bounded: which keyframes took part in accepted closures

Readers ignore tables, metadata keys and JSON keys that they do not know. ``user_version`` changes only when a reader of
the old version would misread the file. Who calls a function that takes a database holds its lock and transaction.
"""
from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from segvlad_ros.io.camera_info import checked
from segvlad_ros.types import (
    CameraModel,
    Keyframe,
    KeyframeId,
    Keypoints,
    OptimizedPose,
    PlaceDescription,
    Pose,
    SegvladError,
)

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x53564C44  # 'SVLD'
FORMAT_VERSION = 1
MAX_SEGMENTS = MAX_DIMENSION = 0xFFFF  # msg/PlaceDescriptor
MAX_KEYPOINTS = 100_000
MAX_THUMBNAIL_BYTES = 16_000_000
DIGEST_BYTES = 16

TABLES = {
    'metadata': '(key TEXT PRIMARY KEY, value TEXT NOT NULL)',
    'sessions': '(id INTEGER PRIMARY KEY, robot_id INTEGER NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,'
                ' created_ns INTEGER NOT NULL, last_number INTEGER NOT NULL, details TEXT NOT NULL,'
                ' UNIQUE (robot_id, uuid))',
    'keyframes': '(id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL REFERENCES sessions (id),'
                 ' number INTEGER NOT NULL, stamp_ns INTEGER NOT NULL, camera TEXT NOT NULL, frame_id TEXT NOT NULL,'
                 ' pose_frame TEXT, pose BLOB, pose_covariance BLOB, camera_model TEXT, base_frame TEXT,'
                 ' base_from_camera BLOB, segment_count INTEGER NOT NULL, keypoint_count INTEGER NOT NULL,'
                 ' digest BLOB NOT NULL, thumbnail BLOB NOT NULL, UNIQUE (session, number))',
    'segments': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                ' descriptors BLOB NOT NULL, boxes BLOB NOT NULL, pixels BLOB NOT NULL)',
    'keypoints': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                 ' positions BLOB NOT NULL, depths BLOB NOT NULL, descriptors BLOB NOT NULL)',
    'optimized_poses': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                       ' frame TEXT NOT NULL, pose BLOB NOT NULL, covariance BLOB, digest BLOB NOT NULL)',
}
WITNESSES = ('CREATE TABLE IF NOT EXISTS witnesses (keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id)'
             ' ON DELETE CASCADE)')
STATEMENTS = {name: f'CREATE TABLE {name} {columns}' for name, columns in TABLES.items()}


class Row(NamedTuple):
    """All of one keyframe but its session, in the order in which it is digested; first the columns of ``keyframes``."""

    number: int
    stamp_ns: int
    camera: str
    frame_id: str
    pose_frame: str | None
    pose: bytes | None
    pose_covariance: bytes | None
    camera_model: str | None
    base_frame: str | None
    base_from_camera: bytes | None
    segment_count: int
    keypoint_count: int
    thumbnail: bytes
    descriptors: bytes
    boxes: bytes
    pixels: bytes
    keypoint_positions: bytes | None
    keypoint_depths: bytes | None
    keypoint_descriptors: bytes | None


_ROW_TYPES = tuple(get_type_hints(Row).values())
_KEYFRAME_COLUMNS = Row._fields[:13]
_ROW_COLUMNS = (', '.join(f'k.{column}' for column in _KEYFRAME_COLUMNS)
                + ', s.descriptors, s.boxes, s.pixels, p.positions, p.depths, p.descriptors')
_ROW_TABLES = 'keyframes k LEFT JOIN segments s ON s.keyframe = k.id LEFT JOIN keypoints p ON p.keyframe = k.id'
_SIZE_COLUMNS = ('k.segment_count, k.keypoint_count, length(k.thumbnail), length(s.descriptors), length(s.boxes),'
                 ' length(s.pixels), length(p.positions), length(p.depths), length(p.descriptors)')


def digest(*values: int | str | bytes | None) -> bytes:
    """BLAKE2b of values with their types and lengths, so that no two different lists look alike."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for value in values:
        data = b'' if value is None else value if isinstance(value, bytes) else str(value).encode()
        kind = {bytes: b'b', str: b's', int: b'i', type(None): b'n'}[type(value)]
        state.update(kind + struct.pack('<Q', len(data)))
        state.update(data)
    return state.digest()


def pack_pose(pose: Pose) -> bytes:
    """Translation and quaternion, 7 float64."""
    values = np.concatenate([np.asarray(pose.translation).reshape(3), np.asarray(pose.quaternion).reshape(4)])
    if not np.isfinite(values).all():
        raise SegvladError('a pose with NaN or infinite values cannot be stored')
    return values.astype('<f8').tobytes()


def pack_covariance(pose: Pose) -> bytes | None:
    """36 float64, or None."""
    return None if pose.covariance is None else np.asarray(pose.covariance, '<f8').reshape(6, 6).tobytes()


def unpack_pose(pose: bytes, frame: str, covariance: bytes | None = None) -> Pose:
    """The pose of :func:`pack_pose` and :func:`pack_covariance`."""
    values = np.frombuffer(pose, '<f8').astype(np.float64)
    matrix = None if covariance is None else np.frombuffer(covariance, '<f8').astype(np.float64).reshape(6, 6)
    return Pose(values[:3].reshape(3), values[3:].reshape(4), frame, matrix)


def _pack_camera_model(model: CameraModel) -> str:
    return json.dumps({'width': int(model.width), 'height': int(model.height),
                       'matrix': np.asarray(model.matrix, float).reshape(9).tolist(),
                       'distortion': np.asarray(model.distortion, float).reshape(-1).tolist(),
                       'distortion_model': model.distortion_model}, sort_keys=True)


@lru_cache(maxsize=64)  # a map holds thousands of keyframes of one camera
def _unpack_camera_model(text: str) -> CameraModel | None:
    """A map that was written without the checks of today may hold what cannot be used: then none."""
    fields = json.loads(text)
    matrix, distortion = (np.array(fields[name], np.float64) for name in ('matrix', 'distortion'))
    try:
        return checked(CameraModel(int(fields['width']), int(fields['height']), matrix.reshape(3, 3),
                                   distortion.reshape(-1), str(fields['distortion_model'])))
    except SegvladError as error:
        logger.warning('%s; keyframes of the map with it match without metric poses', error)
        return None


def pack(keyframe: Keyframe, dimension: int) -> Row:
    """A keyframe's row; arrays that do not fit each other or the map raise SegvladError."""
    description, base = keyframe.description, keyframe.base_from_camera
    count = len(description)
    if not 1 <= keyframe.id.index < 2**63 or not -2**63 <= keyframe.id.stamp_ns < 2**63:
        raise SegvladError(f'keyframe index {keyframe.id.index} must be at least 1, and 64 bits hold it and its stamp')
    rows = np.asarray(description.descriptors, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise SegvladError(f'descriptors of shape {rows.shape} do not fit a map of dimension {dimension}')
    if not np.isfinite(rows).all():
        raise SegvladError('descriptors with NaN or infinite values cannot be stored')
    boxes, pixels = np.asarray(description.boxes, '<i4'), np.asarray(description.pixels, '<i8')
    if count > MAX_SEGMENTS or boxes.size != 4 * count or pixels.size != count:
        raise SegvladError(f'{count} segments (at most {MAX_SEGMENTS}) with {boxes.size // 4} boxes and '
                           f'{pixels.size} areas')
    if len(keyframe.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise SegvladError(f'thumbnail of {len(keyframe.thumbnail)} bytes is too large; at most {MAX_THUMBNAIL_BYTES}')
    points = _pack_keypoints(description.keypoints)
    return Row(
        int(keyframe.id.index), int(keyframe.id.stamp_ns), keyframe.id.camera, keyframe.frame_id,
        *((None, None, None) if keyframe.pose is None
          else (keyframe.pose.frame, pack_pose(keyframe.pose), pack_covariance(keyframe.pose))),
        None if keyframe.camera_model is None else _pack_camera_model(keyframe.camera_model),
        *((None, None) if base is None else (base.frame, pack_pose(base))),
        count, points[0], bytes(keyframe.thumbnail),
        rows.astype('<f2').tobytes(), boxes.tobytes(), pixels.tobytes(), *points[1:])


def _pack_keypoints(keypoints: Keypoints | None) -> tuple[int, bytes | None, bytes | None, bytes | None]:
    if keypoints is None:
        return 0, None, None, None
    positions, depths = np.asarray(keypoints.positions, '<f4'), np.asarray(keypoints.depths, '<f4')
    descriptors, count = np.asarray(keypoints.descriptors, np.uint8), len(keypoints.positions)
    if count > MAX_KEYPOINTS or positions.size != 2 * count or depths.size != count or len(descriptors) != count:
        raise SegvladError(f'{count} keypoints (at most {MAX_KEYPOINTS}) with {depths.size} depths and '
                           f'{len(descriptors)} descriptors')
    return count, positions.tobytes(), depths.tobytes(), descriptors.tobytes()


def _sizes_problem(sizes: tuple, dimension: int) -> str:
    """What is wrong with the ``_SIZE_COLUMNS`` of a row, stated sizes and those of its blobs; '' if nothing is."""
    if not all(value is None or isinstance(value, int) for value in sizes):
        return 'sizes that are no numbers'
    segments, points, thumbnail, descriptors, boxes, pixels, positions, depths, point_rows = sizes
    if not 0 <= segments <= MAX_SEGMENTS or not 0 <= points <= MAX_KEYPOINTS:
        return f'{segments} segments and {points} keypoints'
    if thumbnail > MAX_THUMBNAIL_BYTES:
        return f'a thumbnail of {thumbnail} bytes'
    if (descriptors, boxes, pixels) != (2 * segments * dimension, 16 * segments, 8 * segments):
        return f'{segments} segments of dimension {dimension} in blocks of {descriptors}, {boxes} and {pixels} bytes'
    if positions is None:
        return f'{points} keypoints that are missing' if points else ''
    if (positions, depths) != (8 * points, 4 * points) or point_rows > 256 * points or point_rows % max(points, 1):
        return f'{points} keypoints in blocks of {positions}, {depths} and {point_rows} bytes'
    return ''


def _unpack(row: Row, dimension: int, robot_id: int, session_id: str, optimized: OptimizedPose | None) -> Keyframe:
    """A keyframe from its row, whose sizes and digest were checked; descriptors are normalised again after float16.

    :raises TypeError, ValueError, KeyError, IndexError: a row that :func:`pack` did not make
    """
    if not all(isinstance(value, kind) for value, kind in zip(row, _ROW_TYPES)):
        raise TypeError('a value of a type that is never written')
    rows = np.frombuffer(row.descriptors, '<f2').astype(np.float32).reshape(row.segment_count, dimension)
    if not np.isfinite(rows).all():
        raise ValueError('descriptors that are not finite')
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    keypoints = None
    if row.keypoint_positions is not None:
        count = row.keypoint_count
        width = len(row.keypoint_descriptors) // count if count else 0
        keypoints = Keypoints(np.frombuffer(row.keypoint_positions, '<f4').astype(np.float32).reshape(count, 2),
                              np.frombuffer(row.keypoint_descriptors, np.uint8).reshape(count, width),
                              np.frombuffer(row.keypoint_depths, '<f4').astype(np.float32))
    boxes = np.frombuffer(row.boxes, '<i4').astype(np.int32).reshape(row.segment_count, 4)
    description = PlaceDescription(rows, boxes, np.frombuffer(row.pixels, '<i8').astype(np.int64), keypoints=keypoints)
    pose = None if row.pose is None else unpack_pose(row.pose, row.pose_frame, row.pose_covariance)
    return Keyframe(
        KeyframeId(robot_id, session_id, row.number, row.stamp_ns, row.camera), description, row.frame_id, pose,
        None if row.camera_model is None else _unpack_camera_model(row.camera_model),
        None if row.base_from_camera is None else unpack_pose(row.base_from_camera, row.base_frame), row.thumbnail,
        optimized)


def session_row(database: sqlite3.Connection, robot_id: int, session_id: str) -> int:
    """Row of a session, which is made if it is new."""
    database.execute('INSERT OR IGNORE INTO sessions (robot_id, uuid, name, created_ns, last_number, details)'
                     " VALUES (?, ?, '', ?, 0, '{}')", (robot_id, session_id, time.time_ns()))
    return database.execute('SELECT id FROM sessions WHERE robot_id = ? AND uuid = ?',
                            (robot_id, session_id)).fetchone()[0]


def find_keyframe(database: sqlite3.Connection, identity: KeyframeId) -> int | None:
    """Row of a keyframe, or None."""
    row = database.execute('SELECT k.id FROM keyframes k JOIN sessions s ON s.id = k.session WHERE s.robot_id = ?'
                           ' AND s.uuid = ? AND k.number = ?',
                           (identity.robot_id, identity.session_id, identity.index)).fetchone()
    return row[0] if row else None


def insert_keyframe(database: sqlite3.Connection, identity: KeyframeId, row: Row) -> int | None:
    """Add a keyframe, and return its row, or None if it is in the map already."""
    session = session_row(database, identity.robot_id, identity.session_id)
    if find_keyframe(database, identity) is not None:
        return None
    checksum = digest(identity.robot_id, identity.session_id, *row)
    at = database.execute(
        f'INSERT INTO keyframes (session, digest, {", ".join(_KEYFRAME_COLUMNS)})'
        f' VALUES (?, ?{", ?" * len(_KEYFRAME_COLUMNS)})',
        (session, checksum, *row[:len(_KEYFRAME_COLUMNS)])).lastrowid
    database.execute('INSERT INTO segments VALUES (?, ?, ?, ?)', (at, row.descriptors, row.boxes, row.pixels))
    if row.keypoint_positions is not None:
        database.execute('INSERT INTO keypoints VALUES (?, ?, ?, ?)', (at, *row[16:]))
    database.execute('UPDATE sessions SET last_number = max(last_number, ?) WHERE id = ?', (identity.index, session))
    return at


def store_optimized_pose(database: sqlite3.Connection, row: int, optimized: OptimizedPose) -> None:
    """Store the optimised pose of a keyframe, beside its measured one."""
    pose = optimized.map_from_base
    values = pose.frame, pack_pose(pose), pack_covariance(pose)
    database.execute('INSERT OR REPLACE INTO optimized_poses VALUES (?, ?, ?, ?, ?)',
                     (row, *values, digest(row, *values)))


def read_keyframe(database: sqlite3.Connection, path: Path, row: int, dimension: int) -> Keyframe | None:
    """One keyframe, or None if there is no such row; one that is not as it was written raises SegvladError."""
    sizes = database.execute(f'SELECT {_SIZE_COLUMNS} FROM {_ROW_TABLES} WHERE k.id = ?', (row,)).fetchone()
    if sizes is None:
        return None
    problem = _sizes_problem(sizes, dimension)
    if not problem:
        robot_id, session_id, checksum, *values = database.execute(
            f'SELECT n.robot_id, n.uuid, k.digest, {_ROW_COLUMNS} FROM {_ROW_TABLES} LEFT JOIN sessions n'
            ' ON n.id = k.session WHERE k.id = ?', (row,)).fetchone()
        moved = database.execute('SELECT frame, pose, covariance, digest FROM optimized_poses WHERE keyframe = ?',
                                 (row,)).fetchone()
        try:
            if checksum != digest(robot_id, session_id, *values) or (
                    moved is not None and moved[3] != digest(row, *moved[:3])):
                raise ValueError('its digest differs')
            optimized = None if moved is None else OptimizedPose(unpack_pose(moved[1], moved[0], moved[2]))
            return _unpack(Row(*values), dimension, robot_id, session_id, optimized)
        except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            problem = str(error)
    raise SegvladError(f'{path}: keyframe row {row} is damaged: {problem}; restore a copy of the file')


def _flat(fields: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """``{'a': {'b': 1}}`` as ``{'a.b': 1}``."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        key = f'{prefix}{name}'
        flat |= _flat(value, f'{key}.') if isinstance(value, Mapping) else {key: value}
    return flat


def fingerprint_difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first field that differs with both values, and how many more do, '' if none does; the overall ``digest`` is
    named only when nothing else differs.
    """
    stored, wanted = _flat(json.loads(json.dumps(stored))), _flat(json.loads(json.dumps(wanted)))
    names = sorted(stored.keys() | wanted.keys(), key=lambda name: (name == 'digest', name))
    unequal = [name for name in names if stored.get(name, 'missing') != wanted.get(name, 'missing')]
    if not unequal:
        return ''
    name, others = unequal[0], [other for other in unequal[1:] if other != 'digest']
    values = [str(fields.get(name, 'missing'))[:80] for fields in (stored, wanted)]
    more = f' (and {len(others)} more)' if others else ''
    return f'{name} is {values[0]} in the map but {values[1]} here{more}'
