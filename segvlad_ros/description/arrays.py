"""The little that numpy arrays and torch tensors need to share one algorithm.

Both spell most operations alike (``@``, ``argmax(axis=)``, ``einsum``), so the description is written once: on a
GPU it runs on the tensors of the backends, where they are, and otherwise on numpy.
"""
from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

# numpy.ndarray or torch.Tensor; torch itself is imported by the backends only
Array = Any


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
    if isinstance(other, np.ndarray):
        return np.zeros(shape, other.dtype)
    return other.new_zeros(shape)


def unit_rows(rows: Array, epsilon: float = 1e-12) -> Array:
    """Divide every row by its Euclidean norm; rows of zeros stay (segvlad-spec.md, notation ``l2n``)."""
    norms = namespace(rows).einsum('ij,ij->i', rows, rows) ** 0.5
    return rows / norms.clip(epsilon)[:, None]


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
