"""Which references show a query's place, as each of the paper's data sets says it (segvlad-spec.md 10.4).

A rule takes the folder of the data set, its references and its queries in natural order of their names, and gives for
every query the numbers of the references that are true. Queries without any are not evaluated.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.truth import GivenImages, read_truth, truth_among
from segvlad_ros.io.images import natural_key
from segvlad_ros.io.unpickling import CONTAINERS, NUMPY, load_npy, load_pickle
from segvlad_ros.types import SegvladError

Rule = Callable[[Path, Sequence[Path], Sequence[Path]], list[np.ndarray]]

MALL_RADIUS_M, INSIDE_OUT_RADIUS_M, UTM_RADIUS_M = 10.0, 50.0, 25.0
NEIGHBOURING_FRAMES = 15


def camera_centres(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """baidu: camera centres in ``training_gt`` and ``query_gt`` within 10 m, whichever way they look."""
    return _within(_centres(folder / 'training_gt', references), _centres(folder / 'query_gt', queries), MALL_RADIUS_M)


def neighbouring_frames(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """17places: both runs took the same way at the same pace; numbers beyond the last reference stay, as published."""
    return [np.arange(number - NEIGHBOURING_FRAMES, number + NEIGHBOURING_FRAMES + 1) for number in range(len(queries))]


def same_number(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """AmsterTime: old and new photograph of one scene have one number."""
    if len(references) != len(queries):
        raise SegvladError(f'{folder}: {len(references)} references and {len(queries)} queries, where each query has '
                           'its one reference')
    return [np.array([number]) for number in range(len(queries))]


def utm_names(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """SFXL, and folders of one's own: UTM coordinates in the names, ``@east@north@...``, within 25 m."""
    return _within(_utm(references), _utm(queries), UTM_RADIUS_M)


def pittsburgh(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """pitts: UTM coordinates in the names that ``database.npy`` and ``queries.npy`` list, within 25 m."""
    beside = folder / 'pitts30k' / 'images' / 'test'
    listed = [_in_order_of(images, _names(beside / file), beside / file)
              for file, images in (('database.npy', references), ('queries.npy', queries))]
    return _within(*(_utm([Path(name) for name in names]) for names in listed), UTM_RADIUS_M)


def inside_out(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """InsideOut: metric coordinates in two pickles, within 50 m."""
    places = []
    for file, images in (('gps_db_correct.pkl', references), ('gps_q_new.pkl', queries)):
        table = np.asarray(load_pickle(_there(folder / file), NUMPY | CONTAINERS), float)
        if table.shape != (len(images), 2):
            raise SegvladError(f'{folder / file}: a table of shape {table.shape}, {len(images)} images need '
                               f'({len(images)}, 2)')
        places.append(table)
    return _within(*places, INSIDE_OUT_RADIUS_M)


def vpair(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """VPAir: the second column of ``vpair_gt.npy`` lists the references of each query."""
    path = folder / 'vpair_gt.npy'
    rows = load_npy(_there(path))
    if len(rows) != len(queries):
        raise SegvladError(f'{path}: {len(rows)} rows for {len(queries)} queries')
    return [_numbers(row[1], len(references), path) for row in rows]


def mapillary(city: str, folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """mslsSF, mslsCPH: the lists of the MSLS validation set as MixVPR and SALAD publish them, of one city.

    :param city: folder of the city in the listed names
    """
    beside = next((place for place in (folder, folder.parent / 'msls_npy_files')
                   if (place / 'msls_val_dbImages.npy').is_file()), folder)
    database, asked, chosen, true = (load_npy(_there(beside / f'msls_val_{what}.npy'))
                                     for what in ('dbImages', 'qImages', 'qIdx', 'pIdx'))
    known = [{path.name: number for number, path in enumerate(images)} for images in (references, queries)]
    found: list[np.ndarray | None] = [None] * len(queries)
    for row, name in enumerate(asked[chosen]):
        number = known[1].get(Path(str(name)).name)
        if city in str(name).split('/') and number is not None:
            names = (Path(str(database[at])).name for at in _numbers(true[row], len(database), beside))
            found[number] = np.array([known[0][name] for name in names if name in known[0]], np.int64)
    missing = next((path for path, row in zip(queries, found) if row is None), None)
    if missing is not None:
        raise SegvladError(f'{missing}: msls_val_qImages.npy does not list it for {city}')
    return found


def own_folder(folder: Path, references: Sequence[Path], queries: Sequence[Path]) -> list[np.ndarray]:
    """A folder of one's own: ``truth.csv`` with the columns query and references, else UTM coordinates in the names.

    The paper's recall knows right and wrong alone: a table that ignores some of the references is refused.
    """
    path = folder / 'truth.csv'
    if not path.is_file():
        return utm_names(folder, references, queries)
    given, asked = GivenImages(references), GivenImages(queries)
    truth = truth_among(read_truth(path), given, asked)
    if ignoring := sum(bool(place.ignored) for place in truth.values()):
        raise SegvladError(f"{path}: ignores references of {ignoring} of {len(truth)} queries, and the paper's recall "
                           'would call them wrong: leave the column out, or take "segvlad evaluate images"')
    numbers = {image: number for number, image in enumerate(given.paths)}
    return [np.array(sorted(numbers[image] for image in truth[query].true) if query in truth else [], np.int64)
            for query in asked.paths]


def _within(references: np.ndarray, queries: np.ndarray, radius: float) -> list[np.ndarray]:
    """The numbers of the references within a radius of each query, ascending."""
    from scipy.spatial import cKDTree

    found = cKDTree(references).query_ball_point(queries, radius, return_sorted=True)
    return [np.array(numbers, np.int64) for numbers in found]


def _centres(folder: Path, images: Sequence[Path]) -> np.ndarray:
    """(n, 3) metres, from the last line but one of each ``.camera`` file."""
    try:
        files = sorted(folder.glob('*.camera'), key=lambda path: natural_key(path.name))
        if len(files) != len(images):
            raise SegvladError(f'{folder}: {len(files)} .camera files for {len(images)} images')
        return np.array([_centre(path) for path in files])
    except OSError as error:
        raise SegvladError(f'{folder}: cannot be read ({error.strerror})') from None


def _centre(path: Path) -> list[float]:
    lines = path.read_text(errors='replace').splitlines()
    try:
        centre, size = ([float(value) for value in line.split()] for line in lines[-2:])
        if len(centre) != 3 or len(size) != 2 or not np.isfinite(centre).all() or any(
                side < 1 or side % 1 for side in size):  # a file that was cut off ends in a matrix
            raise ValueError
    except ValueError:
        raise SegvladError(f'{path}: not a .camera file, whose last lines are the camera centre "x y z" and the image '
                           'size') from None
    return centre


def _utm(images: Sequence[Path]) -> np.ndarray:
    """(n, 2) metres east and north, from the names."""
    return np.array([_east_north(path) for path in images])


def _east_north(path: Path) -> tuple[float, float]:
    try:
        east, north = (float(part) for part in path.name.split('@')[1:3])
        if not np.isfinite([east, north]).all():
            raise ValueError
    except ValueError:
        raise SegvladError(f'{path}: the name holds no UTM coordinates "@east@north@"') from None
    return east, north


def _names(path: Path) -> list[str]:
    return [str(name) for name in load_npy(_there(path)).ravel()]


def _in_order_of(images: Sequence[Path], names: Sequence[str], path: Path) -> list[str]:
    """The listed names of some images, in the images' order."""
    listed = {Path(name).name: name for name in names}
    missing = next((image for image in images if image.name not in listed), None)
    if missing is not None:
        raise SegvladError(f'{path}: does not list {missing.name}')
    return [listed[image.name] for image in images]


def _numbers(values: object, count: int, path: Path) -> np.ndarray:
    try:
        given = np.atleast_1d(np.asarray(values))
        numbers = given.astype(np.int64)
        if given.ndim > 1 or (numbers != given).any():
            raise ValueError
    except (TypeError, ValueError):
        raise SegvladError(f'{path}: holds {values!r:.60} where numbers of references belong') from None
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if len(wrong):
        raise SegvladError(f'{path}: names reference {wrong[0]}, there are {count}')
    return numbers


def _there(path: Path) -> Path:
    if not path.is_file():
        raise SegvladError(f'{path}: not there; it says which references are true')
    return path


san_francisco, copenhagen = partial(mapillary, 'sf'), partial(mapillary, 'cph')
