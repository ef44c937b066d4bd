"""GSV-Cities (Ali-bey et al., 2022): images of many cities by place, as its tables and folders lay them out.

``Dataframes/CITY.csv`` has a row an image, whose columns make up the name of its file in ``Images/CITY``.
"""
from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.io.images import natural_key
from segvlad_ros.types import SegvladError

COLUMNS = ('place_id', 'year', 'month', 'northdeg', 'city_id', 'lat', 'lon', 'panoid')


@dataclass(frozen=True)
class StreetPlace:
    """One place.

    :ivar folder: of its city's images
    :ivar images: names of the files that show it
    """

    folder: Path
    images: tuple[str, ...]


def street_places(root: Path, cities: Sequence[str] = (), least: int = 4) -> list[StreetPlace]:
    """The places of some cities, or of all that have a table, city by city.

    :param cities: names; one that comes again counts once
    :param root: folder with ``Dataframes`` and ``Images``
    :param least: places with fewer images are left out
    :raises SegvladError: another layout: what was expected where
    """
    tables = sorted((root / 'Dataframes').glob('*.csv'), key=lambda path: natural_key(path.name))
    if not tables:
        raise SegvladError(f'{root / "Dataframes"}: holds no tables CITY.csv; GSV-Cities has Dataframes/CITY.csv and '
                           'Images/CITY/*.jpg (docs/reproduce.md)')
    by_city = {path.stem: path for path in tables}
    if unknown := [city for city in cities if city not in by_city]:
        raise SegvladError(f'{root / "Dataframes"}: no table {unknown[0]}.csv; there are {", ".join(by_city)}')
    places = [place for city in dict.fromkeys(cities) or by_city for place in _of_city(root, by_city[city]) if
              len(place.images) >= least]
    if len(places) < 2:
        raise SegvladError(f'{root}: {len(places)} places have {least} images or more; 2 are needed to tell apart')
    return places


def _of_city(root: Path, table: Path) -> list[StreetPlace]:
    folder, named = root / 'Images' / table.stem, defaultdict(list)
    try:
        there = set(os.listdir(folder))
        with table.open(newline='', encoding='utf-8-sig') as file:
            rows = csv.DictReader(file)
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
                raise SegvladError(f'{table}: has no column {missing[0]}; GSV-Cities has {", ".join(COLUMNS)}')
            for row in rows:
                named[row['place_id']].append(_file_name(row, f'{table}, line {rows.line_num}'))
    except OSError as error:
        raise SegvladError(f'{error.filename}: cannot be read ({error.strerror}); GSV-Cities has Dataframes/CITY.csv '
                           'and Images/CITY/*.jpg') from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SegvladError(f'{table}: is not a table of text ({error})') from None
    if lost := [name for names in named.values() for name in names if name not in there]:
        raise SegvladError(f'{folder}: does not hold {lost[0]} and {len(lost) - 1} other images that {table.name} '
                           'names; get them, or leave their rows out')
    return [StreetPlace(folder, tuple(names)) for names in named.values()]


def _file_name(row: dict[str, str], where: str) -> str:
    """As GSV-Cities names its files: whole numbers filled up with zeros, coordinates as a float is written."""
    try:
        place, year, month, north = (int(row[column]) for column in ('place_id', 'year', 'month', 'northdeg'))
        lat, lon = float(row['lat']), float(row['lon'])
        return (f'{row["city_id"]}_{place:07}_{year:04}_{month:02}_{north:03}_{lat}_{lon}_{row["panoid"]}.jpg')
    except (TypeError, ValueError) as error:
        raise SegvladError(f'{where}: is not a row of GSV-Cities ({error})') from None
