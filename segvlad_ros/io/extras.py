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


def import_train(module: str) -> ModuleType:
    """Import a module of the extra ``train`` (pytorch_metric_learning).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'train')


def import_cluster(module: str) -> ModuleType:
    """Import a module of the extra ``cluster`` (ray).

    :raises SegvladError: naming the extra, where the module is not installed
    """
    return _import_extra(module, 'cluster')


def import_drawing(module: str) -> ModuleType:
    """Import a module of jinja2 or matplotlib: installed with the package, but not by everyone who builds with colcon.

    :raises SegvladError: naming the package of pip and of Ubuntu, where the module is not installed
    """
    package = module.split('.', maxsplit=1)[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegvladError(f'{module} cannot be imported ({error}); reports need it: pip install {package}, or sudo '
                           f'apt install python3-{package}') from error


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
