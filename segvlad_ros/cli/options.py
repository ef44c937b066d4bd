"""Options that several commands share, and what they stand for."""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from segvlad_ros.evaluation.truth import PoseLimits
from segvlad_ros.io.devices import check_device
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.io.bag_topics import BagTopics
    from segvlad_ros.io.frame_assembler import InputSettings

T = TypeVar('T')
MASK = "mask of what images show that belongs to no place, as the robot's own body: 0 covers, anything else is used"
MOST_SEED = 2**63 - 1
_PROGRESS_S = 5.0
_LIMITS = {
    'true_distance_m': 'a match is true up to this distance between the true poses (%(default)g)',
    'true_angle_deg': 'and up to this angle between them (%(default)g)',
    'ignored_distance_m': 'one that is not counts neither way up to this distance (%(default)g)',
    'ignored_angle_deg': 'and up to this angle (%(default)g); beyond, it is false',
}


def add_preset(parser: argparse.ArgumentParser) -> None:
    """``--preset``, ``--set`` and ``--device``."""
    add_preset_name(parser)
    add_preset_changes(parser)


def add_preset_changes(parser: argparse.ArgumentParser) -> None:
    """``--set`` and ``--device``, of a preset that is named otherwise."""
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE', dest='overrides',
                        help='replace a value of the preset, e.g. decision.min_score=0.3; may be repeated')
    add_device(parser, 'where networks run: cpu, cuda, cuda:1, tensorrt')


def add_device(parser: argparse.ArgumentParser, what: str) -> None:
    """``--device``, which is checked although nothing may run there."""
    parser.add_argument('--device', type=_device, default='cpu', help=f'{what} (%(default)s)')


def _device(name: str) -> str:
    try:
        check_device(name)
    except SegvladError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def add_preset_name(parser: argparse.ArgumentParser) -> None:
    """``--preset`` alone."""
    parser.add_argument('--preset', default='classic', help='name of a shipped preset, or a YAML file (%(default)s)')


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """``--scenario``."""
    parser.add_argument('--scenario', default='demo', help='name of a shipped scenario, or a YAML file (%(default)s)')


def add_image_bits(parser: argparse.ArgumentParser) -> None:
    """``--image-bits``, as the nodes' parameter ``image_bits``."""
    parser.add_argument('--image-bits', type=int, choices=range(17), default=0, metavar='N',
                        help='bits of the camera in 16-bit images that leave the upper ones empty: 10, 12, ... '
                             '(default: all 16, but images that look otherwise are refused)')


def add_masks(parser: argparse.ArgumentParser) -> None:
    """``--mask`` of image files; :class:`segvlad_ros.io.masks.MaskFiles` reads it."""
    parser.add_argument('--mask', type=Path, metavar='FILE|DIR',
                        help=f'{MASK}; or a folder with one PNG of each image, called as it: 7.png or 7.jpg.png')


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument('--json', action='store_true', help='print JSON for scripts')


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
    parser.add_argument('--exclude-recent', type=whole(1, 'a number of images, 1 or more'), metavar='N',
                        help='references and queries are one sequence; leave out the last N images')
    parser.add_argument('--sequence', action='store_true',
                        help='the queries are consecutive: matches need the agreement of neighbouring queries')
    parser.add_argument('--descriptors', type=Path, metavar='DIR',
                        help='.npy files, one vector an image, called as the images: for presets like "given"')
    add_masks(parser)
    add_image_bits(parser)


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
                        help='raw or compressed (default: the only colour topic of the bag); once for each camera')
    parser.add_argument('--mask', action='append', type=Path, metavar='FILE', help=f'{MASK}; once for each camera')
    parser.add_argument('--mask-topic', action='append', metavar='TOPIC',
                        help='masks of single images, as of people, likewise (mono8 or PNG); once for each camera')
    parser.add_argument('--odom-topic', help='nav_msgs/Odometry (default: the only one of the bag)')
    parser.add_argument('--rectified', action='store_true',
                        help='the images are rectified: they fit P of camera_info, and have no distortion; those of '
                             'a topic that is called so (image_rect) count as rectified in any case')
    parser.add_argument('--ignore-frame-ids', action='store_true',
                        help="use depth, masks and camera_info although their frame_id is not the image's")
    parser.add_argument('--base-frame', default='base_link',
                        help="frame of the robot's base (%(default)s); where odometry is of another frame and no "
                             'transform tells how the two lie to each other, that one')
    add_image_bits(parser)


def bag_inputs(args: argparse.Namespace) -> list[tuple[BagTopics, InputSettings]]:
    """What :func:`add_bag_inputs`'s options say of each camera; several are called by their topics."""
    from segvlad_ros.io.bag_topics import BagTopics
    from segvlad_ros.io.frame_assembler import InputSettings
    from segvlad_ros.io.masks import read_mask

    images = list(dict.fromkeys(args.image_topic or [None]))
    for option, given in (('--mask', args.mask), ('--mask-topic', args.mask_topic)):
        if given and len(given) != len(images):
            raise SegvladError(f'{option} is given {len(given)} times for {len(images)} camera(s): give it once for '
                               'each --image-topic, in that order')
    masks = [read_mask(path) for path in args.mask or ()] or [None] * len(images)
    return [(BagTopics(image=image, odom=args.odom_topic, mask=mask_topic),
             InputSettings(camera='' if len(images) == 1 else image, base_frame=args.base_frame,
                           rectified=args.rectified, ignore_frame_ids=args.ignore_frame_ids,
                           image_bits=args.image_bits, mask=mask))
            for image, mask, mask_topic in zip(images, masks, args.mask_topic or [''] * len(images))]


def whole(least: int, what: str, most: int = 10**9) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least ``least``; ``what`` ends the refusal.

    :param most: beyond, libraries end with errors of their own
    """
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f'{text!r} is not {what}')
        if int(text) > most:
            raise argparse.ArgumentTypeError(f'{text} is too much: give at most {most}')
        return int(text)
    return parse


def real(accepts: Callable[[float], bool], what: str) -> Callable[[str], float]:
    """The type of an argument that is a number which ``accepts`` likes; ``what`` ends the refusal."""
    def parse(text: str) -> float:
        try:
            if accepts(float(text)):
                return float(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f'{text!r} is not {what}')
    return parse


def image_size(text: str) -> tuple[int, int]:
    """The type of an argument that is a width and a height, ``640x480``."""
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480')
    return int(width), int(height)


def chosen_preset(args: argparse.Namespace) -> Preset:
    """The preset that :func:`add_preset`'s options name."""
    return load_preset(args.preset, by_name('--set', map(_override, args.overrides)))


def by_name(option: str, said: Iterable[tuple[str, T]]) -> dict[str, T]:
    """What an option that may be repeated says of each name.

    :raises SegvladError: it says two things of one, of which the last would win
    """
    known: dict[str, T] = {}
    for name, value in said:
        if name in known:
            raise SegvladError(f'{option} is given twice for {name}: give it once')
        known[name] = value
    return known


def _override(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition('=')
    if not separator or not key:
        raise SegvladError(f'--set {text}: write KEY=VALUE, e.g. --set search.neighbours=20')
    return key, written(value)


def written(text: str) -> Any:
    """The value of an option's KEY=VALUE: as YAML has it, else the text itself."""
    from segvlad_ros.io.yaml_text import parse_yaml

    try:
        return parse_yaml(text)
    except SegvladError:
        return text


def check_output(path: Path | None, option: str) -> None:
    """Find out before long work that its result could not be written.

    :param option: that named the file
    :raises SegvladError: its folder does not exist
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise SegvladError(f'{option} {path}: the folder does not exist; make it first')


def check_npz(path: Path) -> None:
    """See that ``--output`` is the name of a NumPy file.

    :raises SegvladError: it is another one
    """
    if path.suffix != '.npz':
        raise SegvladError(f'--output {path}: give a file name that ends in .npz')


def progress(values: Iterable, title: str, total: int | None = None) -> Iterator:
    """Show on stderr how far an iteration is: a bar on a terminal, else a line every few seconds.

    :param total: number of values, where they have no length
    """
    if total is None and hasattr(values, '__len__'):
        total = len(values)
    with progress_bar(title) as show:
        for count, value in enumerate(values, 1):
            yield value
            show(count, total)


@contextmanager
def progress_bar(title: str, unit: str = 'it') -> Iterator[Callable[..., None]]:
    """Likewise, for what tells how far it is: ``show(done, total, there, more)``.

    ``done`` of ``total`` (None if unknown) are done; ``there`` of them were so before, and do not count in the rate;
    ``more`` is what else there is to say.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    # without smoothing, the rate is (done - there) / time: what was there comes in bursts
    with tqdm(desc=title, file=sys.stderr, leave=False, unit=unit, smoothing=0, disable=not on_terminal) as bar:
        started = shown = time.time()

        def draw(done: int, total: int | None, there: int = 0, more: str = '') -> None:
            bar.total, bar.initial = total, there
            bar.set_postfix_str(more, refresh=False)
            if done == there:
                bar.start_t = time.time()
            bar.update(done - bar.n)

        def say(done: int, total: int | None, there: int = 0, more: str = '') -> None:
            nonlocal started, shown
            now = time.time()
            if done == there:
                started = now
            if not 0 <= now - shown < _PROGRESS_S:
                shown = now
                print(tqdm.format_meter(done, total, now - started, ncols=0, unit=unit, initial=there, prefix=title,
                                        postfix=more or None),
                      file=sys.stderr, flush=True)
        yield draw if on_terminal else say
