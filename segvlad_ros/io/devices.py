"""What the name of a device means to PyTorch, and to ONNX Runtime."""
from __future__ import annotations

import re
from typing import TYPE_CHECKING

from segvlad_ros.io.extras import import_extra
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import torch

TENSORRT = 'TensorrtExecutionProvider'

_TORCH = re.compile(r'cpu|cuda(:\d+)?')
_RUNTIME = re.compile(r'cpu|(cuda|tensorrt)(:\d+)?')


def check_device(name: str) -> None:
    """See that a name is a device's, whoever is asked for it, and though nobody is: a slip of the pen is told at once.

    :raises SegvladError: it is none
    """
    if not _RUNTIME.fullmatch(name):
        raise SegvladError(f'{name!r} is not a device; use cpu, cuda or tensorrt, or cuda:1 for the second GPU')


def torch_device(name: str) -> torch.device:
    """The device of a name.

    :param name: 'cpu', 'cuda' or 'cuda:N'
    :raises SegvladError: it is none, or not there
    """
    if not _TORCH.fullmatch(name):
        raise SegvladError(f'PyTorch is asked for device {name!r}; use cpu, cuda, or cuda:1 for the second GPU')
    torch = import_extra('torch')
    device = torch.device(name)
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise SegvladError('no CUDA device is available to PyTorch; use device cpu, or install the driver and a CUDA '
                           'build of PyTorch')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise SegvladError(f'there is no device {name}: the first of {torch.cuda.device_count()} is cuda:0')
    return device


def runtime_providers(name: str) -> list[tuple[str, dict[str, str]]]:
    """What ONNX Runtime runs a network with: the wanted provider, then what takes the nodes that this one leaves.

    :param name: 'cpu', 'cuda', 'cuda:N', 'tensorrt' or 'tensorrt:N'
    :return: (provider, its options)
    :raises SegvladError: it is none
    """
    check_device(name)
    if name == 'cpu':
        return [('CPUExecutionProvider', {})]
    kind, _, number = name.partition(':')
    wanted = ['CUDAExecutionProvider'] if kind == 'cuda' else [TENSORRT, 'CUDAExecutionProvider']
    return [(provider, {'device_id': number or '0'}) for provider in wanted]
