"""SAM checkpoints: the network is built from what the file holds, so that any width loads through the same code."""
from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from segvlad_ros.io.extras import import_extra
from segvlad_ros.text import one_line, said_by
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

MODELS = {'vit_b': (768, 12), 'vit_l': (1024, 24), 'vit_h': (1280, 32)}
"""Width and number of blocks of the published image encoders."""

DECODER_HEADS = 8
"""Attention heads of the mask decoder: the same in every published SAM, and not written in the file."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


def load_sam(path: str | Path, model: str = 'auto') -> Any:
    """Load a SAM checkpoint (``segment_anything.modeling.Sam``) onto the CPU, in evaluation mode.

    :param path: an official ``.pth`` file, or a state dict of the same network at another width
    :param model: ``vit_b``, ``vit_l`` or ``vit_h`` to insist on one of the published encoders, or ``auto``
    :raises SegvladError: where the file is missing, truncated, no SAM checkpoint or not the model asked for
    """
    if model != 'auto' and model not in MODELS:
        raise SegvladError(f'SAM model {model!r} is unknown: use one of auto, {", ".join(MODELS)}')
    state = read_state_dict(path)
    try:
        encoder = _encoder_arguments(state)
        decoder = _decoder_arguments(state)
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise SegvladError(f'{path} is no SAM checkpoint ({said_by(error)}); '
                           'see "segvlad weights list"') from error
    if model != 'auto' and (encoder['embed_dim'], encoder['depth']) != MODELS[model]:
        raise SegvladError(f'{path} holds a SAM encoder of width {encoder["embed_dim"]} and {encoder["depth"]} blocks, '
                           f'not {model}; fetch the right file with "segvlad weights fetch sam_{model}"')
    sam = _build(encoder, decoder)
    try:
        sam.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise SegvladError(f'{path} does not fit the SAM network: {one_line(error, 200)}') from error
    logger.info('SAM of width %d with %d blocks from %s', encoder['embed_dim'], encoder['depth'], path)
    return sam.float().eval().requires_grad_(False)


def read_state_dict(path: str | Path) -> dict[str, Any]:
    """Read a file of named tensors, without running any code that it may hold.

    :raises SegvladError: where it is missing, truncated or something else than a state dict
    """
    torch = import_extra('torch')
    if not Path(path).is_file():
        raise SegvladError(f'{path} does not exist; "segvlad weights fetch" downloads published checkpoints')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch, pickle and zipfile each raise their own kinds for a damaged file
        raise SegvladError(f'{path} is damaged or no checkpoint ({said_by(error, 120)}); check it with '
                           '"segvlad weights verify" or fetch it again') from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SegvladError(f'{path} holds no state dict (names and tensors); see "segvlad weights list"')
    return state


def _encoder_arguments(state: dict[str, Any]) -> dict[str, Any]:
    """The image encoder's sizes, read off the shapes of its weights."""
    embed_dim, _, patch, _ = state['image_encoder.patch_embed.proj.weight'].shape
    grid = state['image_encoder.pos_embed'].shape[1]
    depth = _count(state, 'image_encoder.blocks.')
    # a table of relative positions is 2 x side - 1 long: the side of the window, or of the grid in a global block
    tables = [state[f'image_encoder.blocks.{i}.attn.rel_pos_h'] for i in range(depth)]
    sides = [(len(table) + 1) // 2 for table in tables]
    windows = [side for side in sides if side != grid]
    return {
        'img_size': grid * patch, 'patch_size': patch, 'embed_dim': embed_dim, 'depth': depth,
        'num_heads': embed_dim // tables[0].shape[1],
        'mlp_ratio': state['image_encoder.blocks.0.mlp.lin1.weight'].shape[0] / embed_dim,
        'out_chans': state['image_encoder.neck.0.weight'].shape[0],
        'window_size': windows[0] if windows else 0,
        'global_attn_indexes': tuple(i for i, side in enumerate(sides) if side == grid),
    }


def _decoder_arguments(state: dict[str, Any]) -> dict[str, Any]:
    """The sizes of the prompt encoder and the mask decoder."""
    width = state['mask_decoder.iou_token.weight'].shape[1]
    inner = state['mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight'].shape[0]
    if inner % DECODER_HEADS or width % inner:
        raise ValueError(f'a mask decoder of width {width} with attention of width {inner}')
    return {
        'width': width, 'downsample': width // inner,
        'depth': _count(state, 'mask_decoder.transformer.layers.'),
        'mlp_dim': state['mask_decoder.transformer.layers.0.mlp.lin1.weight'].shape[0],
        'masks': state['mask_decoder.mask_tokens.weight'].shape[0] - 1,
        'iou_depth': _count(state, 'mask_decoder.iou_prediction_head.layers.'),
        'iou_hidden': state['mask_decoder.iou_prediction_head.layers.0.weight'].shape[0],
        'mask_channels': state['prompt_encoder.mask_downscaling.3.weight'].shape[0],
    }


def _build(encoder: dict[str, Any], decoder: dict[str, Any]) -> Any:
    """The network without memory for its weights, which the state dict then becomes."""
    torch = import_extra('torch')
    modeling = import_extra('segment_anything.modeling')
    grid = encoder['img_size'] // encoder['patch_size']
    with torch.device('meta'):
        sam = modeling.Sam(
            image_encoder=modeling.ImageEncoderViT(
                **encoder, qkv_bias=True, use_rel_pos=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)),
            prompt_encoder=modeling.PromptEncoder(
                embed_dim=decoder['width'], image_embedding_size=(grid, grid),
                input_image_size=(encoder['img_size'],) * 2, mask_in_chans=decoder['mask_channels']),
            mask_decoder=modeling.MaskDecoder(
                transformer_dim=decoder['width'], num_multimask_outputs=decoder['masks'],
                transformer=modeling.TwoWayTransformer(
                    depth=decoder['depth'], embedding_dim=decoder['width'], mlp_dim=decoder['mlp_dim'],
                    num_heads=DECODER_HEADS, attention_downsample_rate=decoder['downsample']),
                iou_head_depth=decoder['iou_depth'], iou_head_hidden_dim=decoder['iou_hidden']))
    # these two are constants of the network and in no checkpoint
    sam.pixel_mean = torch.tensor(PIXEL_MEAN).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(PIXEL_STD).view(-1, 1, 1)
    return sam


def _count(state: dict[str, Any], prefix: str) -> int:
    """How many numbered modules the state dict has under a prefix."""
    return 1 + max(int(key[len(prefix):].split('.')[0]) for key in state if key.startswith(prefix))
