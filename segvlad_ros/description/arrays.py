"""The little that numpy arrays and torch tensors need to share one algorithm, and the errors of files of arrays.

Both spell most operations alike (``@``, ``argmax(axis=)``, ``einsum``), so the description is written once: on a
GPU it runs on the tensors of the backends, where they are, and otherwise on numpy.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from segvlad_ros.types import SegvladError

# numpy.ndarray or torch.Tensor; torch itself is imported by the backends only
Array = Any
# norms below this count as this, so that rows of zeros stay zero
EPSILON = 1e-12


def namespace(array: Array) -> ModuleType:
    """The module whose functions work on ``array``: numpy, or torch."""
    return np if isinstance(array, np.ndarray) else sys.modules['torch']


def to_numpy(array: Array) -> np.ndarray:
    """A numpy array with the same content; waits for the device."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def like(array: Array, other: Array) -> Array:
    """``array`` as the kind of array that ``other`` is, on its device; its own dtype."""
    if isinstance(other, np.ndarray):
        return to_numpy(array)
    return sys.modules['torch'].as_tensor(array, device=other.device)


def zeros(shape: tuple[int, ...], other: Array) -> Array:
    """Zeros of the kind, device and dtype of ``other``."""
    return np.zeros(shape, other.dtype) if isinstance(other, np.ndarray) else other.new_zeros(shape)


def cast(array: Array, dtype: str) -> Array:
    """``array`` with the dtype of that name; itself where it has it already."""
    if isinstance(array, np.ndarray):
        return array.astype(dtype, copy=False)
    return array.to(getattr(sys.modules['torch'], dtype))


def row_norms(rows: Array) -> Array:
    """Euclidean norm of every row."""
    return namespace(rows).einsum('ij,ij->i', rows, rows) ** 0.5


def unit_rows(rows: Array) -> Array:
    """Divide every row by its Euclidean norm; rows of zeros stay (segvlad-spec.md, notation ``l2n``)."""
    return rows / row_norms(rows).clip(EPSILON)[:, None]


@contextmanager
def reading(kind: str, path: str | Path, formats: str) -> Iterator[None]:
    """All that can be wrong with a file as a one-line error that names it.

    :param kind: what ``segvlad fit KIND`` makes
    """
    try:
        yield
    except FileNotFoundError:
        raise SegvladError(f'{kind} {path}: no such file; give an existing one, or make it with '
                           f'"segvlad fit {kind}"') from None
    except SegvladError as error:
        raise SegvladError(f'{kind} {path}: {error}') from None
    except Exception as error:  # numpy's and zipfile's readers raise whatever the bytes provoke
        raise SegvladError(f'{kind} {path}: not readable as {formats} ({type(error).__name__})') from error


class Constant:
    """A numpy array that is copied to a device once, not at every use."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.ascontiguousarray(array)
        self._copies: dict[Any, Array] = {}

    def like(self, other: Array) -> Array:
        """See :func:`like`."""
        if isinstance(other, np.ndarray):
            return self.array
        if other.device not in self._copies:
            self._copies[other.device] = like(self.array, other)
        return self._copies[other.device]
