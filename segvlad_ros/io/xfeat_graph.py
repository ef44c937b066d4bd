"""The graph of XFeat in ONNX, node by node, of the parameters of its checkpoint."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segvlad_ros.io.onnx_graph import NORMALISATION_EPSILON, OnnxGraph, normalised

OUTPUTS = 'features', 'heat', 'reliability'
"""(1, 64, h/8, w/8) of unit length, (1, 1, h, w) and (1, 1, h/8, w/8), both in [0, 1], of an image (1, 3, h, w)."""

_CELL = 8


class _XFeatGraph(OnnxGraph):
    """Convolutions by their names in the checkpoint."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._parameters = parameters

    def named(self, value: str, name: str) -> str:
        """A convolution of the checkpoint, with bias."""
        return self.convolution(value, self._parameters[f'{name}.weight'], self._parameters[f'{name}.bias'])

    def layers(self, value: str, name: str, *strides: int) -> str:
        """Convolutions of the checkpoint without bias, each with ReLU and the normalisation that it takes in."""
        for number, stride in enumerate(strides):
            layer = (self._parameters[f'{name}.{number}.layer.{part}']
                     for part in ('0.weight', '1.running_mean', '1.running_var'))
            value = self.node('Relu', self.convolution(value, *normalised(*layer), stride))
        return value


def xfeat_model(parameters: Mapping[str, np.ndarray]) -> bytes:
    """The ONNX file of XFeat for images of any size in multiples of 32, the same bytes of the same parameters.

    :param parameters: by the names of the checkpoint
    """
    graph = _XFeatGraph(parameters)
    grey = graph.node('InstanceNormalization', graph.node('ReduceMean', 'image', axes=[1], keepdims=1),
                      graph.constant(np.ones(1, np.float32)), graph.constant(np.zeros(1, np.float32)),
                      epsilon=NORMALISATION_EPSILON)
    _describe(graph, grey)
    _find(graph, grey)
    return graph.model('xfeat', {'image': (1, 3, 'height', 'width')},
                       {name: (1, channels, f'{name}_rows', f'{name}_cols')
                        for name, channels in zip(OUTPUTS, (64, 1, 1))})


def _describe(graph: _XFeatGraph, grey: str) -> None:
    """Features and reliability: a pyramid of three scales in one map."""
    skipped = graph.named(graph.node('AveragePool', grey, kernel_shape=[4, 4], strides=[4, 4]), 'skip1.1')
    fine = graph.node('Add', graph.layers(grey, 'block1', 1, 2, 1, 2), skipped)
    fine = graph.layers(graph.layers(fine, 'block2', 1, 1), 'block3', 2, 1, 1)
    middle = graph.layers(fine, 'block4', 2, 1, 1)
    coarse = graph.layers(middle, 'block5', 2, 1, 1, 1)
    stretched = (graph.node('Resize', value, '', graph.constant(np.array([1, 1, times, times], np.float32)),
                            mode='linear', coordinate_transformation_mode='half_pixel')
                 for value, times in ((middle, 2), (coarse, 4)))
    fused = graph.layers(graph.node('Sum', fine, *stretched), 'block_fusion', 1, 1)
    fused = graph.named(fused, 'block_fusion.2')
    graph.node('LpNormalization', fused, output='features', axis=1, p=2)
    reliability = graph.named(graph.layers(fused, 'heatmap_head', 1, 1), 'heatmap_head.2')
    graph.node('Sigmoid', reliability, output='reliability')


def _find(graph: _XFeatGraph, grey: str) -> None:
    """Heat: of each cell's pixels one is a keypoint, or none, which the last channel says."""
    logits = graph.layers(graph.node('SpaceToDepth', grey, blocksize=_CELL), 'keypoint_head', 1, 1, 1)
    shares = graph.node('Softmax', graph.named(logits, 'keypoint_head.3'), axis=1)
    pixels = graph.node('Slice', shares, *(graph.constant(np.array([bound], np.int64)) for bound in (0, _CELL ** 2, 1)))
    graph.node('DepthToSpace', pixels, output='heat', blocksize=_CELL)
