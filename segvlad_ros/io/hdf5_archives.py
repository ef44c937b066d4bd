"""Features and masks of a data set in HDF5 files, as the research code lays them out (segvlad-spec.md 1).

Features: ``<image>/ift_dino`` (1, D, rows, cols) float32. Masks: ``<image>/masks/<j>/`` with ``segmentation`` (h, w)
bool, ``predicted_iou``, ``stability_score``, ``area``, ``bbox`` (x, y, width, height), ``point_coords`` and
``crop_box``.

A file may come from anybody: what lies in another file is refused, and sizes are checked before memory is taken.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.images import natural_key
from segvlad_ros.text import one_line, said_by
from segvlad_ros.types import FeatureGrid, Masks, SegvladError

MAX_BYTES = 1 << 30
"""Largest feature map, and largest mask, of one image."""
_CELL = 14  # of DINOv2, whose features the archives hold
_MAX_MASKS = 20_000


class Hdf5Archive:
    """One file, open; a context manager.

    :raises SegvladError: h5py is missing, or the file is not HDF5
    """

    def __init__(self, path: str | Path) -> None:
        self._h5, self._path = import_extra('h5py'), Path(path)
        try:
            self._file = self._h5.File(path, 'r')
        except OSError as error:
            raise SegvladError(f'{path}: is not an HDF5 file that can be opened ({one_line(error, 120)})') from None

    def __enter__(self) -> Hdf5Archive:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def holds(self, name: str) -> bool:
        """Whether an image is there, in this file."""
        with self._reading(name):
            return self._links_here(self._file, name)

    @property
    def names(self) -> list[str]:
        """The images in natural order."""
        with self._reading('/'):
            return sorted(self._file, key=natural_key)

    def features(self, name: str) -> FeatureGrid:
        """The features of an image.

        :raises SegvladError: there are none, or they are no (1, D, rows, cols) table of finite numbers
        """
        with self._reading(name):
            table = self._array(self._group(self._file, name), 'ift_dino')
        if table.ndim != 4 or len(table) != 1 or not np.issubdtype(table.dtype, np.floating):
            raise self._wrong(name, f'ift_dino is {table.dtype} of shape {table.shape}, not float32 (1, D, rows, cols)')
        _, depth, rows, cols = table.shape
        features = np.ascontiguousarray(table.reshape(depth, rows * cols).T, np.float32)
        if not np.isfinite(features).all():
            raise self._wrong(name, 'ift_dino holds values that are not finite')
        return FeatureGrid(features, rows, cols, cell=_CELL)

    def masks(self, name: str) -> Masks:
        """The masks of an image in the order in which they were found.

        :raises SegvladError: there are none, or they are not boolean images of one size
        """
        found, quality = [], []
        with self._reading(name):
            group = self._group(self._group(self._file, name), 'masks')
            if len(group) > _MAX_MASKS:
                raise self._wrong(name, f'has {len(group)} masks, {_MAX_MASKS} at most are read')
            for number in sorted(group, key=natural_key):
                one = self._group(group, number)
                found.append(self._array(one, 'segmentation'))
                rated = self._links_here(one, 'predicted_iou')
                quality.append(float(self._array(one, 'predicted_iou')) if rated else 1.0)
        for number, mask in enumerate(found):
            if mask.ndim != 2 or mask.dtype != bool:
                raise self._wrong(name, f'mask {number} is {mask.dtype} of shape {mask.shape}, not bool (h, w)')
            if mask.shape != found[0].shape:
                raise self._wrong(name, f'mask {number} has shape {mask.shape}, the first has {found[0].shape}')
        return Masks(np.stack(found) if found else np.zeros((0, 1, 1), bool), np.array(quality, np.float32))

    def _group(self, parent: Any, name: str) -> Any:
        return self._member(parent, name, self._h5.Group, 'group')

    def _array(self, parent: Any, name: str) -> np.ndarray:
        dataset = self._member(parent, name, self._h5.Dataset, 'array')
        if dataset.external or dataset.is_virtual:
            raise self._wrong(dataset.name, 'lies in another file: copy it into this one')
        if dataset.dtype.hasobject or dataset.size is None or dataset.size * dataset.dtype.itemsize > MAX_BYTES:
            raise self._wrong(dataset.name, f'is {dataset.dtype} of shape {dataset.shape}: more than {MAX_BYTES >> 20} '
                              'MB, or no numbers')
        return dataset[()]

    def _links_here(self, parent: Any, name: str) -> bool:
        """Unlike ``name in parent``, which opens the file that a link names."""
        return isinstance(parent.get(name, getlink=True), self._h5.HardLink)

    def _member(self, parent: Any, name: str, kind: type, what: str) -> Any:
        """What lies in a group under a name, if it lies in this file."""
        if isinstance(parent.get(name, getlink=True), (self._h5.ExternalLink, self._h5.SoftLink)):
            raise self._wrong(name, 'is a link: copy what it names into this file')
        member = parent.get(name)
        if not isinstance(member, kind):
            raise self._wrong(f'{parent.name.rstrip("/")}/{name}', f'there is no such {what}')
        return member

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except SegvladError:
            raise
        except Exception as error:  # h5py raises nearly anything on a damaged file
            raise self._wrong(name, f'cannot be read ({said_by(error, 200)})') from None

    def _wrong(self, name: str, problem: str) -> SegvladError:
        return SegvladError(f'{self._path}: {name}: {problem}')
