"""Any network that makes one vector of an image, or a feature a cell."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segvlad_ros.features import whole_image
from segvlad_ros.io.model_files import Model
from segvlad_ros.text import said_by
from segvlad_ros.types import FeatureGrid, SegvladError


class ImageModel:
    """A network behind its normalisation, as a :class:`segvlad_ros.features.FeatureExtractor`.

    It is run once on a made-up image, which tells the length of its vectors and that it takes this size.

    :param model: see :data:`segvlad_ros.io.model_files.Model`
    :param size: width and height of the images, pixels
    :param mean, deviation: that the network was trained with, RGB in [0, 1]
    :param cell: side of the cells that it describes, row by row, pixels; None: it makes one vector of the image
    :raises SegvladError: its output is another
    """

    def __init__(self, model: Model, size: tuple[int, int], mean: Sequence[float], deviation: Sequence[float],
                 cell: int | None) -> None:
        self._model, self._cell = model, cell
        self._mean, self._deviation = (np.array(values, np.float32)[:, None, None] for values in (mean, deviation))
        if self._mean.shape != (3, 1, 1) or self._deviation.shape != (3, 1, 1) or not (self._deviation > 0).all():
            raise SegvladError('features.mean and features.deviation have three values each, red, green and blue, and '
                               'deviations are above 0')
        self.cell = cell or min(size)
        width, height = size
        self.dimension = 0
        self.dimension = self.extract(np.full((height, width, 3), 128, np.uint8)).features.shape[1]

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`."""
        image = (rgb.transpose(2, 0, 1).astype(np.float32) / 255 - self._mean) / self._deviation
        try:
            output = np.asarray(self._model(np.ascontiguousarray(image[None], np.float32)), np.float32)
        except SegvladError:
            raise
        except Exception as error:  # of ONNX Runtime or of torch, as for an image of the wrong size
            raise SegvladError(f'the model does not take images of {rgb.shape[1]}x{rgb.shape[0]} pixels, set '
                               'image.width and image.height (of reproduce, --size) to its own '
                               f'({said_by(error, 160)})') from error
        rows, cols = rgb.shape[0] // self.cell, rgb.shape[1] // self.cell
        wanted = (1, rows * cols) if self._cell else (1,)
        if output.shape[:-1] != wanted or self.dimension not in (0, output.shape[-1]):
            each = f'(1, {rows * cols}, D), one vector a cell' if self._cell else '(1, D), one vector an image'
            raise SegvladError(f'the model answers with shape {output.shape}, {each} is expected; set features.cell '
                               'to the side of its cells, or to null')
        if self._cell:
            return FeatureGrid(output[0], rows, cols)
        return whole_image(output[0], rgb.shape, self.cell)
