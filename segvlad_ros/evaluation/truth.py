"""Ground truth: which map keyframes a query truly shows, from a CSV file or from poses.

Links to one image file are different images, and other spellings of a path are the same one.
"""
from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import distance, rotation_angle
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)

# One path of a list: a path with spaces stands in double quotes, a quote elsewhere is part of the name.
_LISTED = re.compile(r'"([^"]+)"(?!\S)|(\S+)')


@dataclass(frozen=True)
class PlaceTruth:
    """The truth about one query.

    :ivar true: references that show the query's place; empty if there is none
    :ivar ignored: references that count neither way
    """

    true: frozenset
    ignored: frozenset = frozenset()

    def in_entries(self, entries: Sequence[Path], usable: np.ndarray) -> PlaceTruth:
        """The same in entries of a map instead of images.

        :param entries: the image of each
        :param usable: (entries,) bool, those that are searched; the others are neither true nor ignored
        """
        return PlaceTruth(*(frozenset(entry for entry in np.flatnonzero(usable).tolist() if entries[entry] in images)
                            for images in (self.true, self.ignored)))


@dataclass(frozen=True)
class PoseLimits:
    """When two poses show the same place: within both true limits; beyond either ignore limit they do not.

    The same wall seen from 3 m further back is no other place: the ignore limits are those up to which geometry proves
    a match (``max_distance_m`` and ``max_angle_rad`` of a preset).

    :raises SegvladError: an ignore limit is below the true one, or one is not a length or angle
    """

    true_distance_m: float = 1.0
    true_angle_deg: float = 40.0
    ignored_distance_m: float = 3.5
    ignored_angle_deg: float = 60.0

    def __post_init__(self) -> None:
        for what, most in (('distance_m', float('inf')), ('angle_deg', 180.0)):
            true, ignored = getattr(self, f'true_{what}'), getattr(self, f'ignored_{what}')
            if not 0 < true < float('inf') or not true <= ignored <= most:
                raise SegvladError(f'true_{what} {true:g} and ignored_{what} {ignored:g}: the first must be above 0, '
                                   f'the second not below it{"" if most > 180 else " and at most 180"}')

    def by_distance(self) -> PoseLimits:
        """The same limits for positions: however the robot was turned."""
        return replace(self, true_angle_deg=180.0, ignored_angle_deg=180.0)


def _in_real_folder(path: Path) -> Path:
    return path.parent.resolve() / path.name


def as_given(path: Path) -> Path:
    """The path as it was given, absolute: what tells images apart.

    Links stay, for stores keep equal contents once and link to them. Only behind a ``..`` the folder is resolved:
    what lies above a linked folder depends on where the link leads.
    """
    return _in_real_folder(path) if '..' in path.parts else path.absolute()


# From the strictest to the most tolerant, so that the images of two linked folders are told apart where both are given,
# and a ground truth may still name them by the folder's, or the file's, own place.
_SPELLINGS = (as_given, _in_real_folder, Path.resolve)


class GivenImages:
    """A set of images, each once, and what a path means among them.

    :param paths: of image files
    :ivar paths: the images in order, as they were given, absolute
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(dict.fromkeys(map(as_given, paths)))
        self._spelled: list[defaultdict[Path, list[Path]]] = [defaultdict(list) for _ in _SPELLINGS]
        for spelled, spell in zip(self._spelled, _SPELLINGS):
            for path in self.paths:
                spelled[spell(path)].append(path)

    def meant(self, path: Path) -> list[Path]:
        """The images that a path means: the one given so, else those in the same folder, else those of the same file.

        :return: paths of :attr:`paths`; none if there is no such image among them
        """
        for spelled, spell in zip(self._spelled, _SPELLINGS):
            if found := spelled.get(spell(path)):
                return found
        return []

    def shared(self, others: GivenImages) -> list[Path]:
        """Images that are among the others, too, in whatever spelling; another link to the same file is not."""
        return [path for path in self.paths
                if path in others._spelled[0] or _in_real_folder(path) in others._spelled[1]]


def read_truth(path: str | Path) -> dict[Path, PlaceTruth]:
    """Read a ground-truth CSV file.

    Columns ``query`` and ``references`` (paths separated by spaces; one that contains spaces stands in double quotes,
    which CSV doubles), optionally ``ignore``; paths are relative to the folder of the file, other columns are skipped.

    :return: truth by query, all paths as they were given, absolute, in the order of the file
    :raises SegvladError: naming the line
    """
    path = Path(path)
    try:
        with path.open(encoding='utf-8-sig', newline='') as file:
            reader = csv.DictReader(file, strict=True)
            missing = {'query', 'references'} - set(reader.fieldnames or ())
            if missing:
                raise SegvladError(f'{path}: no column {" and ".join(sorted(missing))} in its first line; the columns '
                                   'are query,references and optionally ignore')
            truth: dict[Path, PlaceTruth] = {}
            for row in reader:
                query, place = _read_row(row, path.parent, f'{path} line {reader.line_num}')
                if query in truth:
                    raise SegvladError(f'{path} line {reader.line_num}: names {row["query"]} a second time')
                truth[query] = place
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise SegvladError(f'{path}: not a CSV file with the columns query,references ({error})') from None
    if not truth:
        raise SegvladError(f'{path}: names no query; add one line for each')
    return truth


def truth_of_pose(pose: Pose, map_poses: list[Pose | None], usable: np.ndarray,
                  limits: PoseLimits = PoseLimits()) -> PlaceTruth:
    """The truth about a query from poses in one frame.

    :param map_poses: of the map entries
    :param usable: (entries,) bool, those outside the exclusion window; the others are neither true nor ignored
    """
    true, ignored = set(), set()
    for entry in np.flatnonzero(usable).tolist():
        other = map_poses[entry]
        if other is None:
            ignored.add(entry)
            continue
        apart_m = distance(pose, other)
        if apart_m > limits.ignored_distance_m:
            continue
        angle_deg = np.degrees(rotation_angle(pose, other))
        if apart_m <= limits.true_distance_m and angle_deg <= limits.true_angle_deg:
            true.add(entry)
        elif angle_deg <= limits.ignored_angle_deg:
            ignored.add(entry)
    return PlaceTruth(frozenset(true), frozenset(ignored))


def truth_among(truth: dict[Path, PlaceTruth], references: GivenImages, queries: GivenImages) -> dict[Path, PlaceTruth]:
    """The truth in terms of the given images; what speaks of other images is left out, with a warning.

    :param truth: see :func:`read_truth`
    :raises SegvladError: two of its queries mean one image, or it speaks of none of the queries, or of the references
    """
    _check_speaks_of(truth, references, queries)
    among: dict[Path, PlaceTruth] = {}
    for named, place in truth.items():
        true = frozenset(path for name in place.true for path in references.meant(name))
        ignored = frozenset(path for name in place.ignored for path in references.meant(name))
        for query in queries.meant(named):
            if query in among:
                raise SegvladError(f'the ground truth names the query {query} a second time, as {named}')
            among[query] = PlaceTruth(true, ignored - true)
    return among


def _check_speaks_of(truth: dict[Path, PlaceTruth], references: GivenImages, queries: GivenImages) -> None:
    named = {'queries': truth.keys(), 'references': set().union(*(place.true for place in truth.values()))}
    absent = {}
    for (what, paths), given in zip(named.items(), (queries, references)):
        absent[what] = sum(not given.meant(path) for path in paths)
        if paths and absent[what] == len(paths):
            raise SegvladError(f"the ground truth names none of the {what}; its paths are relative to the CSV file's "
                               'folder')
    if any(absent.values()):
        logger.warning('%s of the ground truth are not among the given images', ' and '.join(
            f'{count} of {len(named[what])} {what}' for what, count in absent.items() if count))


def _read_row(row: dict[str, str], folder: Path, where: str) -> tuple[Path, PlaceTruth]:
    if None in row.values() or None in row:
        raise SegvladError(f'{where}: has not as many fields as the first line; quote fields that contain commas')
    query = row['query'].strip()
    if not query:
        raise SegvladError(f'{where}: the query is empty')
    references = frozenset(_listed(row['references'], folder, where))
    ignored = frozenset(_listed(row.get('ignore', ''), folder, where))
    return _existing(query, folder, where), PlaceTruth(references, ignored - references)


def _listed(names: str, folder: Path, where: str) -> list[Path]:
    """Paths of a field that holds several."""
    return [_existing(quoted or plain, folder, where, '; a path with spaces stands in double quotes, and CSV doubles '
                      'them: """a path/1.jpg"""') for quoted, plain in _LISTED.findall(names)]


def _existing(name: str, folder: Path, where: str, hint: str = '') -> Path:
    try:
        path = folder / name
        if path.is_file():
            return as_given(path)
    except (OSError, ValueError):  # no file system takes it for a path
        pass
    raise SegvladError(f"{where}: names {name[:80]!r}, which is no file; paths are relative to the CSV file's folder"
                       f'{hint}')
