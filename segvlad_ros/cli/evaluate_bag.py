"""The bag part of ``segvlad evaluate`` and ``calibrate``: one day that closes loops, or a map of another day."""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli.options import bag_inputs, progress
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import numpy as np

    from segvlad_ros.evaluation.known_map import KnownMap
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.evaluation.true_poses import Truth, TruthSettings
    from segvlad_ros.evaluation.truth import PoseLimits
    from segvlad_ros.io.bag_frames import FrameReader
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer


def add_truth_of_days(parser: argparse.ArgumentParser) -> None:
    """The map of another day, and where its truth and that of the bag come from."""
    kinds = 'a bag (its topic), or a TUM or KITTI file of poses'
    parser.add_argument('--ground-truth', type=Path, metavar='BAG|FILE', help=f'true poses: {kinds}; default: the bag')
    days = parser.add_mutually_exclusive_group()
    days.add_argument('--map', type=Path, metavar='FILE.segvlad',
                      help='localise in this map, as a localizer does, instead of closing loops')
    days.add_argument('--map-bag', type=Path, action='append', default=[], metavar='BAG',
                      help='localise in the map that map_builder would make of this bag; may be repeated')
    parser.add_argument('--follow', action='store_true',
                        help="add the bag's keyframes to that map, as a localizer does that follows a map_builder, and "
                             'close loops among them, too')
    parser.add_argument('--map-truth', type=Path, action='append', default=[], metavar='BAG|FILE',
                        help=f"true poses of the map's keyframes: {kinds}, or the map, if a back-end has given it "
                             'poses; once for each session; default: the bags of --map-bag')
    parser.add_argument('--map-truth-topic', metavar='TOPIC', help='in those bags (default: --ground-truth-topic)')
    parser.add_argument('--same-frame', action='store_true',
                        help='the true poses of map and bag are in one frame, though it has two names or is called '
                             'odom')
    parser.add_argument('--ground-truth-of', choices=('base', 'camera'),
                        help="whose the true poses are: the base's, or the camera's optical frame's (default: topics "
                             'of the base, files of the camera)')


def closing_loops(args: argparse.Namespace, places: PlaceRecognizer, bag: Path) -> Evaluation:
    """Drive through a bag as mapping and loop closing do together; ``args`` has what :func:`add_bag_topics` adds."""
    from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
    from segvlad_ros.evaluation.true_poses import read_true_poses
    from segvlad_ros.io.bag_frames import read_frames
    from segvlad_ros.io.bag_storage import warnings_held_back

    topics, inputs = bag_inputs(args)
    limits = pose_limits(args)
    with warnings_held_back():
        truth = read_true_poses(bag, _settings(args, args.ground_truth_topic))
        evaluation = BagEvaluation(read_frames(bag, topics, inputs), truth, places, limits)
    return evaluation.run(progress)


def one_or_two_days(args: argparse.Namespace, places: PlaceRecognizer) -> Evaluation:
    """Close loops in the bag, or localise it in a map of another day."""
    from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
    from segvlad_ros.evaluation.true_poses import read_true_poses
    from segvlad_ros.io.bag_frames import read_frames
    from segvlad_ros.io.bag_storage import warnings_held_back
    from segvlad_ros.pipeline.map_build import build_map

    topics, inputs = bag_inputs(args)
    limits = pose_limits(args)
    with tempfile.TemporaryDirectory() as folder:
        with warnings_held_back():  # all that can be refused is, before long work begins
            drives = [read_frames(bag, topics, inputs) for bag in args.map_bag]
            known_map = _known_map(args, Path(folder), drives)
            frames = read_frames(args.bag, topics, inputs)
            truth = read_true_poses(args.ground_truth or args.bag, _settings(args, args.ground_truth_topic),
                                    image_stamps=frames.stamps,
                                    origin=None if known_map is None else known_map.truths[0].origin)
            evaluation = BagEvaluation(frames, truth, places, limits, known_map=known_map, follow=args.follow,
                                       trusted=args.same_frame)
        if drives:
            build_map(known_map.path, places, (progress(drive, f'map of {drive.path.name}', drive.total)
                                               for drive in drives))
        return evaluation.run(progress)


def _known_map(args: argparse.Namespace, folder: Path, drives: Sequence[FrameReader]) -> KnownMap | None:
    """The map to localise in, with its truth; of ``drives`` it will be built in a folder."""
    from segvlad_ros.evaluation.known_map import KnownMap

    if args.map is None and not drives:
        if args.map_truth or args.map_truth_topic or args.follow:
            raise SegvladError('--map-truth, --map-truth-topic and --follow are of a map: give --map or --map-bag')
        return None
    if args.map is not None and not args.map_truth:
        raise SegvladError(f'{args.map}: where its keyframes truly are is not known, for odometry is no truth: give '
                           '--map-truth the bag that it was made of, or a TUM file of its poses')
    sources = args.map_truth or args.map_bag
    if drives and len(sources) != len(drives):
        raise SegvladError(f'{len(sources)} --map-truth for {len(drives)} --map-bag: give one for each, in order')
    truths = []
    for number, source in enumerate(sources):
        truths.append(_map_truth(args, source, drives[number] if drives else None,
                                 truths[0].origin if truths else None))
    return KnownMap(args.map or folder / 'map.segvlad', truths)


def _map_truth(args: argparse.Namespace, source: Path, drive: FrameReader | None, origin: np.ndarray | None) -> Truth:
    from segvlad_ros.evaluation.known_map import optimized_truth
    from segvlad_ros.evaluation.true_poses import check_one_clock, read_true_poses

    if args.map is not None and source.resolve() == args.map.resolve():
        return optimized_truth(args.map)
    settings = _settings(args, args.map_truth_topic or args.ground_truth_topic)
    truth = read_true_poses(source, settings, image_stamps=None if drive is None else drive.stamps, origin=origin)
    if drive is not None:
        check_one_clock(drive, truth)
    return truth


def pose_limits(args: argparse.Namespace) -> PoseLimits:
    """What :func:`add_bag_topics`'s options of the limits say."""
    from segvlad_ros.evaluation.truth import PoseLimits

    return PoseLimits(args.true_distance_m, args.true_angle_deg, args.ignored_distance_m, args.ignored_angle_deg)


def _settings(args: argparse.Namespace, topic: str) -> TruthSettings:
    from segvlad_ros.evaluation.true_poses import TruthSettings

    whose = getattr(args, 'ground_truth_of', None)
    return TruthSettings(topic, None if whose is None else whose == 'camera', args.true_distance_m)
