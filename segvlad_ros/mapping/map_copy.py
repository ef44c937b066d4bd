"""Copies of a map that is being written, which keep its writer waiting for no longer than a few keyframes.

A keyframe never changes once it is stored; so keyframes are copied a few at a time, and the writer commits in between.
What may change is small: which keyframes are left, optimised poses, sessions. All of it is copied in one moment at the
end, and the copy is the map as it was at that moment.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvlad_ros.mapping.map_file import WAIT_S

COPY_BATCH = 16
"""Keyframes that are copied under one lock, some 40 kB each."""
# Tables of which a keyframe has its row for good, with the column that names the keyframe.
_LASTING = {'keyframes': 'id', 'segments': 'keyframe', 'keypoints': 'keyframe'}


def copy(source: Path, target: Path) -> None:
    """Copy a map to a file that does not exist yet; it is not synchronised with the disk."""
    for _ in copying(source, target):
        pass


def copying(source: Path, target: Path) -> Iterator[int]:
    """Copy a map in steps, each of which yields how many keyframes it copied; nothing is locked between them."""
    database = sqlite3.connect(target.absolute().as_uri(), uri=True, isolation_level=None, timeout=WAIT_S)
    try:
        for pragma in ('trusted_schema = OFF', 'cell_size_check = ON', 'main.synchronous = OFF',
                       'main.journal_mode = OFF'):  # an unfinished copy is thrown away
            database.execute(f'PRAGMA {pragma}')
        database.execute('ATTACH ? AS source', (f'{source.absolute().as_uri()}?mode=ro',))
        database.execute(f'PRAGMA main.page_size = {database.execute("PRAGMA source.page_size").fetchone()[0]}')
        with _at_once(database):
            _copy_schema(database)
        last, copied = 0, COPY_BATCH
        while copied == COPY_BATCH:
            with _at_once(database):
                rows = [row for row, in database.execute(
                    'SELECT id FROM source.keyframes WHERE id > ? ORDER BY id LIMIT ?', (last, COPY_BATCH))]
                copied = len(rows)
                if rows:
                    for table, key in _LASTING.items():
                        database.execute(f'INSERT INTO main.{table} SELECT * FROM source.{table}'
                                         f' WHERE {key} > ? AND {key} <= ?', (last, rows[-1]))
                    last = rows[-1]
                if copied < COPY_BATCH:
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


def _copy_what_changes(database: sqlite3.Connection) -> None:
    for table, key in _LASTING.items():
        database.execute(f'DELETE FROM main.{table} WHERE {key} NOT IN (SELECT id FROM source.keyframes)')
    database.execute('DELETE FROM main.sqlite_sequence')  # the highest row ever given, so that none is reused
    for name, in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        if name not in _LASTING:
            quoted = name.replace('"', '""')
            database.execute(f'INSERT INTO main."{quoted}" SELECT * FROM source."{quoted}"')
