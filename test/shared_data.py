"""What tests need that no clone brings: data sets and golden outputs in ``../shared``, and weights of registries."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared'


def absent(what: str) -> NoReturn:
    """End a test for want of something: it skips on a user's machine, and fails in CI, which promises it."""
    (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(what)


def shared(name: str) -> Path:
    """A file or folder below ``../shared``, or the end of the test."""
    path = SHARED / name
    if not path.exists():
        absent(f'{path} is not on this machine')
    return path
