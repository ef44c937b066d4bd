"""Configuration files into frozen dataclasses, with every wrong key or value named in one line.

A dataclass is the schema: its annotations give the types, :func:`setting` the ranges, :func:`one_of` the variants that
a ``kind`` chooses between. Presets and scenarios are read so.
"""
from __future__ import annotations

import difflib
import types
import typing
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from segvlad_ros.io.paths import from_home
from segvlad_ros.io.weights import default_folder, entry_named
from segvlad_ros.types import SegvladError

T = TypeVar('T')
_WORDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a text', Path: 'a path'}


def setting(default: Any = MISSING, *, low: float | None = None, high: float | None = None,
            choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with the values it allows, bounds included.

    :param default: value where the file has none; without it the key is required. A list may be empty where it is so
        by default
    """
    return field(default=default, metadata={'low': low, 'high': high, 'choices': choices, 'empty': default == ()})


def one_of(**variants: type) -> Any:
    """A dataclass field that holds one of several dataclasses, chosen by the section's key ``kind``."""
    return field(metadata={'variants': variants})


def read_settings(schema: type[T], values: object, where: str, folder: Path) -> T:
    """Build one dataclass from one section of a file.

    :param schema: the dataclass; nested dataclasses are sections within the section
    :param values: what the YAML reader returned for this section
    :param where: dotted name of the section, '' at the top
    :param folder: relative paths in the file are relative to this
    :raises SegvladError: naming the key and what it allows
    """
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SegvladError(f'{where or "the file"} must be a section of "key: value" lines, not {_shown(values)}')
    hints = typing.get_type_hints(schema)
    known = {entry.name: entry for entry in fields(schema)}
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f' (did you mean {close[0]!r}?)' if close else ''
            raise SegvladError(f'unknown key {_join(where, key)!r}{hint}; allowed: {", ".join(known)}')
    arguments = {}
    for name, entry in known.items():
        label = _join(where, name)
        section = is_dataclass(hints[name]) or 'variants' in entry.metadata
        required = entry.default is MISSING and entry.default_factory is MISSING
        if name in values or (section and required):
            arguments[name] = _read_value(hints[name], entry.metadata, values.get(name), label, folder)
        elif required:
            raise SegvladError(f'missing key {label!r}: {_allowed(hints[name], entry.metadata)}')
    return schema(**arguments)


def flatten(settings: object, where: str = '') -> dict[str, Any]:
    """Every value of a settings dataclass under its dotted name; tuples become lists, paths stay paths."""
    flat: dict[str, Any] = {}
    for entry in fields(settings):
        value, name = getattr(settings, entry.name), _join(where, entry.name)
        if is_dataclass(value):
            flat.update(flatten(value, name))
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def _read_value(hint: Any, metadata: Any, value: object, label: str, folder: Path) -> Any:
    if 'variants' in metadata:
        kind = value.get('kind') if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in metadata['variants']:
            raise SegvladError(f'{label}.kind is {_shown(kind)}: use one of {", ".join(metadata["variants"])}')
        hint = metadata['variants'][kind]
    if is_dataclass(hint):
        return read_settings(hint, value, label, folder)
    if value is None and type(None) in typing.get_args(hint):
        return None
    if value == [] and metadata.get('empty'):
        return ()
    result = _convert(_required(hint), value, folder)
    if result is None or not _within(result, metadata):
        raise SegvladError(f'{label} is {_shown(value)}: {_allowed(hint, metadata)}')
    return result


def _convert(kind: Any, value: object, folder: Path) -> Any:
    """The value as its type, or None where it is not of that type."""
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    if kind is int:
        return value if isinstance(value, int) else None
    if kind is float:
        try:
            return float(value) if isinstance(value, (int, float)) and value == value else None
        except OverflowError:  # YAML has integers of any size
            return None
    if kind is Path:
        return _path(value, folder) if isinstance(value, str) and value else None
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        entries = [_convert(item, entry, folder) for entry in value] if isinstance(value, list) else [None]
        return None if not entries or None in entries else tuple(entries)
    return value if isinstance(value, str) else None


def _path(text: str, folder: Path) -> Path:
    """A path of a file; ``weights:NAME`` is where ``segvlad weights fetch NAME`` puts it."""
    name = text.removeprefix('weights:')
    return default_folder() / entry_named(name).file if name != text else folder / from_home(text)


def _within(value: Any, metadata: Any) -> bool:
    if isinstance(value, tuple):
        return all(_within(entry, metadata) for entry in value)
    low, high, choices = (metadata.get(name) for name in ('low', 'high', 'choices'))
    return ((low is None or value >= low) and (high is None or value <= high)
            and (choices is None or value in choices))


def _allowed(hint: Any, metadata: Any) -> str:
    """What a value may be, in words."""
    low, high, choices = (metadata.get(name) for name in ('low', 'high', 'choices'))
    if choices:
        return f'use one of {", ".join(choices)}'
    kind = _required(hint)
    several = typing.get_origin(kind) is tuple
    text = f'give a list, each {_WORDS[typing.get_args(kind)[0]]}' if several else f'give {_WORDS[kind]}'
    if low is None:
        return text
    return f'{text} of {low:g} or more' if high is None else f'{text} from {low:g} to {high:g}'


def _required(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _join(where: str, name: object) -> str:
    return f'{where}.{name}' if where else str(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
