"""Images with known poses: which image was taken where, as TUM, KITTI and COLMAP write it, and as CSV.

========  ==============================================================  ========================================
format    a line                                                          its image
========  ==============================================================  ========================================
TUM       ``stamp tx ty tz qx qy qz qw``, seconds                         named after its stamp, in seconds (or
                                                                          nanoseconds, as EuRoC does); interpolated
KITTI     12 numbers, the first three rows of a matrix                    the one of the same number in natural
                                                                          order; stamps are in ``times.txt`` beside
                                                                          the folder of images, if it is there
COLMAP    ``images.txt``: two lines an image, the first one               named in the file
          ``id qw qx qy qz tx ty tz camera name``, camera_from_world
CSV       columns ``image,tx,ty,tz,qx,qy,qz,qw`` and optionally           named in the file
          ``stamp`` (seconds)
========  ==============================================================  ========================================

Poses are of the camera's optical frame (x right, y down, z ahead) in one fixed frame, metres; those of COLMAP have
its unit, which is a metre only of a model that was scaled. Whatever is wrong with a file is one line that names file
and line.
"""
from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import PoseHistory, from_matrix, inverse, unit_quaternion
from segvlad_ros.io.images import list_images, natural_key
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)

CSV_COLUMNS = ('image', 'tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')
# A pose further away than this from its origin, metres, is a damaged number or a geodetic one.
_MAX_COORDINATE = 1e8
# A whole number of so many digits is a stamp in nanoseconds, one of fewer in seconds.
_NANOSECOND_DIGITS = 16
_NOT_ORTHOGONAL = 1e-2
_MAX_STAMP_NS = 2**62


@dataclass(frozen=True)
class PosedImage:
    """One image and where it was taken.

    :ivar stamp_ns: None where nothing tells
    :ivar pose: of the camera's optical frame, None where it is not known; ``frame`` is ''
    :ivar camera: number of its camera, of COLMAP, else None
    """

    path: Path
    pose: Pose | None = None
    stamp_ns: int | None = None
    camera: int | None = None


def read_posed_images(images: Path, poses: Path) -> list[PosedImage]:
    """The images with a pose, in the order in which they were taken, as far as that is known.

    The format is told by the file: COLMAP's is called ``images.txt``, a CSV file ``*.csv``, KITTI has 12 numbers a line
    and TUM 8.

    :param images: folder of images, or text file that lists them; those that a file names are in this folder, or beside
        the file
    :raises SegvladError: naming file and line
    """
    if poses.name == 'images.txt':
        found = _read_colmap(images, poses)
    elif poses.suffix.lower() == '.csv':
        found = _read_csv(images, poses)
    else:
        columns = next((len(line.split()) for _, line in _data(poses)), 0)
        readers = {8: _read_tum, 12: _read_kitti}
        if columns not in readers:
            raise SegvladError(f'{poses}: {columns} values in its first line are no pose: TUM has 8 a line, KITTI 12; '
                               'COLMAP is read from images.txt, and CSV from a file *.csv')
        found = readers[columns](images, poses)
    if not found:
        raise SegvladError(f'{poses}: names no image')
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number, from 1."""
    try:
        with path.open(encoding='utf-8', newline=None) as file:
            yield from enumerate((line.rstrip('\n') for line in file), 1)
    except UnicodeDecodeError:
        raise SegvladError(f'{path}: is no text file') from None
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None


def _data(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither empty nor a comment."""
    return ((number, line) for number, line in _lines(path) if line.strip() and not line.lstrip().startswith('#'))


def _numbers(words: Sequence[str | None], where: str) -> np.ndarray:
    """(n,) float64, finite."""
    try:
        values = np.array([float(word) for word in words])
    except (TypeError, ValueError):
        raise SegvladError(f'{where}: {_shown(words)} are no {len(words)} numbers') from None
    if not np.isfinite(values).all() or abs(values).max() > _MAX_COORDINATE:
        raise SegvladError(f'{where}: {_shown(words)} are not all finite and below {_MAX_COORDINATE:g}')
    return values


def _shown(words: Sequence[str | None]) -> str:
    return repr(' '.join(map(str, words))[:80])


def _pose(values: np.ndarray, where: str) -> Pose:
    """Of x y z and a quaternion x y z w."""
    try:
        return Pose(values[:3], unit_quaternion(values[3:]))
    except SegvladError as error:
        raise SegvladError(f'{where}: {error}') from None


def _stamp(text: str, where: str) -> int:
    """Nanoseconds of seconds, exactly, or of a whole number of nanoseconds."""
    text = text.strip()
    try:
        seconds = Decimal(text)
        nanoseconds = int(seconds if text.isdecimal() and len(text) >= _NANOSECOND_DIGITS else seconds * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        raise SegvladError(f'{where}: {text[:40]!r} is no stamp in seconds') from None
    if not 0 < nanoseconds < _MAX_STAMP_NS:
        raise SegvladError(f'{where}: the stamp {text[:40]} is not above 0 and below {_MAX_STAMP_NS / 1e9:.0f} s')
    return nanoseconds


def _read_tum(images: Path, poses: Path) -> list[PosedImage]:
    history = PoseHistory()
    before = 0
    for number, line in _data(poses):
        where, words = f'{poses}:{number}', line.split()
        if len(words) != 8:
            raise SegvladError(f'{where}: {len(words)} values, TUM has 8: stamp tx ty tz qx qy qz qw')
        stamp = _stamp(words[0], where)
        if stamp <= before:
            raise SegvladError(f'{where}: the stamp {words[0]} is not later than the one before; sort the lines')
        before = stamp
        history.add(stamp, _pose(_numbers(words[1:], where), where))
    listed = list_images(images)
    stamped = sorted((_stamp(path.stem, f'{path}: an image of TUM is named after its stamp'), path) for path in listed)
    found = [PosedImage(path, pose, stamp) for stamp, path in stamped if (pose := history.at(stamp)) is not None]
    if not found:
        raise SegvladError(f'{poses}: has no pose within 0.5 s around any of the {len(listed)} images; the first image '
                           f'is of {stamped[0][0] / 1e9:.6f} s')
    if len(found) < len(listed):
        logger.warning('%s: has no pose for %d of %d images, they are left out', poses, len(listed) - len(found),
                       len(listed))
    return found


def _read_kitti(images: Path, poses: Path) -> list[PosedImage]:
    read = []
    for number, line in _data(poses):
        where, words = f'{poses}:{number}', line.split()
        if len(words) != 12:
            raise SegvladError(f'{where}: {len(words)} values, KITTI has 12: the first three rows of a matrix')
        matrix = np.vstack([_numbers(words, where).reshape(3, 4), [0, 0, 0, 1]])
        rotation = matrix[:3, :3]
        if abs(rotation @ rotation.T - np.eye(3)).max() > _NOT_ORTHOGONAL or np.linalg.det(rotation) < 0:
            raise SegvladError(f'{where}: its 3 x 3 matrix is no rotation')
        read.append(from_matrix(matrix))
    listed = list_images(images)
    if len(listed) != len(read):
        raise SegvladError(f'{poses}: has {len(read)} poses, but {images} has {len(listed)} images; KITTI has one each')
    times = images.absolute().parent / 'times.txt'
    stamps = _read_times(times, len(read)) if images.is_dir() and times.is_file() else [None] * len(read)
    return [PosedImage(*values) for values in zip(listed, read, stamps)]


def _read_times(path: Path, count: int) -> list[int]:
    """KITTI begins at 0 s, which ROS takes for an unknown stamp: a second is added to all."""
    stamps: list[int] = []
    for number, line in _data(path):
        where = f'{path}:{number}'
        seconds, = _numbers([line], where)
        stamps.append(round((seconds + 1) * 1e9))
        if len(stamps) > 1 and stamps[-1] <= stamps[-2]:
            raise SegvladError(f'{where}: the stamp {line.strip()[:40]} is not later than the one before')
    if len(stamps) != count:
        raise SegvladError(f'{path}: has {len(stamps)} stamps for {count} poses')
    return stamps


def _read_colmap(images: Path, poses: Path) -> list[PosedImage]:
    named: dict[str, PosedImage] = {}
    lines = _lines(poses)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        where, words = f'{poses}:{number}', line.split(maxsplit=9)
        if len(words) != 10:
            raise SegvladError(f'{where}: {len(words)} values, COLMAP has 10: id qw qx qy qz tx ty tz camera name')
        w, x, y, z, *place = _numbers(words[1:8], where)
        if not words[8].isdecimal():
            raise SegvladError(f'{where}: {words[8][:40]!r} is no number of a camera')
        camera_from_world = _pose(np.array([*place, x, y, z, w]), where)
        name = words[9].strip()
        _once(name, named, where)
        named[name] = PosedImage(_image(name, images, poses, where), inverse(camera_from_world), None, int(words[8]))
        next(lines, None)  # its points, of which there may be none
    return [named[name] for name in sorted(named, key=natural_key)]


def _read_csv(images: Path, poses: Path) -> list[PosedImage]:
    texts = (line + '\n' for _, line in _lines(poses))
    named: dict[str, PosedImage] = {}
    rows = csv.DictReader(texts, skipinitialspace=True)
    try:
        missing = [name for name in CSV_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise SegvladError(f'{poses}:1: no column {missing[0]}; the columns are {",".join(CSV_COLUMNS)} and '
                               'optionally stamp')
        for row in rows:
            where, name = f'{poses}:{rows.line_num}', (row['image'] or '').strip()
            if not name or None in row:
                raise SegvladError(f'{where}: not one value for each of the {len(rows.fieldnames)} columns')
            pose = _pose(_numbers([row[column] for column in CSV_COLUMNS[1:]], where), where)
            stamp = _stamp(row['stamp'] or '', where) if 'stamp' in row else None
            _once(name, named, where)
            named[name] = PosedImage(_image(name, images, poses, where), pose, stamp)
    except csv.Error as error:
        raise SegvladError(f'{poses}:{rows.line_num}: {error}') from None
    found = list(named.values())
    return sorted(found, key=lambda image: image.stamp_ns) if found and found[0].stamp_ns is not None else found


def _once(name: str, named: dict[str, PosedImage], where: str) -> None:
    if name in named:
        raise SegvladError(f'{where}: names the image {name[:80]} a second time')


def _image(name: str, images: Path, poses: Path, where: str) -> Path:
    folder = images if images.is_dir() else images.parent
    for path in (folder / name, poses.parent / name):
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # no name for a file
            break
    raise SegvladError(f'{where}: there is no image {name[:80]!r} in {folder} or {poses.parent}')
