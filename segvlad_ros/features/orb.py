"""ORB descriptors (Rublee et al., ICCV 2011), dealt out evenly over the image as ORB-SLAM does."""
from __future__ import annotations

import cv2
import numpy as np

ORB_BYTES = 32
"""Of a descriptor."""

# Keypoints are dealt out over this many rows and columns of the image, so that no corner of it gets all.
_CELLS = 8
# FAST threshold, grey levels: the one that ORB-SLAM falls back to where a cell shows little (its minThFAST).
_FAST_THRESHOLD = 7
# Candidates found for each keypoint that is kept.
_CANDIDATES = 5


class OrbDetector:
    """Finds and describes keypoints; OpenCV's ORB at its 8 levels, 1.2 apart.

    :param keypoints: kept an image, 1,000 in most settings of ORB-SLAM
    """

    def __init__(self, keypoints: int) -> None:
        self.keypoints = keypoints
        self._orb = cv2.ORB_create(_CANDIDATES * keypoints, fastThreshold=_FAST_THRESHOLD)

    def describe(self, rgb: np.ndarray) -> np.ndarray:
        """Descriptors of one image, (up to ``keypoints``, 32) uint8.

        :param rgb: (height, width, 3) uint8
        """
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        found = self._orb.detect(grey)
        kept = [found[i] for i in spread_keypoints(found, grey.shape, self.keypoints)]
        descriptors = self._orb.compute(grey, kept)[1] if kept else None
        return np.zeros((0, ORB_BYTES), np.uint8) if descriptors is None else descriptors


def spread_keypoints(found: tuple[cv2.KeyPoint, ...], shape: tuple[int, int], count: int) -> np.ndarray:
    """Numbers of up to ``count`` keypoints: the strongest of every cell, then the second of every cell, and so on.

    So the first of a keyframe's keypoints are those to keep, however many a map wants.

    :param shape: height and width of the image
    """
    return spread_points(np.array([keypoint.pt for keypoint in found]).reshape(-1, 2),
                         np.array([keypoint.response for keypoint in found]), shape, count)


def spread_points(positions: np.ndarray, strength: np.ndarray, shape: tuple[int, int], count: int) -> np.ndarray:
    """:func:`spread_keypoints`, of (P, 2) columns and rows and of the strength of each."""
    cells = (positions * (_CELLS / shape[1], _CELLS / shape[0])).astype(int).clip(0, _CELLS - 1) @ (1, _CELLS)
    order = np.lexsort((-strength, cells))
    begins = np.searchsorted(cells[order], cells[order])
    rank = np.empty(len(positions), int)
    rank[order] = np.arange(len(positions)) - begins
    return np.lexsort((-strength, rank))[:count]
