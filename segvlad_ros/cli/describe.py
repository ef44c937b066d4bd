"""``segvlad describe``: what an image becomes."""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import (
    add_image_bits,
    add_json,
    add_masks,
    add_preset,
    check_npz,
    check_output,
    chosen_preset,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    parser.add_argument('image', type=Path, help='image file')
    parser.add_argument('--output', type=Path, metavar='FILE.npz',
                        help='write the arrays descriptors (M, d), boxes (M, 4) and pixels (M)')
    add_preset(parser)
    add_masks(parser)
    add_image_bits(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    import numpy as np

    from segvlad_ros.io.images import read_image
    from segvlad_ros.io.masks import MaskFiles
    from segvlad_ros.io.whole_files import whole_file
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

    if args.output:
        check_npz(args.output)
        check_output(args.output, '--output')
    preset = chosen_preset(args)
    rgb = read_image(args.image, args.image_bits)
    usable = MaskFiles(args.mask, [args.image]).of(args.image, rgb.shape) if args.mask else None
    description = PlaceRecognizer(preset, device=args.device).describer.describe(rgb, usable=usable)
    if args.output:
        with whole_file(args.output) as temporary, temporary.open('wb') as file:
            np.savez(file, descriptors=description.descriptors, boxes=description.boxes, pixels=description.pixels)
    facts = {
        'image': str(args.image), 'width': rgb.shape[1], 'height': rgb.shape[0], 'preset': preset.name,
        'fingerprint': preset.fingerprint()['digest'], 'rejected': description.rejected,
        'segments': len(description), 'dimension': description.descriptors.shape[1],
        'ms': {stage: round(seconds * 1000, 3) for stage, seconds in description.timings.items()},
        'boxes': description.boxes.tolist(), 'pixels': description.pixels.tolist(),
    }
    print(json.dumps(facts) if args.json else _as_text(facts))
    return BELOW if description.rejected else OK


def _as_text(facts: dict) -> str:
    lines = [f'{facts["image"]}: {facts["width"]}x{facts["height"]}, preset {facts["preset"]}']
    if facts['rejected']:
        return f'{lines[0]}\nrejected: {facts["rejected"]}'
    stages = ', '.join(f'{stage} {ms:.0f} ms' for stage, ms in facts['ms'].items())
    lines.append(f'{facts["segments"]} segments of {facts["dimension"]} values; {stages}')
    lines += [f'{number:4}  x {x:4}  y {y:4}  width {width:4}  height {height:4}  {pixels:7} pixels'
              for number, ((x, y, width, height), pixels) in enumerate(zip(facts['boxes'], facts['pixels']))]
    return '\n'.join(lines)
