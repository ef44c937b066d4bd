"""Graph-based segmentation on the CPU (Felzenszwalb and Huttenlocher, IJCV 2004), through scikit-image."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import Masks, SegvladError


class FelzenszwalbSegmenter:
    """Segments of even colour: disjoint, covering the image, the largest first.

    :param scale: preference for larger segments (the k of the paper), in units of grey levels x pixels
    :param sigma: standard deviation of the blur before segmentation, pixels
    :param min_size: smaller segments are joined to a neighbour, pixels of the segmented image
    :param max_segments: only the largest ones are kept, which bounds the time and the memory of a keyframe
    """

    def __init__(self, scale: float, sigma: float, min_size: int, max_segments: int) -> None:
        for name, value in (('scale', scale), ('min_size', min_size), ('max_segments', max_segments)):
            if value < 1:
                raise SegvladError(f'felzenszwalb segmenter: {name} is {value}; set it to 1 or more')
        if sigma < 0:
            raise SegvladError(f'felzenszwalb segmenter: sigma is {sigma}; set it to 0 or more')
        self.scale = scale
        self.sigma = sigma
        self.min_size = min_size
        self.max_segments = max_segments

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        labels = self.labels(rgb)
        sizes = np.bincount(labels.ravel())
        kept = np.argsort(-sizes, kind='stable')[:self.max_segments]
        masks = labels[None] == kept[:, None, None]
        return Masks(masks, np.ones(len(kept), np.float32))

    def labels(self, rgb: np.ndarray) -> np.ndarray:
        """The segment number of every pixel.

        :param rgb: (h, w, 3) uint8
        :return: (h, w) int64, from 0 without gaps
        """
        from skimage.segmentation import felzenszwalb

        return felzenszwalb(rgb, scale=self.scale, sigma=self.sigma, min_size=self.min_size)
