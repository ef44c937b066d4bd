"""The bag part of ``segvlad evaluate`` and ``calibrate``: one day that closes loops, or a map of another day."""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli.bag_options import bag_inputs, pose_limits
from segvlad_ros.cli.options import check_partner, progress
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import numpy as np

    from segvlad_ros.evaluation.known_map import KnownMap
    from segvlad_ros.evaluation.measured import Evaluation
    from segvlad_ros.evaluation.true_poses import Truth, TruthSettings
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
                      help='localise in the map that map_builder would build from this bag; may be repeated')
    parser.add_argument('--follow', action='store_true',
                        help="also add the bag's keyframes to that map and close loops among them, like a localizer "
                             'that follows a map_builder')
    parser.add_argument('--map-truth', type=Path, action='append', default=[], metavar='BAG|FILE',
                        help=f"true poses of the map's keyframes: {kinds}, or the map itself, if it has poses from a "
                             'back-end; once per session; default: the bags of --map-bag')
    parser.add_argument('--map-truth-topic', metavar='TOPIC', help='in those bags (default: --ground-truth-topic)')
    parser.add_argument('--same-frame', action='store_true',
                        help='the true poses of map and bag are in one frame, even if it has two names or is called '
                             'odom')
    parser.add_argument('--pose-files-of', choices=('base', 'camera'),
                        help="whose poses these files hold: the base's, like topics, or those of the camera's optical "
                             'frame')


def closing_loops(args: argparse.Namespace, places: PlaceRecognizer, bag: Path) -> Evaluation:
    """Drive through a bag as mapping and loop closing do together; ``args`` has what :func:`add_bag_topics` adds."""
    from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
    from segvlad_ros.evaluation.true_poses import read_true_poses
    from segvlad_ros.io.bag_storage import warnings_held_back

    with warnings_held_back():
        truth = read_true_poses(bag, _settings(args, args.ground_truth_topic))
        evaluation = BagEvaluation(_drives(args, bag), truth, places, pose_limits(args))
    return evaluation.run(progress)


def one_or_two_days(args: argparse.Namespace, places: PlaceRecognizer) -> Evaluation:
    """Close loops in the bag, or localise it in a map of another day."""
    from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
    from segvlad_ros.evaluation.true_poses import read_true_poses
    from segvlad_ros.io.bag_storage import warnings_held_back
    from segvlad_ros.pipeline.map_build import build_map

    check_partner('--pose-files-of', args.pose_files_of, '--ground-truth or --map-truth',
                  args.ground_truth or args.map_truth)
    _check_topics(args)
    limits = pose_limits(args)
    with tempfile.TemporaryDirectory() as folder:
        with warnings_held_back():  # all that can be refused is, before long work begins
            mapped = [_drives(args, bag) for bag in args.map_bag]
            known_map = _known_map(args, places, Path(folder), mapped)
            drives = _drives(args, args.bag)
            truth = read_true_poses(args.ground_truth or args.bag, _settings(args, args.ground_truth_topic),
                                    image_stamps=_in_order(drives),
                                    origin=None if known_map is None else known_map.truths[0].origin)
            evaluation = BagEvaluation(drives, truth, places, limits, known_map=known_map, follow=args.follow,
                                       trusted=args.same_frame)
        if mapped:
            build_map(known_map.path, places, (progress(drive, f'map of {drive.path.name}', drive.total)
                                               for drive in chain(*mapped)))
        return evaluation.run(progress)


def _check_topics(args: argparse.Namespace) -> None:
    """Files of poses have no topics; ``--ground-truth-topic`` may still be of the map's bags."""
    from segvlad_ros.evaluation.true_poses import TruthSettings, is_pose_file

    of_map = args.map_truth or args.map_bag
    bag, map_bag = (any(source != args.map and not is_pose_file(source) for source in sources)
                    for sources in ([args.ground_truth or args.bag], of_map))
    check_partner('--ground-truth-topic', args.ground_truth_topic != TruthSettings().topic, 'a bag as --ground-truth',
                  bag or map_bag and not args.map_truth_topic)
    check_partner('--map-truth-topic', args.map_truth_topic and of_map, 'a bag as --map-truth', map_bag)


def _drives(args: argparse.Namespace, bag: Path) -> list[FrameReader]:
    """The frames of a bag, of each camera."""
    from segvlad_ros.io.bag_frames import FrameReader

    return [FrameReader(bag, topics, settings) for topics, settings in bag_inputs(args)]


def _in_order(drives: Sequence[FrameReader]) -> list[int] | None:
    """Stamps of the images, of which a KITTI file may have a line each; of several cameras it cannot."""
    return drives[0].stamps if len(drives) == 1 else None


def _known_map(args: argparse.Namespace, places: PlaceRecognizer, folder: Path,
               mapped: Sequence[Sequence[FrameReader]]) -> KnownMap | None:
    """The map to localise in, with its truth; of the drives of bags it will be built in a folder."""
    from segvlad_ros.evaluation.known_map import KnownMap
    from segvlad_ros.mapping.place_map import PlaceMap

    if args.map is None and not mapped:
        if args.map_truth or args.map_truth_topic or args.follow or args.same_frame:
            raise SegvladError('--map-truth, --map-truth-topic, --same-frame and --follow need a map: give --map or '
                               '--map-bag')
        return None
    if args.map is not None and not args.map_truth:
        raise SegvladError(f'{args.map}: the true poses of its keyframes are unknown, odometry is not ground truth: '
                           'give --map-truth the bag that it was made from, or a TUM file of its poses')
    if args.map is not None:
        PlaceMap.open(args.map, fingerprint=places.preset.fingerprint()).close()
    sources = args.map_truth or args.map_bag
    if mapped and len(sources) != len(mapped):
        raise SegvladError(f'{len(sources)} --map-truth for {len(mapped)} --map-bag: give one for each, in order')
    truths = []
    for number, source in enumerate(sources):
        truths.append(_map_truth(args, source, mapped[number] if mapped else (),
                                 truths[0].origin if truths else None))
    if args.map is not None:
        return KnownMap(args.map, truths, str(args.map))
    return KnownMap(folder / 'map.segvlad', truths, f'the map of {", ".join(bag.name for bag in args.map_bag)}')


def _map_truth(args: argparse.Namespace, source: Path, drives: Sequence[FrameReader],
               origin: np.ndarray | None) -> Truth:
    from segvlad_ros.evaluation.known_map import optimized_truth
    from segvlad_ros.evaluation.true_poses import check_one_clock, read_true_poses

    if args.map is not None and source.resolve() == args.map.resolve():
        return optimized_truth(args.map)
    settings = _settings(args, args.map_truth_topic or args.ground_truth_topic)
    truth = read_true_poses(source, settings, image_stamps=_in_order(drives), origin=origin)
    for drive in drives:
        check_one_clock(drive, truth)
    return truth


def _settings(args: argparse.Namespace, topic: str) -> TruthSettings:
    from segvlad_ros.evaluation.true_poses import TruthSettings

    whose = getattr(args, 'pose_files_of', None)
    return TruthSettings(topic, None if whose is None else whose == 'camera', args.true_distance_m)
