"""What a large map keeps of every keyframe to find the best ones: representatives, shortened.

Signs are compared faster than values are multiplied, values say more. What is stored is never moved, so that
a sketch may be searched while one thread adds more.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from functools import lru_cache
from typing import Any

import numpy as np

_FLOOR = 0.2
"""Cosine from which a representative speaks for a keyframe that has several."""
_BLOCK = 1024  # keyframes that the first block has room for


class Sketch(ABC):
    """R representatives of every keyframe, each in D directions, as a code of some length.

    :ivar representing: R
    :ivar directions: D
    """

    _at_once: int  # keyframes that are compared at a time, so that they stay in the processor's cache

    def __init__(self, representing: int, directions: int, length: int, dtype: type) -> None:
        self.representing, self.directions = representing, directions
        self._length, self._dtype = length, dtype
        self._blocks: list[np.ndarray] = []  # (N, R, length); each has room for as many as all before it
        self._starts = [0]  # first keyframe of each block, and one past the last that there is room for
        self._count = 0

    @property
    def count(self) -> int:
        """Keyframes that were added."""
        return self._count

    @property
    def bytes(self) -> int:
        """Of a keyframe."""
        return self.representing * self._length * np.dtype(self._dtype).itemsize

    def append(self, rows: np.ndarray) -> None:
        """Add a keyframe of (r, at least D) float32 representatives in the leading directions, r at most R."""
        if self._count == self._starts[-1]:
            room = max(self._count, _BLOCK)
            self._blocks.append(np.zeros((room, self.representing, self._length), self._dtype))
            self._starts.append(self._count + room)
        if len(rows):  # fewer are repeated
            codes = self._codes(rows[:, :self.directions])
            self._blocks[-1][self._count - self._starts[-2]] = np.resize(codes, self._blocks[-1].shape[1:])
        self._count += 1

    def cut(self, count: int) -> None:
        """Keep this many keyframes, the first ones."""
        while len(self._starts) > 1 and self._starts[-2] > count:
            del self._starts[-1], self._blocks[-1]
        self._count = count

    def select(self, entries: np.ndarray) -> Sketch:
        """The sketch of some keyframes only, (C,) int, ascending; this one stays as it is."""
        chosen = copy(self)
        room = max(len(entries), _BLOCK)
        codes = np.zeros((room, self.representing, self._length), self._dtype)
        for block, first, last in zip(self._blocks, self._starts, self._starts[1:]):
            begin, end = np.searchsorted(entries, (first, last))
            codes[begin:end] = block[entries[begin:end] - first]
        chosen._blocks, chosen._starts, chosen._count = [codes], [0, room], len(entries)
        return chosen

    def scores(self, query: np.ndarray, weights: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """(C,) float32, how much keyframes are like a query.

        :param query: (Q, at least D) float32, its representatives in the leading directions
        :param weights: (Q,) float32
        :param entries: (C,) int, ascending
        """
        asked, scores = self._asked(query[:, :self.directions]), np.empty(len(entries), np.float32)
        for block, first, last in zip(self._blocks, self._starts, self._starts[1:]):
            begin, end = np.searchsorted(entries, (first, last))
            for at in range(begin, end, self._at_once):
                rows = entries[at:min(at + self._at_once, end)] - first
                together = rows[-1] - rows[0] == len(rows) - 1  # then nothing has to be copied
                codes = block[rows[0]:rows[-1] + 1] if together else block[rows]
                scores[at:at + len(rows)] = self._compared(asked, weights, codes)
        return scores

    @abstractmethod
    def _codes(self, rows: np.ndarray) -> np.ndarray:
        """(R, length) of (R, D) float32."""

    @abstractmethod
    def _asked(self, rows: np.ndarray) -> Any:
        """What is compared with codes, of (Q, D) float32."""

    @abstractmethod
    def _compared(self, asked: Any, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """(C,) float32, the scores of keyframes with (C, R, length) codes."""


class Signs(Sketch):
    """The signs of rotated representatives.

    The share of signs in which two differ is the angle between them over pi, but for chance (M. Charikar, STOC 2002).

    :param bits: signs of a representative, a multiple of 8, at least D; if D, they are taken as they are
    """

    def __init__(self, representing: int, directions: int, bits: int) -> None:
        import faiss

        super().__init__(representing, directions, bits // 8, np.uint8)
        self._at_once = (1 << 14) // representing
        self._count_differing, self._pointer = faiss.hammings, faiss.swig_ptr
        self._rotation = _rotation(directions, bits) if bits > directions else None
        cosines = np.cos(np.pi * np.arange(bits + 1) / bits)
        self._speaking = (np.maximum(cosines - _FLOOR, 0) if representing > 1 else cosines).astype(np.float32)

    def _codes(self, rows: np.ndarray) -> np.ndarray:
        return np.packbits((rows if self._rotation is None else rows @ self._rotation) > 0, axis=1)

    _asked = _codes

    def _compared(self, asked: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
        fewest, differing = np.empty((2, len(asked), len(codes)), np.int32)
        for number in range(self.representing):
            one, found = np.ascontiguousarray(codes[:, number]), differing if number else fewest
            self._count_differing(self._pointer(asked), self._pointer(one), len(asked), len(one), self._length,
                                  self._pointer(found))
            if number:
                np.minimum(fewest, differing, out=fewest)
        return weights @ self._speaking[fewest]


class Values(Sketch):
    """The values of representatives, as float32 or a byte each.

    :param representing: R, a power of 2
    :param dtype: float32 takes four times the memory of int8, and is compared as it is
    """

    def __init__(self, representing: int, directions: int, dtype: type) -> None:
        super().__init__(representing, directions, directions, dtype)
        self._at_once = (1 << 18) // (representing * directions)
        self._one = 1 if dtype == np.float32 else 127

    def _codes(self, rows: np.ndarray) -> np.ndarray:
        values = _unit(rows)
        return values if self._one == 1 else np.rint(self._one * values).astype(self._dtype)

    def _asked(self, rows: np.ndarray) -> np.ndarray:
        return _unit(rows).T / self._one

    def _compared(self, asked: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
        values = codes.astype(np.float32, copy=False).reshape(-1, codes.shape[2])
        nearest = (values @ asked).reshape(*codes.shape[:2], len(weights))
        while nearest.shape[1] > 1:  # by halves, which takes a fraction of what max(axis=1) does
            half = nearest.shape[1] // 2
            nearest = np.maximum(nearest[:, :half], nearest[:, half:])
        return np.maximum(nearest[:, 0] - _FLOOR, 0) @ weights


@lru_cache(maxsize=4)
def _rotation(directions: int, bits: int) -> np.ndarray:
    """(D, bits) float32, orthonormal rows drawn at random, the same every time."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((bits, directions)))[0].T.astype(np.float32)


def spread(rows: np.ndarray, directions: int) -> np.ndarray:
    """Rows seen in more directions than they have values, as if these were drawn at random: values with random signs
    at random places among zeros, and their cosine transform. Inner products stay what they were.

    :param rows: (M, d) float32
    :param directions: at least d
    :return: (M, directions) float32
    """
    from scipy.fft import dct

    places, signs = _places_and_signs(rows.shape[1], directions)
    wide = np.zeros((len(rows), directions), np.float32)
    wide[:, places] = rows * signs
    return dct(wide, axis=1, norm='ortho')


@lru_cache(maxsize=4)
def _places_and_signs(values: int, directions: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.permutation(directions)[:values], rng.choice(np.array([-1, 1], np.float32), values)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
