"""The shared data sets: skipped on a user's machine that has none, an error in CI."""
from __future__ import annotations

from pathlib import Path

import pytest
from shared_data import shared


@pytest.fixture(scope='session')
def data() -> Path:
    """Folder of the data sets."""
    return shared('data')
