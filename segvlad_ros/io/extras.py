"""Packages that only some users install: imported where needed, with one clear line where they are missing."""
from __future__ import annotations

import importlib
from types import ModuleType

from segvlad_ros.types import SegvladError

_EXTRAS = {module: extra for extra, modules in {
    'deep': ('torch', 'torchvision', 'timm', 'segment_anything'), 'onnx': ('onnx', 'onnxruntime', 'onnxscript'),
    'slam': ('gtsam',), 'fleet': ('pymilvus', 'milvus_lite'), 'reproduce': ('h5py',),
    'train': ('pytorch_metric_learning',), 'cluster': ('ray',),
}.items() for module in modules}


def import_extra(module: str) -> ModuleType:
    """Import a module of an extra.

    :param module: dotted name
    :raises SegvladError: naming the extra, where the module is not installed
    """
    extra = _EXTRAS[module.partition('.')[0]]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegvladError(f'{module} cannot be imported ({error}); install the extra "{extra}": '
                           f"pip install 'segvlad_ros[{extra}]'") from error


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
