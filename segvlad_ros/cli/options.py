"""Options that several commands share."""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.types import SegvladError

_PROGRESS_S = 5.0


def add_preset(parser: argparse.ArgumentParser) -> None:
    """``--preset``, ``--set`` and ``--device``."""
    parser.add_argument('--preset', default='classic', help='name of a shipped preset, or a YAML file (%(default)s)')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE', dest='overrides',
                        help='replace a value of the preset, e.g. decision.min_score=0.3; may be repeated')
    parser.add_argument('--device', default='cpu', help='torch device of the deep presets: cpu, cuda (%(default)s)')


def add_image_bits(parser: argparse.ArgumentParser) -> None:
    """``--image-bits``, as the nodes' parameter ``image_bits``."""
    parser.add_argument('--image-bits', type=int, choices=range(17), default=0, metavar='N',
                        help='bits of the camera in 16-bit images that leave the upper ones empty: 10, 12, ... '
                             '(default: all 16, but images that look otherwise are refused)')


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument('--json', action='store_true', help='print JSON for scripts')


def chosen_preset(args: argparse.Namespace) -> Preset:
    """The preset that :func:`add_preset`'s options name."""
    return load_preset(args.preset, dict(_override(text) for text in args.overrides))


def check_output(path: Path | None, option: str) -> None:
    """Find out before long work that its result could not be written.

    :param option: that named the file
    :raises SegvladError: its folder does not exist
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise SegvladError(f'{option} {path}: the folder does not exist; make it first')


def progress(values: Iterable, title: str, total: int | None = None) -> Iterator:
    """Show on stderr how far an iteration is: a bar on a terminal, else a line every few seconds.

    :param total: number of values, where they have no length
    """
    if total is None and hasattr(values, '__len__'):
        total = len(values)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(values, desc=title, total=total, file=sys.stderr, leave=False)
        return
    of_total = '' if total is None else f' of {total}'
    shown = time.monotonic()
    for count, value in enumerate(values, 1):
        yield value
        if time.monotonic() - shown >= _PROGRESS_S:
            shown = time.monotonic()
            print(f'{title}: {count}{of_total}', file=sys.stderr, flush=True)


def _override(text: str) -> tuple[str, Any]:
    import yaml

    key, separator, value = text.partition('=')
    if not separator or not key:
        raise SegvladError(f'--set {text}: write KEY=VALUE, e.g. --set search.neighbours=20')
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value
