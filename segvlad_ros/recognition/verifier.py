"""Geometric verification of a query against keyframes of the map."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from segvlad_ros.io.geometry import from_matrix
from segvlad_ros.recognition.geometry import Geometry, verify
from segvlad_ros.recognition.odometry import OdometryPaths
from segvlad_ros.recognition.odometry_scale import with_odometry_depths
from segvlad_ros.recognition.view import View
from segvlad_ros.types import Keyframe, KeyframeId, Pose, SegmentMatch

# Keyframes before and after one, among which those are sought that see its keypoints from another place.
_REACH = 4
_MIN_BASELINE_M = 0.2
_NEIGHBOURS = 2
# Triangulated views that are kept; a robot that is somewhere asks for the same ones again and again.
_KEPT_VIEWS = 64


class Verifier:
    """Keeps the views of the map and compares queries with them.

    Where the map has no depths, but calibration and odometry, depths are triangulated from neighbouring keyframes, and
    only for views that are proven to show the query's place without them.
    """

    def __init__(self, paths: OdometryPaths) -> None:
        self._paths = paths
        self._views: list[View | None] = []
        self._ids: list[KeyframeId] = []
        self._scaled: OrderedDict[int, View] = OrderedDict()

    def add(self, keyframe: Keyframe) -> None:
        """Append one map entry."""
        self._views.append(View.of(keyframe))
        self._ids.append(keyframe.id)

    def verify(self, query: View | None, entry: int, evidence: Sequence[SegmentMatch]) -> Geometry | None:
        """Compare a query with a map entry; None where one of the two has no keypoints."""
        match = self._views[entry]
        if query is None or match is None:
            return None
        geometry = verify(query, match, evidence)
        if not geometry.verified or geometry.scale_source or match.scale_source or match.camera_model is None:
            return geometry
        scaled = self._with_depths(entry)
        metric = verify(query, scaled, evidence) if scaled.scale_source else geometry
        return metric if metric.verified or metric.refuted else geometry

    def _with_depths(self, entry: int) -> View:
        if entry in self._scaled:
            self._scaled.move_to_end(entry)
            return self._scaled[entry]
        view = with_odometry_depths(self._views[entry], list(self._neighbours(entry)))
        self._scaled[entry] = view
        if len(self._scaled) > _KEPT_VIEWS:
            self._scaled.popitem(last=False)
        return view

    def _neighbours(self, entry: int) -> list[tuple[View, Pose]]:
        near = [other for step in range(1, _REACH + 1) for other in (entry - step, entry + step)
                if 0 <= other < len(self._views)]
        found = []
        for other in near:
            way = self._paths.between(self._ids[entry], self._ids[other])
            if (way is not None and self._views[other] is not None
                    and np.linalg.norm(way.matrix[:3, 3]) >= _MIN_BASELINE_M):
                found.append((self._views[other], from_matrix(way.matrix)))
        return found[:_NEIGHBOURS]
