"""Paths as people write them."""
from __future__ import annotations

from pathlib import Path

from segvlad_ros.types import SegvladError


def from_home(text: str | Path) -> Path:
    """A path whose ``~`` is a home.

    :raises SegvladError: it is the home of nobody
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SegvladError(f"{text}: ~ is nobody's home here; write the folder out") from None
