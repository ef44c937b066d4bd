"""Maps of format 1, as releases before 2 wrote them: what they store is copied here, and must not change."""
from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np

from segvlad_ros.types import Keyframe

SCHEMA = """
CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, robot_id INTEGER NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,\
 created_ns INTEGER NOT NULL, last_number INTEGER NOT NULL, details TEXT NOT NULL, UNIQUE (robot_id, uuid));
CREATE TABLE keyframes (id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL REFERENCES sessions (id),\
 number INTEGER NOT NULL, stamp_ns INTEGER NOT NULL, camera TEXT NOT NULL, frame_id TEXT NOT NULL,\
 pose_frame TEXT, pose BLOB, pose_covariance BLOB, camera_model TEXT, base_frame TEXT,\
 base_from_camera BLOB, segment_count INTEGER NOT NULL, keypoint_count INTEGER NOT NULL,\
 digest BLOB NOT NULL, thumbnail BLOB NOT NULL, UNIQUE (session, number));
CREATE TABLE optimized_poses (keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,\
 frame TEXT NOT NULL, pose BLOB NOT NULL, covariance BLOB, digest BLOB NOT NULL);
CREATE TABLE segments (keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,\
 descriptors BLOB NOT NULL, boxes BLOB NOT NULL, pixels BLOB NOT NULL);
CREATE TABLE keypoints (keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE,\
 positions BLOB NOT NULL, depths BLOB NOT NULL, descriptors BLOB NOT NULL)"""


def write_old_map(path: Path, keyframes: Iterable[Keyframe], dimension: int, fingerprint: dict,
                  preset: str = '') -> None:
    """A map of format 1 with one session of robot 0; poses have no covariance, keyframes no optimised pose."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(f'PRAGMA application_id = {0x53564C44}; PRAGMA user_version = 1; {SCHEMA}')
    texts = {key: json.dumps(value, sort_keys=True) for key, value in {
        'map_id': 'an old map', 'created_ns': 1, 'dimension': dimension, 'fingerprint': fingerprint,
        'preset': preset}.items()}
    texts['digest'] = _digest(*(part for key in sorted(texts) for part in (key, texts[key]))).hex()
    database.executemany('INSERT INTO metadata VALUES (?, ?)', sorted(texts.items()))
    for row, keyframe in enumerate(keyframes, 1):
        identity, place, points = keyframe.id, keyframe.description, keyframe.description.keypoints
        database.execute("INSERT OR IGNORE INTO sessions VALUES (1, 0, ?, '', 1, 0, '{}')", (identity.session_id,))
        database.execute('UPDATE sessions SET last_number = ?', (identity.index,))
        columns = (identity.index, identity.stamp_ns, identity.camera, keyframe.frame_id,
                   *((None, None) if keyframe.pose is None else (keyframe.pose.frame, _pose(keyframe.pose))), None,
                   None if keyframe.camera_model is None else _camera_model(keyframe.camera_model),
                   *((None, None) if keyframe.base_from_camera is None
                     else (keyframe.base_from_camera.frame, _pose(keyframe.base_from_camera))),
                   len(place), 0 if points is None else len(points.positions), keyframe.thumbnail)
        segments = [np.asarray(array, kind).tobytes() for array, kind in (
            (place.descriptors, '<f2'), (place.boxes, '<i4'), (place.pixels, '<i8'))]
        keypoints = [None] * 3 if points is None else [np.asarray(array, kind).tobytes() for array, kind in (
            (points.positions, '<f4'), (points.depths, '<f4'), (points.descriptors, np.uint8))]
        digest = _digest(0, identity.session_id, *columns, *segments, *keypoints)
        database.execute(f'INSERT INTO keyframes VALUES ({", ".join("?" * 16)})',
                         (row, 1, *columns[:-1], digest, columns[-1]))
        database.execute('INSERT INTO segments VALUES (?, ?, ?, ?)', (row, *segments))
        if points is not None:
            database.execute('INSERT INTO keypoints VALUES (?, ?, ?, ?)', (row, *keypoints))
    database.close()


def _digest(*values: int | str | bytes | None) -> bytes:
    state = blake2b(digest_size=16)
    for value in values:
        data = b'' if value is None else value if isinstance(value, bytes) else str(value).encode()
        state.update({bytes: b'b', str: b's', int: b'i', type(None): b'n'}[type(value)])
        state.update(struct.pack('<Q', len(data)) + data)
    return state.digest()


def _pose(pose) -> bytes:
    return np.concatenate([pose.translation, pose.quaternion]).astype('<f8').tobytes()


def _camera_model(model) -> str:
    return json.dumps({'width': model.width, 'height': model.height, 'matrix': model.matrix.ravel().tolist(),
                       'distortion': model.distortion.tolist(), 'distortion_model': model.distortion_model},
                      sort_keys=True)
