"""A consistent copy of a map that is being written, which keeps its writer waiting for no longer than a few keyframes.

A keyframe never changes once it is stored. So keyframes are copied a few at a time, and the writer commits in between.
What may change is small: which keyframes are left, optimised poses, sessions. All of it is copied in one moment at the
end, and the copy is the map as it was at that moment.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvlad_ros.mapping.map_file import WAIT_S

# Keyframes that are copied under one lock, some 0.3 MB each.
BATCH = 16
# Tables of which a keyframe has its row for good, with the column that names the keyframe.
_LASTING = {'keyframes': 'id', 'segments': 'keyframe', 'keypoints': 'keyframe'}


def copy(source: Path, target: Path) -> None:
    """Copy a map.

    :param target: does not exist yet; not synchronised with the disk
    :raises sqlite3.Error: what SQLite says of either file
    """
    for _ in copying(source, target):
        pass


def copying(source: Path, target: Path) -> Iterator[int]:
    """Copy a map step by step; between two steps nothing is locked.

    :return: the keyframes that were copied in each step
    """
    database = sqlite3.connect(target.absolute().as_uri(), uri=True, isolation_level=None, timeout=WAIT_S)
    try:
        for pragma in ('trusted_schema = OFF', 'cell_size_check = ON', 'main.synchronous = OFF',
                       'main.journal_mode = OFF'):  # an unfinished copy is thrown away
            database.execute(f'PRAGMA {pragma}')
        database.execute('ATTACH ? AS source', (f'{source.absolute().as_uri()}?mode=ro',))
        with _at_once(database):
            _copy_schema(database)
        last, copied = 0, BATCH
        while copied == BATCH:
            with _at_once(database):
                rows = [row for row, in database.execute(
                    'SELECT id FROM source.keyframes WHERE id > ? ORDER BY id LIMIT ?', (last, BATCH))]
                copied = len(rows)
                if rows:
                    _copy_keyframes(database, last, rows[-1])
                    last = rows[-1]
                if copied < BATCH:
                    _copy_what_changes(database)
            yield copied
    finally:
        database.close()


@contextmanager
def _at_once(database: sqlite3.Connection) -> Iterator[None]:
    """One state of the source for all statements within."""
    database.execute('BEGIN')
    yield
    database.execute('COMMIT')


def _copy_schema(database: sqlite3.Connection) -> None:
    for name in ('application_id', 'user_version'):
        value, = database.execute(f'PRAGMA source.{name}').fetchone()
        database.execute(f'PRAGMA main.{name} = {value}')
    for statement, in database.execute("SELECT sql FROM source.sqlite_master WHERE sql IS NOT NULL"
                                       r" AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type DESC").fetchall():
        database.execute(statement)


def _copy_keyframes(database: sqlite3.Connection, after: int, last: int) -> None:
    for table, key in _LASTING.items():
        database.execute(f'INSERT INTO main.{table} SELECT * FROM source.{table} WHERE {key} > ? AND {key} <= ?',
                         (after, last))


def _copy_what_changes(database: sqlite3.Connection) -> None:
    for table, key in _LASTING.items():
        database.execute(f'DELETE FROM main.{table} WHERE {key} NOT IN (SELECT id FROM source.keyframes)')
    database.execute('DELETE FROM main.sqlite_sequence')  # the highest row ever given, so that none is reused
    for name, in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        if name not in _LASTING:
            quoted = name.replace('"', '""')
            database.execute(f'INSERT INTO main."{quoted}" SELECT * FROM source."{quoted}"')
