"""What each keyframe of the searched map brought, at hand for an answer, and not all of it in memory.

It is packed as the map file has it: what came live is kept so, what was loaded is read from the file when it is asked
for. A few that were asked for last are kept, for a robot that is somewhere asks for the same ones again and again.
"""
from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from segvlad_ros.mapping import arrays_v2, map_format
from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError

# Keyframes that are kept unpacked, some 100 kB each, and such whose segments' codes are, some 20 kB each.
_UNPACKED, _CODES = 64, 512


class KeyframeGone(SegvladError):
    """A keyframe can no longer be read from the file that it was loaded from.

    :ivar identity: of the keyframe
    """

    def __init__(self, message: str, identity: KeyframeId) -> None:
        super().__init__(message)
        self.identity = identity


class Stored(NamedTuple):
    """Where a keyframe is read from."""

    place_map: PlaceMap
    row: int
    identity: KeyframeId
    keypoints: bool

    def read(self) -> Packed:
        """What is stored; a damaged one raises DamagedKeyframe.

        :raises KeyframeGone: it is no longer in its file
        """
        packed = self.place_map.packed_keyframe(self.row)
        if packed is None or packed.id != self.identity:
            raise self.gone()
        return packed

    def gone(self) -> KeyframeGone:
        """The error that says so."""
        return KeyframeGone(f'{self.place_map.path}: keyframe {self.identity.index} of session '
                            f'{self.identity.session_id!r} is no longer in the map', self.identity)


class KeyframeStore:
    """Keyframes by their entries, counted from 0 in the order in which they came.

    Adding is for one thread at a time; what was added may be asked for by any.
    """

    def __init__(self) -> None:
        self._kept: list[Packed | Stored | None] = []
        self._files: dict[PlaceMap, PlaceMap] = {}
        self._unpacked = lru_cache(_UNPACKED)(self._unpack)
        self._codes: OrderedDict[int, np.ndarray] = OrderedDict()  # of stored ones, those that were asked for last
        self.dimension = 0

    def append(self, keyframe: Keyframe) -> Packed:
        """Keep a keyframe in memory, as it is returned; one that no map can hold raises SegvladError."""
        dimension = self.dimension or keyframe.description.descriptors.shape[1]
        packed = map_format.pack(keyframe, dimension)
        self._kept.append(packed)
        self.dimension = dimension
        return packed

    def append_stored(self, place_map: PlaceMap, row: int, packed: Packed) -> None:
        """Read a keyframe from a map when it is asked for; the map may be closed.

        :param packed: what was read now
        """
        if place_map not in self._files:
            self._files[place_map] = reader = place_map.reader()
            weakref.finalize(self, reader.close)
        self._kept.append(Stored(self._files[place_map], row, packed.id, packed.arrays.keypoints is not None))
        self.dimension = place_map.dimension

    def take_back(self) -> None:
        """Keep the one that was appended last no longer, as if it had never come."""
        self._kept.pop()

    def forget(self, entry: int) -> None:
        """Keep a keyframe no longer; it is not asked for again."""
        self._kept[entry] = None

    def select(self, entries: Sequence[int]) -> None:
        """Keep some entries, ascending, and give them the numbers from 0."""
        self._kept = [self._kept[entry] for entry in entries]
        self._unpacked.cache_clear()
        self._codes.clear()

    def close(self) -> None:
        """Close the files; nothing more is read."""
        for reader in self._files.values():
            reader.close()

    def keyframe(self, entry: int) -> Keyframe | None:
        """What one keyframe brought, without its descriptors and without optimised poses; None where it was forgotten.

        :raises KeyframeGone: it is no longer in its file, or damaged there
        """
        return None if self._kept[entry] is None else self._unpacked(entry)

    def has_keypoints(self, entry: int) -> bool:
        """Whether one keyframe came with keypoints."""
        kept = self._kept[entry]
        return kept.keypoints if isinstance(kept, Stored) else kept is not None and kept.arrays.keypoints is not None

    def codes(self, entries: Sequence[int]) -> list[np.ndarray]:
        """(M, code_bytes) uint8 each, the segments of some keyframes, see :mod:`~segvlad_ros.mapping.arrays_v2`; M is 0
        where one was forgotten.

        :raises KeyframeGone: one is no longer in its file
        """
        found = {}
        for entry in entries:
            kept = self._kept[entry]
            if isinstance(kept, Packed):
                found[entry] = arrays_v2.codes(kept.arrays, kept.columns.segment_count, self.dimension)
            elif kept is None:
                found[entry] = np.zeros((0, arrays_v2.quantizer(self.dimension).code_bytes), np.uint8)
            elif entry in self._codes:
                self._codes.move_to_end(entry)
                found[entry] = self._codes[entry]
        found |= self._read_codes([entry for entry in entries if entry not in found])
        return [found[entry] for entry in entries]

    def _read_codes(self, entries: Sequence[int]) -> dict[int, np.ndarray]:
        """Of keyframes that are read from files, a statement a file; their digests were checked when they came."""
        found = {}
        for place_map in {self._kept[entry].place_map for entry in entries}:
            rows = {self._kept[entry].row: entry for entry in entries if self._kept[entry].place_map is place_map}
            for row, codes in place_map.codes(rows).items():
                found[rows[row]] = codes
        for entry in entries:
            if entry not in found:
                raise self._kept[entry].gone()
            self._codes[entry] = found[entry]
        while len(self._codes) > _CODES:
            self._codes.popitem(last=False)
        return found

    def _unpack(self, entry: int) -> Keyframe:
        kept = self._kept[entry]
        identity = kept.identity if isinstance(kept, Stored) else kept.id
        try:
            packed = kept.read() if isinstance(kept, Stored) else kept
            with map_format.intact(f'keyframe {identity.index} of session {identity.session_id!r}'):
                return replace(map_format.outline(packed), optimized=None, description=arrays_v2.without_descriptors(
                    packed.arrays, packed.columns.segment_count, packed.columns.keypoint_count))
        except map_format.DamagedKeyframe as error:
            raise KeyframeGone(str(error), identity) from None
