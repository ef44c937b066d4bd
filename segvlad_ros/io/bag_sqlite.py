"""Reads one ``.db3`` file of a bag, also one whose recorder lost power, and never writes beside it.

A recorder that is stopped hard leaves its last messages in the write-ahead log (``-wal``). SQLite reads that log only
with an index of it, which it makes as a file beside the bag (``-shm``), unless the connection is exclusive: then the
index is in memory. And exclusive without locking is the variant ``unix-none`` of its file access. So a log of any
size is read in place, in a folder that may be read-only; opened for reading only, SQLite cannot merge it either.
"""
from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from segvlad_ros.io.bag_storage import CDR, Message, StoredTopic, is_latched, warn_once
from segvlad_ros.io.stamps import as_time
from segvlad_ros.types import SegvladError

MAGIC = b'SQLite format 3\0'
_JOURNAL_MAGIC = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'


@dataclass(frozen=True)
class _Index:
    """Where the messages are, in the order of time.

    :ivar rows, keys, stamps: (n,) int64 each
    :ivar note: what is to be said about the file; '' where nothing is
    """

    topics: list[StoredTopic]
    rows: np.ndarray
    keys: np.ndarray
    stamps: np.ndarray
    note: str


class SqliteFile:
    """One ``.db3`` file, see :class:`segvlad_ros.io.bag_storage.Storage`.

    Messages are found by their row, not by the file's own index of times: damage to that index loses nothing.

    :raises SegvladError: no bag, damaged, or interrupted in a way that only its recorder can repair
    """

    def __init__(self, path: Path):
        self._path = path
        log = path.with_name(f'{path.name}-wal')
        has_log = log.is_file() and log.stat().st_size > 0
        try:
            self._database = _connect(path, has_log)
            states = [file.stat() for file in (path, log) if file.is_file()]
            self._index = _read_index(path, has_log, tuple((s.st_size, s.st_mtime_ns) for s in states))
        except (sqlite3.Error, MemoryError) as error:  # the second where damage claims to be huge
            raise SegvladError(f'{path}: cannot be read as a ROS 2 bag ({_said(error)}); if it is all that is left, '
                               f'try to save what is in it: sqlite3 {path.name} .recover | sqlite3 saved.db3') from None
        if self._index.note:
            warn_once(self._index.note)
        self.topics = self._index.topics
        self.count = len(self._index.rows)
        self.start_ns, self.end_ns = (int(self._index.stamps[i]) if self.count else 0 for i in (0, -1))

    def messages(self, keys: set[int]) -> Iterator[Message]:
        """See :class:`segvlad_ros.io.bag_storage.Storage`."""
        index = self._index
        for i in np.flatnonzero(np.isin(index.keys, list(keys))):
            row, key, stamp_ns = (int(column[i]) for column in (index.rows, index.keys, index.stamps))
            try:
                data, = self._database.execute('SELECT data FROM messages WHERE id = ?', (row,)).fetchone()
                yield key, stamp_ns, bytes(data)
            except (sqlite3.Error, MemoryError, TypeError) as error:  # no such row, or no bytes in it
                warn_once(f'{self._path}: has damaged messages (the first at {as_time(stamp_ns)}: {_said(error)}), '
                          'which are passed over')

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _connect(path: Path, has_log: bool) -> sqlite3.Connection:
    journal = path.with_name(f'{path.name}-journal')
    if journal.is_file():
        with journal.open('rb') as file:
            if file.read(8) == _JOURNAL_MAGIC:
                raise SegvladError(f'{path}: its recorder was interrupted while writing, and {journal.name} beside it '
                                   'holds what has to be taken back; copy both to a folder of your own, run there: '
                                   f'sqlite3 {path.name} .tables, which repairs the copy, and give that')
    access = 'immutable=1'
    if has_log:
        access = f'vfs={"unix" if os.name == "posix" else "win32"}-none'
    database = sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro&{access}', uri=True, check_same_thread=False)
    database.text_factory = lambda text: text.decode(errors='replace')
    database.execute('PRAGMA writable_schema=ON')  # reads a file that is shorter than it should be, as far as it goes
    if has_log:
        database.execute('PRAGMA locking_mode=EXCLUSIVE')
    return database


def _said(error: Exception) -> str:
    """SQLite calls it lack of memory, too, where a damaged row claims to be huge."""
    return 'a row claims to be larger than the memory' if isinstance(error, MemoryError) else str(error)


@lru_cache(maxsize=16)
def _read_index(path: Path, has_log: bool, state: tuple) -> _Index:
    """Look at every message without its bytes; kept as long as the files keep their sizes and times (``state``)."""
    with closing(_connect(path, has_log)) as database:
        topics, note = _topics(database, path), ''
        found: list[tuple[int, int, int]] = []
        try:
            for message in database.execute('SELECT id, topic_id, timestamp FROM messages'):
                if all(isinstance(value, int) for value in message):  # a damaged page may hold anything
                    found.append(message)
        except (sqlite3.Error, MemoryError) as error:
            if not found:
                raise
            note = (f'{path}: is damaged ({_said(error)}): its {len(found)} messages up to '
                    f'{as_time(max(stamp for _, _, stamp in found))} are read')
    rows, keys, stamps = np.array(found, np.int64).reshape(-1, 3).T
    if has_log and found and not note:
        note = (f'{path}: its recorder was not stopped properly; the {len(found)} messages up to '
                f'{as_time(int(stamps.max()))}, those in its log {path.name}-wal included, are read')
    order = np.argsort(stamps, kind='stable')
    counts = Counter(keys.tolist())
    return _Index([replace(topic, count=counts[topic.key]) for topic in topics], rows[order], keys[order],
                  stamps[order], note)


def _topics(database: sqlite3.Connection, path: Path) -> list[StoredTopic]:
    tables = {name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {'topics', 'messages'} <= tables:
        raise SegvladError(f'{path}: is not a ROS 2 bag: a database without the tables topics and messages')
    columns = {column[1] for column in database.execute('PRAGMA table_info(topics)')}
    qos = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"  # before Foxy there was none
    return [StoredTopic(key, name, msgtype, encoding or CDR, 0, is_latched(name, profiles or ''))
            for key, name, msgtype, encoding, profiles in database.execute(
                f'SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id')
            if isinstance(name, str) and isinstance(msgtype, str)]
