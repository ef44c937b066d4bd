"""The searched map: every keyframe with its facts, and which of them show one place."""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from segvlad_ros.mapping.growing_columns import GrowingColumns
from segvlad_ros.mapping.keyframe_table import KeyframeTable
from segvlad_ros.mapping.odometry import Motion, OdometryMark, OdometrySettings, between, position_error
from segvlad_ros.mapping.places import EXTENT, Places, PlaceSettings, Sight
from segvlad_ros.types import Keyframe, OptimizedPose

# Keyframes of one run that are asked whether a new one lies near them; odometry has drifted away from older ones.
_WINDOW = 500
# Of which place a keyframe is, by which keyframe (-1: it founded it), and how far from the founder, in radii.
_MEMBERSHIP = np.dtype([('place', np.int32), ('via', np.int32), ('offset', np.float64)])
# A match that was not measured: a share of the radius within which keyframes count as near.
_UNMEASURED = 0.1


class SearchedMap(KeyframeTable):
    """A keyframe table whose keyframes form places. Not thread-safe.

    What is removed keeps what its neighbours' places rest on until :meth:`select`.
    """

    def __init__(self, places: PlaceSettings, drift: OdometrySettings) -> None:
        super().__init__()
        self._settings, self._drift = places, drift
        self._membership = GrowingColumns(_MEMBERSHIP)
        self._places = Places()
        self._poses_changed = False

    @property
    def places(self) -> np.ndarray:
        """(entries,) int32, the place of every keyframe."""
        return self._membership['place'][:len(self)]

    def make_room(self) -> None:
        """See :class:`KeyframeTable`."""
        self._membership.hold(len(self) + 1)
        super().make_room()

    def add(self, keyframe: Keyframe, mark: OdometryMark | None, seen: Sequence[Sight] = ()) -> int:
        """Append a keyframe, see :class:`KeyframeTable`, and give it a place.

        :param seen: map keyframes that are known to show the same scene
        """
        entry = super().add(keyframe, mark)
        self._settle(entry, seen)
        return entry

    def select(self, entries: Sequence[int]) -> None:
        """See :class:`KeyframeTable`."""
        numbers = {entry: number for number, entry in enumerate(entries)}
        via = [self._kept_via(entry, numbers) for entry in entries]
        super().select(entries)
        self._membership.select(np.asarray(entries, np.int64))
        places, membership = self._places.select(numbers), self._membership
        membership['via'][:len(entries)] = via
        membership['place'][:len(entries)] = [places[place] for place in membership['place'][:len(entries)].tolist()]
        self._poses_changed = True

    def _kept_via(self, entry: int, numbers: Mapping[int, int]) -> int:
        """By which keyframe one is of its place, or by which that one is, if it goes."""
        via = int(self._membership['via'][entry])
        while via >= 0 and via not in numbers:
            via = int(self._membership['via'][via])
        return numbers.get(via, -1)

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
        membership = self._membership
        if membership['via'][entry] != other:
            return
        place, leaving = int(membership['place'][entry]), {entry}
        for member in sorted(self._places.members(place)):
            if int(membership['via'][member]) in leaving:
                leaving.add(member)
        self._places.leave(place, leaving)
        parted = self._places.found(*sorted(leaving))
        membership['via'][entry] = -1
        membership['place'][list(leaving)] = parted
        for one, two in self._places.ties(leaving):
            length = self._places.untie((one, two))
            self._places.tie(int(membership['place'][one]), int(membership['place'][two]), length, (one, two))
        for changed in (place, parted):  # what its members lie near to, as they are now
            self._places.disconnect(changed)
            for member in self._places.members(changed):
                for neighbour, apart in self._near_in_session(member):
                    self._places.connect(changed, int(membership['place'][neighbour]), apart)

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

    def _set_optimized(self, entry: int, pose: OptimizedPose) -> None:
        super()._set_optimized(entry, pose)
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
        membership = self._membership
        sights = [(sight.entry, self._length(sight)) for sight in seen]
        near = list(self._near_in_session(entry))
        membership['via'][entry], membership['offset'][entry] = -1, 0.0
        # a match lies to any side of the keyframe that it shows: what it adds is no way that leads on from the founder
        for candidates, joined in ((sights, max), (near, sum)):
            away = ((joined((length, membership['offset'][other])), other) for other, length in candidates)
            length, other = min(away, key=lambda item: item[0], default=(np.inf, -1))
            if length <= EXTENT:
                place = int(membership['place'][other])
                membership['via'][entry], membership['offset'][entry] = other, length
                self._places.join(place, entry)
                break
        else:
            place = self._places.found(entry)
        membership['place'][entry] = place
        for other, length in near:
            self._places.connect(place, int(membership['place'][other]),
                                 length + membership['offset'][entry] + membership['offset'][other])
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
