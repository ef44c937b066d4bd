"""Keyframes in and out of the tables of a map; the caller holds the lock and the transaction."""
from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from segvlad_ros.mapping import map_format
from segvlad_ros.mapping.map_format import ROW_COLUMNS, ROW_TABLES, SIZE_COLUMNS, Row
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, SegvladError


def session(database: sqlite3.Connection, robot_id: int, session_id: str, name: str = '') -> int:
    """Row of a session, which is made if it is new."""
    database.execute('INSERT OR IGNORE INTO sessions (robot_id, uuid, name, created_ns, last_number, details)'
                     " VALUES (?, ?, ?, ?, 0, '{}')", (robot_id, session_id, name, time.time_ns()))
    return database.execute('SELECT id FROM sessions WHERE robot_id = ? AND uuid = ?',
                            (robot_id, session_id)).fetchone()[0]


def find(database: sqlite3.Connection, identity: KeyframeId) -> int | None:
    """Row of a keyframe, or None."""
    row = database.execute('SELECT k.id FROM keyframes k JOIN sessions s ON s.id = k.session WHERE s.robot_id = ?'
                           ' AND s.uuid = ? AND k.number = ?',
                           (identity.robot_id, identity.session_id, identity.index)).fetchone()
    return row[0] if row else None


def insert(database: sqlite3.Connection, identity: KeyframeId, row: Row) -> int | None:
    """Add a keyframe.

    :returns: its row, or None if the keyframe is in the map already
    """
    in_session = session(database, identity.robot_id, identity.session_id)
    if find(database, identity) is not None:
        return None
    checksum = map_format.digest(identity.robot_id, identity.session_id, *row)
    at = database.execute(
        'INSERT INTO keyframes (session, number, stamp_ns, camera, frame_id, pose_frame, pose, pose_covariance,'
        ' camera_model, base_frame, base_from_camera, segment_count, keypoint_count, digest, thumbnail)'
        ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        (in_session, *row[:12], checksum, row.thumbnail)).lastrowid
    database.execute('INSERT INTO segments VALUES (?, ?, ?, ?)', (at, row.descriptors, row.boxes, row.pixels))
    if row.keypoint_positions is not None:
        database.execute('INSERT INTO keypoints VALUES (?, ?, ?, ?)', (at, *row[16:]))
    database.execute('UPDATE sessions SET last_number = max(last_number, ?) WHERE id = ?',
                     (identity.index, in_session))
    return at


def replace_pose(database: sqlite3.Connection, row: int, optimized: OptimizedPose) -> None:
    """Store the optimised pose of a keyframe, beside its measured one."""
    pose = optimized.map_from_base
    values = pose.frame, map_format.pack_pose(pose), map_format.pack_covariance(pose)
    database.execute('INSERT OR REPLACE INTO optimized_poses VALUES (?, ?, ?, ?, ?)',
                     (row, *values, map_format.digest(row, *values)))


def read(database: sqlite3.Connection, path: Path, row: int, dimension: int) -> Keyframe | None:
    """Read and check one keyframe.

    :returns: None if there is no such row
    :raises SegvladError: sizes, digest or types are not as they were written
    """
    sizes = database.execute(f'SELECT {SIZE_COLUMNS} FROM {ROW_TABLES} WHERE k.id = ?', (row,)).fetchone()
    if sizes is None:
        return None
    problem = map_format.sizes_problem(sizes, dimension)
    if not problem:
        robot_id, session_id, checksum, *values = database.execute(
            f'SELECT n.robot_id, n.uuid, k.digest, {ROW_COLUMNS} FROM {ROW_TABLES} LEFT JOIN sessions n'
            ' ON n.id = k.session WHERE k.id = ?', (row,)).fetchone()
        moved = database.execute('SELECT frame, pose, covariance, digest FROM optimized_poses WHERE keyframe = ?',
                                 (row,)).fetchone()
        try:
            if checksum != map_format.digest(robot_id, session_id, *values) or (
                    moved is not None and moved[3] != map_format.digest(row, *moved[:3])):
                raise ValueError('its digest differs')
            optimized = None if moved is None else OptimizedPose(
                map_format.unpack_pose(moved[1], moved[0], moved[2]))
            return map_format.unpack(Row(*values), dimension, robot_id, session_id, optimized)
        except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            problem = str(error)
    raise SegvladError(f'{path}: keyframe row {row} is damaged: {problem}; restore a copy of the file')
