"""``segvlad calibrate bag|images``: learns how probable a match is, and says how far that can be trusted."""
from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli import OK
from segvlad_ros.cli.bag_options import add_bag_topics
from segvlad_ros.cli.evaluate import evaluate_images
from segvlad_ros.cli.evaluate_bag import closing_loops
from segvlad_ros.cli.options import add_images, add_json, add_preset, check_report_and_output, chosen_preset
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    kinds = parser.add_subparsers(dest='kind', metavar='bag|images', required=True)
    bag = kinds.add_parser('bag', help='calibrate on ROS 2 bags with true poses: closing loops, as the nodes do')
    bag.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='bag folders, .mcap or .db3 files')
    add_bag_topics(bag)
    images = kinds.add_parser('images', help='calibrate on image files with ground-truth CSV files')
    add_images(images, several=True)
    for kind in (bag, images):
        add_preset(kind)
        add_json(kind)
        kind.add_argument('--output', required=True, type=Path, metavar='FILE.json', help='file to write')
        kind.add_argument('--report', type=Path, metavar='FILE.html',
                          help='also write a report with the reliability diagram')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.evaluation.calibration_fit import cross_validated, fit_calibration, reliability, samples_of, trust
    from segvlad_ros.evaluation.page import check_drawing
    from segvlad_ros.evaluation.report import as_text
    from segvlad_ros.evaluation.report_page import write_calibration_page
    from segvlad_ros.mapping.keyframes import KeyframeGate
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

    check_report_and_output(args)
    if args.report:
        check_drawing()
    preset = replace(chosen_preset(args), calibration=None)  # what is learned anew must not ask what was learned before
    places = PlaceRecognizer(preset, device=args.device, gate=KeyframeGate())
    sets = [samples_of(name, evaluation.outcomes, preset.decision) for name, evaluation in _evaluations(args, places)]
    calibration = fit_calibration(sets, preset)
    probabilities, labels = cross_validated(sets, preset)
    numbers = {'preset': preset.name, 'fingerprint': calibration.evidence_digest, 'calibration': str(args.output),
               **trust(probabilities, labels), 'sets': [vars(learned) for learned in calibration.sets],
               'weights': dict(zip(calibration.features[1:], calibration.weights))}  # proven has none
    calibration.save(args.output)
    if args.report:
        write_calibration_page(args.report, numbers, reliability(probabilities, labels))
    if args.json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f'{as_text(numbers)}\n\nPut this line into the preset, with a path relative to its file:\n'
              f'calibration: {args.output}')
    return OK


def _evaluations(args: argparse.Namespace, places: PlaceRecognizer) -> Iterator[tuple[str, Evaluation]]:
    """Every source by name, one after the other."""
    if args.kind == 'bag':
        for bag in args.bags:
            yield str(bag), closing_loops(args, places, bag)
        return
    if not len(args.references) == len(args.queries) == len(args.ground_truth):
        raise SegvladError(f'{len(args.references)} --references, {len(args.queries)} --queries and '
                           f'{len(args.ground_truth)} --ground-truth: give each of them once for every image set')
    sources = [*zip(args.references, args.queries, args.ground_truth)]
    yield from zip(map(str, args.ground_truth), evaluate_images(args, places, sources))
