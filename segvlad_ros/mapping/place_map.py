"""The map: one SQLite file of keyframes that a power cut cannot ruin.

One writer, any number of readers, also while it is written. Each keyframe is one transaction (rollback journal,
``synchronous=FULL``): after a kill the file holds every keyframe but at most the one in flight, and opening it cleans
up. The format is in :mod:`segvlad_ros.mapping.map_format`.
"""
from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segvlad_ros.mapping import map_copy, map_file, map_format
from segvlad_ros.mapping.map_file import reporting
from segvlad_ros.mapping.map_reader import MapReader, Progress, Session
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, SegvladError


class PlaceMap(MapReader):
    """A map file that is open, to read or to write. Made by :meth:`create` or :meth:`open`."""

    @classmethod
    def create(cls, path: str | Path, fingerprint: Mapping[str, Any], dimension: int, preset: str = '', *,
               map_id: str = '', run_id: str = '') -> PlaceMap:
        """Start a new map and open it for writing.

        :param fingerprint: what can be written as JSON
        :param preset: name or path of the preset, to find it again; the fingerprint tells whether it is still the same
        :param map_id: '' makes one up
        :param run_id: of the run that writes it, see :attr:`run_id`
        :raises SegvladError: the file exists, or cannot be written
        """
        path = Path(path)
        if not 1 <= dimension <= map_format.MAX_DIMENSION:
            raise SegvladError(f'descriptor dimension {dimension} must be 1 to {map_format.MAX_DIMENSION}')
        fields = {'map_id': map_id or uuid.uuid4().hex, 'created_ns': time.time_ns(), 'dimension': int(dimension),
                  'fingerprint': dict(fingerprint), 'preset': preset, **({'run_id': run_id} if run_id else {})}
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
            map_copy.copy(self.path, temporary)

    def convert(self, path: str | Path, progress: Progress = lambda done, total: None) -> None:
        """Write the map in the newest format, whole or not at all, as the same map; this file stays as it is.

        :param progress: as of :meth:`keyframes`
        :raises SegvladError: the file exists, or cannot be written
        """
        PlaceMap.write(path, self.keyframes(progress), self.fingerprint, self.dimension, self.preset,
                       sessions=self.sessions(), map_id=self.map_id)

    def _note(self, sessions: Iterable[Session]) -> None:
        with self._writing():
            for session in sessions:
                row = map_format.session_row(self._db, session.robot_id, session.session_id)
                self._db.execute('UPDATE sessions SET name = ?, created_ns = min(created_ns, ?), last_number ='
                                 ' max(last_number, ?) WHERE id = ?',
                                 (session.name, session.created_ns, session.last_index, row))

    def _delete(self, ids: Iterable[KeyframeId]) -> list[int]:
        """Delete keyframes within a transaction, and return how many segments each had."""
        rows = {row for identity in ids if (row := map_format.find_keyframe(self._db, identity)) is not None}
        return [count for row in rows for count, in self._db.execute(
            'DELETE FROM keyframes WHERE id = ? RETURNING segment_count', (row,)).fetchall()]

    def _counted(self, keyframes: int, segments: int) -> None:
        self.count += keyframes
        self.segments += segments

    def _writing(self):
        if self.read_only:
            raise SegvladError(f'{self.path}: is open read-only')
        return map_file.transaction(self._lock, self._db, self.path)
