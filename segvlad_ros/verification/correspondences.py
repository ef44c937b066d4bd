"""Which keypoint of the query is which keypoint of the match: first inside matched segments, then over the image."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.types import Keypoints, SegmentMatch
from segvlad_ros.verification.view import View


@dataclass(frozen=True)
class Correspondences:
    """C pairs of keypoints; a keypoint is in one pair at most.

    :ivar query, match: (C,) int64, numbers of the keypoints
    :ivar inside: (C,) bool, found inside matched segments
    """

    query: np.ndarray
    match: np.ndarray
    inside: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, kept: np.ndarray) -> Correspondences:
        return Correspondences(self.query[kept], self.match[kept], self.inside[kept])


def find_correspondences(query: Keypoints, match: Keypoints, inside: np.ndarray | None = None,
                         max_ratio: float = 0.8) -> Correspondences:
    """Pair the keypoints of two images by their descriptors.

    A pair must be mutually nearest and clearly nearer than the second nearest (D. Lowe, IJCV 2004). Inside matched
    segments the rivals are only those keypoints that lie in the matched segment, so that what is repeated elsewhere in
    the image does not hide a pair; what these pairs leave over is then paired over the whole image.

    :param inside: (P, Q) bool, see :func:`same_segments`
    :param max_ratio: largest distance, as a share of the distance of the second nearest
    """
    distances = squared_distances(query.descriptors, match.descriptors)
    rows, columns = _mutual(distances, max_ratio)
    if inside is None or not inside.any():
        found = np.stack([rows, columns, np.zeros_like(rows)])
    else:
        first = _mutual(np.where(inside, distances, np.inf), max_ratio)
        free = ~(np.isin(rows, first[0]) | np.isin(columns, first[1]))
        rows, columns = np.concatenate([first[0], rows[free]]), np.concatenate([first[1], columns[free]])
        found = np.stack([rows, columns, inside[rows, columns]])
    # SIFT describes a corner once for each of its orientations; that is one point, not several witnesses
    order = np.argsort(distances[found[0], found[1]], kind='stable')
    for keypoints, row in ((query, 0), (match, 1)):
        pixels = np.round(keypoints.positions[found[row, order]]).astype(np.int64)
        order = order[np.sort(np.unique(pixels, axis=0, return_index=True)[1])]
    return Correspondences(found[0, order], found[1, order], found[2, order].astype(bool))


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P, Q) float32 of (P, B) and (Q, B) uint8; exact, since all terms are whole numbers below 2**24."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    squares = (first ** 2).sum(axis=1)[:, None] + (second ** 2).sum(axis=1)
    if not squares.size:
        return squares
    return squares - 2 * _product(first, second)


def same_segments(query: View, match: View, evidence: Sequence[SegmentMatch]) -> np.ndarray:
    """Which pairs of keypoints lie in the boxes of a pair of matched segments: (P, Q) bool."""
    pairs = np.array([(pair.query_segment, pair.match_segment) for pair in evidence], np.int64).reshape(-1, 2)
    in_query = _in_boxes(query.keypoints.positions, query.boxes[pairs[:, 0]])
    in_match = _in_boxes(match.keypoints.positions, match.boxes[pairs[:, 1]])
    if not in_query.size or not in_match.size:
        return np.zeros((len(in_query), len(in_match)), bool)
    return _product(in_query.astype(np.float32), in_match.astype(np.float32)) > 0


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``first @ second.T`` by OpenCV: the threads of a BLAS wait for each other on a busy robot (10 times longer)."""
    return cv2.gemm(first, second, 1, None, 0, flags=cv2.GEMM_2_T)


def _in_boxes(positions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(P, E) bool"""
    begin, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return ((positions[:, None] >= begin) & (positions[:, None] < end)).all(axis=2)


def _mutual(distances: np.ndarray, max_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries that are the least of both and clearly less than the second of their row."""
    if min(distances.shape) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, columns = np.arange(len(distances)), distances.argmin(axis=1)
    least = distances[rows, columns]
    rivals = distances.copy()
    rivals[rows, columns] = np.inf
    second = rivals.min(axis=1)  # many times faster than np.partition
    # without a second one, where a segment holds a single keypoint, nothing says that the nearest is the right one
    good = (distances.argmin(axis=0)[columns] == rows) & np.isfinite(second) & (least < max_ratio ** 2 * second)
    return rows[good], columns[good]
