"""``segvlad evaluate images|bag|compare``: how well places are recognised (design.md 7)."""
from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli import BELOW, OK, evaluate_bag
from segvlad_ros.cli.bag_options import add_bag_topics
from segvlad_ros.cli.options import (
    add_images,
    add_json,
    add_preset,
    by_name,
    check_report_and_output,
    chosen_preset,
    progress,
)
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

REQUIRABLE = ('recall@1', 'recall@5', 'recall@10', 'average_precision', 'recall@100precision', 'accepted', 'precision',
              'recall')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    kinds = parser.add_subparsers(dest='kind', metavar='images|bag|compare', required=True)
    images = kinds.add_parser('images', help='evaluate on image files with a ground-truth CSV file')
    add_images(images)
    bag = kinds.add_parser('bag', help='evaluate on a ROS 2 bag with ground-truth poses: closing loops, as the nodes '
                                       'do')
    bag.add_argument('bag', type=Path, help='bag folder, .mcap or .db3 file')
    add_bag_topics(bag)
    evaluate_bag.add_truth_of_days(bag)
    compare = kinds.add_parser('compare', help='compare two results on the same queries: what differs, and is it more '
                                               'than chance?')
    compare.add_argument('results', nargs=2, type=Path, metavar='FILE.json', help='written by --output')
    add_json(compare)
    for kind in (images, bag):
        add_preset(kind)
        add_json(kind)
        kind.add_argument('--report', type=Path, metavar='FILE.html', help='also write a report with pictures')
        kind.add_argument('--output', type=Path, metavar='FILE.json',
                          help='also write the numbers and the answer to each query, for "segvlad evaluate compare"')
        kind.add_argument('--require', action='append', default=[], metavar='NAME=VALUE',
                          help='exit with status 1 when a number is below this, e.g. recall@1=0.8; may be repeated')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    if args.kind == 'compare':
        return _compare(args)
    from segvlad_ros.evaluation.answers import write_result
    from segvlad_ros.evaluation.page import check_drawing
    from segvlad_ros.evaluation.report import as_text, summarize
    from segvlad_ros.evaluation.report_page import write_report
    from segvlad_ros.mapping.keyframes import KeyframeGate
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

    required = by_name('--require', map(_requirement, args.require))
    check_report_and_output(args)
    if args.report:
        check_drawing()
    places = PlaceRecognizer(chosen_preset(args), device=args.device, gate=KeyframeGate())
    if args.kind == 'bag':
        evaluation = evaluate_bag.one_or_two_days(args, places)
    else:
        evaluation, = evaluate_images(args, places, [(args.references, args.queries, args.ground_truth)])
    numbers = summarize(evaluation, places.preset)
    print(json.dumps(numbers, indent=2) if args.json else as_text(numbers))
    if args.report:
        write_report(args.report, evaluation, numbers, places.preset)
    if args.output:
        write_result(args.output, evaluation, numbers)
    below = [name for name, least in required.items() if numbers[name] is None or numbers[name] < least]
    return BELOW if below else OK


def _compare(args: argparse.Namespace) -> int:
    from segvlad_ros.evaluation.comparison import as_table, compare, read_result

    differences = compare(*map(read_result, args.results))
    print(json.dumps([each.as_dict() for each in differences], indent=2) if args.json else as_table(differences))
    return OK


def _requirement(text: str) -> tuple[str, float]:
    name, _, value = text.partition('=')
    try:
        if name in REQUIRABLE and math.isfinite(least := float(value)):  # nothing is below NaN
            return name, least
    except ValueError:
        pass
    raise SegvladError(f'--require {text}: write NAME=NUMBER with one of {", ".join(REQUIRABLE)}')


def evaluate_images(args: argparse.Namespace, places: PlaceRecognizer,
                    sources: Sequence[tuple[Path, Path, Path]]) -> Iterator[Evaluation]:
    """Run the pipeline over sets of image files, one after the other.

    :param args: with the options of :func:`add_images`
    :param sources: references, queries and ground truth of each set
    """
    from segvlad_ros.evaluation.image_evaluation import ImageEvaluation
    from segvlad_ros.evaluation.truth import GivenImages, read_truth
    from segvlad_ros.features.given_vectors import VectorFolder
    from segvlad_ros.io.images import list_images
    from segvlad_ros.io.masks import MaskFiles

    sets = [(read_truth(truth), list_images(mapped), list_images(asked)) for mapped, asked, truth in sources]
    # of all sets together: a file that would be of two images is refused
    vector_of = VectorFolder(args.descriptors).of if args.descriptors else None
    mask_of = MaskFiles(args.mask, [image for _, *both in sets for image in chain(*both)]).of if args.mask else None
    for truth, references, queries in sets:
        evaluation = ImageEvaluation(places, truth, progress, args.image_bits, vector_of, mask_of=mask_of)
        if args.exclude_recent is None:
            yield evaluation.map_and_queries(references, queries, args.sequence)
            continue
        given = GivenImages(references)
        if not all(map(given.meant, queries)):
            raise SegvladError('--exclude-recent is for one sequence: give the same images as references and queries')
        yield evaluation.one_sequence(references, args.exclude_recent)
