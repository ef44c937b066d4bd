"""Options of commands that read bags, and what they stand for."""
from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli.options import MASK, add_image_bits
from segvlad_ros.evaluation.truth import PoseLimits
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.io.bag_topics import BagTopics
    from segvlad_ros.io.frame_assembler import InputSettings

_LIMITS = {
    'true_distance_m': 'a match is true up to this distance between the true poses (%(default)g)',
    'true_angle_deg': 'and up to this angle between them (%(default)g)',
    'ignored_distance_m': 'a match that is not true is ignored up to this distance (%(default)g)',
    'ignored_angle_deg': 'and up to this angle (%(default)g); beyond, it is false',
}


def add_bag_topics(parser: argparse.ArgumentParser) -> None:
    """Where a bag's inputs and its truth are, the limits of truth, and what messages cannot say of themselves."""
    add_bag_inputs(parser)
    parser.add_argument('--ground-truth-topic', default='/ground_truth/pose', metavar='TOPIC',
                        help='true poses of the base: PoseStamped, PoseWithCovarianceStamped, Odometry, or NavSatFix '
                             '(positions only) (%(default)s)')
    for limit in fields(PoseLimits):
        parser.add_argument(f'--{limit.name.replace("_", "-")}', type=float, default=limit.default,
                            metavar=limit.name.rpartition('_')[2].upper(), help=_LIMITS[limit.name])


def pose_limits(args: argparse.Namespace) -> PoseLimits:
    """The limits of truth that :func:`add_bag_topics`'s options say."""
    return PoseLimits(**{limit.name: getattr(args, limit.name) for limit in fields(PoseLimits)})


def add_bag_inputs(parser: argparse.ArgumentParser) -> None:
    """Where a bag's inputs are, and what its messages cannot say of themselves; :func:`bag_inputs` reads it."""
    parser.add_argument('--image-topic', action='append', metavar='TOPIC',
                        help='raw or compressed (default: the only colour topic of the bag); once per camera')
    parser.add_argument('--mask', action='append', type=Path, metavar='FILE', help=f'{MASK}; once per camera')
    parser.add_argument('--mask-topic', action='append', metavar='TOPIC',
                        help='masks of single images, e.g. of people (mono8 or PNG); once per camera')
    parser.add_argument('--odom-topic', help='nav_msgs/Odometry (default: the only one of the bag)')
    parser.add_argument('--rectified', action='store_true',
                        help='the images are rectified: they fit P of camera_info, and have no distortion; a topic '
                             'named image_rect is taken as rectified in any case')
    parser.add_argument('--ignore-frame-ids', action='store_true',
                        help="use depth, masks and camera_info although their frame_id is not the image's")
    parser.add_argument('--base-frame', default='base_link',
                        help="frame of the robot's base (%(default)s); if odometry is for another frame and no "
                             'transform connects the two, that frame is used instead')
    add_image_bits(parser)


def bag_inputs(args: argparse.Namespace) -> list[tuple[BagTopics, InputSettings]]:
    """What :func:`add_bag_inputs`'s options say of each camera; several are called by their topics."""
    from segvlad_ros.io.bag_topics import BagTopics
    from segvlad_ros.io.frame_assembler import InputSettings
    from segvlad_ros.io.masks import read_mask

    images = list(dict.fromkeys(args.image_topic or [None]))
    for option, given in (('--mask', args.mask), ('--mask-topic', args.mask_topic)):
        if given and len(given) != len(images):
            raise SegvladError(f'{option} is given {len(given)} times for {len(images)} camera(s): give it once per '
                               '--image-topic, in that order')
    masks = [read_mask(path) for path in args.mask or ()] or [None] * len(images)
    return [(BagTopics(image=image, odom=args.odom_topic, mask=mask_topic),
             InputSettings(camera='' if len(images) == 1 else image, base_frame=args.base_frame,
                           rectified=args.rectified, ignore_frame_ids=args.ignore_frame_ids,
                           image_bits=args.image_bits, mask=mask))
            for image, mask, mask_topic in zip(images, masks, args.mask_topic or [''] * len(images))]
