"""What geometry knows of a keyframe, and which keypoint of one view is which keypoint of another."""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segvlad_ros.types import CameraModel, Keyframe, Keypoints, Pose
from segvlad_ros.verification.lens import ideal_pixels, stretch

# Standard deviation of a depth camera's depth, as a share of it.
DEPTH_ERROR = 0.02
_LIKELY_WIDTH_RAD = math.radians(60)


@dataclass(frozen=True)
class View:
    """The local features of one keyframe and where its camera was.

    :ivar boxes: (M, 4) int32, segments, see :class:`segvlad_ros.types.PlaceDescription`
    :ivar scale_source: 'depth' or 'odometry', where the keypoints' depths come from; '' if none has any
    :ivar depth_error: (P,) float64, standard deviation of each depth as a share of it
    :ivar scale_error: standard deviation of the factor that all depths may be wrong by together
    """

    keypoints: Keypoints
    boxes: np.ndarray
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    scale_source: str = ''
    depth_error: np.ndarray | None = None
    scale_error: float = 0.0

    @classmethod
    def of(cls, keyframe: Keyframe) -> View | None:
        """The view of a keyframe; None if it was described without keypoints."""
        description, keypoints = keyframe.description, keyframe.description.keypoints
        if keypoints is None:
            return None
        source = 'depth' if np.isfinite(keypoints.depths).any() else ''
        return cls(keypoints, description.boxes, keyframe.camera_model, keyframe.base_from_camera, source,
                   np.full(len(keypoints.depths), DEPTH_ERROR))

    @cached_property
    def in_boxes(self) -> np.ndarray:
        """(P, M) float32, 1 where a keypoint lies in the box of a segment."""
        begin = self.boxes[:, :2].astype(np.float32)  # exact: pixels of no image reach 2**24
        end = begin + self.boxes[:, 2:].astype(np.float32)
        inside = np.ones((len(self.keypoints.positions), len(self.boxes)), bool)
        for axis in (0, 1):
            along = self.keypoints.positions[:, axis, None]
            inside &= (along >= begin[:, axis]) & (along < end[:, axis])
        return inside.astype(np.float32)

    @property
    def size(self) -> np.ndarray:
        """(2,) width and height of the image, pixels; where no calibration names them, as far as segments reach."""
        if self.camera_model is not None:
            return np.array([self.camera_model.width, self.camera_model.height], np.float64)
        ends = np.concatenate([self.keypoints.positions, self.boxes[:, :2] + self.boxes[:, 2:], [[1, 1]]])
        return ends.max(axis=0).astype(np.float64)

    @property
    def likely_matrix(self) -> np.ndarray:
        """(3, 3) K; where no calibration names it, that of a camera 60 degrees wide."""
        if self.camera_model is not None:
            return self.camera_model.matrix
        width, height = self.size
        focal = width / 2 / math.tan(_LIKELY_WIDTH_RAD / 2)
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    @cached_property
    def _ideal(self) -> np.ndarray:
        return (self.keypoints.positions.astype(np.float64) if self.camera_model is None
                else ideal_pixels(self.keypoints.positions, self.camera_model))

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) float64, positions of n keypoints without the lens's distortion: ideal pixels of the same K."""
        return self._ideal[rows]

    def stretch(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64, ideal pixels to a pixel of the image there, see :mod:`~segvlad_ros.verification.lens`."""
        return (np.ones(len(rows)) if self.camera_model is None
                else stretch(self.keypoints.positions[rows], self.camera_model))

    @property
    def in_sight(self) -> np.ndarray:
        """(P,) bool, keypoints whose ray geometry can use; not those at the rim of a fisheye lens."""
        return np.isfinite(self._ideal).all(axis=1)


def normalised(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 2) coordinates at depth 1 of (n, 2) ideal pixels."""
    return (pixels - matrix[:2, 2]) / np.diag(matrix)[:2]


@dataclass(frozen=True)
class Correspondences:
    """C pairs of keypoints; a keypoint is in one pair at most.

    :ivar query, match: (C,) int64, numbers of the keypoints
    """

    query: np.ndarray
    match: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def in_sight(self, query: View, match: View) -> Correspondences:
        """Those whose rays geometry can use on both sides."""
        kept = query.in_sight[self.query] & match.in_sight[self.match]
        return self if kept.all() else Correspondences(self.query[kept], self.match[kept])


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
    if inside is not None and inside.any():
        first = _mutual(np.where(inside, distances, np.inf), max_ratio)
        free = ~(np.isin(rows, first[0]) | np.isin(columns, first[1]))
        rows, columns = np.concatenate([first[0], rows[free]]), np.concatenate([first[1], columns[free]])
    # SIFT describes a corner once for each of its orientations; that is one point, not several witnesses
    order = np.argsort(distances[rows, columns], kind='stable')
    for keypoints, numbers in ((query, rows), (match, columns)):
        column, row = np.round(keypoints.positions[numbers[order]]).astype(np.int64).T
        order = order[np.sort(np.unique(column << 32 | row, return_index=True)[1])]
    return Correspondences(rows[order], columns[order])


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P, Q) float32 of (P, B) and (Q, B) uint8; exact, since all terms are whole numbers below 2**24."""
    if not first.size or not second.size:  # an image without keypoints does not tell how long descriptors are
        return np.zeros((len(first), len(second)), np.float32)
    first, second = first.astype(np.float32), second.astype(np.float32)
    squares = (first ** 2).sum(axis=1)[:, None] + (second ** 2).sum(axis=1)
    return squares - 2 * (first @ second.T)


def same_segments(query: View, match: View, segments: np.ndarray) -> np.ndarray:
    """Which pairs of keypoints lie in the boxes of a pair of matched segments.

    :param segments: (E, 2) int, matched segments of query and match
    :return: (P, Q) bool
    """
    return query.in_boxes[:, segments[:, 0]] @ match.in_boxes[:, segments[:, 1]].T > 0


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
