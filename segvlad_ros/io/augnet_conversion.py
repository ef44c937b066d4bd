"""AugNet's features of cells from its author's checkpoint to one ONNX file, for ``features.kind: onnx``.

M. Chen et al., "AugNet: End-to-End Unsupervised Visual Representation Learning with Image Augmentation", 2021; weights:
MIT. Only the first three of its four stages are taken: their features are of cells of 16 pixels, and the last one's
serve whole images. Why the graph is made node by node: onnx_graph.py.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.augnet_graph import augnet_model
from segvlad_ros.io.checkpoint_conversion import load_parameters, parameters_of, write_checked
from segvlad_ros.io.extras import import_extra

NEEDED = ('torch', 'torchvision', 'onnx', 'onnxruntime')

_WRAPPED_IN = 'module.pre.'
_LEFT_OUT = {'layer4', 'avgpool', 'fc'}
_CHECKED_SIZES = ((640, 480), (96, 160))  # width, height


def convert(sources: Mapping[str, Path], target: Path) -> None:
    """Write the ONNX file of the checkpoint ``model.pth``: the same bytes wherever it is made.

    :param sources: extracted files by their names in the package
    :param target: is replaced, and only by a file that answers as PyTorch does
    :raises SegvladError: no such member, another network, or a file that answers otherwise
    """
    network = build_network()
    load_parameters(network, sources, 'model.pth', _our_name)
    write_network(network, target)


def _our_name(name: str) -> str | None:
    ours = name.removeprefix(_WRAPPED_IN)
    return None if ours.partition('.')[0] in _LEFT_OUT else ours


def write_network(network: Any, target: Path) -> None:
    """Write a network of :func:`build_network`; see :func:`segvlad_ros.io.checkpoint_conversion.write_checked`."""
    examples = ((np.random.default_rng(seed).standard_normal((1, 3, height, width), np.float32),)
                for seed, (width, height) in enumerate(_CHECKED_SIZES))
    write_checked(augnet_model(parameters_of(network)), target, network, examples)


def build_network() -> Any:
    """The first three stages of torchvision's ``resnet50``, by its names, which give what the ONNX file gives."""
    torch, models = import_extra('torch'), import_extra('torchvision.models')

    class AugNetNetwork(torch.nn.Module):
        """From (1, 3, h, w) to (1, cells, 1024)."""

        def __init__(self) -> None:
            super().__init__()
            for name, part in models.resnet50(weights=None).named_children():
                if name not in _LEFT_OUT:
                    self.add_module(name, part)

        def forward(self, values: Any) -> Any:
            for part in self.children():
                values = part(values)
            return torch.nn.functional.normalize(values.flatten(2).transpose(1, 2), dim=2)

    return AugNetNetwork().eval()
