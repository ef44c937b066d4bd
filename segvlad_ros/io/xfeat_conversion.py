"""XFeat from its authors' checkpoint to one ONNX file, which robots run without PyTorch.

G. Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024; weights: Apache-2.0. Written
in our own words after the paper and the names in the checkpoint; what its second matching stage needs is left out. Why
the graph is made node by node: onnx_graph.py.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.checkpoint_conversion import load_parameters, parameters_of, write_checked
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.xfeat_graph import xfeat_model

NEEDED = ('torch', 'onnx', 'onnxruntime')

_CELL = 8  # of features, and of what the keypoint head sees at once, pixels
_LEFT_OUT = 'fine_matcher.'
_CHECKED_SIZES = ((640, 480), (96, 160), (320, 256))  # width, height


def convert(sources: Mapping[str, Path], target: Path) -> None:
    """Write the ONNX file of the checkpoint ``xfeat.pt``: the same bytes wherever it is made.

    :param sources: extracted files by their names in the package
    :param target: is replaced, and only by a file that answers as PyTorch does
    :raises SegvladError: no such member, another network, or a file that answers otherwise
    """
    network = build_network()
    load_parameters(network, sources, 'xfeat.pt', lambda name: None if name.startswith(_LEFT_OUT) else name)
    write_network(network, target)


def write_network(network: Any, target: Path) -> None:
    """Write a network of :func:`build_network`; see :func:`segvlad_ros.io.checkpoint_conversion.write_checked`."""
    examples = ((np.random.default_rng(seed).random((1, 3, height, width), np.float32),)
                for seed, (width, height) in enumerate(_CHECKED_SIZES))
    write_checked(xfeat_model(parameters_of(network)), target, network, examples)


def build_network() -> Any:
    """XFeat, whose parameters have the names of its checkpoint; it gives :data:`segvlad_ros.io.xfeat_graph.OUTPUTS`."""
    torch = import_extra('torch')
    from torch import nn
    from torch.nn import functional

    class Layer(nn.Module):
        """Convolution, normalisation, ReLU."""

        def __init__(self, inner: int, outer: int, size: int = 3, stride: int = 1) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Conv2d(inner, outer, size, stride, size // 2, bias=False),
                                       nn.BatchNorm2d(outer, affine=False), nn.ReLU())

        def forward(self, values: Any) -> Any:
            return self.layer(values)

    class XFeatNetwork(nn.Module):
        """A pyramid of three scales in one map of features, and two heads."""

        def __init__(self) -> None:
            super().__init__()
            self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
            self.block1 = nn.Sequential(Layer(1, 4), Layer(4, 8, stride=2), Layer(8, 8), Layer(8, 24, stride=2))
            self.block2 = nn.Sequential(Layer(24, 24), Layer(24, 24))
            self.block3 = nn.Sequential(Layer(24, 64, stride=2), Layer(64, 64), Layer(64, 64, 1))
            self.block4 = nn.Sequential(Layer(64, 64, stride=2), Layer(64, 64), Layer(64, 64))
            self.block5 = nn.Sequential(Layer(64, 128, stride=2), Layer(128, 128), Layer(128, 128), Layer(128, 64, 1))
            self.block_fusion = nn.Sequential(Layer(64, 64), Layer(64, 64), nn.Conv2d(64, 64, 1))
            self.heatmap_head = nn.Sequential(Layer(64, 64, 1), Layer(64, 64, 1), nn.Conv2d(64, 1, 1), nn.Sigmoid())
            self.keypoint_head = nn.Sequential(Layer(64, 64, 1), Layer(64, 64, 1), Layer(64, 64, 1),
                                               nn.Conv2d(64, _CELL ** 2 + 1, 1))

        def forward(self, image: Any) -> tuple[Any, Any, Any]:
            grey = image.mean(1, keepdim=True)
            variance, mean = torch.var_mean(grey, (2, 3), correction=0, keepdim=True)
            grey = (grey - mean) * torch.rsqrt(variance + 1e-5)
            fine = self.block3(self.block2(self.block1(grey) + self.skip1(grey)))
            middle = self.block4(fine)
            coarse = self.block5(middle)
            size = fine.shape[-2:]
            fused = self.block_fusion(fine + _stretched(middle, size) + _stretched(coarse, size))
            # of each cell's pixels one is a keypoint, or none: the last channel
            logits = self.keypoint_head(functional.pixel_unshuffle(grey, _CELL))
            heat = functional.pixel_shuffle(logits.softmax(1)[:, :-1], _CELL)
            return functional.normalize(fused), heat, self.heatmap_head(fused)

    def _stretched(values: Any, size: Any) -> Any:
        return functional.interpolate(values, size, mode='bilinear')

    return XFeatNetwork().eval()
