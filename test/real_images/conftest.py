"""The shared data sets: skipped on a user's machine that has none, an error in CI."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'


@pytest.fixture(scope='session')
def data() -> Path:
    """Folder of the data sets."""
    if not DATA.is_dir():
        if os.environ.get('CI') == 'true':
            pytest.fail(f'{DATA} is missing')
        pytest.skip(f'no data sets in {DATA}')
    return DATA
