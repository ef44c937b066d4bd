"""Geometric verification of a query against keyframes of the map."""
from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from segvlad_ros.geometry import from_matrix
from segvlad_ros.mapping.keyframe_store import KeyframeStore
from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.types import Pose
from segvlad_ros.verification.matchers import Matcher
from segvlad_ros.verification.scale import with_odometry_depths
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.verify import Geometry, provability, verify_pairs
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

    :param matcher: pairs the keypoints of a query and a view
    """

    def __init__(self, known: KnownKeyframes, settings: VerificationSettings, matcher: Matcher) -> None:
        self._keyframes, self._settings, self._matcher = known.store, settings, matcher
        self._with_depths = lru_cache(maxsize=_KEPT_VIEWS)(partial(_with_depths, known.searched, known.store))

    def verify(self, query: View | None, entry: int, segments: np.ndarray) -> Geometry | None:
        """Compare a query with a map entry; None where one of the two has no keypoints, or they are of two kinds.

        :param segments: (E, 2) int, matched segments of the two
        """
        match = View.of(self._keyframes.keyframe(entry))
        if query is None or match is None:
            return None
        if query.keypoints.descriptors.shape[1] != match.keypoints.descriptors.shape[1]:
            return None  # as a damaged message of another node has them
        pairs = self._matcher(query, match, segments)
        geometry = verify_pairs(query, match, pairs, self._settings)
        if not geometry.proven or geometry.scale_source or match.scale_source or match.camera_model is None:
            return geometry
        scaled = self._with_depths(entry)
        metric = verify_pairs(query, scaled, pairs, self._settings) if scaled.scale_source else geometry
        return metric if metric.proven or metric.refuted else geometry

    def provability(self, query: View, entry: int) -> float:
        """How likely geometry would prove that a query shows the scene of a map entry, if it does."""
        return provability(query, View.of(self._keyframes.keyframe(entry)))


def _with_depths(searched: SearchedMap, keyframes: KeyframeStore, entry: int) -> View:
    """The view of a map entry, with depths triangulated from its neighbours where that is possible."""
    neighbours: list[tuple[View, Pose]] = []
    for other in (entry + side * step for step in range(1, _REACH + 1) for side in (-1, 1)):
        if len(neighbours) == _NEIGHBOURS or not 0 <= other < len(searched):
            continue
        way = searched.between(entry, other)
        if way is None or np.linalg.norm(way.matrix[:3, 3]) < _MIN_BASELINE_M:
            continue
        keyframe = keyframes.keyframe(other)
        view = None if keyframe is None else View.of(keyframe)
        if view is not None:
            neighbours.append((view, from_matrix(way.matrix)))
    return with_odometry_depths(View.of(keyframes.keyframe(entry)), neighbours)
