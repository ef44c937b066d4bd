"""LighterGlue from its authors' checkpoint to one ONNX file, which robots run without PyTorch.

The network is that of lighterglue_graph.py; weights: Apache-2.0. Written in our own words after the paper and the names
in the checkpoint. Why the graph is made node by node: onnx_graph.py.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.checkpoint_conversion import load_parameters, parameters_of, write_checked
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.lighterglue_graph import FEATURE_WIDTH, LAYERS, WIDTH, lighterglue_model

NEEDED = ('torch', 'onnx', 'onnxruntime')

_PREFIX = 'matcher.'
_LEFT_OUT = 'token_confidence.'  # when to leave layers out
_CHECKED_COUNTS = ((300, 200), (7, 60), (1, 1))  # keypoints of the two images


def convert(sources: Mapping[str, Path], target: Path) -> None:
    """Write the ONNX file of the checkpoint ``xfeat-lighterglue.pt``: the same bytes wherever it is made.

    :param sources: extracted files by their names in the package
    :param target: is replaced, and only by a file that answers as PyTorch does
    :raises SegvladError: no such member, another network, or a file that answers otherwise
    """
    network = build_network()
    load_parameters(network, sources, 'xfeat-lighterglue.pt', _named)
    write_network(network, target)


def _named(name: str) -> str | None:
    """The checkpoint holds XFeat, too."""
    ours = name.removeprefix(_PREFIX)
    return None if ours == name or ours.startswith(_LEFT_OUT) else ours


def write_network(network: Any, target: Path) -> None:
    """Write a network of :func:`build_network`; see :func:`segvlad_ros.io.checkpoint_conversion.write_checked`."""
    write_checked(lighterglue_model(parameters_of(network)), target, network, map(_example, _CHECKED_COUNTS))


def _example(counts: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Two images of some keypoints in common."""
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (max(counts), 2)).astype(np.float32)
    features = random.standard_normal((max(counts), FEATURE_WIDTH)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return tuple(part for count in counts for part in (points[:count], features[:count]))


def _attention() -> tuple[type, type]:
    """The two kinds of attention."""
    torch = import_extra('torch')
    from torch import nn

    def turned(values: Any, angles: Any) -> Any:
        """Neighbouring channels as coordinates, turned."""
        first, second = values.unflatten(-1, (-1, 2)).unbind(-1)
        cosine, sine = angles.cos(), angles.sin()
        return torch.stack([first * cosine - second * sine, second * cosine + first * sine], -1).flatten(-2)

    class Block(nn.Module):
        """What two kinds of attention have in common."""

        def __init__(self) -> None:
            super().__init__()
            self.ffn = nn.Sequential(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.LayerNorm(2 * WIDTH), nn.GELU(),
                                     nn.Linear(2 * WIDTH, WIDTH))

        def updated(self, state: Any, message: Any) -> Any:
            return state + self.ffn(torch.cat([state, message], -1))

    class SelfAttention(Block):
        """Keypoints of one image ask each other, by their relative positions too."""

        def __init__(self) -> None:
            super().__init__()
            self.Wqkv, self.out_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, state: Any, angles: Any) -> Any:
            query, key, value = self.Wqkv(state).unflatten(-1, (WIDTH, 3)).unbind(-1)
            similarity = turned(query, angles) @ turned(key, angles).T / WIDTH ** 0.5
            return self.updated(state, self.out_proj(similarity.softmax(-1) @ value))

    class CrossAttention(Block):
        """Keypoints of one image ask those of the other."""

        def __init__(self) -> None:
            super().__init__()
            self.to_qk, self.to_v, self.to_out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

        def forward(self, first: Any, second: Any) -> tuple[Any, Any]:
            similarity = self.to_qk(first) @ self.to_qk(second).T / WIDTH ** 0.5
            return (self.updated(first, self.to_out(similarity.softmax(-1) @ self.to_v(second))),
                    self.updated(second, self.to_out(similarity.T.softmax(-1) @ self.to_v(first))))

    return SelfAttention, CrossAttention


def build_network() -> Any:
    """LighterGlue, whose parameters have the names of its checkpoint; inputs and output are those of the graph."""
    import_extra('torch')
    from torch import nn

    self_attention, cross_attention = _attention()

    class Assignment(nn.Module):
        """Each keypoint's partner by likeness, from both sides, and whether it has one at all."""

        def __init__(self) -> None:
            super().__init__()
            self.matchability, self.final_proj = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, WIDTH)

        def forward(self, first: Any, second: Any) -> Any:
            similarity = self.final_proj(first) @ self.final_proj(second).T / WIDTH ** 0.5
            ours, theirs = (nn.functional.logsigmoid(self.matchability(state)) for state in (first, second))
            return (similarity.log_softmax(1) + similarity.log_softmax(0) + ours + theirs.T).exp()

    class LighterGlueNetwork(nn.Module):
        """Layers of self and cross attention, and an assignment behind the last."""

        def __init__(self) -> None:
            super().__init__()
            self.input_proj = nn.Linear(FEATURE_WIDTH, WIDTH)
            self.posenc = nn.ModuleDict({'Wr': nn.Linear(2, WIDTH // 2, bias=False)})
            self.transformers = nn.ModuleList(
                nn.ModuleDict({'self_attn': self_attention(), 'cross_attn': cross_attention()}) for _ in range(LAYERS))
            self.log_assignment = nn.ModuleList(Assignment() for _ in range(LAYERS))

        def forward(self, points: Any, features: Any, other_points: Any, other_features: Any) -> Any:
            states = [self.input_proj(features), self.input_proj(other_features)]
            angles = [self.posenc['Wr'](points), self.posenc['Wr'](other_points)]
            for layer in self.transformers:
                states = layer['cross_attn'](*map(layer['self_attn'], states, angles))
            return self.log_assignment[-1](*states)

    return LighterGlueNetwork().eval()
