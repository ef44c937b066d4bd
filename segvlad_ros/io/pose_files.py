"""Images with known poses: which image was taken where, as TUM, KITTI and COLMAP write it, and as CSV.

========  ==============================================================  ========================================
format    a line                                                          its image
========  ==============================================================  ========================================
TUM       ``stamp tx ty tz qx qy qz qw``, seconds                         named after its stamp, in seconds (or
                                                                          nanoseconds, as EuRoC does, or
                                                                          microseconds); interpolated
KITTI     12 numbers, the first three rows of a matrix                    the one of the same number in natural
                                                                          order; stamps are in ``times.txt`` beside
                                                                          the folder of images, if it is there
COLMAP    ``images.txt``: two lines an image, the first one               named in the file
          ``id qw qx qy qz tx ty tz camera name``, camera_from_world;
          the second one, of its points, may be missing
CSV       columns ``image,tx,ty,tz,qx,qy,qz,qw`` and optionally           named in the file
          ``stamp`` (seconds), also called ``timestamp`` or ``time``
========  ==============================================================  ========================================

Poses are of the camera's optical frame (x right, y down, z ahead) in one fixed frame, metres; those of COLMAP have
its unit, which is a metre only of a model that was scaled. Whatever is wrong with a file is one line that names file
and line.
"""
from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import PoseHistory, inverse
from segvlad_ros.io.images import list_images, natural_key
from segvlad_ros.io.trajectory_files import (
    KITTI_COLUMNS,
    TUM_COLUMNS,
    columns,
    parsed_numbers,
    parsed_pose,
    parsed_stamp,
    read_kitti,
    read_times,
    read_tum,
    text_lines,
)
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)

CSV_COLUMNS = ('image', 'tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')
_STAMP_COLUMNS = ('stamp', 'timestamp', 'time')
_SECOND_NS = 10**9


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


class _NamedImages:
    """Images that a file names: each once, however its path is written, and no two of one stamp."""

    def __init__(self) -> None:
        self._images: dict[Path, PosedImage] = {}
        self._of_stamp: dict[int, PosedImage] = {}

    def add(self, image: PosedImage, where: str) -> None:
        path = image.path.parent.resolve() / image.path.name
        if path in self._images:
            raise SegvladError(f'{where}: names the image {image.path.name[:80]} a second time')
        self._images[path] = image
        if image.stamp_ns is None:
            return
        other = self._of_stamp.setdefault(image.stamp_ns, image)
        if other is not image:
            raise SegvladError(f'{where}: has the stamp of {other.path}; leave one of them out')

    def in_order(self) -> list[PosedImage]:
        """By their stamps, those without as they were named."""
        return sorted(self._images.values(), key=lambda image: image.stamp_ns or 0)


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
        readers, count = {TUM_COLUMNS: _read_tum, KITTI_COLUMNS: _read_kitti}, columns(poses)
        if count not in readers:
            raise SegvladError(f'{poses}: {count} values in its first line are not a pose: TUM has 8 a line, KITTI 12; '
                               'COLMAP is read from images.txt, and CSV from a file *.csv')
        found = readers[count](images, poses)
    if not found:
        raise SegvladError(f'{poses}: names no image')
    return found


def _read_tum(images: Path, poses: Path) -> list[PosedImage]:
    history = PoseHistory()
    for stamp, pose in read_tum(poses):
        history.add(stamp, pose)
    listed = list_images(images)
    named = _NamedImages()
    for path in listed:
        stamp = parsed_stamp(path.stem, f'{path}: an image of TUM is named after its stamp')
        named.add(PosedImage(path, history.at(stamp), stamp), str(path))
    stamped = named.in_order()
    found = [image for image in stamped if image.pose is not None]
    if not found:
        raise SegvladError(f'{poses}: has no pose within 0.5 s around any of the {len(listed)} images; the first image '
                           f'is of {stamped[0].stamp_ns / 1e9:.6f} s')
    if len(found) < len(listed):
        logger.warning('%s: has no pose for %d of %d images, they are left out', poses, len(listed) - len(found),
                       len(listed))
    return found


def _read_kitti(images: Path, poses: Path) -> list[PosedImage]:
    read, listed = read_kitti(poses), list_images(images)
    if len(listed) != len(read):
        raise SegvladError(f'{poses}: has {len(read)} poses, but {images} has {len(listed)} images; KITTI has one each')
    times = images.absolute().parent / 'times.txt'
    known = images.is_dir() and times.is_file()
    # KITTI begins at 0 s, which ROS takes for an unknown stamp: a second is added to all
    stamps = [stamp + _SECOND_NS for stamp in read_times(times, len(read))] if known else [None] * len(read)
    return [PosedImage(*values) for values in zip(listed, read, stamps)]


def _read_colmap(images: Path, poses: Path) -> list[PosedImage]:
    named = _NamedImages()
    are_points_due = False
    for number, line in text_lines(poses):
        if line.lstrip().startswith('#'):
            continue
        # some tools leave the lines of points out, or all that are empty: then the next image comes in their place
        if not line.strip() or are_points_due and _are_points(line.split()):
            are_points_due = False
            continue
        are_points_due, where = True, f'{poses}:{number}'
        name, pose, camera = _colmap_image(line, where)
        named.add(PosedImage(_image(name, images, poses, where), pose, None, camera), where)
    return sorted(named.in_order(), key=lambda image: natural_key(str(image.path)))


def _are_points(words: list[str]) -> bool:
    """Whether these are the points of an image, x y id each; an image's own line has a name, too."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(words) % 3 == 0 and all(map(float.is_integer, numbers[2::3]))


def _colmap_image(line: str, where: str) -> tuple[str, Pose, int]:
    """Name, camera's pose, and number of the camera."""
    words = line.split(maxsplit=9)
    if len(words) != 10:
        raise SegvladError(f'{where}: {len(words)} values, COLMAP has 10 of an image (id qw qx qy qz tx ty tz camera '
                           'name), and three of each of its points in the line below')
    w, x, y, z, *place = parsed_numbers(words[1:8], where)
    for word, what in ((words[0], 'an image'), (words[8], 'a camera')):
        if not word.isdecimal():
            raise SegvladError(f'{where}: {word[:40]!r} is not a number of {what}')
    camera_from_world = parsed_pose(np.array([*place, x, y, z, w]), where)
    return words[9].strip(), inverse(camera_from_world), int(words[8])


def _read_csv(images: Path, poses: Path) -> list[PosedImage]:
    texts = (line + '\n' for _, line in text_lines(poses))
    named = _NamedImages()
    rows = csv.DictReader(texts, skipinitialspace=True)
    try:
        rows.fieldnames = _known_columns(rows.fieldnames or (), poses)
        for row in rows:
            where, name = f'{poses}:{rows.line_num}', (row['image'] or '').strip()
            if not name or None in row:
                raise SegvladError(f'{where}: not one value for each of the {len(rows.fieldnames)} columns')
            pose = parsed_pose(parsed_numbers([row[column] for column in CSV_COLUMNS[1:]], where), where)
            stamp = parsed_stamp(row['stamp'] or '', where) if 'stamp' in row else None
            named.add(PosedImage(_image(name, images, poses, where), pose, stamp), where)
    except csv.Error as error:
        raise SegvladError(f'{poses}:{rows.line_num}: {error}') from None
    return named.in_order()


def _known_columns(names: Sequence[str], poses: Path) -> list[str]:
    """The columns of a CSV file by the names that they have here."""
    names = [name.lstrip('#').strip().lower() for name in names]
    names = ['stamp' if name in _STAMP_COLUMNS else name for name in names]
    missing = [name for name in CSV_COLUMNS if name not in names]
    if missing:
        raise SegvladError(f'{poses}:1: no column {missing[0]}; the columns are {",".join(CSV_COLUMNS)} and '
                           'optionally stamp')
    twice = next((name for name in (*CSV_COLUMNS, 'stamp') if names.count(name) > 1), None)
    if twice:
        raise SegvladError(f'{poses}:1: two columns are called '
                           f'{" or ".join(_STAMP_COLUMNS) if twice == "stamp" else twice}; keep one')
    unread = [name for name in names if name and name not in (*CSV_COLUMNS, 'stamp')]
    stamps = [name for name in unread if 'stamp' in name]
    if stamps and 'stamp' not in names:
        raise SegvladError(f'{poses}:1: the column {stamps[0][:40]!r} is not known: call it stamp, if it holds seconds '
                           '(or nanoseconds in 19 digits)')
    if unread:
        logger.warning('%s: its columns %s are not read', poses, ', '.join(unread))
    return names


def _image(name: str, images: Path, poses: Path, where: str) -> Path:
    folder = images if images.is_dir() else images.parent
    for path in (folder / name, poses.parent / name):
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # no name for a file
            break
    raise SegvladError(f'{where}: there is no image {name[:80]!r} in {folder} or {poses.parent}')
