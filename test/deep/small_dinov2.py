"""Seeded random DINOv2 parameters under their official names, at any width."""
from __future__ import annotations

import torch


def small_dinov2(seed: int = 0, *, width: int = 48, depth: int = 4, hidden: int | None = None, swiglu: bool = False,
                 side: int = 37) -> dict[str, torch.Tensor]:
    """A state dict that :class:`segvlad_ros.features.dinov2.Dinov2Extractor` loads.

    :param hidden: width of the feed-forward layer (of one half, with SwiGLU)
    :param side: of the square grid that position embeddings are made for
    """
    generator = torch.Generator().manual_seed(seed)
    hidden = hidden or 4 * width

    def normal(*shape: int, scale: float | None = None) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * (scale or shape[-1] ** -0.5)

    state = {'cls_token': normal(1, 1, width), 'pos_embed': normal(1, 1 + side * side, width, scale=0.2),
             'mask_token': normal(1, width), 'patch_embed.proj.weight': normal(width, 3, 14, 14, scale=0.04),
             'patch_embed.proj.bias': normal(width), 'norm.weight': 1 + normal(width), 'norm.bias': normal(width)}
    up, down = ('w12', 'w3') if swiglu else ('fc1', 'fc2')
    layers = {'attn.qkv': (3 * width, width), 'attn.proj': (width, width),
              f'mlp.{up}': ((1 + swiglu) * hidden, width), f'mlp.{down}': (width, hidden)}
    for block in range(depth):
        for layer, shape in layers.items():
            state[f'blocks.{block}.{layer}.weight'] = normal(*shape)
            state[f'blocks.{block}.{layer}.bias'] = normal(shape[0])
        for layer in ('norm1', 'norm2'):
            state[f'blocks.{block}.{layer}.weight'] = 1 + normal(width)
            state[f'blocks.{block}.{layer}.bias'] = normal(width)
        for scale in ('ls1', 'ls2'):
            state[f'blocks.{block}.{scale}.gamma'] = 0.5 + normal(width)
    return state
