"""Local features of a keyframe, for geometric verification: SIFT positions, RootSIFT descriptors in bytes, depths.

Some features of cells come with keypoints of their own, which then only get depths here.

RootSIFT: R. Arandjelovic, A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
"""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from segvlad_ros.features.orb import spread_keypoints
from segvlad_ros.types import Keypoints

DESCRIPTOR_BYTES = 128

# An entry of a RootSIFT vector is at most 1 and rarely above 1/2; 512 steps use the whole byte.
_STEPS = 512.0
# OpenCV's SIFT forgets half a pixel of its doubled image, unless a version of 4.8 or later is asked not to.
_UPSCALE_SHIFT = 0.25
# A depth is doubtful where the 3 x 3 depths around it spread more than this share of it: the edge of an object.
_MAX_DEPTH_SPREAD = 0.1
# SIFT cannot form an octave of an image with a shorter side (cv2.error at 2 pixels), and finds nothing in it.
_MIN_SIDE = 4
# Larger images are reduced to this longest side, pixels. SIFT doubles its image, so that little is lost by half the
# size, and three quarters of the time are won.
_MAX_SIDE = 320
_MIN_CONTRAST = 0.01  # OpenCV's contrastThreshold, lower than usual because of bare corridors


class KeypointDetector:
    """Finds keypoints; an instance is what :class:`~segvlad_ros.description.describer.Describer` asks for.

    :param max_keypoints: keypoints kept an image
    """

    def __init__(self, max_keypoints: int = 500) -> None:
        self.max_keypoints = max_keypoints
        self._sift = cv2.SIFT_create(contrastThreshold=_MIN_CONTRAST)

    def __call__(self, rgb: np.ndarray, depth: np.ndarray | None = None) -> Keypoints:
        """Find the keypoints of one image.

        :param rgb: (height, width, 3) uint8
        :param depth: float32 metres along the optical axis, NaN where unknown, of the same view; a smaller depth image
            is stretched over the image
        """
        height, width = rgb.shape[:2]
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _MAX_SIDE / max(width, height))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        found = self._sift.detect(grey) if min(grey.shape) >= _MIN_SIDE else ()
        kept = [found[i] for i in spread_keypoints(found, grey.shape, self.max_keypoints)]
        if kept:
            kept, vectors = self._sift.compute(grey, kept)
        if not len(kept):
            return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, DESCRIPTOR_BYTES), np.uint8),
                             np.zeros(0, np.float32))
        positions = np.array([keypoint.pt for keypoint in kept], np.float32)
        # pixel centres have whole coordinates, so that the corner of the image is at -1/2
        stretch = np.array([width / grey.shape[1], height / grey.shape[0]], np.float32)
        positions = (positions - _UPSCALE_SHIFT + 0.5) * stretch - 0.5
        depths = _depths_at(positions, depth, (width, height))
        return Keypoints(positions.astype(np.float32), _root_bytes(vectors), depths)


def in_camera_image(keypoints: Keypoints, size: tuple[int, int], shape: tuple[int, ...],
                    depth: np.ndarray | None) -> Keypoints:
    """Keypoints of a prepared image as those of the camera's.

    :param size: width and height of the prepared image, pixels
    :param shape: of the camera's image, height first
    :param depth: see :class:`KeypointDetector`
    """
    width, height = shape[1::-1]
    stretch = np.array([width, height], np.float32) / size
    positions = ((keypoints.positions + 0.5) * stretch - 0.5).astype(np.float32)
    return replace(keypoints, positions=positions, depths=_depths_at(positions, depth, (width, height)))


def _root_bytes(vectors: np.ndarray) -> np.ndarray:
    """RootSIFT, quantised: (P, 128) uint8 of (P, 128) float32 SIFT vectors."""
    sums = np.maximum(vectors.sum(axis=1, keepdims=True), 1e-6)
    return np.minimum(np.rint(np.sqrt(vectors / sums) * _STEPS), 255).astype(np.uint8)


def _depths_at(positions: np.ndarray, depth: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Depth below every position, (P,) float32 metres; NaN where unknown or at the edge of an object."""
    if depth is None:
        return np.full(len(positions), np.nan, np.float32)
    height, width = depth.shape
    columns, rows = ((positions + 0.5) * (width / size[0], height / size[1])).astype(int).T
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    around = np.pad(depth.astype(np.float32), 1, constant_values=np.nan)
    patches = np.lib.stride_tricks.sliding_window_view(around, (3, 3))[rows, columns].reshape(-1, 9)
    patches = np.where(np.isfinite(patches) & (patches > 0), patches, np.nan)
    centre = patches[:, 4]
    low, high = np.fmin.reduce(patches, axis=1), np.fmax.reduce(patches, axis=1)
    return np.where(high - low <= _MAX_DEPTH_SPREAD * centre, centre, np.nan).astype(np.float32)
