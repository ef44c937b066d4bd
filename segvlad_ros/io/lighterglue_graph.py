"""The graph of LighterGlue in ONNX, node by node, of the parameters of its checkpoint.

P. Lindenberger et al., "LightGlue: Local Feature Matching at Light Speed", ICCV 2023; made smaller for XFeat's
keypoints by XFeat's authors: six layers of one head, 96 wide.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segvlad_ros.io.onnx_graph import OnnxGraph

INPUTS = 'query_points', 'query_features', 'match_points', 'match_features'
"""(P, 2) positions, about [-1, 1], (P, 64) descriptors of unit length, and (Q, 2), (Q, 64) of the other image."""
OUTPUT = 'probabilities'
"""(P, Q), how likely two keypoints are the same point."""

LAYERS, WIDTH, FEATURE_WIDTH = 6, 96, 64
_EPSILON = 1e-5  # PyTorch's


class _AttentionGraph(OnnxGraph):
    """Layers by their names in the checkpoint."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._parameters = {name: values.astype(np.float64) for name, values in parameters.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._parameters[name]

    def linear(self, value: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """A linear layer of each row."""
        product = self.node('MatMul', value, self.array(weight.T))
        return product if bias is None else self.node('Add', product, self.array(bias))

    def layer(self, value: str, name: str, factor: float = 1.0) -> str:
        """A linear layer of the checkpoint, times a factor."""
        return self.linear(value, factor * self[f'{name}.weight'], factor * self[f'{name}.bias'])

    def array(self, values: np.ndarray | float) -> str:
        """A constant in float32."""
        return self.constant(np.asarray(values, np.float32))

    def multiplied(self, first: str, second: str) -> str:
        """(P, Q) products of the rows of two matrices."""
        return self.node('MatMul', first, self.node('Transpose', second, perm=[1, 0]))

    def split(self, value: str, sizes: str, count: int, axis: int) -> list[str]:
        """Parts of a value."""
        return self.nodes('Split', [value, sizes], [f'{value}.{part}' for part in range(count)], axis=axis)

    def turned(self, halves: Sequence[str], turns: tuple[str, str]) -> str:
        """Pairs of coordinates, first ones and second ones, each turned by its angle."""
        (first, second), (cosine, sine) = halves, turns
        return self.node('Concat', *(self.node(kind, self.node('Mul', own, cosine), self.node('Mul', other, sine))
                                     for kind, own, other in (('Sub', first, second), ('Add', second, first))), axis=1)

    def attended(self, similarity: str, values: str) -> str:
        """The values, weighted row by row."""
        return self.node('MatMul', self.node('Softmax', similarity, axis=1), values)

    def updated(self, states: str, gathered: Sequence[str], name: str, out: str) -> str:
        """States with what a block of attention has gathered for them."""
        message = self.layer(self.node('Concat', *gathered, axis=0), f'{name}.{out}')
        value = self.layer(self.node('Concat', states, message, axis=1), f'{name}.ffn.0')
        value = self.node('LayerNormalization', value, *(self.array(self[f'{name}.ffn.1.{part}'])
                                                         for part in ('weight', 'bias')), axis=1, epsilon=_EPSILON)
        bent = self.node('Add', self.node('Erf', self.node('Div', value, self.array(np.sqrt(2)))), self.array(1))
        value = self.node('Mul', self.node('Mul', value, bent), self.array(0.5))  # GELU
        return self.node('Add', states, self.layer(value, f'{name}.ffn.3'))


def lighterglue_model(parameters: Mapping[str, np.ndarray]) -> bytes:
    """The ONNX file of LighterGlue for any numbers of keypoints, the same bytes of the same parameters.

    Keypoints of both images go through everything but the attention as one matrix.

    :param parameters: by the names of the checkpoint, without the first
    """
    graph = _AttentionGraph(parameters)
    sizes = graph.node('Concat', *(graph.node('Shape', points, end=1) for points in INPUTS[::2]), axis=0)
    points, features = (graph.node('Concat', *INPUTS[kind::2], axis=0) for kind in (0, 1))
    angles = graph.linear(points, graph['posenc.Wr.weight'])
    turns = graph.node('Cos', angles), graph.node('Sin', angles)
    states = graph.layer(features, 'input_proj')
    for number in range(LAYERS):
        states = _self_attention(graph, states, turns, sizes, f'transformers.{number}.self_attn')
        states = _cross_attention(graph, states, sizes, f'transformers.{number}.cross_attn')
    _assign(graph, states, sizes, f'log_assignment.{LAYERS - 1}')
    shapes = [('P', 2), ('P', FEATURE_WIDTH), ('Q', 2), ('Q', FEATURE_WIDTH)]
    return graph.model('lighterglue', dict(zip(INPUTS, shapes)), {OUTPUT: ('P', 'Q')})


def _self_attention(graph: _AttentionGraph, states: str, turns: tuple[str, str], sizes: str, name: str) -> str:
    # rows of the weights go channel by channel, each query, key, value; channels are turned by pairs of neighbours
    scale = WIDTH ** -0.5
    weight, bias = (_by_halves(graph[f'{name}.Wqkv.{part}'], scale) for part in ('weight', 'bias'))
    value = graph.linear(states, weight, bias)
    *halves, values = graph.split(value, graph.constant(np.array([WIDTH // 2] * 4 + [WIDTH], np.int64)), 5, axis=1)
    parts = (graph.split(part, sizes, 2, axis=0) for part in (
        graph.turned(halves[:2], turns), graph.turned(halves[2:], turns), values))
    gathered = [graph.attended(graph.multiplied(query, key), value) for query, key, value in zip(*parts)]
    return graph.updated(states, gathered, name, 'out_proj')


def _by_halves(rows: np.ndarray, scale: float) -> np.ndarray:
    """First and second coordinates of the queries, times a scale, of the keys, and the values."""
    halves = rows.reshape(WIDTH // 2, 2, 3, -1)
    ordered = np.concatenate([scale * halves[:, 0, 0], scale * halves[:, 1, 0], halves[:, 0, 1], halves[:, 1, 1],
                              halves[:, :, 2].reshape(WIDTH, -1)])
    return ordered.reshape(rows.shape)


def _cross_attention(graph: _AttentionGraph, states: str, sizes: str, name: str) -> str:
    keys, values = (graph.split(part, sizes, 2, axis=0) for part in (
        graph.layer(states, f'{name}.to_qk', WIDTH ** -0.25), graph.layer(states, f'{name}.to_v')))
    similarity = graph.multiplied(*keys)
    back = graph.node('Transpose', similarity, perm=[1, 0])
    gathered = [graph.attended(similarity, values[1]), graph.attended(back, values[0])]
    return graph.updated(states, gathered, name, 'to_out')


def _assign(graph: _AttentionGraph, states: str, sizes: str, name: str) -> None:
    """Each keypoint's partner by likeness, from both sides, and whether it has one at all."""
    similarity = graph.multiplied(*graph.split(graph.layer(states, f'{name}.final_proj', WIDTH ** -0.25), sizes, 2,
                                               axis=0))
    there, back = (graph.node('LogSoftmax', similarity, axis=axis) for axis in (1, 0))
    # the logarithm of a sigmoid is a softplus, both times with a minus
    alone = graph.node('Softplus', graph.layer(states, f'{name}.matchability', -1.0))
    ours, theirs = graph.split(alone, sizes, 2, axis=0)
    either = graph.node('Add', ours, graph.node('Transpose', theirs, perm=[1, 0]))
    graph.node('Exp', graph.node('Sub', graph.node('Add', there, back), either), output=OUTPUT)
