"""The tests of the SLAM back-end: all marked ``slam``."""
from __future__ import annotations

import os

import pytest
from optional_parts import mark_folder

try:
    import gtsam  # noqa: F401
except ImportError as error:
    if os.environ.get('SEGVLAD_REQUIRE_SLAM'):
        raise pytest.UsageError('SEGVLAD_REQUIRE_SLAM is set and gtsam is not installed') from error
    collect_ignore_glob = ['*']  # a base install: the marker "slam" deselects this folder anyway


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_folder(items, __file__, pytest.mark.slam)
