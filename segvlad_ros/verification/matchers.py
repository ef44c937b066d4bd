"""Which keypoint of one view is which keypoint of another: by the nearest descriptor, or by a network."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segvlad_ros.description.upright import upright_from_camera
from segvlad_ros.features.xfeat import DIMENSION
from segvlad_ros.features.xfeat_keypoints import unit_vectors
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.view import Correspondences, View, find_correspondences, same_segments

NEAREST, LIGHTERGLUE = 'nearest', 'lighterglue'

Matcher = Callable[[View, View, np.ndarray | None], Correspondences]
"""(query, match, (E, 2) int, matched segments of the two, or None) -> pairs of keypoints, the surest first."""

_MIN_PROBABILITY = 0.1  # of a pair; LightGlue's own


def nearest_matcher(max_ratio: float) -> Matcher:
    """Pairs by descriptors alone, first inside matched segments: see :func:`find_correspondences`."""
    def pairs(query: View, match: View, segments: np.ndarray | None) -> Correspondences:
        inside = None if segments is None else same_segments(query, match, segments)
        return find_correspondences(query.keypoints, match.keypoints, inside, max_ratio)

    return pairs


class LearnedMatcher:
    """Pairs by a network that sees all keypoints of both views, and where they lie (LighterGlue).

    :param model: query's points (P, 2) in about [-1, 1] and unit descriptors (P, 64), and those of the match, (Q, 2)
        and (Q, 64), all float32 -> (P, Q) float32, how likely each pair is
    :param most: keypoints of a view that it is shown: the first, which are the best of their part of the image
    """

    def __init__(self, model: Callable[..., np.ndarray], most: int) -> None:
        self._model, self._most = model, most

    def __call__(self, query: View, match: View, segments: np.ndarray | None = None) -> Correspondences:
        """See :data:`Matcher`; segments are not asked.

        :raises SegvladError: keypoints that the network does not know, or an answer that is none
        """
        if not min(len(query.keypoints.depths), len(match.keypoints.depths)):
            return Correspondences(np.zeros(0, np.int64), np.zeros(0, np.int64))
        try:
            likely = self._model(*_seen(query, self._most), *_seen(match, self._most))
        except SegvladError:
            raise
        except Exception as error:  # ONNX Runtime has kinds of its own
            raise SegvladError(f'the matcher does not take these keypoints ({said_by(error, 160)})') from error
        rows, columns = np.arange(len(likely)), likely.argmax(axis=1)
        found = likely[rows, columns]
        good = (likely.argmax(axis=0)[columns] == rows) & (found > _MIN_PROBABILITY)
        order = np.argsort(-found[good], kind='stable')
        return Correspondences(rows[good][order], columns[good][order])


def _seen(view: View, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions, upright, and descriptors as the network takes them: the image's longer side is from -1 to 1."""
    positions, descriptors = view.keypoints.positions[:most], view.keypoints.descriptors[:most]
    if descriptors.shape[1] != DIMENSION:
        raise SegvladError(f'geometry.matcher {LIGHTERGLUE} takes keypoints of XFeat, with descriptors of {DIMENSION} '
                           f'values, not of {descriptors.shape[1]}: set it to {NEAREST}')
    middle = view.size / 2
    upright = (positions - middle) / middle.max() @ upright_from_camera(view.base_from_camera)[:2, :2].T
    return upright.astype(np.float32), unit_vectors(descriptors)
