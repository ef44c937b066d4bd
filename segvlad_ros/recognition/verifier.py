"""Geometric verification of a query against keyframes of the map."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

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
        self._scaled: OrderedDict[int, View] = OrderedDict()

    def verify(self, query: View | None, entry: int, pairs: Sequence[SegmentMatch]) -> Geometry | None:
        """Compare a query with a map entry; None where one of the two has no keypoints."""
        match = self._view(entry)
        if query is None or match is None:
            return None
        geometry = verify(query, match, pairs, self._settings)
        if not geometry.proven or geometry.scale_source or match.scale_source or match.camera_model is None:
            return geometry
        scaled = self._with_depths(entry, match)
        metric = verify(query, scaled, pairs, self._settings) if scaled.scale_source else geometry
        return metric if metric.proven or metric.refuted else geometry

    def provability(self, query: View, entry: int) -> float:
        """How likely geometry would prove that a query shows the scene of a map entry, if it does."""
        return provability(query, self._view(entry))

    def has_view(self, entry: int) -> bool:
        """Whether a map entry has keypoints to compare."""
        return self._view(entry) is not None

    def _view(self, entry: int) -> View | None:
        return View.of(self._map.keyframe(entry))

    def _with_depths(self, entry: int, match: View) -> View:
        if entry in self._scaled:
            self._scaled.move_to_end(entry)
            return self._scaled[entry]
        view = with_odometry_depths(match, list(self._neighbours(entry)))
        self._scaled[entry] = view
        if len(self._scaled) > _KEPT_VIEWS:
            self._scaled.popitem(last=False)
        return view

    def _neighbours(self, entry: int) -> list[tuple[View, Pose]]:
        near = [other for step in range(1, _REACH + 1) for other in (entry - step, entry + step)
                if 0 <= other < len(self._map)]
        found = []
        for other in near:
            way, view = self._map.between(entry, other), self._view(other)
            if way is not None and view is not None and np.linalg.norm(way.matrix[:3, 3]) >= _MIN_BASELINE_M:
                found.append((view, from_matrix(way.matrix)))
        return found[:_NEIGHBOURS]
