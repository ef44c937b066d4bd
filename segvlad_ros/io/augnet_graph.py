"""The graph of AugNet's first three stages in ONNX, node by node, of the parameters of its checkpoint.

It is a ResNet-50 (K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016), with the stride of a
bottleneck in its middle convolution, as in PyTorch.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segvlad_ros.io.onnx_graph import OnnxGraph, normalised

CELL, WIDTH = 16, 1024
"""Side of a cell, pixels, and the values that describe one."""

_BLOCKS = {'layer1': 3, 'layer2': 4, 'layer3': 6}


class _ResNetGraph(OnnxGraph):
    """Convolutions and blocks by their names in the checkpoint."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._parameters = parameters

    def named(self, value: str, convolution: str, normalisation: str, stride: int = 1) -> str:
        """A convolution with the normalisation behind it."""
        parts = (self._parameters[f'{normalisation}.{part}']
                 for part in ('running_mean', 'running_var', 'weight', 'bias'))
        return self.convolution(value, *normalised(self._parameters[f'{convolution}.weight'], *parts), stride)

    def bottleneck(self, value: str, name: str, stride: int) -> str:
        """Three convolutions beside the value itself, or beside a projection of it where the shape changes."""
        inner = value
        for number in (1, 2, 3):
            inner = self.named(inner, f'{name}.conv{number}', f'{name}.bn{number}', stride if number == 2 else 1)
            inner = self.node('Relu', inner) if number < 3 else inner
        if f'{name}.downsample.0.weight' in self._parameters:
            value = self.named(value, f'{name}.downsample.0', f'{name}.downsample.1', stride)
        return self.node('Relu', self.node('Add', inner, value))


def augnet_model(parameters: Mapping[str, np.ndarray]) -> bytes:
    """The ONNX file for images of any size in multiples of 16, the same bytes of the same parameters.

    From an image (1, 3, h, w) to features (1, h/16 * w/16, 1024) of unit length, cells row by row.

    :param parameters: by the names of torchvision's ``resnet50``
    """
    graph = _ResNetGraph(parameters)
    value = graph.node('Relu', graph.named('image', 'conv1', 'bn1', 2))
    value = graph.node('MaxPool', value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, blocks in _BLOCKS.items():
        for block in range(blocks):
            value = graph.bottleneck(value, f'{stage}.{block}', 2 if block == 0 and stage != 'layer1' else 1)
    cells = graph.node('Reshape', value, graph.constant(np.array([1, WIDTH, -1], np.int64)))
    graph.node('LpNormalization', graph.node('Transpose', cells, perm=[0, 2, 1]), output='features', axis=2, p=2)
    return graph.model('augnet', {'image': (1, 3, 'height', 'width')}, {'features': (1, 'cells', WIDTH)})
