"""Images and bags with ground truth: the options and the evaluation that several commands share."""
from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli.options import add_image_bits, progress
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.pipeline.presets import Preset


def add_images(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """``--references``, ``--queries``, ``--ground-truth``, ``--exclude-recent``, ``--sequence`` and ``--image-bits``.

    :param several: the first three may be repeated and are lists
    """
    more = {'action': 'append'} if several else {}
    again = '; may be repeated, with the other two' if several else ''
    parser.add_argument('--references', required=True, type=Path, metavar='DIR|LIST', **more,
                        help=f'map images: a folder, or a text file with one path a line{again}')
    parser.add_argument('--queries', required=True, type=Path, metavar='DIR|LIST', help='query images, likewise',
                        **more)
    parser.add_argument('--ground-truth', required=True, type=Path, metavar='FILE.csv', **more,
                        help='columns query,references and optionally ignore; paths relative to this file, several '
                             'references separated by spaces, one that contains spaces in double quotes')
    parser.add_argument('--exclude-recent', type=_frames, metavar='N',
                        help='references and queries are one sequence; leave out the last N images')
    parser.add_argument('--sequence', action='store_true',
                        help='the queries are consecutive: matches need the agreement of neighbouring queries')
    add_image_bits(parser)


def add_bag_topics(parser: argparse.ArgumentParser) -> None:
    """Where a bag's inputs are, and what its messages cannot say of themselves."""
    parser.add_argument('--image-topic', help='raw or compressed (default: the only colour topic of the bag)')
    parser.add_argument('--odom-topic', help='nav_msgs/Odometry (default: the only one of the bag)')
    parser.add_argument('--rectified', action='store_true',
                        help='the images are rectified: they fit P of camera_info, and have no distortion')
    parser.add_argument('--ignore-frame-ids', action='store_true',
                        help="use depth and camera_info although their frame_id is not the image's")
    parser.add_argument('--base-frame', default='base_link',
                        help="frame of the robot's base (%(default)s); where odometry is of another frame and no "
                             'transform tells how the two lie to each other, that one')
    parser.add_argument('--ground-truth-topic', default='/ground_truth/pose',
                        help='true poses of the base: PoseStamped, PoseWithCovarianceStamped or Odometry (%(default)s)')
    add_image_bits(parser)


def evaluate_images(args: argparse.Namespace, preset: Preset, make_describer: Callable[[], Describer],
                    source: tuple[Path, Path, Path]) -> Evaluation:
    """Run the pipeline over image files.

    :param make_describer: called when the files have been found; models take long to load
    :param source: references, queries and ground truth
    """
    from segvlad_ros.evaluation.image_evaluation import ImageEvaluation
    from segvlad_ros.evaluation.truth import GivenImages, read_truth
    from segvlad_ros.io.images import list_images

    truth = read_truth(source[2])
    references, queries = list_images(source[0]), list_images(source[1])
    evaluation = ImageEvaluation(preset, make_describer(), truth, progress, args.image_bits)
    if args.exclude_recent is None:
        return evaluation.map_and_queries(references, queries, args.sequence)
    given = GivenImages(references)
    if not all(map(given.meant, queries)):
        raise SegvladError('--exclude-recent is for one sequence: give the same images as references and queries')
    return evaluation.one_sequence(references, args.exclude_recent)


def evaluate_bag(args: argparse.Namespace, preset: Preset, make_describer: Callable[[], Describer],
                 bag: Path) -> Evaluation:
    """Drive through a bag as mapping and loop closing do together."""
    from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
    from segvlad_ros.io.bag_topics import BagTopics
    from segvlad_ros.io.frame_assembler import InputSettings

    settings = InputSettings(base_frame=args.base_frame, rectified=args.rectified,
                             ignore_frame_ids=args.ignore_frame_ids, image_bits=args.image_bits)
    return BagEvaluation(bag, preset, make_describer(), truth_topic=args.ground_truth_topic,
                         settings=settings,
                         topics=BagTopics(image=args.image_topic, odom=args.odom_topic)).run(progress)


def _frames(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of images, 1 or more')
    return int(text)
