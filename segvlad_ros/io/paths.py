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


def cache_folder() -> Path:
    """Where this package keeps what can be made again; it need not be there yet."""
    return from_home(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'segvlad_ros'


def mirrored(folder: Path, file: Path) -> list[Path]:
    """Where what belongs to a file may lie: of ``/a/b/7.jpg`` in ``folder/a/b``, ``folder/b`` or ``folder``."""
    parents = file.absolute().parent.parts[1:]
    return [folder.joinpath(*parents[first:]) for first in range(len(parents) + 1)]
