"""A map file as the outbox of its robot: what the database has not acknowledged yet is sent, and sent again.

The map stays the truth. The last acknowledged keyframe is noted in a small file beside it; should that be lost, all
is sent again, and each segment replaces itself. What the map has lost (keyframes that were removed) or the database has
(a disk of its own that failed) shows in the number of keyframes, and is set right.
"""
from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from segvlad_ros.fleet.place_database import PlaceDatabase
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import KeyframeId, KeyframeKey, SegvladError, SessionKey

logger = logging.getLogger(__name__)

COMPARE_S = 600.0
"""The numbers of keyframes are compared after each failure, and again after this time."""
_NOTED = 16  # keyframes after which the position is noted; what a kill loses of it is sent again


@dataclass(frozen=True)
class Position:
    """How far a map has been sent.

    :ivar map_id: of the map
    :ivar destination: where to: database, site
    :ivar row: of the last acknowledged keyframe, 0 if none
    :ivar keyframe: its identity
    :ivar keyframes: how many the database holds
    """

    map_id: str
    destination: str
    row: int = 0
    keyframe: tuple[int, str, int] | None = None
    keyframes: int = 0


def position_file(path: Path) -> Path:
    """Where the position of a map is noted."""
    return path.with_name(f'{path.name}.fleet')


class Outbox:
    """Brings a database to where a map is. Not thread-safe; the map may be written meanwhile.

    :param destination: names the database and site; another one begins anew
    """

    def __init__(self, place_map: PlaceMap, destination: str) -> None:
        self._map = place_map
        self._position = self._load(Position(place_map.map_id, destination))
        self._compare_at_s = 0.0

    @property
    def sent(self) -> int:
        """Keyframes that the database is known to hold."""
        return self._position.keyframes

    @property
    def waiting(self) -> int:
        """Keyframes of the map that it is not known to hold."""
        return max(0, self._map.count - self._position.keyframes)

    def sync(self, database: PlaceDatabase) -> Iterator[KeyframeKey]:
        """Send what waits, one keyframe with each step; who does not go on ends it there.

        :return: the keyframes as they are acknowledged
        :raises SegvladError: the database is not there, or the map cannot be read; what was sent stays acknowledged
        """
        noted = self._position
        try:
            for row, keyframe in self._map.stored_after(self._position.row):
                database.upsert(keyframe)
                key = keyframe.id.key
                self._position = replace(self._position, row=row, keyframe=key, keyframes=self._position.keyframes + 1)
                if self._position.keyframes - noted.keyframes >= _NOTED:
                    noted = self._note()
                yield key
            if time.monotonic() >= self._compare_at_s or self._map.count != self._position.keyframes:
                yield from self._compare(database)
                self._compare_at_s = time.monotonic() + COMPARE_S
        except Exception:
            self._compare_at_s = 0.0
            raise
        finally:
            if self._position != noted:
                self._note()

    def _compare(self, database: PlaceDatabase) -> Iterator[KeyframeKey]:
        """Make the database hold what the map holds, no more and no less."""
        sessions = [SessionKey(session.robot_id, session.session_id) for session in self._map.sessions()]
        count, held = database.count(sessions), self._held()
        if count != len(held):
            there = database.keyframes(sessions)
            held = self._held()  # after the list was made: what is in both was in the map in any case
            database.delete(there - held.keys())
            for key in sorted(held.keys() - there):
                database.upsert(self._map.keyframe(held[key]))
                yield key
        self._position = replace(self._position, keyframes=len(held))

    def _held(self) -> dict[KeyframeKey, KeyframeId]:
        """What the map holds now, somebody else's last keyframe included."""
        return {identity.key: identity for identity in self._map.ids()}

    def _load(self, beginning: Position) -> Position:
        """The position that was noted, if it is this map's and destination's; else the beginning."""
        try:
            position = Position(**json.loads(position_file(self._map.path).read_text(encoding='utf-8')))
            if (position.map_id, position.destination) != (beginning.map_id, beginning.destination):
                return beginning
            if position.row and self._map.keyframe(position.row).id.key != KeyframeKey(*position.keyframe):
                return beginning  # an older copy of the map was put back
            return position
        except (OSError, ValueError, TypeError, SegvladError):
            return beginning

    def _note(self) -> Position:
        path = position_file(self._map.path)
        try:
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(asdict(self._position)), encoding='utf-8')
        except OSError as error:
            logger.warning('%s: %s; how far the map has been sent is not noted, and the next start sends all again',
                           path, error.strerror or error)
        return self._position
