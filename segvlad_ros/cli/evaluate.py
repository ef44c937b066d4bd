"""``segvlad evaluate images|bag``: how well places are recognised (design.md 7)."""
from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli.options import add_json, add_preset, check_output, chosen_preset
from segvlad_ros.cli.sources import add_bag_topics, add_images, evaluate_bag, evaluate_images
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.pipeline.presets import Preset

REQUIRABLE = ('recall@1', 'recall@5', 'recall@10', 'average_precision', 'recall@100precision', 'accepted', 'precision',
              'recall')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    kinds = parser.add_subparsers(dest='kind', metavar='images|bag', required=True)
    _add_images(kinds.add_parser('images', help='on image files with a ground-truth CSV file'))
    _add_bag(kinds.add_parser('bag', help='on a ROS 2 bag with ground-truth poses: closing loops, as the nodes do'))


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.cli import BELOW, OK
    from segvlad_ros.evaluation.report import as_text, summarize, write_page

    required = dict(_requirement(text) for text in args.require)
    check_output(args.report, '--report')
    preset = chosen_preset(args)
    evaluation = _evaluation(args, preset)
    numbers = summarize(evaluation, preset)
    print(json.dumps(numbers, indent=2) if args.json else as_text(numbers))
    if args.report:
        write_page(args.report, evaluation, numbers)
    below = [name for name, least in required.items() if numbers[name] is None or numbers[name] < least]
    return BELOW if below else OK


def _add_images(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    _add_common(parser)


def _add_bag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('bag', type=Path, help='bag folder, .mcap or .db3 file')
    add_bag_topics(parser)
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_preset(parser)
    add_json(parser)
    parser.add_argument('--report', type=Path, metavar='FILE.html', help='also write a report with pictures')
    parser.add_argument('--require', action='append', default=[], metavar='NAME=VALUE',
                        help='exit with status 1 when a number is below this, e.g. recall@1=0.8; may be repeated')


def _evaluation(args: argparse.Namespace, preset: Preset) -> Evaluation:
    from segvlad_ros.pipeline.presets import build_describer

    make_describer = partial(build_describer, preset, args.device)
    if args.kind == 'bag':
        return evaluate_bag(args, preset, make_describer, args.bag)
    return evaluate_images(args, preset, make_describer, (args.references, args.queries, args.ground_truth))


def _requirement(text: str) -> tuple[str, float]:
    name, _, value = text.partition('=')
    try:
        if name in REQUIRABLE:
            return name, float(value)
    except ValueError:
        pass
    raise SegvladError(f'--require {text}: write NAME=VALUE with one of {", ".join(REQUIRABLE)}')
