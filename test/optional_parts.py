"""What the folders of tests share that need more than the base install."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest


def mark_folder(items: Iterable[pytest.Item], conftest: str, marker: pytest.MarkDecorator, missing: str = '') -> None:
    """Give the tests of a folder its marker, and skip them where something is missing.

    :param conftest: ``__file__`` of the folder's conftest
    :param missing: why they are skipped
    """
    folder = Path(conftest).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(marker)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))
