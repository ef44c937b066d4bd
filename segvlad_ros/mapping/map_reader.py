"""What can be asked of a map file, also while another process writes it."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.mapping import map_file, map_format
from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.map_file import reporting
from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.packing import unpack_pose
from segvlad_ros.text import one_line
from segvlad_ros.types import Keyframe, KeyframeId, Pose, SegvladError

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

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


class MapReader:
    """A map file that is open. Thread-safe; a context manager that closes it.

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
        self.run_id = str(fields.get('run_id', ''))

    def check_fingerprint(self, wanted: Mapping[str, Any]) -> None:
        """Refuse a map that was made by another pipeline than the one that will use it.

        :param wanted: of that pipeline
        :raises SegvladError: with what differs
        """
        if different := map_format.fingerprint_difference(self.fingerprint, wanted):
            raise SegvladError(f'{self.path}: made with another preset or model: {different}; use the one that made '
                               'the map, or build the map again')

    def __enter__(self) -> Self:
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

    def reader(self) -> MapReader:
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

    def witnesses(self) -> list[KeyframeId]:
        """The keyframes that were noted as witnesses."""
        with self._reading():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'witnesses'").fetchone():
                return []
            rows = self._db.execute('SELECT robot_id, uuid, number, stamp_ns, camera FROM witnesses w'
                                    ' JOIN keyframes k ON k.id = w.keyframe JOIN sessions s ON s.id = k.session'
                                    ' ORDER BY k.id').fetchall()
        return [KeyframeId(*row) for row in rows]

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

    def _reading(self):
        return map_file.reading(self._lock, self._db, self.path)

    def _recount(self) -> None:
        with self._reading():
            self.count, self.segments = self._db.execute(
                'SELECT count(*), coalesce(sum(segment_count), 0) FROM keyframes').fetchone()
