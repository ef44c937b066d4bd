"""The graph of XFeat in ONNX, node by node, of the parameters of its checkpoint."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segvlad_ros.io.onnx_graph import OnnxGraph

OUTPUTS = 'features', 'heat', 'reliability'
"""(1, 64, h/8, w/8) of unit length, (1, 1, h, w) and (1, 1, h/8, w/8), both in [0, 1], of an image (1, 3, h, w)."""

_CELL = 8
_EPSILON = 1e-5  # PyTorch's, of both kinds of normalisation


class _ConvolutionGraph(OnnxGraph):
    """Convolutions by their names in the checkpoint."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._parameters = parameters

    def convolution(self, value: str, name: str, stride: int = 1) -> str:
        """A convolution of the checkpoint, with bias."""
        return self._convolved(value, self._parameters[f'{name}.weight'], self._parameters[f'{name}.bias'], stride)

    def layers(self, value: str, name: str, *strides: int) -> str:
        """Convolutions of the checkpoint without bias, each with ReLU and the normalisation that it takes in."""
        for number, stride in enumerate(strides):
            weight, mean, variance = (self._parameters[f'{name}.{number}.layer.{part}'].astype(np.float64)
                                      for part in ('0.weight', '1.running_mean', '1.running_var'))
            scale = 1 / np.sqrt(variance + _EPSILON)
            value = self._convolved(value, weight * scale[:, None, None, None], -mean * scale, stride)
            value = self.node('Relu', value)
        return value

    def _convolved(self, value: str, weight: np.ndarray, bias: np.ndarray, stride: int) -> str:
        size = weight.shape[2]
        return self.node('Conv', value, *(self.constant(array.astype(np.float32)) for array in (weight, bias)),
                         kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4)


def xfeat_model(parameters: Mapping[str, np.ndarray]) -> bytes:
    """The ONNX file of XFeat for images of any size in multiples of 32, the same bytes of the same parameters.

    :param parameters: by the names of the checkpoint
    """
    graph = _ConvolutionGraph(parameters)
    grey = graph.node('InstanceNormalization', graph.node('ReduceMean', 'image', axes=[1], keepdims=1),
                      graph.constant(np.ones(1, np.float32)), graph.constant(np.zeros(1, np.float32)), epsilon=_EPSILON)
    _describe(graph, grey)
    _find(graph, grey)
    return graph.model('xfeat', {'image': (1, 3, 'height', 'width')},
                       {name: (1, channels, f'{name}_rows', f'{name}_cols')
                        for name, channels in zip(OUTPUTS, (64, 1, 1))})


def _describe(graph: _ConvolutionGraph, grey: str) -> None:
    """Features and reliability: a pyramid of three scales in one map."""
    skipped = graph.convolution(graph.node('AveragePool', grey, kernel_shape=[4, 4], strides=[4, 4]), 'skip1.1')
    fine = graph.node('Add', graph.layers(grey, 'block1', 1, 2, 1, 2), skipped)
    fine = graph.layers(graph.layers(fine, 'block2', 1, 1), 'block3', 2, 1, 1)
    middle = graph.layers(fine, 'block4', 2, 1, 1)
    coarse = graph.layers(middle, 'block5', 2, 1, 1, 1)
    stretched = (graph.node('Resize', value, '', graph.constant(np.array([1, 1, times, times], np.float32)),
                            mode='linear', coordinate_transformation_mode='half_pixel')
                 for value, times in ((middle, 2), (coarse, 4)))
    fused = graph.layers(graph.node('Sum', fine, *stretched), 'block_fusion', 1, 1)
    fused = graph.convolution(fused, 'block_fusion.2')
    graph.node('LpNormalization', fused, output='features', axis=1, p=2)
    reliability = graph.convolution(graph.layers(fused, 'heatmap_head', 1, 1), 'heatmap_head.2')
    graph.node('Sigmoid', reliability, output='reliability')


def _find(graph: _ConvolutionGraph, grey: str) -> None:
    """Heat: of each cell's pixels one is a keypoint, or none, which the last channel says."""
    logits = graph.layers(graph.node('SpaceToDepth', grey, blocksize=_CELL), 'keypoint_head', 1, 1, 1)
    shares = graph.node('Softmax', graph.convolution(logits, 'keypoint_head.3'), axis=1)
    pixels = graph.node('Slice', shares, *(graph.constant(np.array([bound], np.int64)) for bound in (0, _CELL ** 2, 1)))
    graph.node('DepthToSpace', pixels, output='heat', blocksize=_CELL)
