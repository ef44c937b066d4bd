"""XFeat (G. Potje et al., CVPR 2024) on the cell grid, and the keypoints of the same pass.

The network is a file, see :mod:`segvlad_ros.io.xfeat_conversion`.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segvlad_ros.features.xfeat_keypoints import PointMaps
from segvlad_ros.text import said_by
from segvlad_ros.types import FeatureGrid, SegvladError

CELL = 8
"""Side of the network's own cells, pixels."""
DIMENSION = 64
STRIDE = 32  # of the network's coarsest scale, pixels


class XFeatExtractor:
    """One feature a cell, the mean of the network's cells in it.

    It is run once on a made-up image, which tells whether the file is XFeat and takes this size.

    :param model: (1, 3, h, w) float32 in [0, 1] -> features (1, 64, h/8, w/8), heat (1, 1, h, w), reliability (1, 1,
        h/8, w/8)
    :param size: width and height of the images, pixels
    :param cell: side of a grid cell, pixels, a multiple of 8
    :param keypoints: how many of the same pass are wanted
    """

    def __init__(self, model: Callable[[np.ndarray], list[np.ndarray]], size: tuple[int, int], cell: int,
                 keypoints: int = 0) -> None:
        if cell < CELL or cell % CELL:
            raise SegvladError(f'XFeat: a cell of {cell} pixels; set features.cell to a multiple of {CELL}')
        if any(side % STRIDE or side < cell for side in size):
            raise SegvladError(f'XFeat: images of {size[0]}x{size[1]} pixels; set image.width and image.height (of '
                               f'reproduce, --size) to multiples of {STRIDE}')
        self._model, self._keypoints = model, keypoints
        self.cell, self.dimension = cell, DIMENSION
        self.extract(np.full((size[1], size[0], 3), 128, np.uint8))

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; rows have length 1."""
        height, width = rgb.shape[:2]
        image = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)
        image /= 255
        try:
            outputs = self._model(image)
        except Exception as error:  # of ONNX Runtime, as for an image of the wrong size
            raise SegvladError(f'XFeat does not take images of {width}x{height} pixels ({said_by(error, 160)})'
                               ) from error
        rows, cols = height // CELL, width // CELL
        shapes = (1, DIMENSION, rows, cols), (1, 1, height, width), (1, 1, rows, cols)
        if tuple(output.shape for output in outputs) != shapes:
            raise SegvladError('the model is not XFeat: it answers with shapes '
                               f'{", ".join(str(output.shape) for output in outputs)}; get it with "segvlad weights"')
        fine = np.ascontiguousarray(outputs[0][0].transpose(1, 2, 0))
        points = PointMaps(fine, outputs[1][0, 0], outputs[2][0, 0]).keypoints(self._keypoints)
        return FeatureGrid(_pooled(fine, self.cell // CELL), height // self.cell, width // self.cell,
                           points if self._keypoints else None)


def _pooled(fine: np.ndarray, side: int) -> np.ndarray:
    """Means of side x side cells at length 1; what is left over at the right and bottom belongs to none."""
    rows, cols, width = fine.shape[0] // side, fine.shape[1] // side, fine.shape[2]
    blocks = fine[:rows * side, :cols * side].reshape(rows, side, cols, side, width)
    means = blocks.mean(axis=(1, 3)).reshape(rows * cols, width)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
