"""Packages that only some users install: imported where needed, with one clear line where they are missing."""
from __future__ import annotations

import importlib
from types import ModuleType

from segvlad_ros.types import SegvladError


def import_deep(module: str) -> ModuleType:
    """Import a module of the extra ``deep`` (torch, torchvision, timm, segment_anything).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegvladError(f'{module} cannot be imported ({error}); install the extra "deep": '
                           "pip install 'segvlad_ros[deep]'") from error
