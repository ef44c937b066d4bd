"""Fixed patches instead of segments: the paper's comparison (segvlad-spec.md 18, Table 6) and its whole-image case."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import Masks, SegvladError


class PatchSegmenter:
    """Cut every image into the same rows x cols rectangles; 1 x 1 is the whole image (AnyLoc's single segment).

    :param rows, cols: patches down and across, at least 1 each
    """

    def __init__(self, rows: int, cols: int) -> None:
        if rows < 1 or cols < 1:
            raise SegvladError(f'patches of {rows} rows x {cols} cols: set both to 1 or more')
        self.rows = rows
        self.cols = cols

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`; the patches tile the image, row by row."""
        height, width = rgb.shape[:2]
        if height < self.rows or width < self.cols:
            raise SegvladError(f'an image of {width}x{height} pixels is too small for {self.cols}x{self.rows} patches')
        patch = ((np.arange(height) * self.rows // height)[:, None] * self.cols
                 + (np.arange(width) * self.cols // width)[None, :])
        count = self.rows * self.cols
        masks = patch[None] == np.arange(count)[:, None, None]
        return Masks(masks, np.ones(count, np.float32))
