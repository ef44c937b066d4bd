"""The searched map: what is known about every keyframe, once, and which of them show one place.

Numbers that are asked of all keyframes at once are columns. What a keyframe brought is in the
:class:`~segvlad_ros.mapping.keyframe_store.KeyframeStore`, and its segments are in the
:class:`~segvlad_ros.mapping.segment_index.SegmentIndex`, under the same entry.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from segvlad_ros.mapping.growing_columns import GrowingColumns
from segvlad_ros.mapping.odometry import Motion, OdometryMark, OdometrySettings, between, position_error
from segvlad_ros.mapping.places import EXTENT, Places, PlaceSettings, Sight
from segvlad_ros.types import Keyframe, KeyframeId, KeyframeKey, OptimizedPose, Pose, SessionKey

# Keyframes of one run that are asked whether a new one lies near them; odometry has drifted away from older ones.
_WINDOW = 500
_FACTS = np.dtype([
    ('session', np.int32), ('index', np.int64), ('stamp_ns', np.int64),
    ('run', np.int32), ('length_m', np.float64), ('position', np.float64, 3), ('moment', np.float64, 3),
    ('measured', np.float64, 7), ('measured_frame', np.int32),
    ('frame', np.int32), ('optimized', np.float64, 3),
    ('place', np.int32), ('offset', np.float64), ('via', np.int32), ('removed', bool)])
# A match that was not measured: a share of the radius within which keyframes count as near.
_UNMEASURED = 0.1


class SearchedMap:
    """Every keyframe by its entry, counted from 0 in the order in which they came. Not thread-safe.

    A keyframe that is removed keeps its entry, and what its neighbours' places rest on, until :meth:`select`; it is
    never found again.
    """

    def __init__(self, places: PlaceSettings, drift: OdometrySettings) -> None:
        self._settings, self._drift = places, drift
        self._table = GrowingColumns(_FACTS)
        self._removed = 0
        self._identities: list[KeyframeId] = []
        self._optimized: dict[int, OptimizedPose] = {}
        self._marks: list[OdometryMark | None] = []
        self._entries: dict[KeyframeKey, int] = {}
        self._sessions: dict[SessionKey, int] = {}
        self._of_session: list[list[int]] = []
        self._frames: dict[str, int] = {}
        self._places = Places()
        self._poses_changed = False

    def __len__(self) -> int:
        return len(self._identities)

    @property
    def count(self) -> int:
        """Keyframes that are in the map."""
        return len(self) - self._removed

    @property
    def removed(self) -> np.ndarray:
        """(entries,) bool, the keyframes that are no longer in the map."""
        return self._column('removed')

    @property
    def ids(self) -> list[KeyframeId]:
        """Identities of the keyframes that are in the map, in the order of their entries."""
        return [self._identities[entry] for entry in np.flatnonzero(~self.removed)]

    @property
    def places(self) -> np.ndarray:
        """(entries,) int32, the place of every keyframe."""
        return self._column('place')

    def identity(self, entry: int) -> KeyframeId:
        """Which keyframe it is, or was."""
        return self._identities[entry]

    def pose(self, entry: int) -> Pose | None:
        """As it was measured, without its covariance."""
        frame, values = self._table['measured_frame'][entry], self._table['measured'][entry].copy()
        if frame < 0:
            return None
        return Pose(values[:3], values[3:], list(self._frames)[frame])

    def optimized(self, entry: int) -> OptimizedPose | None:
        """What a back-end has made of its pose last, None where there is none."""
        return self._optimized.get(entry)

    def mark(self, entry: int) -> OdometryMark | None:
        """Where it lies on its session's odometry."""
        return self._marks[entry]

    def entry(self, identity: KeyframeId) -> int | None:
        """The entry of a keyframe, None if it is not in the map."""
        return self._entries.get(identity.key)

    def add(self, keyframe: Keyframe, mark: OdometryMark | None, seen: Sequence[Sight] = ()) -> int:
        """Append a keyframe, of which the identity and the poses count, and return its entry.

        :param mark: where it lies on its session's odometry
        :param seen: map keyframes that are known to show the same scene
        """
        entry = len(self)
        if entry == len(self._table):
            self._table.grow()
        self._identities.append(keyframe.id)
        self._marks.append(mark)
        self._entries[keyframe.id.key] = entry
        facts = self._table
        facts['session'][entry] = session = self._sessions.setdefault(keyframe.id.session, len(self._sessions))
        facts['index'][entry], facts['stamp_ns'][entry] = keyframe.id.index, keyframe.id.stamp_ns
        facts['run'][entry] = facts['frame'][entry] = facts['measured_frame'][entry] = -1
        if keyframe.pose is not None:
            facts['measured'][entry] = *keyframe.pose.translation, *keyframe.pose.quaternion
            facts['measured_frame'][entry] = self._frames.setdefault(keyframe.pose.frame, len(self._frames))
        if mark is not None:
            facts['run'][entry], facts['length_m'][entry], facts['moment'][entry] = mark.run, mark.length_m, mark.moment
            facts['position'][entry] = mark.base[:3, 3]
        if keyframe.optimized is not None:
            self._set_optimized(entry, keyframe.optimized)
        if session == len(self._of_session):
            self._of_session.append([])
        self._settle(entry, seen)
        self._of_session[session].append(entry)
        return entry

    def remove(self, identity: KeyframeId) -> int | None:
        """Take a keyframe out of the map, and return its entry; None if it is not in the map."""
        entry = self._entries.pop(identity.key, None)
        if entry is not None:
            self._table['removed'][entry] = True
            self._removed += 1
        return entry

    def select(self, entries: Sequence[int]) -> None:
        """Keep some entries, ascending, and give them the numbers from 0; none that is left out may be in the map."""
        numbers = {entry: number for number, entry in enumerate(entries)}
        via = [self._kept_via(entry, numbers) for entry in entries]
        self._removed = int(self.removed[entries].sum())  # first: who asks for `count` meanwhile has no lock
        self._table.select(np.asarray(entries, np.int64))
        self._identities = [self._identities[entry] for entry in entries]
        self._marks = [self._marks[entry] for entry in entries]
        self._optimized = {numbers[entry]: pose for entry, pose in self._optimized.items() if entry in numbers}
        self._entries = {key: numbers[entry] for key, entry in self._entries.items()}
        self._of_session = [[numbers[entry] for entry in group if entry in numbers] for group in self._of_session]
        places, facts = self._places.select(numbers), self._table
        facts['via'][:len(entries)] = via
        facts['place'][:len(entries)] = [places[place] for place in facts['place'][:len(entries)].tolist()]
        self._poses_changed = True

    def _kept_via(self, entry: int, numbers: Mapping[int, int]) -> int:
        """By which keyframe one is of its place, or by which that one is, if it goes."""
        via = int(self._table['via'][entry])
        while via >= 0 and via not in numbers:
            via = int(self._table['via'][via])
        return numbers.get(via, -1)

    # places

    def around(self, entry: int) -> np.ndarray:
        """(entries,) bool, keyframes of the places around that of one keyframe."""
        self._follow_poses()
        near = np.zeros(len(self._places), bool)
        near[self._places.around(int(self.places[entry]))] = True
        return near[self.places]

    def near(self, entry: int, other: int) -> bool:
        """Whether two keyframes lie in places near each other."""
        self._follow_poses()
        return int(self.places[other]) in self._places.around(int(self.places[entry]))

    def link(self, entry: int, sight: Sight) -> None:
        """Note that two keyframes show one scene."""
        self._places.tie(int(self.places[entry]), int(self.places[sight.entry]), self._length(sight),
                         (entry, sight.entry))

    def unlink(self, entry: int, other: int) -> None:
        """Take that back: keyframes that belong to a place for no other reason form one of their own."""
        self._places.untie((entry, other))
        facts = self._table
        if facts['via'][entry] != other:
            return
        place, leaving = int(facts['place'][entry]), {entry}
        for member in sorted(self._places.members(place)):
            if int(facts['via'][member]) in leaving:
                leaving.add(member)
        self._places.leave(place, leaving)
        parted = self._places.found(*sorted(leaving))
        facts['via'][entry] = -1
        facts['place'][list(leaving)] = parted
        for one, two in self._places.ties(leaving):
            length = self._places.untie((one, two))
            self._places.tie(int(facts['place'][one]), int(facts['place'][two]), length, (one, two))
        for changed in (place, parted):  # what its members lie near to, as they are now
            self._places.disconnect(changed)
            for member in self._places.members(changed):
                for neighbour, apart in self._near_in_session(member):
                    self._places.connect(changed, int(facts['place'][neighbour]), apart)

    def known_apart(self, entry: int, others: Sequence[int]) -> np.ndarray:
        """(len(others),) bool, keyframes that odometry or a back-end knows to lie beyond a scene's reach."""
        facts, others = self._table, np.asarray(others, np.int64)

        def differing(name: str) -> np.ndarray:
            return facts[name][others] - facts[name][entry]

        error = position_error(differing('length_m'), facts['position'][others], differing('moment'), self._drift)
        odometry = np.linalg.norm(differing('position'), axis=1) - 3 * error
        optimized = np.linalg.norm(differing('optimized'), axis=1)
        one_frame, one_run = ((differing(name) == 0) & (facts[name][entry] >= 0) for name in ('frame', 'run'))
        apart = np.where(one_frame, optimized, np.where(one_run, odometry, 0.0))
        return apart > self._settings.near_distance_m

    def between(self, entry: int, other: int) -> Motion | None:
        """``entry_from_other`` by odometry, None where it does not connect them."""
        return between(self._marks[entry], self._marks[other], self._drift)

    # what is left out of a search

    def recent(self, query: KeyframeId, mark: OdometryMark | None, time_s: float, distance_m: float) -> np.ndarray:
        """(entries,) bool, those of the query's session that were seen too shortly before it, or not before it at all.

        :param time_s: younger entries are recent
        :param distance_m: entries with less travel since are recent; where odometry does not connect them, the time
            alone counts
        """
        age_s = (query.stamp_ns - self._column('stamp_ns')) * 1e-9
        recent = (age_s <= 0) | (age_s < time_s)
        if mark is not None:
            travel = mark.length_m - self._column('length_m')
            recent |= (self._column('run') == mark.run) & (travel < distance_m)
        return recent & self._same_session(query)

    def last_frames(self, query: KeyframeId, frames: int) -> np.ndarray:
        """(entries,) bool, those of the query's session that are fewer than this many keyframes older than it."""
        return self._same_session(query) & (query.index - self._column('index') < frames)

    def outside(self, sessions: Collection[str]) -> np.ndarray:
        """(entries,) bool, those of other sessions than these."""
        wanted = [number for (_, session_id), number in self._sessions.items() if session_id in sessions]
        return ~np.isin(self._column('session'), wanted)

    def newest(self, query: KeyframeId, excluded: np.ndarray) -> int | None:
        """Its session's youngest keyframe that is searched, if younger ones are not; ``excluded``: (entries,) bool."""
        own = self._same_session(query)
        searched = np.flatnonzero(own & ~excluded)
        return int(searched[-1]) if len(searched) and (own & excluded)[searched[-1]:].any() else None

    # what a back-end knows

    def update_poses(self, poses: Mapping[KeyframeId, OptimizedPose]) -> None:
        """Take a back-end's poses; those of keyframes that are not in the map are passed over."""
        for identity, pose in poses.items():
            entry = self.entry(identity)
            if entry is not None:
                self._set_optimized(entry, pose)

    def _set_optimized(self, entry: int, pose: OptimizedPose) -> None:
        self._optimized[entry] = pose
        frame = pose.map_from_base.frame
        self._table['frame'][entry] = self._frames.setdefault(frame, len(self._frames))
        self._table['optimized'][entry] = pose.map_from_base.translation
        self._poses_changed = True

    def _follow_poses(self) -> None:
        """Let places that a back-end has moved together be near each other, and no others for that reason."""
        if not self._poses_changed:
            return
        self._poses_changed = False
        founders = np.array(self._places.founders(), np.int64)
        founders = founders[self._column('frame')[founders] >= 0]
        # frames are put so far apart that nothing of one is near anything of another
        points = np.column_stack([self._column('optimized')[founders] / self._settings.near_distance_m,
                                  self._column('frame')[founders] * 10])
        self._places.move(self.places[founders], points)

    # how a keyframe finds its place

    def _settle(self, entry: int, seen: Sequence[Sight]) -> None:
        """Give a new keyframe a place: that of a keyframe that showed the same scene, else a near one, else its own."""
        facts = self._table
        sights = [(sight.entry, self._length(sight)) for sight in seen]
        near = list(self._near_in_session(entry))
        facts['via'][entry], facts['offset'][entry] = -1, 0.0
        # a match lies to any side of the keyframe that it shows: what it adds is no way that leads on from the founder
        for candidates, joined in ((sights, max), (near, sum)):
            away = ((joined((length, facts['offset'][other])), other) for other, length in candidates)
            length, other = min(away, key=lambda item: item[0], default=(np.inf, -1))
            if length <= EXTENT:
                place = int(facts['place'][other])
                facts['via'][entry], facts['offset'][entry] = other, length
                self._places.join(place, entry)
                break
        else:
            place = self._places.found(entry)
        facts['place'][entry] = place
        for other, length in near:
            self._places.connect(place, int(facts['place'][other]),
                                 length + facts['offset'][entry] + facts['offset'][other])
        for sight in seen:
            self.link(entry, sight)

    def _near_in_session(self, entry: int) -> Iterator[tuple[int, float]]:
        """Keyframes of its session near one in sequence or in unbroken odometry, with their distance in radii.

        What odometry may be wrong by counts as distance, so that it connects over short ways only.
        """
        facts = self._table
        session = self._of_session[facts['session'][entry]]
        at = bisect_left(session, entry)
        others = np.array(session[max(0, at - _WINDOW):at] + session[at + 1:at + _WINDOW], np.int64)
        if not len(others):
            return
        apart = np.abs(facts['index'][others] - facts['index'][entry]) / self._settings.near_keyframes
        if facts['run'][entry] >= 0:
            position = facts['position'][others]
            error = position_error(facts['length_m'][entry] - facts['length_m'][others], facts['position'][entry],
                                   facts['moment'][entry] - facts['moment'][others], self._drift)
            metres = np.linalg.norm(facts['position'][entry] - position, axis=1) + error
            apart = np.where(facts['run'][others] == facts['run'][entry],
                             np.minimum(apart, metres / self._settings.near_distance_m), apart)
        close = apart <= 1.0
        yield from zip(others[close].tolist(), apart[close].tolist())

    def _length(self, sight: Sight) -> float:
        measured = sight.distance_m / self._settings.near_distance_m
        return _UNMEASURED if np.isnan(measured) else min(measured, 1.0)

    def _same_session(self, query: KeyframeId) -> np.ndarray:
        return self._column('session') == self._sessions.get(query.session, -1)

    def _column(self, name: str) -> np.ndarray:
        return self._table[name][:len(self)]
