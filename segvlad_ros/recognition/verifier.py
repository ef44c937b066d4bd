"""Geometric verification of a query against keyframes of the map."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from segvlad_ros.geometry import from_matrix
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.types import Pose, SegmentMatch
from segvlad_ros.verification.scale import with_odometry_depths
from segvlad_ros.verification.verify import Geometry, VerificationSettings, provability, verify
from segvlad_ros.verification.view import View

# Keyframes before and after one, among which those are sought that see its keypoints from another place.
_REACH = 4
_MIN_BASELINE_M = 0.2
_NEIGHBOURS = 2
# Triangulated views that are kept; a robot that is somewhere asks for the same ones again and again.
_KEPT_VIEWS = 64


class Verifier:
    """Compares queries with the views of the map.

    Where the map has no depths, but calibration and odometry, depths are triangulated from neighbouring keyframes, and
    only for views that are proven to show the query's place without them.
    """

    def __init__(self, searched: SearchedMap, settings: VerificationSettings) -> None:
        self._map, self._settings = searched, settings
        self._with_depths = lru_cache(maxsize=_KEPT_VIEWS)(partial(_with_depths, searched))

    def verify(self, query: View | None, entry: int, pairs: Sequence[SegmentMatch]) -> Geometry | None:
        """Compare a query with a map entry; None where one of the two has no keypoints."""
        match = View.of(self._map.keyframe(entry))
        if query is None or match is None:
            return None
        geometry = verify(query, match, pairs, self._settings)
        if not geometry.proven or geometry.scale_source or match.scale_source or match.camera_model is None:
            return geometry
        scaled = self._with_depths(entry)
        metric = verify(query, scaled, pairs, self._settings) if scaled.scale_source else geometry
        return metric if metric.proven or metric.refuted else geometry

    def provability(self, query: View, entry: int) -> float:
        """How likely geometry would prove that a query shows the scene of a map entry, if it does."""
        return provability(query, View.of(self._map.keyframe(entry)))


def _with_depths(searched: SearchedMap, entry: int) -> View:
    """The view of a map entry, with depths triangulated from its neighbours where that is possible."""
    neighbours: list[tuple[View, Pose]] = []
    for other in (entry + side * step for step in range(1, _REACH + 1) for side in (-1, 1)):
        if not 0 <= other < len(searched):
            continue
        way, view = searched.between(entry, other), View.of(searched.keyframe(other))
        if way is not None and view is not None and np.linalg.norm(way.matrix[:3, 3]) >= _MIN_BASELINE_M:
            neighbours.append((view, from_matrix(way.matrix)))
    return with_odometry_depths(View.of(searched.keyframe(entry)), neighbours[:_NEIGHBOURS])
