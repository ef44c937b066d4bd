"""Files that appear whole or not at all: what was there stays until another is complete and on the disk."""
from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place once it is complete and on the disk.

    Where writing fails, what was there stays as it was. A link stays one, and what it names is written. What is no
    file, such as /dev/stdout, cannot be replaced, and is written itself.

    :param overwrite: whether a file that is there may go
    :raises FileExistsError: it may not
    :raises OSError: the folder takes no file
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.tmp')
    try:
        yield temporary
        if overwrite:
            take_place(temporary, path)
        else:
            _take_free_name(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def take_place(made: Path, path: Path) -> None:
    """Give a file that is complete another one's place, on the disk, too: a power cut leaves one of the two whole.

    :param made: on the same file system as ``path``; gone then
    :raises OSError: it cannot be synced or moved
    """
    _sync(made)
    os.replace(made, path)
    _sync(path.parent)


def remove_unfinished(path: str | Path) -> None:
    """Remove what :func:`whole_file` of a killed process left beside a file; only for one that no other process writes.

    :raises OSError: it cannot be removed
    """
    path = Path(path).resolve()
    for left in path.parent.glob(f'.{glob.escape(path.name)}.{"[0-9a-f]" * 8}.tmp'):
        left.unlink()


def _take_free_name(temporary: Path, path: Path) -> None:
    _sync(temporary)
    try:
        os.link(temporary, path)  # unlike a rename, never replaces what appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # file systems without links
        os.rename(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
