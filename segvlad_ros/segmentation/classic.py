"""Segments without a network: graph-based ones (Felzenszwalb and Huttenlocher, IJCV 2004), and fixed patches."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.types import Masks, SegvladError

# Standard deviation of the least blur that GraphSegmenter asks of OpenCV, pixels.
_MIN_SIGMA = 0.1


@dataclass(frozen=True)
class FelzenszwalbSegmenter:
    """Segments of even colour, by scikit-image: disjoint, covering the image, the largest first.

    :ivar scale: preference for larger segments (the k of the paper), in units of grey levels x pixels
    :ivar sigma: standard deviation of the blur before segmentation, pixels
    :ivar min_size: smaller segments are joined to a neighbour, pixels of the segmented image
    :ivar max_segments: only the largest ones are kept, which bounds the time and the memory of a keyframe
    """

    scale: float
    sigma: float
    min_size: int
    max_segments: int

    def __post_init__(self) -> None:
        for name, low in (('scale', 1), ('min_size', 1), ('max_segments', 1), ('sigma', 0)):
            if getattr(self, name) < low:
                raise SegvladError(f'segmenter: {name} is {getattr(self, name)}; set it to {low} or more')

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        labels = self._labels(rgb)
        largest = np.argsort(-np.bincount(labels.ravel()), kind='stable')[:self.max_segments]
        return _masks(labels, largest)

    def _labels(self, rgb: np.ndarray) -> np.ndarray:
        """(h, w) int, the segment of each pixel, from 0 on."""
        from skimage.segmentation import felzenszwalb

        return felzenszwalb(rgb, scale=self.scale, sigma=self.sigma, min_size=self.min_size)


class GraphSegmenter(FelzenszwalbSegmenter):
    """The same algorithm by OpenCV contrib, in a third of the time: a pixel has four neighbours there, and eight in
    scikit-image, so that the segments are others.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(cv2, 'ximgproc'):
            raise SegvladError('segmenter kind graph needs OpenCV with its contrib modules: install '
                               'opencv-contrib-python-headless in place of opencv-python-headless')
        if self.sigma < _MIN_SIGMA:  # OpenCV refuses to blur by less
            raise SegvladError(f'segmenter graph: sigma is {self.sigma}; set it to {_MIN_SIGMA} or more')

    def _labels(self, rgb: np.ndarray) -> np.ndarray:
        graph = cv2.ximgproc.segmentation.createGraphSegmentation(self.sigma, self.scale, self.min_size)
        return graph.processImage(np.ascontiguousarray(rgb))


@dataclass(frozen=True)
class PatchSegmenter:
    """The same rows x cols rectangles of every image, the paper's comparison (segvlad-spec.md 18, Table 6).

    1 x 1 is the whole image (AnyLoc's single segment).

    :ivar rows, cols: patches down and across, at least 1 each
    """

    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise SegvladError(f'patches of {self.rows} rows x {self.cols} cols: set both to 1 or more')

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`; the patches tile the image, row by row."""
        height, width = rgb.shape[:2]
        if height < self.rows or width < self.cols:
            raise SegvladError(f'an image of {width}x{height} pixels is too small for {self.cols}x{self.rows} patches')
        row, col = np.arange(height) * self.rows // height, np.arange(width) * self.cols // width
        return _masks(row[:, None] * self.cols + col, np.arange(self.rows * self.cols))


def _masks(labels: np.ndarray, kept: np.ndarray) -> Masks:
    """One mask for each of the kept labels of an (h, w) image of labels."""
    return Masks(labels[None] == kept[:, None, None], np.ones(len(kept), np.float32))
