"""``segvlad benchmark preset``: what a preset costs on this machine."""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import (
    add_image_bits,
    add_json,
    add_preset_changes,
    check_partner,
    chosen_preset,
    progress,
    whole,
)
from segvlad_ros.evaluation.measure import busy_machine

if TYPE_CHECKING:
    import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    parser.description = ('Describe images as a node does, put them into a map, and query that map with each of them: '
                          'milliseconds per stage, peak memory of the process, bytes per keyframe.')
    parser.add_argument('preset', metavar='NAME', help='name of a shipped preset, or a YAML file')
    add_preset_changes(parser)
    parser.add_argument('--images', type=Path, metavar='DIR|LIST',
                        help='images of your own (default: of the simulated building, 640x480)')
    parser.add_argument('--count', type=whole(1, 'a number of images, 1 or more'), default=30, metavar='N',
                        help='number of images at most, spread evenly over the set (%(default)s)')
    add_image_bits(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.evaluation.preset_costs import measure_preset

    check_partner('--image-bits', args.image_bits, '--images', args.images)
    preset = chosen_preset(args)
    preset.fingerprint()  # what is missing is said before images are read
    source = f'{args.images}' if args.images else 'the simulated building'
    images = _own_images(args) if args.images else _made_images(args.count)
    report = measure_preset(preset, images, args.device, lambda values: progress(values, 'images'))
    report |= {'changes': args.overrides, 'image_source': source}
    print(json.dumps(report, indent=1) if args.json else as_text(report))
    return OK


def _spread(values: Sequence, count: int) -> list:
    """At most so many of them, at equal distances."""
    count = min(count, len(values))
    return [values[number * len(values) // count] for number in range(count)]


def _own_images(args: argparse.Namespace) -> list[np.ndarray]:
    from segvlad_ros.io.images import list_images, read_image

    return [read_image(path, args.image_bits) for path in _spread(list_images(args.images), args.count)]


def _made_images(count: int) -> list[np.ndarray]:
    """Views along a drive, always the same."""
    from segvlad_ros.simulation.robot import SimulatedRobot
    from segvlad_ros.simulation.scenario import load_scenario

    robot = SimulatedRobot(load_scenario('demo', route='lap'))
    return [robot.frame(number).rgb for number in progress(_spread(range(robot.image_count), count), 'making images')]


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    facts = report['machine']
    lines = [f'{report["preset"]} on {report["device"]}: {facts.get("gpu") or facts["cpu"]}, {facts["cores"]} cores; '
             f'{report["images"]} images of {report["image_source"]}, {", ".join(report["image_sizes"])}']
    if report['images_rejected']:
        lines.append(f'{report["images_rejected"]} of the images could not be described')
    if busy := busy_machine(facts):
        lines.append(busy)
    lines.append(f'{"":14}{"p50 ms":>10}{"p95 ms":>10}')
    rows = {'describe': (report['describe_ms_p50'], report['describe_ms_p95']),
            'answer': (report['answer_ms_p50'], report['answer_ms_p95']),
            **{f'  {stage}': (ms, report['stages_p95'][stage]) for stage, ms in report['stages'].items()}}
    lines += [f'{name:14}{middle:10.1f}{high:10.1f}' for name, (middle, high) in rows.items()]
    gpu = '' if report['gpu_peak_mb'] is None else f', {report["gpu_peak_mb"]:.0f} MB of GPU memory'
    lines.append(f'at most {report["peak_mb"]:.0f} MB of memory{gpu}; loaded in {report["load_s"]:.1f} s')
    lines.append(f'{report["segments_per_image"]:.0f} segments and {report["bytes_per_keyframe"]} bytes per keyframe')
    return '\n'.join(lines)
