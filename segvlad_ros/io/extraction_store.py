"""Features and masks of any number of images: a small file each, written whole or not at all.

A file says what it was made of, so that work that was stopped goes on where it was, and what no longer fits is made
anew. The files of one store lie in up to 4096 folders.
"""
from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from types import TracebackType

import numpy as np

from segvlad_ros.text import one_line
from segvlad_ros.types import FeatureGrid, Masks, SegvladError


class ExtractionStore:
    """Read like :class:`~segvlad_ros.io.hdf5_archives.Hdf5Archive`.

    :ivar folder: where all of it lies
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> ExtractionStore:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is open between calls."""

    def holds(self, name: str) -> bool:
        """Whether an image is there."""
        return self._file(name).is_file()

    def made_of(self, name: str) -> str:
        """The digest that was given with an image, '' where it is missing or cut off; nothing else is read."""
        try:
            return str(self._read(name, 'made_of')['made_of'])
        except SegvladError:
            return ''

    def features(self, name: str) -> FeatureGrid:
        """The features of an image.

        :raises SegvladError: it is missing or damaged
        """
        arrays = self._read(name, 'features', 'grid')
        rows, cols, *cell = arrays['grid'].tolist()
        return FeatureGrid(arrays['features'], rows, cols, cell=cell[0] if cell else None)

    def masks(self, name: str) -> Masks:
        """The masks of an image; raises as :meth:`features`."""
        arrays = self._read(name, 'masks', 'shape', 'quality')
        count, height, width = arrays['shape'].tolist()
        pixels = np.unpackbits(arrays['masks'], axis=1, count=height * width).view(bool)
        return Masks(pixels.reshape(count, height, width), arrays['quality'])

    def add(self, name: str, packed: bytes) -> None:
        """Write what :func:`packed_features` or :func:`packed_masks` gave; one process at a time writes a store.

        It is not synced to the disk: a power cut costs images that are extracted again, a sync would cost time with
        each of many thousands.
        """
        path = self._file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'.{name}.partial')
        partial.write_bytes(packed)
        partial.replace(path)

    def _file(self, name: str) -> Path:
        return self.folder / hashlib.blake2b(name.encode(errors='surrogateescape')).hexdigest()[:3] / f'{name}.npz'

    def _read(self, name: str, *arrays: str) -> dict[str, np.ndarray]:
        path = self._file(name)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {array: archive[array] for array in arrays}
        except FileNotFoundError:
            raise SegvladError(f'{path}: not there: extract it') from None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise SegvladError(f'{path}: damaged ({one_line(error, 80)}): remove it and extract anew') from None


def packed_features(grid: FeatureGrid, made_of: str) -> bytes:
    """The file of the features of an image; the same features give the same bytes."""
    sides = [grid.rows, grid.cols] if grid.cell is None else [grid.rows, grid.cols, grid.cell]  # older files have two
    return _packed(made_of, features=np.asarray(grid.features, np.float32), grid=np.array(sides))


def packed_masks(masks: Masks, made_of: str) -> bytes:
    """Likewise of masks, a bit a pixel."""
    pixels = np.asarray(masks.masks, bool)
    return _packed(made_of, masks=np.packbits(pixels.reshape(len(pixels), -1), axis=1), shape=np.array(pixels.shape),
                   quality=np.asarray(masks.quality, np.float32))


def _packed(made_of: str, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, made_of=np.array(made_of), **arrays)
    return file.getvalue()
