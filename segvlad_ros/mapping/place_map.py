"""The map: one SQLite file of keyframes that a power cut cannot ruin.

One writer, any number of readers, also while it is written. Each keyframe is one transaction (rollback journal,
``synchronous=FULL``): after a kill the file holds every keyframe but at most the one in flight, and opening it cleans
up. The format is in :mod:`segvlad_ros.mapping.map_format`.
"""
from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.mapping import map_file, map_format
from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.map_file import reporting
from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.packing import unpack_pose
from segvlad_ros.text import one_line
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, Pose, SegvladError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Session:
    """One run of one robot.

    :ivar created_ns: wall clock when it began
    :ivar last_index: highest index ever given to a keyframe, 0 if none
    :ivar keyframes: how many the map holds now
    """

    robot_id: int
    session_id: str
    name: str
    created_ns: int
    last_index: int
    keyframes: int


class PlaceMap:
    """A map file that is open. Thread-safe; a context manager that closes it.

    Made by :meth:`create` or :meth:`open`.

    :ivar map_id: identity of this map, kept by its snapshots
    :ivar fingerprint: named fields of all that shapes a descriptor
    :ivar dimension: d of the descriptors
    :ivar preset: by which it was made, '' where that was not noted
    :ivar version: of the file's format; older ones are only read
    :ivar count: number of keyframes
    :ivar segments: number of segments
    """

    def __init__(self, path: Path, read_only: bool):
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._db = map_file.connect(path, read_only)
        try:
            with reporting(path):
                self.version, fields = map_file.check(self._db, path, read_only)
            if not read_only:
                map_file.become_writer(self._db, path)
            self._recount()
        except BaseException:
            self._db.close()
            raise
        self.map_id: str = fields['map_id']
        self.fingerprint: dict[str, Any] = fields['fingerprint']
        self.dimension: int = fields['dimension']
        self.preset = str(fields.get('preset', ''))

    @classmethod
    def create(cls, path: str | Path, fingerprint: Mapping[str, Any], dimension: int, preset: str = '', *,
               map_id: str = '') -> PlaceMap:
        """Start a new map and open it for writing.

        :param fingerprint: what can be written as JSON
        :param preset: name or path of the preset, to find it again; the fingerprint tells whether it is still the same
        :param map_id: '' makes one up
        :raises SegvladError: the file exists, or cannot be written
        """
        path = Path(path)
        if not 1 <= dimension <= map_format.MAX_DIMENSION:
            raise SegvladError(f'descriptor dimension {dimension} must be 1 to {map_format.MAX_DIMENSION}')
        fields = {'map_id': map_id or uuid.uuid4().hex, 'created_ns': time.time_ns(), 'dimension': int(dimension),
                  'fingerprint': dict(fingerprint), 'preset': preset}
        with map_file.published(path, overwrite=False) as temporary, reporting(path):
            map_file.make_empty(temporary, fields)
        return cls(path, read_only=False)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = True, fingerprint: Mapping[str, Any] | None = None,
             full_check: bool = False) -> PlaceMap:
        """Open a map file.

        :param read_only: False appends, which one process at a time may do
        :param fingerprint: of the pipeline that will use the map; None does not compare
        :param full_check: check every keyframe's digest now, not only the structure of the file; a keyframe's digest
            is checked in any case when it is read
        :raises SegvladError: missing, no map, damaged, another version or fingerprint, or (writing) in use by a writer
        """
        place_map = cls(Path(path), read_only)
        try:
            if fingerprint is not None:
                place_map.check_fingerprint(fingerprint)
            if full_check and (problems := place_map.verify()):
                raise SegvladError(f'{path}: {problems[0]}; restore a copy of the file')
        except BaseException:
            place_map.close()
            raise
        return place_map

    @classmethod
    def write(cls, path: str | Path, keyframes: Iterable[Keyframe], fingerprint: Mapping[str, Any], dimension: int,
              preset: str = '', *, sessions: Iterable[Session] = (), map_id: str = '', overwrite: bool = False) -> None:
        """Write a map of these keyframes, whole or not at all; parameters as in :meth:`create`.

        :param sessions: of other maps, from which the keyframes come: indices that they have given are not given again
        :raises SegvladError: the file exists and ``overwrite`` is False, or it cannot be written
        """
        optimized = {}
        with (map_file.published(Path(path), overwrite) as temporary,
              cls.create(temporary, fingerprint, dimension, preset, map_id=map_id) as place_map):
            place_map._note(sessions)
            for keyframe in keyframes:
                place_map.append(keyframe)
                if keyframe.optimized is not None:
                    optimized[keyframe.id] = keyframe.optimized
            place_map.update_poses(optimized)

    def check_fingerprint(self, wanted: Mapping[str, Any]) -> None:
        """Refuse a map that was made by another pipeline than the one that will use it.

        :param wanted: of that pipeline
        :raises SegvladError: with what differs
        """
        if different := map_format.fingerprint_difference(self.fingerprint, wanted):
            raise SegvladError(f'{self.path}: made with another preset or model: {different}; use the one that made '
                               'the map, or build the map again')

    def __enter__(self) -> PlaceMap:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            map_file.disconnect(self._db, self.read_only)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        with reporting(self.path):
            return self.path.stat().st_size

    @property
    def used_bytes(self) -> int:
        """How much of the file is in use; what removed keyframes have left is used again before the file grows."""
        with self._reading():
            return self._db.execute('SELECT (page_count - freelist_count) * page_size FROM pragma_page_count,'
                                    ' pragma_freelist_count, pragma_page_size').fetchone()[0]

    def __contains__(self, identity: KeyframeId) -> bool:
        with self._reading():
            return map_format.find_keyframe(self._db, identity) is not None

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        with self._reading():
            rows = self._db.execute(
                'SELECT robot_id, uuid, name, created_ns, last_number, (SELECT count(*) FROM keyframes k WHERE'
                ' k.session = s.id) FROM sessions s ORDER BY id').fetchall()
        return [Session(*row) for row in rows]

    def _note(self, sessions: Iterable[Session]) -> None:
        with self._writing():
            for session in sessions:
                row = map_format.session_row(self._db, session.robot_id, session.session_id)
                self._db.execute('UPDATE sessions SET name = ?, created_ns = min(created_ns, ?), last_number ='
                                 ' max(last_number, ?) WHERE id = ?',
                                 (session.name, session.created_ns, session.last_index, row))

    def last_index(self, robot_id: int, session_id: str) -> int:
        """The highest index that a keyframe of the session ever had, removed ones included; 0 if none."""
        with self._reading():
            row = self._db.execute('SELECT last_number FROM sessions WHERE robot_id = ? AND uuid = ?',
                                   (robot_id, session_id)).fetchone()
        return row[0] if row else 0

    def append(self, keyframe: Keyframe, instead_of: Iterable[KeyframeId] = ()) -> int:
        """Store a keyframe; when this returns, it is on the disk.

        :param instead_of: keyframes that are removed in the same transaction, to make room
        :returns: its row, counted from 1 and never reused
        :raises SegvladError: it does not fit the map, is in it already, or the disk is full (the map stays as it was)
        """
        packed = map_format.pack(keyframe, self.dimension)
        with self._writing():
            at = map_format.insert_keyframe(self._db, packed)
            if at is None:
                raise SegvladError(f'{self.path}: keyframe {keyframe.id.index} of session {keyframe.id.session_id} is '
                                   'in the map already')
            removed = self._delete(instead_of)
        self._counted(1 - len(removed), packed.columns.segment_count - sum(removed))
        return at

    def keyframe(self, which: int | KeyframeId) -> Keyframe:
        """One keyframe, checked against its digest.

        :param which: its row, or its identity (robot, session and index count)
        :raises SegvladError: not in the map, or damaged
        """
        with self._reading():
            row = map_format.find_keyframe(self._db, which) if isinstance(which, KeyframeId) else which
            packed = None if row is None else self._read(row)
        if packed is None:
            raise SegvladError(f'{self.path}: keyframe {which} is not in the map')
        return self._unpack(packed, row)

    def keyframes(self, progress: Progress = lambda done, total: None) -> Iterator[Keyframe]:
        """All keyframes in the order in which they were stored. The map may be written meanwhile.

        :param progress: told after each how many were read, and how many there are
        """
        for row, packed in self.packed(progress):
            yield self._unpack(packed, row)

    def packed(self, progress: Progress = lambda done, total: None) -> Iterator[tuple[int, Packed]]:
        """All keyframes as they are stored, each with its row; as :meth:`keyframes`."""
        for done, (row, packed) in enumerate(self._packed_after(0), 1):
            yield row, packed
            progress(done, max(done, self.count))

    def stored_after(self, row: int) -> Iterator[tuple[int, Keyframe]]:
        """The keyframes behind a row, each with its own, in order. The map may be written meanwhile."""
        for at, packed in self._packed_after(row):
            yield at, self._unpack(packed, at)

    def _packed_after(self, row: int) -> Iterator[tuple[int, Packed]]:
        while True:
            # one statement a keyframe: a cursor left open would keep the writer from committing
            with self._reading():
                row, = self._db.execute('SELECT min(id) FROM keyframes WHERE id > ?', (row,)).fetchone()
                if row is None:
                    return
                packed = self._read(row)
            yield row, packed

    def packed_keyframe(self, row: int) -> Packed | None:
        """One keyframe as it is stored, None if there is no such row; a damaged one raises SegvladError."""
        with self._reading():
            return self._read(row)

    def codes(self, rows: Iterable[int]) -> dict[int, np.ndarray]:
        """(M, code_bytes) uint8 by row, the codes of keyframes' segments, which are not compared with their digests; a
        row that is not there is left out. Only maps of today's format have them.
        """
        rows = list(rows)
        width = quantizer(self.dimension).code_bytes
        with self._reading():
            found = self._db.execute(f'SELECT keyframe, codes FROM segments WHERE keyframe IN'
                                     f' ({", ".join("?" * len(rows))})', rows).fetchall()
        return {row: np.frombuffer(codes, np.uint8).reshape(-1, width) for row, codes in found}

    def reader(self) -> PlaceMap:
        """The same file opened once more, read-only, to read on when this map is closed; it is not checked again."""
        other = copy(self)
        other.read_only, other._lock, other._db = True, threading.RLock(), map_file.connect(self.path, True)
        return other

    def ids(self) -> list[KeyframeId]:
        """Identities of all keyframes in the order in which they were stored."""
        with self._reading():
            rows = self._db.execute('SELECT robot_id, uuid, number, stamp_ns, camera FROM keyframes k JOIN sessions s'
                                    ' ON s.id = k.session ORDER BY k.id').fetchall()
        return [KeyframeId(*row) for row in rows]

    def poses(self) -> dict[KeyframeId, Pose]:
        """Where the keyframes are that have a pose, the optimised one if there is one, in the order in which they were
        stored.
        """
        with self._reading():
            rows = self._db.execute(
                'SELECT s.robot_id, s.uuid, k.number, k.stamp_ns, k.camera, coalesce(o.pose, k.pose),'
                ' coalesce(o.frame, k.pose_frame) FROM keyframes k JOIN sessions s ON s.id = k.session'
                ' LEFT JOIN optimized_poses o ON o.keyframe = k.id ORDER BY k.id').fetchall()
        return {KeyframeId(*identity): unpack_pose(pose, frame)
                for *identity, pose, frame in rows if pose is not None}

    def remove(self, ids: Iterable[KeyframeId]) -> int:
        """Remove keyframes, all or (on an error) none, and return how many; those not in the map are passed over."""
        with self._writing():
            removed = self._delete(ids)
        self._counted(-len(removed), -sum(removed))
        return len(removed)

    def update_poses(self, poses: Mapping[KeyframeId, OptimizedPose]) -> int:
        """Store optimised poses beside the measured ones, all or (on an error) none; those of keyframes that are not
        in the map are passed over.

        :returns: how many were stored
        """
        with self._writing():
            found = [(row, pose) for identity, pose in poses.items()
                     if (row := map_format.find_keyframe(self._db, identity)) is not None]
            for row, pose in found:
                map_format.store_optimized_pose(self._db, row, pose)
        return len(found)

    def witnesses(self) -> list[KeyframeId]:
        """The keyframes that were noted as witnesses."""
        with self._reading():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'witnesses'").fetchone():
                return []
            rows = self._db.execute('SELECT robot_id, uuid, number, stamp_ns, camera FROM witnesses w'
                                    ' JOIN keyframes k ON k.id = w.keyframe JOIN sessions s ON s.id = k.session'
                                    ' ORDER BY k.id').fetchall()
        return [KeyframeId(*row) for row in rows]

    def note_witnesses(self, ids: Iterable[KeyframeId], witness: bool = True) -> None:
        """Note that keyframes took part in accepted closures, or (``witness`` False) in none that still stands; those
        that are not in the map are passed over.
        """
        statement = ('INSERT OR IGNORE INTO witnesses VALUES (?)' if witness
                     else 'DELETE FROM witnesses WHERE keyframe = ?')
        with self._writing():
            self._db.execute(map_format.WITNESSES)
            for identity in ids:
                if (row := map_format.find_keyframe(self._db, identity)) is not None:
                    self._db.execute(statement, (row,))

    def save_snapshot(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a consistent copy of the map, whole or not at all. Appending goes on meanwhile, and what is stored
        before the last keyframe has been copied is in the copy.

        :raises SegvladError: the file exists and ``overwrite`` is False, it is this map, or it cannot be written
        """
        path = Path(path)
        if path.exists() and path.samefile(self.path):
            raise SegvladError(f'{path}: is the map itself; give the snapshot another name')
        with map_file.published(path, overwrite) as temporary, reporting(path):
            map_file.copy(self.path, temporary)

    def convert(self, path: str | Path, progress: Progress = lambda done, total: None) -> None:
        """Write the map in the newest format, whole or not at all, as the same map; this file stays as it is.

        :param progress: as of :meth:`keyframes`
        :raises SegvladError: the file exists, or cannot be written
        """
        PlaceMap.write(path, self.keyframes(progress), self.fingerprint, self.dimension, self.preset,
                       sessions=self.sessions(), map_id=self.map_id)

    def verify(self, progress: Progress = lambda done, total: None) -> list[str]:
        """Check structure and every digest; one line a problem, none when the map is sound.

        :param progress: as of :meth:`keyframes`
        """
        with self._reading():
            problems = [f'structure: {line}' for line, in self._db.execute('PRAGMA integrity_check(20)').fetchall()
                        if line != 'ok']
            problems += [f'table {table} refers to a missing row'
                         for table, *_ in self._db.execute('PRAGMA foreign_key_check').fetchmany(20)]
            rows = [row for row, in self._db.execute('SELECT id FROM keyframes ORDER BY id').fetchall()]
        for done, row in enumerate(rows, 1):
            try:
                packed = self.packed_keyframe(row)
                if packed is not None:  # else it was removed meanwhile
                    self._unpack(packed, row)
            except SegvladError as error:
                problems.append(str(error).removeprefix(f'{self.path}: '))
            progress(done, len(rows))
        return [one_line(problem) for problem in problems]

    def _read(self, row: int) -> Packed | None:
        return map_format.read_packed(self._db, self.path, row, self.dimension, self.version)

    def _unpack(self, packed: Packed, row: int) -> Keyframe:
        return map_format.unpack(packed, self.dimension, f'{self.path}: keyframe row {row}')

    def _delete(self, ids: Iterable[KeyframeId]) -> list[int]:
        """Delete keyframes within a transaction, and return how many segments each had."""
        rows = {row for identity in ids if (row := map_format.find_keyframe(self._db, identity)) is not None}
        return [count for row in rows for count, in self._db.execute(
            'DELETE FROM keyframes WHERE id = ? RETURNING segment_count', (row,)).fetchall()]

    def _counted(self, keyframes: int, segments: int) -> None:
        self.count += keyframes
        self.segments += segments

    def _reading(self):
        return map_file.reading(self._lock, self._db, self.path)

    def _writing(self):
        if self.read_only:
            raise SegvladError(f'{self.path}: is open read-only')
        return map_file.transaction(self._lock, self._db, self.path)

    def _recount(self) -> None:
        with self._reading():
            self.count, self.segments = self._db.execute(
                'SELECT count(*), coalesce(sum(segment_count), 0) FROM keyframes').fetchone()
