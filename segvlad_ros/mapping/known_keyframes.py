"""The keyframes that queries are compared with: what is kept of each, what finds it, and where it lies."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from segvlad_ros.mapping.arrays_v2 import codes, quantizer
from segvlad_ros.mapping.keyframe_store import KeyframeGone, KeyframeStore
from segvlad_ros.mapping.map_format import NO_ARRAYS, Packed
from segvlad_ros.mapping.odometry import OdometryMark
from segvlad_ros.mapping.places import Sight
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError


class KnownKeyframes:
    """One row of each keyframe, its *entry*, in three tables. Not thread-safe.

    :param searched: an empty one, which the keyframes are added to
    :param exact_segments: of :class:`~segvlad_ros.mapping.segment_index.SegmentIndex`
    :ivar store: what each keyframe brought
    :ivar index: its segments, to be found
    :ivar searched: what is known of its place
    """

    def __init__(self, searched: SearchedMap, exact_segments: int) -> None:
        self.store, self.searched = KeyframeStore(), searched
        self.index = SegmentIndex(self.store.codes, exact_segments)

    def close(self) -> None:
        """Read no more from map files."""
        self.store.close()

    @property
    def entries(self) -> list[int]:
        """The keyframes that were not removed."""
        return np.flatnonzero(~self.searched.removed).tolist()

    def keyframe(self, entry: int) -> Keyframe:
        """A keyframe without its descriptors; ``optimized`` is up to date.

        :raises KeyframeGone: it was removed, or can no longer be read from its map
        """
        keyframe = self.store.keyframe(entry)
        if keyframe is None:
            identity = self.searched.identity(entry)
            raise KeyframeGone(f'keyframe {identity.index} of session {identity.session_id!r} was removed', identity)
        return replace(keyframe, optimized=self.searched.optimized(entry))

    def whole(self, entry: int) -> Keyframe:
        """A keyframe with its descriptors; raises as :meth:`keyframe`."""
        keyframe = self.keyframe(entry)
        rows = quantizer(self.store.dimension).unrotated(self.index.descriptors(entry))
        return replace(keyframe, description=replace(keyframe.description, descriptors=rows))

    def outlines(self) -> Iterator[Keyframe]:
        """All keyframes in the order of their entries, with their poses and nothing else."""
        for entry in self.entries:
            yield Keyframe(self.searched.identity(entry), NO_ARRAYS, pose=self.searched.pose(entry),
                           optimized=self.searched.optimized(entry))

    def keep(self, keyframe: Keyframe) -> Packed:
        """Keep a keyframe in memory, as it is returned.

        :raises SegvladError: it is in the map, its descriptors have another length than those of the others, or no map
            can hold it
        """
        self.check_new(keyframe.id)
        length = keyframe.description.descriptors.shape[1]
        if self.searched.count and length != self.index.dimension:
            raise SegvladError(f'keyframe {keyframe.id.index} has descriptors of {length} values, the map of '
                               f'{self.index.dimension}: describe it with the preset of the map')
        return self.store.append(keyframe)

    def check_new(self, identity: KeyframeId) -> None:
        """Refuse a keyframe that is in the map: of two of one identity only the later could be removed.

        :raises SegvladError: it is
        """
        if self.searched.entry(identity) is not None:
            raise SegvladError(f'keyframe {identity.index} of session {identity.session_id!r} is in the map already; '
                               'remove it first')

    def find(self, keyframe: Keyframe, packed: Packed, mark: OdometryMark | None, seen: Sequence[Sight] = ()) -> int:
        """Let the keyframe that was kept last be found, and return its entry; parameters as of
        :meth:`SearchedMap.add`. Where memory runs out it is kept no longer: the tables have one row of each keyframe.
        """
        coder = quantizer(self.store.dimension)
        try:
            self.searched.make_room()
            self.index.add(coder.seen(codes(packed.arrays, packed.columns.segment_count, coder.dimension)))
        except BaseException:
            self.store.take_back()
            raise
        try:
            return self.searched.add(keyframe, mark, seen)
        except BaseException:
            self.remove([keyframe.id])
            raise

    def select(self, entries: Sequence[int]) -> None:
        """Keep some entries, ascending, and give them the numbers from 0: what was removed leaves nothing behind."""
        self.index.select(entries)  # asks the store for codes by the old numbers
        self.store.select(entries)
        self.searched.select(entries)

    def remove(self, ids: Iterable[KeyframeId]) -> int:
        """Take keyframes out, for good, and return how many; those that are not there are passed over."""
        gone = [entry for identity in ids if (entry := self.searched.remove(identity)) is not None]
        for entry in gone:
            self.store.forget(entry)
        return len(gone)
