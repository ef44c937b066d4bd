"""SAM checkpoints: the network is built from what the file holds, so that any width loads through the same code."""
from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segvlad_ros.io.extras import import_extra
from segvlad_ros.segmentation import tiny_vit
from segvlad_ros.text import one_line, said_by
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

MODELS = {'vit_t': (320, 12), 'vit_b': (768, 12), 'vit_l': (1024, 24), 'vit_h': (1280, 32)}
"""Width (of the last block) and number of blocks of the published image encoders; ``vit_t`` is MobileSAM's."""

TRAINED_SIDE = 1024
"""Side of the images that MobileSAM was trained with, pixels, which its file does not say."""

DECODER_HEADS = 8
"""Attention heads of the mask decoder: the same in every published SAM, and not written in the file."""

IMAGE_ENCODER = 'image_encoder.'
_CLASSIFIER = tuple(f'{IMAGE_ENCODER}{layer}.{part}' for layer in ('norm_head', 'head') for part in ('weight', 'bias'))
"""Left in MobileSAM's file from the training of its encoder; no mask depends on it."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


def load_sam(path: str | Path, model: str = 'auto', image_size: int | None = None) -> Any:
    """Load a SAM checkpoint (``segment_anything.modeling.Sam``) onto the CPU, in evaluation mode.

    :param path: an official ``.pth`` file, MobileSAM's ``mobile_sam.pt``, or a state dict of such a network at another
        width
    :param model: ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h`` to insist on one of the published encoders, or ``auto``
    :param image_size: side of the network's input, pixels; None: what it was trained with
    :raises SegvladError: where the file is missing, truncated, no SAM checkpoint or not the model asked for
    """
    if model != 'auto' and model not in MODELS:
        raise SegvladError(f'SAM model {model!r} is unknown: use one of auto, {", ".join(MODELS)}')
    state = read_state_dict(path)
    try:
        encoder = _tiny_vit(state) if f'{IMAGE_ENCODER}patch_embed.seq.0.c.weight' in state else _vit(state)
        decoder = _decoder_arguments(state)
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise SegvladError(f'{path} is not a SAM checkpoint ({said_by(error)}); '
                           'see "segvlad weights list"') from error
    if model != 'auto' and (encoder.width, encoder.depth) != MODELS[model]:
        raise SegvladError(f'{path} holds a SAM encoder of width {encoder.width} and {encoder.depth} blocks, '
                           f'not {model}; see "segvlad weights list" for the right file')
    side = image_size or encoder.side
    if side % encoder.cell:
        raise SegvladError(f'SAM: image_size is {side}; set it to a multiple of {encoder.cell}')
    sam = _build(encoder, side, decoder)
    try:
        sam.load_state_dict({name: value for name, value in state.items() if name not in _CLASSIFIER}, strict=True,
                            assign=True)
    except RuntimeError as error:
        raise SegvladError(f'{path} does not fit the SAM network: {one_line(error, 200)}') from error
    sam = sam.float().eval().requires_grad_(False)
    encoder.settle(sam.image_encoder, side)
    logger.info('SAM of width %d with %d blocks for images of %d pixels from %s', encoder.width, encoder.depth, side,
                path)
    return sam


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


@dataclass(frozen=True)
class _Encoder:
    """An image encoder that is still without weights.

    :ivar network: a function that makes it
    :ivar side: of the images that it was trained with, pixels
    :ivar cell: pixels a side of a cell of its output
    :ivar width, depth: of its last block, and number of its blocks
    :ivar settle: given the network with its weights and the side of the images to come, makes it ready for them
    """

    network: Callable[[], Any]
    side: int
    cell: int
    width: int
    depth: int
    settle: Callable[[Any, int], None]


def _vit(state: dict[str, Any]) -> _Encoder:
    """SAM's own, its sizes read off the shapes of its weights."""
    torch = import_extra('torch')
    modeling = import_extra('segment_anything.modeling')
    width, _, patch, _ = state[f'{IMAGE_ENCODER}patch_embed.proj.weight'].shape
    grid = state[f'{IMAGE_ENCODER}pos_embed'].shape[1]
    depth = _count(state, f'{IMAGE_ENCODER}blocks.')
    # a table of relative positions is 2 x side - 1 long: the side of the window, or of the grid in a global block
    tables = [state[f'{IMAGE_ENCODER}blocks.{i}.attn.rel_pos_h'] for i in range(depth)]
    sides = [(len(table) + 1) // 2 for table in tables]
    windows = [side for side in sides if side != grid]
    return _Encoder(partial(
        modeling.ImageEncoderViT, img_size=grid * patch, patch_size=patch, embed_dim=width, depth=depth,
        num_heads=width // tables[0].shape[1],
        mlp_ratio=state[f'{IMAGE_ENCODER}blocks.0.mlp.lin1.weight'].shape[0] / width,
        out_chans=state[f'{IMAGE_ENCODER}neck.0.weight'].shape[0], window_size=windows[0] if windows else 0,
        global_attn_indexes=tuple(i for i, side in enumerate(sides) if side == grid), qkv_bias=True,
        use_rel_pos=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)),
        grid * patch, patch, width, depth, _resample_positions)


def _resample_positions(encoder: Any, side: int) -> None:
    """Positions for another size of image; those relative to each other segment-anything resamples itself."""
    torch = import_extra('torch')
    if side != encoder.img_size:
        grid = side * encoder.pos_embed.shape[1] // encoder.img_size
        resampled = torch.nn.functional.interpolate(encoder.pos_embed.permute(0, 3, 1, 2), size=(grid, grid),
                                                    mode='bicubic', antialias=True)
        encoder.pos_embed = torch.nn.Parameter(resampled.permute(0, 2, 3, 1), requires_grad=False)
        encoder.img_size = side


def _tiny_vit(state: dict[str, Any]) -> _Encoder:
    """MobileSAM's, likewise."""
    stages = range(_count(state, f'{IMAGE_ENCODER}layers.'))

    def shape(stage: int, name: str) -> tuple[int, ...]:
        return tuple(state[f'{IMAGE_ENCODER}layers.{stage}.blocks.0.{name}'].shape)

    tables = [shape(stage, 'attn.attention_biases') for stage in stages[1:]]
    sizes = tiny_vit.TinyVitSizes(
        widths=tuple(shape(stage, 'attn.qkv.weight' if stage else 'conv3.c.weight')[1 if stage else 0]
                     for stage in stages),
        depths=tuple(_count(state, f'{IMAGE_ENCODER}layers.{stage}.blocks.') for stage in stages),
        hidden=tuple(shape(stage, 'mlp.fc1.weight' if stage else 'conv1.c.weight')[0] for stage in stages),
        heads=tuple(heads for heads, _ in tables), windows=tuple(math.isqrt(offsets) for _, offsets in tables),
        stem=state[f'{IMAGE_ENCODER}patch_embed.seq.0.c.weight'].shape[0],
        output=state[f'{IMAGE_ENCODER}neck.0.weight'].shape[0])
    return _Encoder(partial(tiny_vit.build, sizes), TRAINED_SIDE, tiny_vit.CELL, sizes.widths[-1], sum(sizes.depths),
                    tiny_vit.settle)


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


def _build(encoder: _Encoder, side: int, decoder: dict[str, Any]) -> Any:
    """The network without memory for its weights, which the state dict then becomes."""
    torch = import_extra('torch')
    modeling = import_extra('segment_anything.modeling')
    with torch.device('meta'):
        sam = modeling.Sam(
            image_encoder=encoder.network(),
            prompt_encoder=modeling.PromptEncoder(
                embed_dim=decoder['width'], image_embedding_size=(side // encoder.cell,) * 2,
                input_image_size=(side,) * 2, mask_in_chans=decoder['mask_channels']),
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
