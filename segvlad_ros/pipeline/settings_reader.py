"""Configuration files into frozen dataclasses, with every wrong key or value named in one line.

A dataclass is the schema: its annotations give the types, :func:`~segvlad_ros.settings.setting` the ranges,
:func:`~segvlad_ros.settings.one_of` the variants that a ``kind`` chooses between.
"""
from __future__ import annotations

import difflib
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from segvlad_ros.io.weights import default_folder, entry_named
from segvlad_ros.types import SegvladError

T = TypeVar('T')


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
            raise SegvladError(f'unknown key {_join(where, key)!r}{_nearest(str(key), known)}; '
                               f'allowed: {", ".join(known)}')
    arguments = {}
    for name, entry in known.items():
        label = _join(where, name)
        section = is_dataclass(hints[name]) or 'variants' in entry.metadata
        if name in values or (section and entry.default is MISSING and entry.default_factory is MISSING):
            arguments[name] = _read_value(hints[name], entry.metadata, values.get(name), label, folder)
        elif entry.default is MISSING and entry.default_factory is MISSING:
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
    if metadata.get('variants'):
        return _read_variant(metadata['variants'], value, label, folder)
    if is_dataclass(hint):
        return read_settings(hint, value, label, folder)
    if value is None and _optional(hint):
        return None
    result = _convert(_required(hint), value, folder)
    if result is None or not _within(result, metadata):
        raise SegvladError(f'{label} is {_shown(value)}: {_allowed(hint, metadata)}')
    return result


def _read_variant(variants: dict[str, type], value: object, label: str, folder: Path) -> Any:
    kind = value.get('kind') if isinstance(value, dict) else None
    if kind not in variants:
        raise SegvladError(f'{label}.kind is {_shown(kind)}: use one of {", ".join(variants)}')
    return read_settings(variants[kind], value, label, folder)


def _convert(kind: Any, value: object, folder: Path) -> Any:
    """The value as its type, or None where it is not of that type."""
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    if kind is int:
        return value if isinstance(value, int) else None
    if kind is float:
        return float(value) if isinstance(value, (int, float)) and value == value else None
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
    return default_folder() / entry_named(name).file if name != text else folder / Path(text).expanduser()


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
    words = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a text', Path: 'a path'}
    if typing.get_origin(kind) is tuple:
        text = f'give a list, each {words[typing.get_args(kind)[0]]}'
    else:
        text = f'give {words[kind]}'
    if low is not None and high is not None:
        text += f' from {low:g} to {high:g}'
    elif low is not None:
        text += f' of {low:g} or more'
    return text


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _required(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _nearest(key: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f' (did you mean {close[0]!r}?)' if close else ''


def _join(where: str, name: object) -> str:
    return f'{where}.{name}' if where else str(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
