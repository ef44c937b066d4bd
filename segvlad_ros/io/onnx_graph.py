"""Graphs of networks in ONNX, made node by node: the same bytes of the same weights, wherever they are made.

What an exporter writes depends on its version and on the folder it lies in, and a file's digest is part of what maps
and calibrations are known by.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra

NORMALISATION_EPSILON = 1e-5
"""Added to a variance by PyTorch's normalisations."""

_IR_VERSION, _OPSET = 8, 17  # read by ONNX Runtime from 1.13 on; written out, for the defaults change


class OnnxGraph:
    """Nodes and weights as they are added; values are called by their number."""

    def __init__(self) -> None:
        self._onnx = import_extra('onnx')
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def node(self, kind: str, *inputs: str, output: str = '', **attributes: Any) -> str:
        """Add a node. :return: the name of its output"""
        return self.nodes(kind, inputs, [output or f'v{len(self._nodes)}'], **attributes)[0]

    def nodes(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """Add a node of several outputs. :return: their names"""
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, **attributes))
        return outputs

    def constant(self, values: np.ndarray) -> str:
        """Add an array. :return: its name"""
        name = f'w{len(self._weights)}'
        self._weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, value: str, weight: np.ndarray, bias: np.ndarray, stride: int = 1) -> str:
        """Add a convolution of an odd side that keeps the size but for its stride.

        :param weight: (outer, inner, side, side)
        :param bias: (outer,)
        """
        side = weight.shape[2]
        return self.node('Conv', value, *(self.constant(array.astype(np.float32)) for array in (weight, bias)),
                         kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4)

    def model(self, name: str, inputs: Mapping[str, Sequence[int | str]],
              outputs: Mapping[str, Sequence[int | str]]) -> bytes:
        """The ONNX file.

        :param inputs, outputs: shapes by name, of float32
        """
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        ends = ([helper.make_tensor_value_info(end, float32, list(shape)) for end, shape in named.items()]
                for named in (inputs, outputs))
        graph = helper.make_graph(self._nodes, name, *ends, self._weights)
        model = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid('', _OPSET)],
                                  producer_name='segvlad_ros')
        return model.SerializeToString(deterministic=True)


def normalised(weight: np.ndarray, mean: np.ndarray, variance: np.ndarray, gain: np.ndarray | float = 1.0,
               offset: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A convolution without bias that takes the batch normalisation behind it in.

    :param weight: (outer, inner, side, side)
    :param mean, variance, gain, offset: (outer,) of the normalisation
    :return: weight and bias, float64
    """
    scale = gain / np.sqrt(variance.astype(np.float64) + NORMALISATION_EPSILON)
    return weight * scale[:, None, None, None], offset - mean * scale
