"""Trajectories as TUM and KITTI write them: poses by stamp, or one a line; and what all text files of poses share.

========  ==============================================================
format    a line
========  ==============================================================
TUM       ``stamp tx ty tz qx qy qz qw``, see :func:`parsed_stamp`
KITTI     12 numbers, the first three rows of a matrix; seconds of the
          lines are in a file of their own, ``times.txt``
========  ==============================================================

Metres, in one fixed frame. Whatever is wrong with a file is one line that names file and line.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import from_matrix, unit_quaternion
from segvlad_ros.types import Pose, SegvladError

TUM_COLUMNS, KITTI_COLUMNS = 8, 12
# A pose further away than this from its origin, metres, is a damaged number or a geodetic one.
_MAX_COORDINATE = 1e8
# Nanoseconds to the unit of a stamp that is a whole number of so many digits: between 2001 and 2286 they are as many.
# Others are seconds. 13 digits may be milliseconds of today, or nanoseconds since a simulation began: they are refused,
# for as seconds they lie too far ahead.
_UNITS_NS = {19: 1, 16: 1000}
_SECOND_NS = 10**9
_NOT_ORTHOGONAL = 1e-2
_MAX_STAMP_NS = 2**62


@dataclass(frozen=True)
class Trajectory:
    """The poses of one file.

    :ivar poses: in their order; their ``frame`` is '', for no file names it
    :ivar stamps: nanoseconds, ascending; None where there is only the order of the lines
    """

    poses: list[Pose]
    stamps: list[int] | None


def read_trajectory(path: Path) -> Trajectory:
    """Read a TUM or a KITTI file; the stamps of KITTI's lines are in ``times.txt`` beside it, if that is there.

    :raises SegvladError: naming file and line
    """
    if columns(path) == TUM_COLUMNS:
        stamped = list(read_tum(path))
        return Trajectory([pose for _, pose in stamped], [stamp for stamp, _ in stamped])
    if columns(path) == KITTI_COLUMNS:
        poses, times = read_kitti(path), path.with_name('times.txt')
        return Trajectory(poses, read_times(times, len(poses)) if times.is_file() else None)
    raise SegvladError(f'{path}: {columns(path)} values in its first line are not a pose: TUM has {TUM_COLUMNS}, '
                       f'KITTI {KITTI_COLUMNS}')


def columns(path: Path) -> int:
    """Values in the first line that is neither empty nor a comment; 0 without any."""
    return next((len(line.split()) for _, line in data_lines(path)), 0)


def read_tum(path: Path) -> Iterator[tuple[int, Pose]]:
    """Stamps in nanoseconds, ascending, and poses of a TUM file."""
    before = 0
    for number, line in data_lines(path):
        where, words = f'{path}:{number}', line.split()
        if len(words) != TUM_COLUMNS:
            raise SegvladError(f'{where}: {len(words)} values, TUM has 8: stamp tx ty tz qx qy qz qw')
        stamp = parsed_stamp(words[0], where)
        if stamp <= before:
            raise SegvladError(f'{where}: the stamp {words[0]} is not later than the one before; sort the lines')
        before = stamp
        yield stamp, parsed_pose(parsed_numbers(words[1:], where), where)


def read_kitti(path: Path) -> list[Pose]:
    """The poses of a KITTI file, line by line."""
    poses = []
    for number, line in data_lines(path):
        where, words = f'{path}:{number}', line.split()
        if len(words) != KITTI_COLUMNS:
            raise SegvladError(f'{where}: {len(words)} values, KITTI has 12: the first three rows of a matrix')
        matrix = np.vstack([parsed_numbers(words, where).reshape(3, 4), [0, 0, 0, 1]])
        rotation = matrix[:3, :3]
        if abs(rotation @ rotation.T - np.eye(3)).max() > _NOT_ORTHOGONAL or np.linalg.det(rotation) < 0:
            raise SegvladError(f'{where}: its 3 x 3 matrix is not a rotation')
        poses.append(from_matrix(matrix))
    return poses


def read_times(path: Path, count: int) -> list[int]:
    """Nanoseconds of a file of seconds, one a line, ascending.

    :param count: of the poses that they belong to
    """
    stamps: list[int] = []
    for number, line in data_lines(path):
        where = f'{path}:{number}'
        stamps.append(parsed_stamp(line, where, 0))
        if len(stamps) > 1 and stamps[-1] <= stamps[-2]:
            raise SegvladError(f'{where}: the stamp {line.strip()[:40]} is not later than the one before')
    if len(stamps) != count:
        raise SegvladError(f'{path}: has {len(stamps)} stamps for {count} poses')
    return stamps


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number, from 1; a byte order mark, as Windows and spreadsheets write it, is none of the text."""
    try:
        with path.open(encoding='utf-8-sig', newline=None) as file:
            yield from enumerate((line.rstrip('\n') for line in file), 1)
    except UnicodeDecodeError:
        raise SegvladError(f'{path}: is not a text file in UTF-8; save it as one') from None
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None


def data_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither empty nor a comment."""
    return ((number, line) for number, line in text_lines(path) if line.strip() and not line.lstrip().startswith('#'))


def parsed_numbers(words: Sequence[str | None], where: str) -> np.ndarray:
    """(n,) float64, finite."""
    try:
        values = np.array([float(word) for word in words])
    except (TypeError, ValueError):
        raise SegvladError(f'{where}: {_shown(words)} are not {len(words)} numbers') from None
    if not np.isfinite(values).all() or abs(values).max() > _MAX_COORDINATE:
        raise SegvladError(f'{where}: {_shown(words)} are not all finite and below {_MAX_COORDINATE:g}')
    return values


def _shown(words: Sequence[str | None]) -> str:
    return repr(' '.join(map(str, words))[:80])


def parsed_pose(values: np.ndarray, where: str) -> Pose:
    """Of x y z and a quaternion x y z w."""
    try:
        return Pose(values[:3], unit_quaternion(values[3:]))
    except SegvladError as error:
        raise SegvladError(f'{where}: {error}') from None


def parsed_stamp(text: str, where: str, least: int = 1) -> int:
    """Nanoseconds, exactly, of seconds, of whole nanoseconds in 19 digits, or of whole microseconds in 16.

    :param least: nanoseconds; 0 is what ROS takes for an unknown stamp
    """
    text = text.strip()
    try:
        if '_' in text:  # which Python takes for 12_5 = 125
            raise ValueError
        nanoseconds = int(Decimal(text) * _unit_ns(text))
    except (InvalidOperation, ValueError, OverflowError):
        raise SegvladError(f'{where}: {text[:40]!r} is not a stamp in seconds') from None
    if not least <= nanoseconds < _MAX_STAMP_NS:
        raise SegvladError(f'{where}: the stamp {text[:40]} is not {"above" if least else "at least"} 0 and below '
                           f'{_MAX_STAMP_NS / 1e9:.0f} s: write seconds (1403636579.763), or whole microseconds in 16 '
                           'digits or nanoseconds in 19')
    return nanoseconds


def _unit_ns(stamp: str) -> int:
    """Nanoseconds to the unit of a stamp; zeros in front count where they fill it up to 19 digits."""
    if not stamp.isdecimal():
        return _SECOND_NS
    return _UNITS_NS.get(19 if len(stamp) == 19 else len(stamp.lstrip('0')), _SECOND_NS)
