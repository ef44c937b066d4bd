"""The map file below its content: connections, locks, transactions, and files that appear whole or not at all."""
from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.mapping.map_format import APPLICATION_ID, FORMAT_VERSION, MAX_DIMENSION, STATEMENTS
from segvlad_ros.mapping.packing import digest
from segvlad_ros.types import SegvladError

WAIT_S = 30.0
"""How long a writer waits for readers to finish a keyframe, and a reader for a commit."""
# Of a keyframe's arrays half a page is lost each; SQLite's own 4096 take a kilobyte more a keyframe.
_PAGE_BYTES = 1024
# What SQLite says, and what to say instead.
_ADVICE = {
    'not a database': 'is not a map file',
    'malformed': 'is damaged ({}); restore a copy of the file',
    'corrupt': 'is damaged ({}); restore a copy of the file',
    'is full': 'the disk is full; free some space, what was stored before is whole',
    'I/O error': 'cannot be read or written ({}): the disk is full or fails',
    'readonly': 'cannot be written: the file, its folder or the disk is read-only',
    'unable to open': 'cannot be opened ({}); see the permissions of the file and of its folder',
}


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one line that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error) or 'malformed'  # Python 3.10 keeps to itself what SQLite says of some damaged schemas
        advice = next((advice for words, advice in _ADVICE.items() if words in text), '{}')
        if 'readonly' in text and (_writable(path) or not path.exists()):  # what SQLite says of another file there, too
            advice = 'was moved, deleted or replaced while it was written; nothing more is stored'
        raise SegvladError(f'{path}: {advice.format(text)}') from None
    except UnicodeDecodeError:  # of Python, on SQLite's message about a damaged schema
        raise SegvladError(f'{path}: is damaged; restore a copy of the file') from None
    except MemoryError:  # what SQLite says, too, where a damaged header or row claims to be huge
        raise SegvladError(f'{path}: it is damaged, or there is no memory left to read it') from None
    except OSError as error:
        raise SegvladError(f'{path}: {error.strerror or error}') from None


def _writable(path: Path) -> bool:
    return all(os.access(needed, os.W_OK) for needed in (path, path.parent))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(f'{path.absolute().as_uri()}?mode={mode}', uri=True, isolation_level=None,
                               timeout=WAIT_S, check_same_thread=False)
    try:
        for pragma in ('trusted_schema = OFF', 'cell_size_check = ON', 'foreign_keys = ON', 'mmap_size = 0',
                       'temp_store = MEMORY', 'synchronous = FULL'):
            database.execute(f'PRAGMA {pragma}')
        database.execute('SELECT count(*) FROM sqlite_master').fetchone()  # reads the file for the first time
    except BaseException:
        database.close()
        raise
    return database


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Open an existing map file; what an interrupted writer left behind is rolled back first, also for readers.

    :raises SegvladError: missing, unreadable, no SQLite file
    """
    with reporting(path):
        if path.is_dir():
            raise SegvladError(f'{path}: is a folder, no map file')
        if not path.is_file():
            raise SegvladError(f'{path}: no such map file')
        try:
            return _connect(path, 'ro' if read_only else 'rw')
        except sqlite3.OperationalError:  # a read-only connection cannot roll back
            if not read_only or not Path(f'{path}-journal').exists():
                raise
        _roll_back(path)
        return _connect(path, 'ro')


def _roll_back(path: Path) -> None:
    """Undo what an interrupted writer left half done."""
    try:
        _connect(path, 'rw').close()
    except sqlite3.OperationalError as error:
        raise SegvladError(f'{path}: its writer was cut off, and what it left cannot be undone here ({error}); copy it '
                           f'with {path.name}-journal to a folder that can be written, and open it there') from None


def become_writer(database: sqlite3.Connection, path: Path) -> None:
    """Keep all others from writing until :func:`disconnect`; another process that writes raises SegvladError."""
    with reporting(path):
        if not _writable(path):  # else SQLite finds out at a commit
            raise sqlite3.OperationalError('readonly')
        # TRUNCATE syncs the end of a transaction too; DELETE could bring the journal back after a power cut
        database.execute('PRAGMA journal_mode = TRUNCATE')
    _reserve(database, path, wait_s=0.0)


def disconnect(database: sqlite3.Connection, read_only: bool) -> None:
    """Close a connection; a writer leaves no journal file behind."""
    with suppress(sqlite3.Error):
        if not read_only:
            if database.in_transaction:
                database.execute('ROLLBACK')
            database.execute('PRAGMA journal_mode = DELETE')
    database.close()


def _reserve(database: sqlite3.Connection, path: Path, wait_s: float = WAIT_S) -> None:
    """Begin the next transaction at once: its lock lets readers in and writers not, and ends with the process."""
    with reporting(path):
        database.execute(f'PRAGMA busy_timeout = {round(wait_s * 1000)}')
        try:
            database.execute('BEGIN IMMEDIATE')
        except sqlite3.OperationalError as error:
            if 'locked' not in str(error):
                raise
            raise SegvladError(f'{path}: is being written by another process; stop that one, or open it read-only'
                               ) from None
        database.execute(f'PRAGMA busy_timeout = {round(WAIT_S * 1000)}')


@contextmanager
def reading(lock: threading.RLock, database: sqlite3.Connection, path: Path) -> Iterator[None]:
    """One thread at a time on the connection, and one state of the file for all statements within."""
    with lock, reporting(path):
        begin = not database.in_transaction
        if begin:
            database.execute('BEGIN')
        try:
            yield
        finally:
            if begin:
                database.execute('ROLLBACK')


@contextmanager
def transaction(lock: threading.RLock, database: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All or nothing; between two transactions the write lock is held by an empty one (:func:`_reserve`)."""
    with lock, reporting(path):
        if not database.in_transaction:  # an earlier _reserve failed, or SQLite rolled back by itself
            _reserve(database, path)
        try:
            yield
            database.execute('COMMIT')
        except BaseException:
            with suppress(sqlite3.Error):
                database.execute('ROLLBACK')
            with suppress(SegvladError):
                _reserve(database, path)
            raise
        with suppress(SegvladError):  # it is stored; what is wrong is said by the next transaction
            _reserve(database, path)


def metadata_digest(texts: Mapping[str, str]) -> str:
    """Digest of all metadata but the digest itself."""
    return digest(*(part for key in sorted(texts) if key != 'digest' for part in (key, texts[key]))).hex()


def make_empty(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a map without keyframes and with these metadata."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute(f'PRAGMA page_size = {_PAGE_BYTES}')
        database.execute(f'PRAGMA application_id = {APPLICATION_ID}')
        database.execute(f'PRAGMA user_version = {FORMAT_VERSION}')
        database.execute('BEGIN')
        for statement in STATEMENTS[FORMAT_VERSION].values():
            database.execute(statement)
        try:
            texts = {key: json.dumps(value, sort_keys=True, allow_nan=False) for key, value in fields.items()}
        except (TypeError, ValueError) as error:
            raise SegvladError(f'the fingerprint cannot be written as JSON: {error}') from None
        texts['digest'] = metadata_digest(texts)
        database.executemany('INSERT INTO metadata VALUES (?, ?)', sorted(texts.items()))
        database.execute('COMMIT')
    finally:
        database.close()


def check(database: sqlite3.Connection, path: Path, read_only: bool) -> tuple[int, dict[str, Any]]:
    """The version of the format, and the metadata; what is not a sound map of a known format raises SegvladError."""
    def require(good: bool, otherwise: str) -> None:
        if not good:
            raise SegvladError(f'{path}: {otherwise}')

    application, = database.execute('PRAGMA application_id').fetchone()
    version, = database.execute('PRAGMA user_version').fetchone()
    require(application == APPLICATION_ID, 'is an SQLite file but no segvlad map')
    require(version in STATEMENTS, f'has map format {version}, this program reads {min(STATEMENTS)} to '
            f'{FORMAT_VERSION}; use the release that wrote it, or build the map again')
    require(read_only or version == FORMAT_VERSION, f'has map format {version}, which is read and no longer written: '
            f'segvlad map convert {path} NEW.segvlad makes a new file of it')
    schema = database.execute('SELECT type, name, sql FROM sqlite_master').fetchall()
    tables = {name: sql for kind, name, sql in schema if kind == 'table'}
    require(STATEMENTS[version].items() <= tables.items() and {kind for kind, *_ in schema} <= {'table', 'index'}
            and database.execute('PRAGMA journal_mode').fetchone()[0] != 'wal',
            'its tables are not those of a segvlad map; restore a copy of the file')
    size = database.execute('SELECT page_count * page_size FROM pragma_page_count, pragma_page_size').fetchone()[0]
    there = path.stat().st_size
    require(there >= size, f'is cut off, {there} of {size} bytes; restore a copy of the file')
    problem, = database.execute('PRAGMA quick_check(1)').fetchone()
    require(problem == 'ok', f'is damaged ({problem}); restore a copy of the file')
    texts = dict(database.execute('SELECT key, value FROM metadata').fetchall())
    try:
        if metadata_digest(texts) != texts['digest']:
            raise ValueError('digest')
        fields = {key: json.loads(text) for key, text in texts.items() if key != 'digest'}
        if not (1 <= fields['dimension'] <= MAX_DIMENSION and isinstance(fields['fingerprint'], dict)
                and isinstance(fields['map_id'], str)):
            raise ValueError('field')
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SegvladError(f'{path}: its metadata is damaged; restore a copy of the file') from None
    return version, fields


def compact(path: Path) -> None:
    """Give the space of what was removed back to the file system. Nobody else may have the map open."""
    with reporting(path):
        database = _connect(path, 'rw')
        try:
            database.execute('VACUUM')
        finally:
            database.close()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep others from writing a map that is to be replaced; what cannot be written, or is no map, needs no keeping.

    :raises SegvladError: somebody writes it
    """
    with ExitStack() as opened:
        try:
            database = opened.enter_context(closing(_connect(path, 'rw')))
            database.execute('PRAGMA busy_timeout = 0')
            database.execute('BEGIN IMMEDIATE')
        except sqlite3.Error as error:
            if 'locked' in str(error):
                raise SegvladError(f'{path}: is being written by another process; give another name') from None
        yield


@contextmanager
def published(path: Path, overwrite: bool) -> Iterator[Path]:
    """As :func:`~segvlad_ros.io.whole_files.whole_file`, of a map and in words.

    :raises SegvladError: ``path`` exists and may not be overwritten, is being written, or cannot be written
    """
    taken = SegvladError(f'{path}: exists already; give another name')
    with reporting(path):
        if not path.parent.is_dir():
            raise SegvladError(f'{path}: the folder {path.parent} does not exist')
        if path.is_dir():
            raise SegvladError(f'{path}: is a folder')
        if path.exists() and not overwrite:
            raise taken
        try:
            with _held(path) if path.is_file() else nullcontext(), whole_file(path, overwrite) as temporary:
                try:
                    yield temporary
                finally:
                    with suppress(OSError):
                        Path(f'{temporary}-journal').unlink()
        except FileExistsError:
            raise taken from None
