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
          ``stamp`` (seconds)
========  ==============================================================  ========================================

Poses are of the camera's optical frame (x right, y down, z ahead) in one fixed frame, metres; those of COLMAP have
its unit, which is a metre only of a model that was scaled. Whatever is wrong with a file is one line that names file
and line.
"""
from __future__ import annotations

import csv
import logging
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
            raise SegvladError(f'{poses}: {count} values in its first line are no pose: TUM has 8 a line, KITTI 12; '
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
    stamped = sorted((parsed_stamp(path.stem, f'{path}: an image of TUM is named after its stamp'), path)
                     for path in listed)
    for (before, first), (stamp, second) in zip(stamped, stamped[1:]):
        if stamp == before:
            raise SegvladError(f'{second}: has the stamp of {first}; leave one of them out')
    found = [PosedImage(path, pose, stamp) for stamp, path in stamped if (pose := history.at(stamp)) is not None]
    if not found:
        raise SegvladError(f'{poses}: has no pose within 0.5 s around any of the {len(listed)} images; the first image '
                           f'is of {stamped[0][0] / 1e9:.6f} s')
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
    named: dict[str, PosedImage] = {}
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
        _once(name, named, where)
        named[name] = PosedImage(_image(name, images, poses, where), pose, None, camera)
    return [named[name] for name in sorted(named, key=natural_key)]


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
            raise SegvladError(f'{where}: {word[:40]!r} is no number of {what}')
    camera_from_world = parsed_pose(np.array([*place, x, y, z, w]), where)
    return words[9].strip(), inverse(camera_from_world), int(words[8])


def _read_csv(images: Path, poses: Path) -> list[PosedImage]:
    texts = (line + '\n' for _, line in text_lines(poses))
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
            pose = parsed_pose(parsed_numbers([row[column] for column in CSV_COLUMNS[1:]], where), where)
            stamp = parsed_stamp(row['stamp'] or '', where) if 'stamp' in row else None
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
