"""Vectors that something else made of the images, one each: any descriptor, without its network."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from segvlad_ros.features import FeatureExtractor, whole_image
from segvlad_ros.io.paths import mirrored
from segvlad_ros.types import FeatureGrid, SegvladError

_MAX_BYTES = 1 << 20  # of a file; the longest descriptor that a map takes has a quarter of that


class GivenVectors:
    """Stands where an extractor would: it describes nothing by itself.

    :param dimension: of the vectors
    :param cell: side of a cell, pixels
    """

    def __init__(self, dimension: int, cell: int) -> None:
        self.dimension, self.cell = dimension, cell

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`.

        :raises SegvladError: always; vectors come with the images, see :func:`given`
        """
        raise SegvladError('features.kind is given: this preset makes no vector of an image. "segvlad evaluate '
                           'images" and "calibrate images" take them by --descriptors DIR, Python as '
                           'Frame.descriptor; all else needs a preset with a model, features.kind: onnx')


def given(extractor: FeatureExtractor, vector: np.ndarray, shape: tuple[int, ...]) -> FeatureGrid:
    """The features of an image whose vector is known.

    :param extractor: what the preset has
    :param vector: (D,) real numbers
    :param shape: of the prepared image, height first
    :raises SegvladError: the preset has an extractor of its own, or another dimension
    """
    if not isinstance(extractor, GivenVectors):
        raise SegvladError('images come with descriptors, but the preset describes them itself: take --preset given')
    vector = np.asarray(vector)
    if vector.shape != (extractor.dimension,) or vector.dtype.kind not in 'fiu':
        raise SegvladError(f'a descriptor of shape {vector.shape} and type {vector.dtype}, the preset is for vectors '
                           f'of {extractor.dimension}: set features.dimension to their length')
    return whole_image(vector, shape, extractor.cell)


class VectorFolder:
    """A folder of ``.npy`` files, one an image, that are called as the images are.

    ``DIR/monday/ref/7.npy`` is that of an image ``monday/ref/7.jpg``, else ``DIR/ref/7.npy``, else ``DIR/7.npy``.

    :raises SegvladError: there is no such folder
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SegvladError(f'descriptors {folder}: no such folder')
        self._folder = folder
        self._taken: dict[Path, Path] = {}

    def of(self, image: Path) -> np.ndarray:
        """The vector of one image, (D,).

        :raises SegvladError: there is none, it is not a vector, or another image has taken it
        """
        name = f'{image.stem}.npy'
        choices = [folder / name for folder in mirrored(self._folder, image)]
        path = next((path for path in choices if path.is_file()), None)
        if path is None:
            raise SegvladError(f'{image}: no descriptor; {" or ".join(map(str, choices[-2:]))} is expected')
        other = self._taken.setdefault(path, image.absolute())
        if other != image.absolute():
            raise SegvladError(f'descriptor {path} would be that of {other} and of {image}: put them into folders that '
                               "are called as the images' folders")
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise SegvladError('it is too large for a vector')
            vector = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError, SegvladError) as error:
            raise SegvladError(f'descriptor {path} is not readable as .npy ({error})') from None
        if not isinstance(vector, np.ndarray) or vector.dtype.kind not in 'fiu' or \
                vector.size != max(vector.shape, default=0):
            raise SegvladError(f'descriptor {path} holds no vector of numbers')
        return vector.ravel()
