"""Options that several commands share, and what they stand for."""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from segvlad_ros.io.devices import check_device
from segvlad_ros.io.paths import check_writable_folder
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.types import SegvladError

T = TypeVar('T')
MASK = "mask of what belongs to no place, such as the robot's own body: 0 covers, anything else is used"
MOST_SEED = 2**63 - 1
_PROGRESS_S = 5.0


def add_preset(parser: argparse.ArgumentParser) -> None:
    """``--preset``, ``--set`` and ``--device``."""
    add_preset_name(parser)
    add_preset_changes(parser)


def add_preset_changes(parser: argparse.ArgumentParser) -> None:
    """``--set`` and ``--device``, of a preset that is named otherwise."""
    add_set(parser)
    add_device(parser, 'where networks run: cpu, cuda, cuda:1, tensorrt')


def add_set(parser: argparse.ArgumentParser) -> None:
    """``--set``."""
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE', dest='overrides',
                        help='replace a value of the preset, e.g. decision.min_probability=0.7; may be repeated')


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
                             '(default: all 16, but images that seem to use fewer are refused)')


def add_masks(parser: argparse.ArgumentParser) -> None:
    """``--mask`` of image files; :class:`segvlad_ros.io.masks.MaskFiles` reads it."""
    parser.add_argument('--mask', type=Path, metavar='FILE|DIR',
                        help=f'{MASK}; or a folder with one PNG per image, named after it: 7.png or 7.jpg.png; '
                             'those of ref/7.jpg and query/7.jpg in folders ref and query')


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
                        help=f'map images: a folder, or a text file with one path per line{again}')
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
                        help='.npy files, one vector per image, named after the images: for presets like "given"')
    add_masks(parser)
    add_image_bits(parser)


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


def check_partner(option: str, given: object, partner: str, there: object) -> None:
    """Refuse an option that changes nothing without another: that one was forgotten, and nobody would notice.

    :param given: whether it is given, or its value is not the default
    :param there: whether what it acts on is there
    """
    if given and not there:
        raise SegvladError(f'{option} changes nothing without {partner}: add that, or leave {option} out')


def image_size(text: str) -> tuple[int, int]:
    """The type of an argument that is a width and a height, ``640x480``, as a preset may have them."""
    sides = text.split('x')
    if len(sides) != 2 or not all(side.isdecimal() and 32 <= int(side) <= 4096 for side in sides):
        raise argparse.ArgumentTypeError(f'{text!r}: give a width and a height of 32 to 4096 pixels, such as 640x480')
    return int(sides[0]), int(sides[1])


def chosen_preset(args: argparse.Namespace, read: Sequence[str] = ()) -> Preset:
    """The preset that :func:`add_preset`'s options name.

    :param read: sections, where a command reads these alone
    :raises SegvladError: ``--set`` is of another section, which would change nothing
    """
    overrides = by_name('--set', map(_override, args.overrides))
    idle = next((key for key in overrides if read and key.split('.')[0] not in read), None)
    if idle is not None:
        raise SegvladError(f'--set {idle} changes nothing here: only {" and ".join(read)} of a preset are used; '
                           'leave it out')
    return load_preset(args.preset, overrides)


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
    :raises SegvladError: it is a folder, its own does not exist, or one may not write there
    """
    if path is None:
        return
    folder = path.resolve().parent  # a link is followed
    if not folder.is_dir():
        raise SegvladError(f'{option} {path}: the folder does not exist; make it first')
    if path.is_dir():
        raise SegvladError(f'{option} {path}: is a folder; give the name of a file in it')
    needed = [path] * path.exists() + [folder] * (path.is_file() or not path.exists())  # it is made beside, and moved
    if not all(os.access(each, os.W_OK) for each in needed):
        raise SegvladError(f'{option} {path}: is not writable; choose a file in a folder you can write to')


def check_report_and_output(args: argparse.Namespace) -> None:
    """Likewise of ``--report`` and ``--output``, of which the second would replace the first in one file."""
    check_output(args.report, '--report')
    check_output(args.output, '--output')
    if args.report and args.output and args.report.resolve() == args.output.resolve():
        raise SegvladError(f'--report and --output are one file, {args.output}: give each its own')


def check_output_folder(path: Path, option: str) -> None:
    """Likewise of a folder, which is made where it is not there.

    :raises SegvladError: it, or one that it lies in, is a file, or one may not write there
    """
    check_writable_folder(path, f'{option} {path}')


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
