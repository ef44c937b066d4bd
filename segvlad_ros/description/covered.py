"""What a mask covers of an image, as the robot's own body or people, is neither segment nor feature nor keypoint.

Nothing of what lies under it reaches a descriptor: the covered part is painted over first, in the colours around it and
so softly that the paint shows no edge, and what is found on the paint is left out.
"""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from segvlad_ros.description.arrays import like, to_numpy
from segvlad_ros.description.segments import cell_of_pixel
from segvlad_ros.segmentation.completion import MIN_SHARE
from segvlad_ros.types import CellGrid, FeatureGrid, Keypoints, Masks

MIN_OPEN = 0.05
"""Less of an image than this, as a share, shows no place."""
_PAINT_SIDE = 40  # pixels that the paint is mixed at, along the longer side of the image
_PAINT_REACH = 4.0  # standard deviation of the mixture, of these pixels
# Of the image's longer side; keypoints this near to what is covered describe paint.
_KEYPOINT_MARGIN = 1 / 80


def painted(rgb: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The image, its covered part in the colours that lie around it.

    :param rgb: (height, width, 3) uint8
    :param usable: (height, width) bool, True where nothing is covered; somewhere at least
    """
    height, width = usable.shape
    zoom = min(1.0, _PAINT_SIDE / max(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    bare = usable.astype(np.uint8)
    colours = cv2.resize(cv2.bitwise_and(rgb, rgb, mask=bare), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weights = cv2.resize(bare.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mean = colours.sum(axis=(0, 1)) / weights.sum()
    blurred = cv2.GaussianBlur(np.dstack([colours, weights]), (0, 0), _PAINT_REACH, borderType=cv2.BORDER_REPLICATE)
    # far from all that is seen, the mean colour
    paint = (blurred[..., :3] + 1e-3 * mean) / (blurred[..., 3:] + 1e-3)
    paint = cv2.resize(paint, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(usable[..., None], rgb, np.rint(paint).clip(0, 255).astype(np.uint8))


def cut(masks: Masks, usable: np.ndarray) -> Masks:
    """Segments without what is covered of them; those of which only a crumb is left go.

    :param usable: (height, width) bool of the camera's image, any size
    """
    if not len(masks):
        return masks
    height, width = masks.masks.shape[1:]
    seen = cv2.resize(usable.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    parts = masks.masks & like(seen, masks.masks)
    before, after = (to_numpy(each.sum((1, 2))) for each in (masks.masks, parts))
    kept = np.flatnonzero((after == before) | (after >= MIN_SHARE * seen.size))
    return replace(masks, masks=parts[like(kept, parts)], quality=masks.quality[kept])


def without_covered(grid: FeatureGrid, usable: np.ndarray, cells: CellGrid) -> FeatureGrid:
    """Features of zero for the cells of which more is covered than half; the image as a whole may be more so.

    :param usable: (height, width) bool of the camera's image, any size
    """
    seen = cv2.resize(usable.astype(np.uint8), (cells.width, cells.height), interpolation=cv2.INTER_NEAREST).ravel()
    owner = cell_of_pixel(cells).ravel()
    share = np.bincount(owner, seen, cells.cells) / np.bincount(owner, minlength=cells.cells)
    kept = (share >= min(0.5, seen.mean())).astype(np.float32)
    return replace(grid, features=grid.features * like(kept[:, None], grid.features))


def uncovered(keypoints: Keypoints, usable: np.ndarray) -> Keypoints:
    """Keypoints that lie on what is seen, and not at its edge to what is covered.

    :param usable: (height, width) bool of the camera's image
    """
    height, width = usable.shape
    margin = 1 + 2 * round(_KEYPOINT_MARGIN * max(height, width))
    seen = cv2.erode(usable.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
    columns, rows = np.rint(keypoints.positions).astype(int).T
    kept = seen[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return Keypoints(keypoints.positions[kept], keypoints.descriptors[kept], keypoints.depths[kept])
