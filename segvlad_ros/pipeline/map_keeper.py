"""Keeps a map small: passes over what it explains already, and gives up what it covers twice."""
from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from segvlad_ros.mapping.novelty import explained
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.retention import HELD, RetentionSettings, surplus
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.types import Keyframe, KeyframeId, Recognition, SegvladError, Status

# Removed keyframes that are remembered, to tell of.
_TOLD = 16


@dataclass(frozen=True)
class Kept:
    """What became of a keyframe.

    :ivar stored: whether the map holds it now
    :ivar explained: why the map does not need it; '' if it does. Not stored and not explained: there was no room
    :ivar removed: what it has taken the place of
    :ivar answer: what the map said to it; None where it was not asked
    """

    stored: bool = True
    explained: str = ''
    removed: tuple[KeyframeId, ...] = ()
    answer: Recognition | None = field(default=None, compare=False)


class MapKeeper:
    """The way into a map that must not grow for ever. Not thread-safe.

    Every keyframe is recognised first: a place that the map explains is not stored again, and a match that is accepted
    makes both keyframes witnesses. Places are those of the recogniser; conditions are told apart by likeness.

    :param recognizer: searches the map, and is filled by this
    :param place_map: is filled alike; None keeps the map in the recogniser only
    :ivar evicted: the last keyframes that had to go, the newest last
    """

    def __init__(self, recognizer: Recognizer, settings: RetentionSettings, place_map: PlaceMap | None = None) -> None:
        self.recognizer = recognizer
        self._settings, self._map = settings, place_map
        self._held = np.zeros(0, HELD)
        self._conditions = self._moments = 0
        self.evicted: tuple[KeyframeId, ...] = ()
        if place_map is not None:
            recognizer.load(place_map)
        for entry in recognizer.entries:
            self._hold(entry)
        known = () if place_map is None else map(recognizer.entry, place_map.witnesses())
        self._held['closures'][np.isin(self._held['entry'], [*known])] = 1
        self._to_note: dict[int, bool] = {}  # entries that have become witnesses, or are none any more

    def add(self, keyframe: Keyframe) -> Kept:
        """Take the next keyframe of the robot.

        :raises SegvladError: it cannot be stored; the map stays as it was
        """
        if self.recognizer.entry(keyframe.id) is not None:
            raise SegvladError(f'keyframe {keyframe.id.index} of session {keyframe.id.session_id} is in the map '
                               'already')
        self._compact()
        answer = self.recognizer.recognize(keyframe, exclude_recent=True)
        matched = answer.candidates[0].entry if answer.status == Status.MATCHED else None
        if matched is not None:
            self._witness(matched)
        reason = explained(answer, self._settings.novelty)
        if reason:
            self._note_witnesses()
            return Kept(False, explained=reason, answer=answer)
        entry = self.recognizer.add(keyframe)
        try:
            self._hold(entry)
            if matched is not None:
                self._witness(entry)
            kept = self._store(keyframe, entry)
        except BaseException:
            self._forget([keyframe.id])
            raise
        self._note_witnesses()
        return replace(kept, answer=answer)

    def remove(self, ids: Iterable[KeyframeId]) -> int:
        """Take keyframes out of the map because somebody wants it; witnesses go as well.

        :return: how many
        """
        ids = list(ids)
        if self._map is not None:
            self._map.remove(ids)
        return self._forget(ids)

    def trim(self) -> tuple[KeyframeId, ...]:
        """Give up what a map that others have made holds beyond its bounds, and return it."""
        removed = self._ids(self._surplus(self._too_many()))
        self.remove(removed)
        self._told(removed)
        return removed

    def judge(self, query: KeyframeId, match: KeyframeId, accepted: bool) -> None:
        """Take note of what a SLAM back-end made of a closure: the ends of one that it rejects are not witnesses."""
        self.recognizer.feedback(query, match, accepted)
        if not accepted:
            ends = [entry for end in (query, match) if (entry := self.recognizer.entry(end)) is not None]
            for row in np.flatnonzero(np.isin(self._held['entry'], ends) & (self._held['closures'] > 0)):
                self._held['closures'][row] -= 1
                if not self._held['closures'][row]:
                    self._to_note[int(self._held['entry'][row])] = False
            self._note_witnesses()

    def _store(self, keyframe: Keyframe, entry: int) -> Kept:
        """Store a keyframe that the recogniser has been given, as far as there is room."""
        going = self._surplus(self._too_many())
        if len(going) < self._too_many() and entry not in going:
            going.append(entry)  # the match is a witness of its closure, too, and has been for longer
        removed = self._ids(other for other in going if other != entry)
        if entry in going:
            self.remove([*removed, keyframe.id])
        else:
            if self._map is not None:
                self._map.append(keyframe, instead_of=removed)
            self._forget(removed)
        self._told(removed)
        return Kept(entry not in going, removed=removed)

    def _surplus(self, count: int) -> list[int]:
        """The entries that may go, up to a number of them."""
        return self._held['entry'][surplus(self._held, count)].tolist()

    def _too_many(self) -> int:
        """How many keyframes must go, the one at hand counted."""
        limits, count, least = self._settings, len(self._held), 0
        if limits.max_keyframes:
            least = count - limits.max_keyframes
        if limits.max_bytes and self._map is not None and self._map.count:
            each = self._map.used_bytes / self._map.count
            least = max(least, math.ceil(count - limits.max_bytes / each))
        return max(least, 0)

    def _hold(self, entry: int) -> None:
        """Note a keyframe of the map, in its condition."""
        places = self.recognizer.places
        self._held['place'] = places[self._held['entry']]  # a closure that was rejected may have parted some
        identity = self.recognizer.identity(entry)
        lot = zlib.crc32(f'{identity.robot_id} {identity.session_id} {identity.index}'.encode())  # the same each time
        row = np.array([(entry, places[entry], self._condition(entry, int(places[entry])), self._now(), 0, lot)], HELD)
        self._held = np.concatenate([self._held, row])

    def _condition(self, entry: int, place: int) -> int:
        """The condition of the place's keyframes that it looks most like, compared with the oldest of each; else its
        own.
        """
        there = self._held[self._held['place'] == place]
        conditions, first = np.unique(there['condition'], return_index=True)
        scores = self.recognizer.alike(entry, there['entry'][first].tolist())
        if scores and max(scores) >= self._settings.same_condition_score:
            return int(conditions[int(np.argmax(scores))])
        self._conditions += 1
        return self._conditions

    def _witness(self, entry: int) -> None:
        """Note an end of an accepted closure, seen now."""
        row = self._held['entry'] == entry
        self._held['seen'][row] = self._now()
        if not self._held['closures'][row].any():
            self._to_note[entry] = True
        self._held['closures'][row] += 1

    def _note_witnesses(self) -> None:
        """Let the file know of new witnesses, and of those that are none any more: the robot may be started again."""
        changed, self._to_note = self._to_note, {}
        for witness in set(changed.values()) if self._map is not None else ():
            self._map.note_witnesses(self._ids(entry for entry in changed if changed[entry] == witness), witness)

    def _ids(self, entries: Iterable[int]) -> tuple[KeyframeId, ...]:
        return tuple(self.recognizer.identity(entry) for entry in entries)

    def _told(self, removed: tuple[KeyframeId, ...]) -> None:
        self.evicted = (*self.evicted, *removed)[-_TOLD:]

    def _forget(self, ids: Collection[KeyframeId]) -> int:
        gone = [entry for identity in ids if (entry := self.recognizer.entry(identity)) is not None]
        if gone:
            self._held = self._held[~np.isin(self._held['entry'], gone)]
        return self.recognizer.remove(ids)

    def _compact(self) -> None:
        """Let the recogniser forget what has been given up, or the map would be small and its memory would not."""
        numbers = self.recognizer.compact()
        if numbers is not None:
            self._held = self._held[np.isin(self._held['entry'], [*numbers])]
            self._held['entry'] = [numbers[entry] for entry in self._held['entry'].tolist()]
            self._to_note = {numbers[entry]: noted for entry, noted in self._to_note.items() if entry in numbers}
        if len(self._held) > self.recognizer.count:  # it has lost some that can no longer be read from the file
            self._held = self._held[np.isin(self._held['entry'], self.recognizer.entries)]

    def _now(self) -> int:
        """A clock of its own: stamps of several sessions and robots may not be compared."""
        self._moments += 1
        return self._moments
