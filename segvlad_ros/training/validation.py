"""Recall of the network itself on a data set: one vector an image, as it is trained."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.evaluation.reproduction import RANKS, SegmentRows, nearest_images, nearest_segments, recall
from segvlad_ros.io.extras import import_extra
from segvlad_ros.training.batches import image_of_side
from segvlad_ros.training.place_network import PlaceNetwork


class RecallValidation:
    """Asks a network for recall@1 to @5 on a data set; its vectors, 192 kB an image in full size, are held in memory.

    :param data: folder of the data sets
    :param side: width and height that images are brought to, pixels
    :raises SegvladError: the data set is not complete
    """

    def __init__(self, dataset: PlaceDataset, data: Path, side: int) -> None:
        self._references, self._queries = dataset.images(data)
        self._truth, self._side = dataset.true_references(data), side

    def __call__(self, network: PlaceNetwork) -> list[float]:
        """Shares from 0 to 1."""
        references, queries = (SegmentRows.of(self._vectors(network, paths))
                               for paths in (self._references, self._queries))
        nearest = nearest_segments(references, queries, RANKS)
        return recall(nearest_images(nearest, references.images), self._truth).tolist()

    def _vectors(self, network: PlaceNetwork, paths: Sequence[Path]) -> Iterator[np.ndarray]:
        torch = import_extra('torch')
        for path in paths:
            pixels = torch.from_numpy(np.array(image_of_side(path, self._side)))[None]
            with torch.no_grad():
                yield network.describe(pixels).cpu().numpy()
