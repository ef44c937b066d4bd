"""Paths as people write them, and the folder of what can be made again."""
from __future__ import annotations

import os
from pathlib import Path

from segvlad_ros.types import SegvladError


def from_home(text: str | Path) -> Path:
    """A path whose ``~`` is a home.

    :raises SegvladError: it is the home of nobody
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SegvladError(f"{text}: ~ is nobody's home here; set HOME, or write the folder out") from None


def nearest_folder(path: Path, said: str) -> Path:
    """A folder, or the nearest above it that is there, in which it would be made.

    :param said: what names it, for the refusal
    :raises SegvladError: that is not a folder
    """
    there = next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise SegvladError(f'{said}: {there} is not a folder; give one, or a name for a new one')
    return there


def check_writable_folder(path: Path, said: str) -> None:
    """Find out before long work that a folder, which may be new, would take no files.

    :param said: what names it, for the refusal
    :raises SegvladError: it, or one that it lies in, is a file, or one may not write there
    """
    there = nearest_folder(path, said)
    if not os.access(there, os.W_OK | os.X_OK):
        raise SegvladError(f'{said}: {there} is not writable; choose a folder you can write to')


def cache_folder() -> Path:
    """Where this package keeps what can be made again; it need not be there yet."""
    return from_home(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'segvlad_ros'


def mirrored(folder: Path, file: Path) -> list[Path]:
    """Where what belongs to a file may lie: of ``/a/b/7.jpg`` in ``folder/a/b``, ``folder/b`` or ``folder``."""
    parents = file.absolute().parent.parts[1:]
    return [folder.joinpath(*parents[first:]) for first in range(len(parents) + 1)]
