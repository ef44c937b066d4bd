"""Map names of service callers: every DDS peer can call us, so a name never leaves the map directory."""
from __future__ import annotations

import datetime
from pathlib import Path

from segvlad_ros.types import SegvladError

SUFFIX = '.segvlad'


class MapDirectory:
    """Resolves map names inside one directory.

    :param directory: '~' is expanded; made when the first map is written
    """

    def __init__(self, directory: str) -> None:
        if not directory:
            raise SegvladError('map_directory is empty: set it to the folder that holds the maps')
        self.path = Path(directory).expanduser().absolute()

    def resolve(self, name: str) -> Path:
        """The file of a map name.

        :param name: relative to the directory, with or without '.segvlad'; no '..', no absolute path, and no
            link that leads out of the directory
        """
        if not name or name != name.strip() or '\0' in name or not name.isprintable():
            raise SegvladError(f'map name {name!r} is not usable: give a plain file name such as "office"')
        relative = Path(name)
        if relative.is_absolute() or '..' in relative.parts or name.startswith('~'):
            raise SegvladError(f'map name {name!r} leaves the map directory: give a name relative to {self.path}')
        if relative.suffix != SUFFIX:
            relative = relative.with_name(relative.name + SUFFIX)
        path = self.path / relative
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise SegvladError(f'map name {name!r} is a link that leaves the map directory {self.path}')
        return path

    def existing(self, name: str) -> Path:
        """The file of a map that must exist."""
        path = self.resolve(name)
        if not path.is_file():
            raise SegvladError(f'no map {path.name} in {path.parent}: check map and map_directory')
        return path

    def for_writing(self, name: str, overwrite: bool) -> Path:
        """The file of a map to be written; its folder is made.

        :param overwrite: whether an existing file may be replaced
        """
        path = self.resolve(name)
        if path.exists() and not overwrite:
            raise SegvladError(f'map {path.name} exists in {path.parent}: choose another name or allow overwriting')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def unused_name(self) -> str:
        """A name that no map has yet, made of the time of day (only the name depends on it)."""
        base = datetime.datetime.now().strftime('map_%Y%m%d_%H%M%S')
        name, number = base, 1
        while self.resolve(name).exists():
            number += 1
            name = f'{base}_{number}'
        return name
