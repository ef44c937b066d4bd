"""Features of two kinds of the same cells, as one."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segvlad_ros.features import FeatureExtractor
from segvlad_ros.types import FeatureGrid, SegvladError


class SideBySide:
    """Joins the features of each cell; a :class:`segvlad_ros.features.FeatureExtractor`.

    :param extractors: with cells of one size; keypoints are those of the first that finds any
    """

    def __init__(self, extractors: Sequence[FeatureExtractor]) -> None:
        if len({extractor.cell for extractor in extractors}) != 1:
            raise SegvladError('features side by side need cells of one size')
        self._extractors, self.cell = tuple(extractors), extractors[0].cell
        self.dimension = sum(extractor.dimension for extractor in extractors)

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; all kinds weigh alike, but where one shows no texture."""
        grids = [extractor.extract(rgb) for extractor in self._extractors]
        features = np.hstack([grid.features for grid in grids]) / np.float32(len(grids) ** 0.5)
        keypoints = next((grid.keypoints for grid in grids if grid.keypoints is not None), None)
        return FeatureGrid(features, grids[0].rows, grids[0].cols, keypoints)
