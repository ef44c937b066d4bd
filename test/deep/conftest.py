"""The tests of SAM, DINOv2 and the nodes with them: all marked ``deep``."""
from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from optional_parts import mark_folder

try:
    import segment_anything  # noqa: F401
    import timm  # noqa: F401
    import torch
    import torchvision  # noqa: F401
except ImportError as error:
    if os.environ.get('SEGVLAD_REQUIRE_DEEP'):
        raise pytest.UsageError(f'SEGVLAD_REQUIRE_DEEP is set and {error.name} is not installed') from error
    collect_ignore_glob = ['*']  # a base install: the marker "deep" deselects this folder anyway
else:
    torch.set_num_threads(min(2, torch.get_num_threads()))
    if os.environ.get('SEGVLAD_REQUIRE_DEEP'):
        for name in ('onnx', 'onnxruntime', 'onnxscript'):
            if importlib.util.find_spec(name) is None:
                raise pytest.UsageError(f'SEGVLAD_REQUIRE_DEEP is set and {name} is not installed')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_folder(items, __file__, pytest.mark.deep)


@pytest.fixture(scope='session')
def office_images() -> list[Path]:
    """Eight views of the office, far apart."""
    from small_models import real_image

    return [real_image(f'hololens_office/images/{number:04d}.jpg') for number in range(0, 360, 45)]
