"""Formats 1 and 2 of the map file: its tables, and keyframes in and out of them.

What the file holds, little-endian throughout:

- ``metadata``: JSON text by key (``map_id``, ``created_ns``, ``dimension``, ``fingerprint``; may have
  ``preset`` and ``run_id``),
  and under ``digest`` the BLAKE2b of all others
- ``sessions``: one run of one robot; ``last_number`` is the highest keyframe number ever given, so that none is reused
- ``keyframes``: identity, pose as measured, intrinsics, thumbnail, and a BLAKE2b over all that belongs to the keyframe,
  its session's identity, segments and keypoints included, for SQLite has no page checksums
- ``segments``, ``keypoints``: the arrays of one keyframe, see :mod:`~segvlad_ros.mapping.arrays_v2` and, of maps of
  format 1, which are read and not written, :mod:`~segvlad_ros.mapping.arrays_v1`
- ``optimized_poses``: what a back-end made of a pose, in its own frame; the measured one is never overwritten

Readers ignore tables, metadata keys and JSON keys that they do not know. ``user_version`` changes only when a reader of
the old version would misread the file. Who calls a function that takes a database holds its lock and transaction.
"""
from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from segvlad_ros.geometry import sound_pose
from segvlad_ros.mapping import arrays_v1, arrays_v2
from segvlad_ros.mapping.packing import (
    digest,
    pack_camera_model,
    pack_covariance,
    pack_pose,
    unpack_camera_model,
    unpack_pose,
)
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, PlaceDescription, SegvladError

APPLICATION_ID = 0x53564C44  # 'SVLD'
ARRAYS = {1: arrays_v1, 2: arrays_v2}
FORMAT_VERSION = max(ARRAYS)
_OF_TYPE = {arrays.Arrays: arrays for arrays in ARRAYS.values()}
MAX_SEGMENTS = MAX_DIMENSION = 0xFFFF  # msg/PlaceDescriptor
MAX_KEYPOINTS = 100_000
MAX_THUMBNAIL_BYTES = 16_000_000

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
    'optimized_poses': '(keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,'
                       ' frame TEXT NOT NULL, pose BLOB NOT NULL, covariance BLOB, digest BLOB NOT NULL)',
}
WITNESSES = ('CREATE TABLE IF NOT EXISTS witnesses (keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id)'
             ' ON DELETE CASCADE)')
STATEMENTS = {version: {name: f'CREATE TABLE {name} {columns}' for name, columns in (TABLES | arrays.TABLES).items()}
              for version, arrays in ARRAYS.items()}
"""What makes the tables, by version of the format."""


class DamagedKeyframe(SegvladError):
    """A keyframe in a file is not as it was written."""


class Columns(NamedTuple):
    """All of one keyframe but its session and arrays, in the order in which it is digested."""

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


class Packed(NamedTuple):
    """A keyframe as it is stored."""

    id: KeyframeId
    columns: Columns
    arrays: arrays_v1.Arrays | arrays_v2.Arrays
    optimized: OptimizedPose | None = None


_NAMES = Columns._fields
NO_ARRAYS = PlaceDescription(np.zeros((0, 0), np.float32), np.zeros((0, 4), np.int32), np.zeros(0, np.int64))
_TABLES = 'keyframes k LEFT JOIN segments s ON s.keyframe = k.id LEFT JOIN keypoints p ON p.keyframe = k.id'


def pack(keyframe: Keyframe, dimension: int) -> Packed:
    """A keyframe as maps of today hold it; arrays that do not fit each other or the map raise SegvladError."""
    description, base = keyframe.description, keyframe.base_from_camera
    if not 1 <= keyframe.id.index < 2**63 or not -2**63 <= keyframe.id.stamp_ns < 2**63:
        raise SegvladError(f'keyframe index {keyframe.id.index} must be at least 1, and 64 bits hold it and its stamp')
    points = 0 if description.keypoints is None else len(description.keypoints.positions)
    if len(description) > MAX_SEGMENTS or points > MAX_KEYPOINTS:
        raise SegvladError(f'{len(description)} segments (at most {MAX_SEGMENTS}) and {points} keypoints (at most '
                           f'{MAX_KEYPOINTS})')
    if len(keyframe.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise SegvladError(f'thumbnail of {len(keyframe.thumbnail)} bytes is too large; at most {MAX_THUMBNAIL_BYTES}')
    if keyframe.optimized is not None:
        sound_pose(keyframe.optimized.map_from_base)
    columns = Columns(
        int(keyframe.id.index), int(keyframe.id.stamp_ns), keyframe.id.camera, keyframe.frame_id,
        *((None, None, None) if keyframe.pose is None
          else (keyframe.pose.frame, pack_pose(keyframe.pose), pack_covariance(keyframe.pose))),
        None if keyframe.camera_model is None else pack_camera_model(keyframe.camera_model),
        *((None, None) if base is None else (base.frame, pack_pose(base))),
        len(description), points, bytes(keyframe.thumbnail))
    return Packed(keyframe.id, columns, arrays_v2.pack(description, dimension), keyframe.optimized)


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


def insert_keyframe(database: sqlite3.Connection, packed: Packed) -> int | None:
    """Add a keyframe, without its optimised pose, and return its row, or None if it is in the map already."""
    identity, columns, arrays, _ = packed
    session = session_row(database, identity.robot_id, identity.session_id)
    if find_keyframe(database, identity) is not None:
        return None
    checksum = digest(identity.robot_id, identity.session_id, *columns, *arrays)
    at = database.execute(
        f'INSERT INTO keyframes (session, digest, {", ".join(_NAMES)}) VALUES (?, ?{", ?" * len(_NAMES)})',
        (session, checksum, *columns)).lastrowid
    database.execute('INSERT INTO segments VALUES (?, ?, ?, ?)', (at, *arrays[:3]))
    if arrays.keypoints is not None:
        database.execute('INSERT INTO keypoints VALUES (?, ?)', (at, arrays.keypoints))
    database.execute('UPDATE sessions SET last_number = max(last_number, ?) WHERE id = ?', (identity.index, session))
    return at


def store_optimized_pose(database: sqlite3.Connection, row: int, optimized: OptimizedPose) -> None:
    """Store the optimised pose of a keyframe, beside its measured one."""
    pose = optimized.map_from_base
    values = pose.frame, pack_pose(pose), pack_covariance(pose)
    database.execute('INSERT OR REPLACE INTO optimized_poses VALUES (?, ?, ?, ?, ?)',
                     (row, *values, digest(row, *values)))


def read_packed(database: sqlite3.Connection, path: Path, row: int, dimension: int, version: int) -> Packed | None:
    """One keyframe as it is stored, or None if there is no such row; one that is not as it was written raises
    SegvladError.
    """
    arrays = ARRAYS[version]
    lengths = ', '.join(f'length({column})' for column in ('k.thumbnail', *arrays.COLUMNS))
    sizes = database.execute(f'SELECT k.segment_count, k.keypoint_count, {lengths} FROM {_TABLES} WHERE k.id = ?',
                             (row,)).fetchone()
    if sizes is None:
        return None
    with intact(f'{path}: keyframe row {row}'):
        if problem := _sizes_problem(sizes, dimension, version):
            raise ValueError(problem)
        names = ', '.join([*(f'k.{name}' for name in _NAMES), *arrays.COLUMNS])
        robot_id, session_id, checksum, *values = database.execute(
            f'SELECT n.robot_id, n.uuid, k.digest, {names} FROM {_TABLES} LEFT JOIN sessions n ON n.id = k.session'
            ' WHERE k.id = ?', (row,)).fetchone()
        moved = database.execute('SELECT frame, pose, covariance, digest FROM optimized_poses WHERE keyframe = ?',
                                 (row,)).fetchone()
        if checksum != digest(robot_id, session_id, *values) or (
                moved is not None and moved[3] != digest(row, *moved[:3])):
            raise ValueError('its digest differs')
        columns = _typed(Columns, values[:len(_NAMES)])
        return Packed(KeyframeId(robot_id, session_id, columns.number, columns.stamp_ns, columns.camera), columns,
                      _typed(arrays.Arrays, values[len(_NAMES):]),
                      None if moved is None else OptimizedPose(unpack_pose(moved[1], moved[0], moved[2])))


def unpack(packed: Packed, dimension: int, where: str) -> Keyframe:
    """The keyframe.

    :param where: how an error names it
    :raises DamagedKeyframe: bytes that :func:`pack` did not make
    """
    with intact(where):
        return replace(outline(packed), description=_OF_TYPE[type(packed.arrays)].unpack(
            packed.arrays, packed.columns.segment_count, packed.columns.keypoint_count, dimension))


def outline(packed: Packed) -> Keyframe:
    """The keyframe without its arrays.

    :raises TypeError, ValueError, KeyError, IndexError: columns that :func:`pack` did not make
    """
    columns = packed.columns
    pose = None if columns.pose is None else unpack_pose(columns.pose, columns.pose_frame, columns.pose_covariance)
    return Keyframe(
        packed.id, NO_ARRAYS, columns.frame_id, pose,
        None if columns.camera_model is None else unpack_camera_model(columns.camera_model),
        None if columns.base_from_camera is None else unpack_pose(columns.base_from_camera, columns.base_frame),
        columns.thumbnail, packed.optimized)


@contextmanager
def intact(which: str) -> Iterator[None]:
    """Turn what reading bytes that were never written raises into one line that names the keyframe."""
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, SegvladError) as error:
        raise DamagedKeyframe(f'{which} is damaged: {error}; restore a copy of the file') from None


def _sizes_problem(sizes: tuple, dimension: int, version: int) -> str:
    """What is wrong with the stated sizes of a keyframe, and with those of its blobs; '' if nothing is."""
    if not all(value is None or isinstance(value, int) for value in sizes):
        return 'sizes that are not numbers'
    segments, points, thumbnail, *blobs = sizes
    if not 0 <= segments <= MAX_SEGMENTS or not 0 <= points <= MAX_KEYPOINTS:
        return f'{segments} segments and {points} keypoints'
    if thumbnail > MAX_THUMBNAIL_BYTES:
        return f'a thumbnail of {thumbnail} bytes'
    return ARRAYS[version].sizes_problem(tuple(blobs), segments, points, dimension)


_hints = lru_cache(lambda kind: tuple(get_type_hints(kind).values()))


def _typed(kind: type, values: list) -> Any:
    """A named tuple of values that have its types; others are never written, and raise TypeError."""
    if not all(isinstance(value, wanted) for value, wanted in zip(values, _hints(kind), strict=True)):
        raise TypeError('a value of a type that is never written')
    return kind(*values)


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
