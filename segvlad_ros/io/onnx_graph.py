"""Graphs of networks in ONNX, made node by node: the same bytes of the same weights, wherever they are made.

What an exporter writes depends on its version and on the folder it lies in, and a file's digest is part of what maps
and calibrations are known by.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra

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
