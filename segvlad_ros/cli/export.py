"""``segvlad export dinov2|sam|hub``: networks as ONNX files that answer as PyTorch does."""
from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import (
    add_preset_name,
    add_set,
    by_name,
    check_output,
    chosen_preset,
    image_size,
    written,
)
from segvlad_ros.types import SegvladError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    kinds = parser.add_subparsers(dest='kind', metavar='dinov2|sam|hub', required=True)
    dinov2 = kinds.add_parser('dinov2', help='export the features of a preset, at its image size, (1, cells, D)')
    sam = kinds.add_parser('sam', help="export a preset's SAM, as segmenter.weights takes it: encoder, points, masks")
    for kind in (dinov2, sam):
        add_preset_name(kind)
        add_set(kind)  # networks are exported, and compared, on the CPU
    hub = kinds.add_parser(
        'hub', help="export a model of a torch.hub repository on this disk: runs that repository's code",
        description="Export a model of a torch.hub repository on this disk. This runs the repository's code: give only "
                    "what you trust. It must not download anything; what it needs must be in torch.hub's cache.")
    hub.add_argument('folder', type=Path, metavar='DIR', help='a clone of the repository, with its hubconf.py')
    hub.add_argument('entry', metavar='ENTRY', help='a function of hubconf.py, e.g. get_trained_model')
    hub.add_argument('--argument', action='append', default=[], metavar='NAME=VALUE',
                     help='argument of that function; may be repeated')
    hub.add_argument('--size', required=True, type=image_size, metavar='WxH', help='size of its images, pixels')
    for kind in (dinov2, sam, hub):
        kind.add_argument('--output', required=True, type=Path, metavar='FILE.onnx', help='file to write')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.io.onnx_export import export_onnx

    if args.output.suffix != '.onnx':
        raise SegvladError(f'--output {args.output}: an ONNX file is called .onnx')
    check_output(args.output, '--output')
    if args.kind == 'sam':
        size, cosine = _sam(args)
    else:
        network, size = (_dinov2 if args.kind == 'dinov2' else _hub)(args)
        cosine = export_onnx(network, size, args.output)
    print(f'{args.output}: for normalised images of {size[0]}x{size[1]} pixels; ONNX Runtime answers as PyTorch does, '
          f'least cosine {cosine:.6f}')
    return OK


def _dinov2(args: argparse.Namespace) -> tuple[Any, tuple[int, int]]:
    from segvlad_ros.features.dinov2 import CELL
    from segvlad_ros.pipeline.builders import build_extractor
    from segvlad_ros.pipeline.description_sections import Dinov2Settings

    preset = chosen_preset(args)
    if not isinstance(preset.features, Dinov2Settings):
        raise SegvladError(f'preset {preset.name}: features.kind is {preset.features.kind}, not dinov2')
    extractor = build_extractor(replace(preset.features, precision='float32'), 'cpu')
    size = preset.image.width // CELL * CELL, preset.image.height // CELL * CELL
    return extractor.network_for(*size), size


def _sam(args: argparse.Namespace) -> tuple[tuple[int, int], float]:
    from segvlad_ros.pipeline.description_sections import SamSettings
    from segvlad_ros.pipeline.sections import existing_file
    from segvlad_ros.segmentation.sam_checkpoint import load_sam
    from segvlad_ros.segmentation.sam_export import export_sam

    preset = chosen_preset(args)
    settings = preset.segmenter
    if not isinstance(settings, SamSettings):
        raise SegvladError(f'preset {preset.name}: segmenter.kind is {settings.kind}, not sam')
    sam = load_sam(existing_file(settings.weights, 'segmenter.weights'), settings.model, settings.image_size)
    cosine = export_sam(sam, args.output)
    return (sam.image_encoder.img_size, sam.image_encoder.img_size), cosine


def _hub(args: argparse.Namespace) -> tuple[Any, tuple[int, int]]:
    from segvlad_ros.io.hub_models import load_hub_model

    return load_hub_model(args.folder, args.entry, by_name('--argument', map(_argument, args.argument))), args.size


def _argument(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition('=')
    if not separator or not name.isidentifier():
        raise SegvladError(f'--argument {text}: write NAME=VALUE')
    return name, written(value)

