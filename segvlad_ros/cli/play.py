"""``segvlad play``: publish a bag on topics, with /clock."""
from __future__ import annotations

import argparse
from pathlib import Path

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import by_name, real
from segvlad_ros.cli.processes import ros_running
from segvlad_ros.io.bag_storage import warnings_held_back
from segvlad_ros.types import SegvladError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    positive = real(lambda value: 0 < value < float('inf'), 'a number above 0')
    parser.add_argument('bag', type=Path, help='bag folder, .mcap or .db3 file')
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument('--rate', type=positive, default=1.0, help='speed as a multiple of real time (%(default)s)')
    speed.add_argument('--paced', action='store_true',
                       help='as fast as possible, but wait after each image until every segvlad node has processed '
                            'it: nothing is dropped')
    parser.add_argument('--remap', action='append', default=[], metavar='FROM:=TO',
                        help='publish a topic of the bag under another name; may be repeated')
    parser.add_argument('--image-topic', default='',
                        help='topic of the bag whose images set the pace (default: the colour images)')
    parser.add_argument('--wait-for', action='append', default=[], metavar='NODE',
                        help='start when this segvlad node is active, e.g. /localizer; may be repeated')
    parser.add_argument('--deadline', type=positive, default=30.0, metavar='SECONDS',
                        help='longest wait for a subscriber, a node or an answer (%(default)s)')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`. Status 1: some images were not dealt with in time."""
    remaps = by_name('--remap', map(_remap, args.remap))
    if not args.bag.exists():
        raise SegvladError(f'{args.bag} does not exist: give the folder of a bag')
    with ros_running():
        from segvlad_ros.ros.input.player import Player

        with warnings_held_back():
            player = Player(args.bag, rate=args.rate, paced=args.paced, image_topic=args.image_topic, remaps=remaps,
                            wait_for=args.wait_for, deadline_s=args.deadline)
        result = player.play()
        player.close()
    print(f'published {result.messages} messages, {result.images} images on {player.image_topic}'
          + (f'; without {", ".join(result.skipped)}: message type not installed' if result.skipped else '')
          + (f'; {result.unanswered} images were not processed in time' if result.unanswered else ''))
    return BELOW if result.unanswered else OK


def _remap(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(':=')
    if not separator or not old.startswith('/') or not new.startswith('/'):
        raise SegvladError(f'--remap {text}: write /from:=/to')
    return old, new
