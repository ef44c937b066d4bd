"""TinyViT (Wu et al., ECCV 2022), the image encoder of MobileSAM (Zhang et al., 2023): convolutions, then windows.

Positions are known within a window only, so that it takes images of any size. Every convolution is followed by a batch
norm, which in evaluation is a part of it: :func:`settle` multiplies it in, once, after the weights are loaded.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segvlad_ros.io.extras import import_extra

CELL = 16
"""Pixels a side of a cell of the output: patches of 4 x 4, whose grid the ends of the first two stages halve."""

_HALVING_STAGES = 2


@dataclass(frozen=True)
class TinyVitSizes:
    """The network's sizes; see :func:`segvlad_ros.segmentation.sam_checkpoint.load_sam`.

    :ivar widths: channels of each stage
    :ivar depths: blocks of each stage
    :ivar hidden: inner channels of the blocks of each stage
    :ivar heads, windows: attention heads, and the side of a window in cells, of each stage but the first
    :ivar stem: channels of the first convolution
    :ivar output: channels of the embedding
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    hidden: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]
    stem: int
    output: int


def build(sizes: TinyVitSizes) -> Any:
    """The network with its parameters under their names in MobileSAM's file.

    :return: a torch module from (B, 3, h, w) to (B, output, h / 16, w / 16), once :func:`settle` was called; h and w
        are multiples of :data:`CELL`
    """
    torch = import_extra('torch')
    from segment_anything.modeling.common import LayerNorm2d

    nn = torch.nn
    last = len(sizes.widths) - 1

    class TinyVit(nn.Module):
        """Patches, stages of blocks with a merging of cells between them, and SAM's neck."""

        def __init__(self) -> None:
            super().__init__()
            self.patch_embed = nn.ModuleDict({'seq': nn.Sequential(
                _convolution(3, sizes.stem, 3, stride=2), nn.GELU(), _convolution(sizes.stem, sizes.widths[0], 3, 2))})
            self.layers = nn.ModuleList(_stage(sizes, number, last) for number in range(last + 1))
            self.neck = nn.Sequential(
                nn.Conv2d(sizes.widths[-1], sizes.output, 1, bias=False), LayerNorm2d(sizes.output),
                nn.Conv2d(sizes.output, sizes.output, 3, padding=1, bias=False), LayerNorm2d(sizes.output))

        def forward(self, image: Any) -> Any:
            cells = self.patch_embed['seq'](image)
            for number, layer in enumerate(self.layers):
                for block in layer['blocks']:
                    cells = _attend(block, cells, sizes.windows[number - 1]) if number else _convolve(block, cells)
                if number < last:
                    cells = _merge(layer['downsample'], cells)
            return self.neck(cells)

    return TinyVit()


def settle(network: Any, side: int) -> None:
    """Multiply the batch norms into their convolutions, and lay out the positions of the windows.

    :param network: with its weights, in evaluation mode; changed in place
    :param side: of the images to come, pixels; kept as ``img_size``, where segment-anything looks for it
    """
    torch = import_extra('torch')
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network.img_size = side
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Sequential) and dict(child.named_children()).keys() == {'c', 'bn'}:
                setattr(module, name, fuse_conv_bn_eval(child.c, child.bn).requires_grad_(False))
        if hasattr(module, 'attention_biases'):
            module.register_buffer('positions', _positions(module.attention_biases), persistent=False)


def _stage(sizes: TinyVitSizes, number: int, last: int) -> Any:
    nn = import_extra('torch').nn
    width, hidden = sizes.widths[number], sizes.hidden[number]
    if number == 0:
        blocks = [nn.ModuleDict({
            'conv1': _convolution(width, hidden), 'conv2': _convolution(hidden, hidden, 3, each=True),
            'conv3': _convolution(hidden, width)}) for _ in range(sizes.depths[0])]
    else:
        blocks = [_attention_block(width, hidden, sizes.heads[number - 1], sizes.windows[number - 1])
                  for _ in range(sizes.depths[number])]
    stage = nn.ModuleDict({'blocks': nn.ModuleList(blocks)})
    if number < last:
        out, stride = sizes.widths[number + 1], 2 if number < _HALVING_STAGES else 1
        stage['downsample'] = nn.ModuleDict({
            'conv1': _convolution(width, out), 'conv2': _convolution(out, out, 3, stride, each=True),
            'conv3': _convolution(out, out)})
    return stage


def _attention_block(width: int, hidden: int, heads: int, window: int) -> Any:
    torch = import_extra('torch')
    nn = torch.nn
    attention = nn.ModuleDict({'norm': nn.LayerNorm(width), 'qkv': nn.Linear(width, 3 * width),
                               'proj': nn.Linear(width, width)})
    attention.register_parameter('attention_biases', nn.Parameter(torch.zeros(heads, window ** 2)))
    return nn.ModuleDict({
        'attn': attention, 'local_conv': _convolution(width, width, 3, each=True),
        'mlp': nn.ModuleDict({'norm': nn.LayerNorm(width), 'fc1': nn.Linear(width, hidden),
                              'fc2': nn.Linear(hidden, width)})})


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, each: bool = False) -> Any:
    """A convolution and its batch norm.

    :param each: every channel by itself
    """
    torch = import_extra('torch')
    pair = torch.nn.Sequential()
    pair.add_module('c', torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=inputs if each else 1,
                                         bias=False))
    pair.add_module('bn', torch.nn.BatchNorm2d(outputs))
    return pair


def _convolve(block: Any, cells: Any) -> Any:
    """An inverted residual (Sandler et al., CVPR 2018): (B, C, h, w) to the same."""
    activate = import_extra('torch').nn.functional.gelu
    inner = activate(block['conv2'](activate(block['conv1'](cells))))
    return activate(cells + block['conv3'](inner))


def _merge(merging: Any, cells: Any) -> Any:
    """To the width of the next stage, and to half the grid where the convolution strides."""
    activate = import_extra('torch').nn.functional.gelu
    return merging['conv3'](activate(merging['conv2'](activate(merging['conv1'](cells)))))


def _attend(block: Any, cells: Any, window: int) -> Any:
    """Attention within windows, a convolution over their borders, and a multilayer perceptron: (B, C, h, w)."""
    functional = import_extra('torch').nn.functional
    batch, width, height, across = cells.shape
    down, right = -height % window, -across % window
    rows, cols = (height + down) // window, (across + right) // window
    tokens = functional.pad(cells.permute(0, 2, 3, 1), (0, 0, 0, right, 0, down))
    tokens = tokens.reshape(batch, rows, window, cols, window, width).transpose(2, 3)
    tokens = _windows_attention(block['attn'], tokens.reshape(-1, window ** 2, width))
    tokens = tokens.reshape(batch, rows, cols, window, window, width).transpose(2, 3)
    tokens = tokens.reshape(batch, rows * window, cols * window, width)[:, :height, :across]
    cells = block['local_conv'](cells + tokens.permute(0, 3, 1, 2))
    mlp = block['mlp']
    tokens = mlp['fc2'](functional.gelu(mlp['fc1'](mlp['norm'](cells.permute(0, 2, 3, 1)))))
    return cells + tokens.permute(0, 3, 1, 2)


def _windows_attention(attention: Any, tokens: Any) -> Any:
    """(windows, cells, C) to the same; query, key and value stand side by side within each head."""
    functional = import_extra('torch').nn.functional
    windows, cells, width = tokens.shape
    heads = len(attention.attention_biases)
    parts = attention['qkv'](attention['norm'](tokens)).reshape(windows, cells, heads, -1).transpose(1, 2)
    seen = functional.scaled_dot_product_attention(*parts.chunk(3, dim=-1), attn_mask=attention.positions)
    return attention['proj'](seen.transpose(1, 2).reshape(windows, cells, width))


def _positions(biases: Any) -> Any:
    """What attention adds for how far two cells of a window lie apart, either way: (heads, cells, cells).

    :param biases: (heads, window^2), by rows and columns apart
    """
    torch = import_extra('torch')
    window = round(biases.shape[1] ** 0.5)
    place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    apart = (place[:, None] - place[None]).abs()
    return biases.detach()[:, apart[..., 0] * window + apart[..., 1]]
