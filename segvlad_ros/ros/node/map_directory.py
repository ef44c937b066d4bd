"""Maps by name: every DDS peer can call us, so a name never leaves the map directory."""
from __future__ import annotations

import datetime
import math
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.paths import from_home, nearest_folder
from segvlad_ros.mapping.map_file import reporting
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.pruning import PlacedKeyframe, check_frame, sessions_called
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.ros.output.conversions import from_keyframe_id
from segvlad_ros.text import one_line
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError

SUFFIX = '.segvlad'
MOST_BYTES = 200  # of a name: file systems take 255, temporary files beside a map have longer names


class MapDirectory:
    """Resolves map names inside one directory.

    :param directory: '~' is expanded; made when the first map is written
    """

    def __init__(self, directory: str) -> None:
        if not directory:
            raise SegvladError('map_directory is empty: set it to the folder that holds the maps')
        self.path = from_home(directory).absolute()
        nearest_folder(self.path, f'map_directory {self.path}')

    def resolve(self, name: str) -> Path:
        """The file of a map name.

        :param name: relative to the directory, with or without '.segvlad'; no '..', no absolute path, and no
            link that leads out of the directory
        """
        if not Path(name).name or name != name.strip() or not name.isprintable() or len(os.fsencode(name)) > MOST_BYTES:
            shown = one_line(repr(name), 100)
            raise SegvladError(f'map name {shown} is not usable: give a plain file name such as "office"')
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
        with reporting(path.parent):
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


def keyframes_to_remove(request: Any, place_map: PlaceMap) -> list[KeyframeId]:
    """The keyframes that fulfil every condition of a request.

    :param request: RemoveKeyframes.Request
    :raises SegvladError: it has no condition, a session or radius that is none, an id of several robots' sessions, or
        asks for a radius in another frame than the poses', or in the odometry of several sessions without naming one
    """
    if not (math.isfinite(request.radius) and request.radius >= 0):  # else it would be no condition at all
        raise SegvladError(f'radius is {request.radius} m: give one above 0, or 0 for none')
    if not (request.session_id or request.keyframes or request.radius > 0):
        raise SegvladError('give a session_id, keyframes or a radius: the whole map is not removed')
    found = place_map.ids()
    if request.session_id:
        session, = sessions_called([request.session_id], found)
        found = [identity for identity in found if identity.session == session]
    if request.keyframes:
        wanted = {from_keyframe_id(message).key for message in request.keyframes}
        found = [identity for identity in found if identity.key in wanted]
    if request.radius > 0:
        placed = [pose for identity in found for pose in _placed(place_map.keyframe(identity))]
        if not request.session_id:
            check_frame(request.center.header.frame_id, placed)
        found = _within(placed, request.center, request.radius)
    return found


def _placed(keyframe: Keyframe) -> Iterator[PlacedKeyframe]:
    """A keyframe where it was measured, and where a back-end has it."""
    if keyframe.pose is not None:
        yield PlacedKeyframe(keyframe.id, keyframe.pose)
    if keyframe.optimized is not None:
        yield PlacedKeyframe(keyframe.id, keyframe.optimized.map_from_base, optimized=True)


def _within(placed: Collection[PlacedKeyframe], center: Any, radius: float) -> list[KeyframeId]:
    """Those with a pose in the frame of the centre that lies within the radius, each once."""
    frame, position = center.header.frame_id, center.pose.position
    frames = {keyframe.pose.frame for keyframe in placed}
    if frames and frame not in frames:
        raise SegvladError(f'the poses are in {" and ".join(sorted(map(repr, frames)))}: give the center in one of '
                           'these frames')
    point = np.array([position.x, position.y, position.z])
    return list(dict.fromkeys(keyframe.id for keyframe in placed if keyframe.pose.frame == frame
                              and np.linalg.norm(keyframe.pose.translation - point) <= radius))


def oddities(place_map: PlaceMap, recognizer: Recognizer, sessions: Sequence[str], base_frame: str) -> Iterator[str]:
    """What is hardly meant of a map that was loaded: a line each.

    :param recognizer: that searches it
    :param sessions: that queries are limited to, none: all
    :param base_frame: of the robot, by its parameters
    """
    known = {session.session_id for session in place_map.sessions()}
    if sessions and not known & set(sessions):
        yield f'{place_map.path.stem} has no session of the parameter sessions; it has {", ".join(sorted(known))}'
    base = recognizer.keyframe(recognizer.entries[-1]).base_from_camera if recognizer.count else None
    if base is not None and base.frame != base_frame:
        yield f'poses in {place_map.path.stem} are of {base.frame}, not of {base_frame}'
