"""What each keyframe of the searched map brought, at hand for an answer, and not all of it in memory.

It is packed as the map file has it: what came live is kept so, what was loaded is read from the file when it is asked
for. A few that were asked for last are kept, for a robot that is somewhere asks for the same ones again and again.
"""
from __future__ import annotations

import weakref
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from segvlad_ros.mapping import arrays_v2, map_format
from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError

# Keyframes that are kept as they were read, some 40 kB each, and unpacked, some 100 kB each.
_READ, _UNPACKED = 256, 64


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


class KeyframeStore:
    """Keyframes by their entries, counted from 0 in the order in which they came.

    Adding is for one thread at a time; what was added may be asked for by any.
    """

    def __init__(self) -> None:
        self._kept: list[Packed | Stored | None] = []
        self._files: dict[PlaceMap, PlaceMap] = {}
        self._read = lru_cache(_READ)(_read)
        self._unpacked = lru_cache(_UNPACKED)(self._unpack)
        self.dimension = 0

    def append(self, keyframe: Keyframe) -> None:
        """Keep a keyframe in memory; one that no map can hold raises SegvladError."""
        dimension = self.dimension or keyframe.description.descriptors.shape[1]
        self._kept.append(map_format.pack(keyframe, dimension))
        self.dimension = dimension

    def append_stored(self, place_map: PlaceMap, row: int, packed: Packed) -> None:
        """Read a keyframe from a map when it is asked for; the map may be closed.

        :param packed: what was read now
        """
        if place_map not in self._files:
            self._files[place_map] = reader = place_map.reader()
            weakref.finalize(self, reader.close)
        self._kept.append(Stored(self._files[place_map], row, packed.id, packed.arrays.keypoints is not None))
        self.dimension = place_map.dimension

    def forget(self, entry: int) -> None:
        """Keep a keyframe no longer; it is not asked for again."""
        self._kept[entry] = None

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

    def codes(self, entry: int) -> np.ndarray:
        """(M, code_bytes) uint8, the segments of one keyframe, see :mod:`~segvlad_ros.mapping.arrays_v2`; M is 0 where
        it was forgotten.

        :raises KeyframeGone: it is no longer in its file, or damaged there
        """
        packed = self._packed(entry)
        if packed is None:
            return np.zeros((0, arrays_v2.quantizer(self.dimension).code_bytes), np.uint8)
        return arrays_v2.codes(packed.arrays, packed.columns.segment_count, self.dimension)

    def _packed(self, entry: int) -> Packed | None:
        kept = self._kept[entry]
        return self._read(kept) if isinstance(kept, Stored) else kept

    def _unpack(self, entry: int) -> Keyframe:
        packed = self._packed(entry)
        try:
            with map_format.intact(f'keyframe {packed.id.index} of session {packed.id.session_id!r}'):
                return replace(map_format.outline(packed), optimized=None, description=arrays_v2.without_descriptors(
                    packed.arrays, packed.columns.segment_count, packed.columns.keypoint_count))
        except map_format.DamagedKeyframe as error:
            raise KeyframeGone(str(error), packed.id) from None


def _read(stored: Stored) -> Packed:
    place_map, row, identity, _ = stored
    try:
        packed = place_map.packed_keyframe(row)
    except map_format.DamagedKeyframe as error:
        raise KeyframeGone(str(error), identity) from None
    if packed is None or packed.id != identity:
        raise KeyframeGone(f'{place_map.path}: keyframe {identity.index} of session {identity.session_id!r} is no '
                           'longer in the map', identity)
    return packed
