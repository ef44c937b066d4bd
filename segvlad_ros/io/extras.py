"""Packages that only some users install: imported where needed, with one clear line where they are missing."""
from __future__ import annotations

import importlib
from types import ModuleType

from segvlad_ros.types import SegvladError


def import_deep(module: str) -> ModuleType:
    """Import a module of the extra ``deep`` (torch, torchvision, timm, segment_anything).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'deep')


def import_slam(module: str) -> ModuleType:
    """Import a module of the extra ``slam`` (gtsam).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'slam')


def import_fleet(module: str) -> ModuleType:
    """Import a module of the extra ``fleet`` (pymilvus, milvus_lite).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'fleet')


def import_reproduce(module: str) -> ModuleType:
    """Import a module of the extra ``reproduce`` (h5py).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'reproduce')


def import_onnx(module: str) -> ModuleType:
    """Import a module of the extra ``onnx`` (onnx, onnxruntime, onnxscript).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'onnx')


def _import_extra(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegvladError(f'{module} cannot be imported ({error}); install the extra "{extra}": '
                           f"pip install 'segvlad_ros[{extra}]'") from error
