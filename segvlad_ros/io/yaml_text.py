"""YAML of people and of other programs: data, or refused in one line."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError


def parse_yaml(text: str | bytes) -> Any:
    """What a document says.

    :raises SegvladError: it is no YAML, is nested too deep, or has a number without end
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SegvladError(f'not readable as YAML ({one_line(error, 200)})') from error


def read_yaml(path: Path) -> Any:
    """What a UTF-8 file says; raises as :func:`parse_yaml`, and OSError."""
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise SegvladError(f'not readable as YAML ({one_line(error, 200)})') from error
    return parse_yaml(text)
