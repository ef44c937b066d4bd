"""Seeded random SAM and DINOv2 networks of the real architectures, at any width, for benchmarks and tests.

Random weights give every point nearly the same mask, which the box suppression then collapses to one. The last layers
of the mask head are therefore centred and scaled over a grid of points (a fixed, seeded perturbation), and the
positional embedding is smooth, so that masks are regions and differ between points, as a trained network's do.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from segvlad_ros.io.extras import import_extra
from segvlad_ros.segmentation import tiny_vit
from segvlad_ros.segmentation.tiny_vit import TinyVitSizes


@dataclass(frozen=True)
class SamSize:
    """Sizes of a SAM; the defaults are the published decoder behind a small encoder.

    :ivar width, depth, heads: of the image encoder
    :ivar global_blocks: blocks without windows
    :ivar prompt: width of the prompt encoder and the mask decoder
    :ivar side: input size, pixels
    """

    width: int = 32
    depth: int = 3
    heads: int = 2
    global_blocks: tuple[int, ...] = (2,)
    prompt: int = 256
    side: int = 1024


SAM_VIT_H = SamSize(1280, 32, 16, (7, 15, 23, 31))

SPREAD = 200.0
"""Standard deviation of the mask logits between points: large, so that masks are stable."""

_CONSTANT = 10.0


def random_sam(seed: int, size: SamSize, offset: float = 250.0, device: str = 'cpu') -> Any:
    """A random ``segment_anything.modeling.Sam``, in evaluation mode.

    :param offset: all mask logits are lower by this, which makes the regions smaller
    """
    torch = import_extra('torch')
    modeling = import_extra('segment_anything.modeling')
    torch.manual_seed(seed)
    grid = size.side // 16
    sam = modeling.Sam(
        modeling.ImageEncoderViT(
            depth=size.depth, embed_dim=size.width, img_size=size.side, num_heads=size.heads, mlp_ratio=4,
            qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), patch_size=16, use_rel_pos=True,
            global_attn_indexes=size.global_blocks, window_size=14, out_chans=size.prompt),
        modeling.PromptEncoder(embed_dim=size.prompt, image_embedding_size=(grid, grid),
                               input_image_size=(size.side, size.side), mask_in_chans=16),
        modeling.MaskDecoder(
            num_multimask_outputs=3, transformer_dim=size.prompt, iou_head_depth=3, iou_head_hidden_dim=size.prompt,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=size.prompt, mlp_dim=8 * size.prompt,
                                                   num_heads=8)))
    _seed_weights(sam)
    sam.image_encoder.patch_embed.proj.weight.mul_(0.3)
    smooth = torch.nn.functional.interpolate(torch.randn(1, size.width, 14, 14), size=(grid, grid), mode='bicubic')
    sam.image_encoder.pos_embed.copy_(smooth.permute(0, 2, 3, 1))
    sam.to(device)
    with torch.device(device):
        _spread_masks(sam, offset)
    return sam


def random_mobile_sam(seed: int, sizes: TinyVitSizes, side: int, offset: float = 250.0) -> dict[str, Any]:
    """A random MobileSAM's state dict, the classifier of its encoder included.

    :param side: of the images that its masks are spread for, pixels
    """
    torch = import_extra('torch')
    sam = random_sam(seed, SamSize(width=16, depth=1, global_blocks=(), prompt=sizes.output, side=side), offset)
    sam.image_encoder = tiny_vit.build(sizes)
    _seed_weights(sam)
    for name, statistic in sam.image_encoder.named_buffers():
        if name.endswith('running_var'):
            statistic.copy_(0.5 + torch.rand_like(statistic))
        elif name.endswith('running_mean'):
            statistic.copy_(0.1 * torch.randn_like(statistic))
    state = dict(sam.state_dict())  # before it is settled, under the names of the file
    tiny_vit.settle(sam.eval().image_encoder, side)
    _spread_masks(sam, offset)
    width = sizes.widths[-1]
    classifier = {'norm_head.weight': torch.ones(width), 'norm_head.bias': torch.zeros(width),
                  'head.weight': torch.randn(10, width), 'head.bias': torch.zeros(10)}
    return {**state, **{name: value for name, value in sam.state_dict().items() if name.startswith('mask_decoder.')},
            **{f'image_encoder.{name}': value for name, value in classifier.items()}}


def _seed_weights(sam: Any) -> None:
    """Random weights that keep what passes through them about as large as it was."""
    torch = import_extra('torch')
    sam.eval().requires_grad_(False)
    for parameter in sam.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.05 * torch.randn_like(parameter))
        else:
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
        # nearly the same weights for the four pixels of a token, or masks would be checkerboards
        layer.weight.copy_(layer.weight[..., :1, :1] * 2 + 0.2 * layer.weight)


def _spread_masks(sam: Any, offset: float) -> None:
    """Make masks and qualities differ between points; see the module's text."""
    decoder = sam.mask_decoder
    decode = _seeded_decode(sam)
    heads = [mlp.layers[-1] for mlp in decoder.output_hypernetworks_mlps]
    quality = decoder.iou_prediction_head.layers[-1]
    # one channel of the drawn image is constant: it carries the offset
    decoder.output_upscaling[3].weight[:, 0] = 0
    decoder.output_upscaling[3].bias[0] = _CONSTANT
    inputs: dict[Any, Any] = {}
    hooks = [layer.register_forward_pre_hook(lambda layer, args: inputs.__setitem__(layer, args[0]))
             for layer in (*heads, quality)]
    decode()
    for hook in hooks:
        hook.remove()
    for layer in heads:
        _whiten(layer, inputs[layer])
    quality.bias.copy_(-quality.weight @ inputs[quality].mean(0))
    masks, qualities = decode()
    for number, layer in enumerate(heads[1:]):
        scale = SPREAD / masks[:, number].std()
        layer.weight.mul_(scale)
        layer.bias.mul_(scale)
        layer.bias[0] = -offset / _CONSTANT
    # more than half of the masks pass the stock threshold of 0.88
    scale = 0.05 / qualities.std(0)
    quality.weight[1:] *= scale[:, None]
    quality.bias[1:] = quality.bias[1:] * scale + 0.89


def _whiten(layer: Any, inputs: Any) -> None:
    """Random weights whose outputs over these inputs are centred and equally spread, the first one zero."""
    torch = import_extra('torch')
    mean = inputs.mean(0)
    _, sizes, directions = torch.linalg.svd(inputs - mean, full_matrices=False)
    rank = len(layer.weight) - 1
    layer.weight[0] = 0
    layer.weight[1:] = torch.randn(rank, rank) @ (directions[:rank] / sizes[:rank, None])
    layer.bias.copy_(-layer.weight @ mean)


def _seeded_decode(sam: Any) -> Any:
    """The stock decoder over 6 x 6 points of a smooth random image, as a function without arguments."""
    torch = import_extra('torch')
    side = sam.image_encoder.img_size
    at = (torch.arange(6) + 0.5) * side / 6
    points = torch.cartesian_prod(at, at)[:, None]
    image = torch.rand(1, 3, max(2, side // 32), max(2, side // 32)) * 255
    image = torch.nn.functional.interpolate(image, size=(side, side), mode='bilinear')
    sparse, dense = sam.prompt_encoder((points, torch.ones(len(points), 1)), None, None)
    embedding = sam.image_encoder(sam.preprocess(image[0])[None])
    return partial(sam.mask_decoder, embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)


def random_dinov2(seed: int, width: int, depth: int, *, swiglu: bool = False) -> dict[str, Any]:
    """A random DINOv2 state dict under the official names (segvlad-spec.md 3), heads of 64 channels.

    :param width: D, 64 or a multiple
    :param swiglu: the feed-forward layer of ViT-g, else that of the smaller networks
    """
    torch = import_extra('torch')
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return torch.randn(shape, generator=generator) * scale

    def linear(outputs: int, inputs: int) -> dict[str, Any]:
        return {'weight': normal(outputs, inputs, scale=inputs ** -0.5), 'bias': normal(outputs, scale=0.05)}

    def norm() -> dict[str, Any]:
        return {'weight': 1 + normal(width, scale=0.05), 'bias': normal(width, scale=0.05)}

    state = {'cls_token': normal(1, 1, width), 'pos_embed': normal(1, 1 + 37 * 37, width, scale=0.3),
             'mask_token': normal(1, width)}
    layers = {'patch_embed.proj': {'weight': normal(width, 3, 14, 14, scale=588 ** -0.5), 'bias': normal(width)},
              'norm': norm()}
    hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8 if swiglu else 4 * width
    for block in range(depth):
        feed = ({'w12': linear(2 * hidden, width), 'w3': linear(width, hidden)} if swiglu
                else {'fc1': linear(hidden, width), 'fc2': linear(width, hidden)})
        parts = {'norm1': norm(), 'attn.qkv': linear(3 * width, width), 'attn.proj': linear(width, width),
                 'ls1': {'gamma': 1 + normal(width, scale=0.1)}, 'norm2': norm(),
                 'ls2': {'gamma': 1 + normal(width, scale=0.1)}, **{f'mlp.{name}': part for name, part in feed.items()}}
        layers |= {f'blocks.{block}.{name}': part for name, part in parts.items()}
    return state | {f'{name}.{part}': value for name, values in layers.items() for part, value in values.items()}
