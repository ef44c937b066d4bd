"""The fields of settings: dataclasses with the values that they allow, which presets and scenarios are read into."""
from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def setting(default: Any = MISSING, *, low: float | None = None, high: float | None = None,
            choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with the values it allows, bounds included.

    :param default: value where the file has none; without it the key is required
    """
    return field(default=default, metadata={'low': low, 'high': high, 'choices': choices})


def one_of(**variants: type) -> Any:
    """A dataclass field that holds one of several dataclasses, chosen by the section's key ``kind``."""
    return field(metadata={'variants': variants})
