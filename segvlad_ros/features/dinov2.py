"""DINOv2 features (Oquab et al., 2023) as the reference takes them: any facet of any block (segvlad-spec.md 2, 3, 14).

Only what the wanted facet depends on is built and computed: the blocks before it, and the third of the query-key-value
layer that is asked for. The blocks are timm's; embedding and readout are here, because they define the numbers.
"""
from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.features.dinov2_weights import Architecture, architecture, load_weights
from segvlad_ros.io.devices import torch_device
from segvlad_ros.io.extras import import_extra
from segvlad_ros.types import FeatureGrid, SegvladError

if TYPE_CHECKING:
    import torch

CELL = 14
QKV_FACETS = ('query', 'key', 'value')
# 'token' is a block's output; 'patches' the last block's after the final norm (the fine-tuned variant)
FACETS = (*QKV_FACETS, 'token', 'patches')
PRECISIONS = ('float32', 'bfloat16')

# Mean and deviation of the training images, RGB in [0, 1] (segvlad-spec.md 2.3).
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
# Added to the target grid when position embeddings are resampled; the weights were trained with it (3.2).
_GRID_OFFSET = 0.1


class Dinov2Extractor:
    """One facet of one block of a DINOv2 vision transformer without registers.

    :param weights: parameters by their official names, tensors or arrays; see
        :func:`segvlad_ros.features.dinov2_weights.load_weights`
    :param facet: 'query', 'key', 'value' (before attention, heads side by side), 'token' or 'patches'
    :param block: zero-based; 'patches' takes none, they come after the last one
    :param heads: attention heads; None for 64 dimensions a head, as in all official models
    :param device: 'cpu', 'cuda' or 'cuda:N'; on a GPU the features stay there as a tensor
    :param precision: 'float32', exact, or 'bfloat16', about twice as fast on a GPU
    """

    cell = CELL

    def __init__(self, weights: Mapping[str, Any], facet: str = 'value', block: int = 31, *,
                 heads: int | None = None, device: str = 'cpu', precision: str = 'float32') -> None:
        torch = import_extra('torch')
        found = architecture(weights)
        self.dimension = found.dimension
        self.device = torch_device(device)
        self._dtype = getattr(torch, _one_of('precision', precision, PRECISIONS))
        self._network = Dinov2Network(weights, found, _one_of('facet', facet, FACETS), block, heads)
        self._network.module.to(self.device, self._dtype)
        self._positions: dict[tuple[int, int], torch.Tensor] = {}
        self._stream = torch.cuda.Stream(self.device) if self.device.type == 'cuda' else None
        if self._stream:  # the weights are still being copied and cast, in another stream
            self._stream.wait_stream(torch.cuda.current_stream(self.device))

    @classmethod
    def from_checkpoint(cls, path: str | Path, model: str | None = None, **settings: Any) -> Dinov2Extractor:
        """Load a file.

        :param path: an official ``.pth`` file, or a Lightning checkpoint that contains the network
        :param model: 'vits14', 'vitb14', 'vitl14' or 'vitg14', to insist on it
        :param settings: of the constructor
        """
        return cls(load_weights(path, model), **settings)

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; not normalised, of the centre cropped to whole cells."""
        torch = import_extra('torch')
        rows, cols = rgb.shape[0] // CELL, rgb.shape[1] // CELL
        if not rows or not cols:
            raise SegvladError(f'an image of {rgb.shape[1]}x{rgb.shape[0]} pixels has no {CELL}-pixel '
                               'cell; use a larger image size')
        pixels = torch.from_numpy(_centre_crop(rgb, rows, cols)[None].copy())
        reader = torch.cuda.current_stream(self.device) if self._stream else None
        stream = torch.cuda.stream(self._stream) if self._stream else nullcontext()
        # PyTorch may round convolutions to TF32 by default; the reference's numbers are float32.
        with stream, torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            images = network_input(pixels, self.device).to(self._dtype)
            features = self._network(images, self._position_embedding(rows, cols))[0].float()
            if reader:  # their memory must not go to the next image while this one is still being described
                features.record_stream(reader)
        if self._stream:
            self._stream.synchronize()
        return FeatureGrid(features if self._stream else features.numpy(), rows, cols)

    def network_for(self, width: int, height: int) -> torch.nn.Module:
        """The network alone, for one size of image: (1, 3, height, width) normalised to (1, cells, D)."""
        torch = import_extra('torch')
        network, positions = self._network, self._position_embedding(height // CELL, width // CELL)

        class OneSize(torch.nn.Module):
            """Position embeddings are resampled for this size once, not in the network."""

            def __init__(self) -> None:
                super().__init__()
                self.parts = network.module
                self.register_buffer('positions', positions)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return network(image, self.positions)

        return OneSize()

    def _position_embedding(self, rows: int, cols: int) -> torch.Tensor:
        if (rows, cols) not in self._positions:
            embedding = resampled_positions(self._network.positions, rows, cols)
            self._positions[rows, cols] = embedding.to(self.device, self._dtype)
        return self._positions[rows, cols]


def network_input(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(B, h, w, 3) uint8 RGB to (B, 3, h, w) float32 on a device (segvlad-spec.md 2.3)."""
    torch = import_extra('torch')
    levels = pixels.to(device).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _DEVIATION))
    return (levels - mean) / deviation


def resampled_positions(positions: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Position embeddings of a grid that the network was not trained on (segvlad-spec.md 3.2).

    :param positions: (1, 1 + side^2, D) float32, the class token's first
    :return: (1, 1 + rows*cols, D)
    """
    torch = import_extra('torch')
    side = round((positions.shape[1] - 1) ** 0.5)
    if rows == cols == side:
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + _GRID_OFFSET) / side, (cols + _GRID_OFFSET) / side)
    grid = torch.nn.functional.interpolate(grid, scale_factor=scale, mode='bicubic', antialias=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class Dinov2Network:
    """Patch embedding, the blocks that are needed, and the readout of the facet; frozen as it is made.

    :ivar module: all parameters but the position embeddings
    :ivar positions: (1, 1 + side^2, D) float32, see :func:`resampled_positions`
    :ivar names: of the parameters of ``module``, where they have one in the weights
    """

    def __init__(self, weights: Mapping[str, Any], found: Architecture, facet: str, block: int,
                 heads: int | None) -> None:
        torch = import_extra('torch')
        if facet == 'patches':
            block = found.depth - 1
        if not 0 <= block < found.depth:
            raise SegvladError(f'DINOv2: block is {block}; these weights have blocks 0 to {found.depth - 1}')
        prefix, width = found.prefix, found.dimension
        blocks = block + (facet not in QKV_FACETS)
        with torch.device('meta'):  # no memory and no random numbers: every parameter is assigned below
            self.module = torch.nn.ModuleDict({
                'patch_embed': torch.nn.Conv2d(3, width, CELL, CELL),
                'blocks': torch.nn.Sequential(*(_block(found, heads) for _ in range(blocks))),
                'norm': torch.nn.LayerNorm(width, eps=1e-6) if facet != 'token' else torch.nn.Identity(),
                'readout': torch.nn.Linear(width, width) if facet in QKV_FACETS else torch.nn.Identity(),
                'class_token': torch.nn.ParameterList([torch.nn.Parameter(torch.empty(1, 1, width))]),
            })
        state = {'class_token.0': prefix + 'cls_token'}
        state |= {f'patch_embed.{name}': f'{prefix}patch_embed.proj.{name}' for name in ('weight', 'bias')}
        state |= {name: prefix + found.official_name(name)
                  for name in self.module.state_dict() if name.startswith('blocks.')}
        norm = f'blocks.{block}.norm1' if facet in QKV_FACETS else 'norm'
        if facet != 'token':
            state |= {f'norm.{name}': f'{prefix}{norm}.{name}' for name in ('weight', 'bias')}
        self.names = dict(state)
        values = {ours: _tensor(weights[official]) for ours, official in state.items()}
        if facet in QKV_FACETS:
            part = slice(width * QKV_FACETS.index(facet), width * (QKV_FACETS.index(facet) + 1))
            for name in ('weight', 'bias'):
                values[f'readout.{name}'] = _tensor(weights[f'{prefix}blocks.{block}.attn.qkv.{name}'])[part]
        self.module.load_state_dict(values, assign=True)
        self.module.eval().requires_grad_(False)
        self.positions = _tensor(weights[prefix + 'pos_embed']).float()

    def __call__(self, images: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) to (B, rows*cols, D)."""
        torch = import_extra('torch')
        module = self.module
        patches = module['patch_embed'](images).flatten(2).transpose(1, 2)
        tokens = torch.cat([module['class_token'][0].expand(len(images), -1, -1), patches], dim=1) + positions
        return module['readout'](module['norm'](module['blocks'](tokens)[:, 1:]))


def _block(found: Architecture, heads: int | None) -> torch.nn.Module:
    """One transformer block of timm with this architecture."""
    torch = import_extra('torch')
    import_extra('timm')
    from timm.layers import Mlp, SwiGLUPacked
    from timm.models.vision_transformer import Block

    heads = heads or max(1, found.dimension // 64)
    if found.dimension % heads:
        raise SegvladError(f'{heads} attention heads do not divide {found.dimension} dimensions; give another number')
    return Block(found.dimension, heads, qkv_bias=True, init_values=1.0,
                 mlp_ratio=(found.hidden + 0.5) / found.dimension,  # timm truncates the product to a whole number
                 mlp_layer=SwiGLUPacked if found.swiglu else Mlp,
                 act_layer=torch.nn.SiLU if found.swiglu else torch.nn.GELU,
                 norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))


def _tensor(value: Any) -> torch.Tensor:
    torch = import_extra('torch')
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))


def _centre_crop(image: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The middle whole cells of an image (segvlad-spec.md 2.4)."""
    height, width = rows * CELL, cols * CELL
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return image[top:top + height, left:left + width]


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SegvladError(f'DINOv2: {name} is {value!r}; use one of {", ".join(allowed)}')
    return value
