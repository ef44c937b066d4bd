"""Files that appear whole or not at all: what was there stays until another is complete and on the disk."""
from __future__ import annotations

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
        _sync(temporary)
        if overwrite:
            os.replace(temporary, path)
        else:
            _take_free_name(temporary, path)
        _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _take_free_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, never replaces what appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # file systems without links
        os.rename(temporary, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
