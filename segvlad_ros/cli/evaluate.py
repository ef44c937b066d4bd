"""``segvlad evaluate images|bag``: how well places are recognised (design.md 7)."""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from segvlad_ros.cli.options import add_json, add_preset, chosen_preset, progress
from segvlad_ros.types import SegvladError

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
    from segvlad_ros.evaluation.page import write_page
    from segvlad_ros.evaluation.report import as_text, summarize

    required = dict(_requirement(text) for text in args.require)
    if args.report and not args.report.absolute().parent.is_dir():
        raise SegvladError(f'--report {args.report}: the folder does not exist; make it first')
    preset = chosen_preset(args)
    evaluation = _evaluate_images(args, preset) if args.kind == 'images' else _evaluate_bag(args, preset)
    numbers = summarize(evaluation, preset)
    print(json.dumps(numbers, indent=2) if args.json else as_text(numbers))
    if args.report:
        write_page(args.report, evaluation, numbers)
    below = [name for name, least in required.items() if numbers[name] is None or numbers[name] < least]
    return BELOW if below else OK


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--references', required=True, type=Path, metavar='DIR|LIST',
                        help='map images: a folder, or a text file with one path a line')
    parser.add_argument('--queries', required=True, type=Path, metavar='DIR|LIST', help='query images, likewise')
    parser.add_argument('--ground-truth', required=True, type=Path, metavar='FILE.csv',
                        help='columns query,references and optionally ignore; paths relative to this file')
    parser.add_argument('--exclude-recent', type=_frames, metavar='N',
                        help='references and queries are one sequence; leave out the last N images')
    parser.add_argument('--sequence', action='store_true',
                        help='the queries are consecutive: matches need the agreement of neighbouring queries')
    _add_common(parser)


def _add_bag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('bag', type=Path, help='bag folder or .mcap file')
    parser.add_argument('--image-topic', help='raw or compressed (default: the only colour topic of the bag)')
    parser.add_argument('--odom-topic', help='nav_msgs/Odometry (default: the only one of the bag)')
    parser.add_argument('--ground-truth-topic', default='/ground_truth/pose',
                        help='true poses of the base: PoseStamped, PoseWithCovarianceStamped or Odometry (%(default)s)')
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_preset(parser)
    add_json(parser)
    parser.add_argument('--report', type=Path, metavar='FILE.html', help='also write a report with pictures')
    parser.add_argument('--require', action='append', default=[], metavar='NAME=VALUE',
                        help='exit with status 1 when a number is below this, e.g. recall@1=0.8; may be repeated')


def _evaluate_images(args: argparse.Namespace, preset):
    from segvlad_ros.evaluation.images import ImageEvaluation
    from segvlad_ros.evaluation.truth import read_truth
    from segvlad_ros.io.images import list_images
    from segvlad_ros.pipeline.presets import build_describer

    truth = read_truth(args.ground_truth)
    references, queries = list_images(args.references), list_images(args.queries)
    evaluation = ImageEvaluation(preset, build_describer(preset, args.device), truth, progress)
    if args.exclude_recent is None:
        return evaluation.map_and_queries(references, queries, args.sequence)
    if {path.resolve() for path in queries} - {path.resolve() for path in references}:
        raise SegvladError('--exclude-recent is for one sequence: give the same images as references and queries')
    return evaluation.one_sequence(references, args.exclude_recent)


def _evaluate_bag(args: argparse.Namespace, preset):
    from segvlad_ros.evaluation.bags import BagEvaluation
    from segvlad_ros.io.bag_frames import BagTopics
    from segvlad_ros.pipeline.presets import build_describer

    evaluation = BagEvaluation(args.bag, preset, build_describer(preset, args.device),
                               truth_topic=args.ground_truth_topic,
                               topics=BagTopics(image=args.image_topic, odom=args.odom_topic))
    return evaluation.run(progress)


def _frames(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of images, 1 or more')
    return int(text)


def _requirement(text: str) -> tuple[str, float]:
    name, _, value = text.partition('=')
    try:
        if name in REQUIRABLE:
            return name, float(value)
    except ValueError:
        pass
    raise SegvladError(f'--require {text}: write NAME=VALUE with one of {", ".join(REQUIRABLE)}')
