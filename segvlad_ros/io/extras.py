"""Packages that only some users install: imported where needed, with one clear line where they are missing."""
from __future__ import annotations

import importlib
import os
import re
from types import ModuleType

from segvlad_ros.types import SegvladError

EXTRAS = {
    'deep': ('torch>=2.4', 'torchvision>=0.19', 'segment-anything==1.0', 'timm>=1.0.9'),
    'slam': ('gtsam>=4.3',),
    'fleet': ('pymilvus==3.0.2', 'milvus-lite==3.2.2'),
    'reproduce': ('h5py>=3.10',),
    'onnx': ('onnx>=1.16', 'onnxruntime>=1.19', 'onnxscript>=0.3'),
    'train': ('pytorch-metric-learning>=2.4',),
    'cluster': ('ray[client]>=2.52',),
}
"""The extras of setup.py that code imports. A message names their packages and not the extra: where the package was
built with colcon, pip does not know it, and would take another one of its name from an index."""

_EXTRA_OF = {re.match(r'[\w-]+', requirement).group().replace('-', '_'): extra
             for extra, requirements in EXTRAS.items() for requirement in requirements}


def import_extra(module: str) -> ModuleType:
    """Import a module of an extra, which then reports to nobody what it is used for.

    :param module: dotted name
    :raises SegvladError: naming the packages to install, where the module is not installed
    """
    extra = _EXTRA_OF[module.partition('.')[0]]
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # ONNX Runtime tells its makers of each model, from 1.29 on
    try:
        return importlib.import_module(module)
    except ImportError as error:
        packages = ' '.join(f"'{requirement}'" for requirement in EXTRAS[extra])
        raise SegvladError(f'{module} cannot be imported ({error}); install what the extra "{extra}" is: '
                           f'pip install {packages}') from error


def import_base(module: str, whose: str) -> ModuleType:
    """Import a module that pip installs with the package, but that who builds with colcon may lack.

    :param whose: who needs it, for the message
    :raises SegvladError: naming the package of pip and of Ubuntu, where the module is not installed
    """
    package = module.split('.', maxsplit=1)[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegvladError(f'{module} cannot be imported ({error}); {whose} need it: pip install {package}, or sudo '
                           f'apt install python3-{package}') from error
