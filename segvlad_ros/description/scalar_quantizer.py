"""Segment descriptors as codes of 4 bits a value, without training: an eighth of float32.

A unit row is rotated by a fixed random orthonormal transform, whereupon its values are as good as drawn from the normal
distribution of variance 1/d, whatever projection it comes from; then a quantiser for that distribution is right for
every map. The rotation keeps cosines, so that codes can be compared with rotated queries as they are.

The codes are those of faiss's ``IndexScalarQuantizer`` of type ``QT_4bit_uniform``, byte for byte, once its ``trained``
are ``[low, span]``.
"""
from __future__ import annotations

import numpy as np

from segvlad_ros.description.arrays import EPSILON
from segvlad_ros.description.projection import random_signs
from segvlad_ros.types import SegvladError

LEVELS = 16
# Width of a level in standard deviations. With the one of least error, 0.3352 (J. Max, IRE Trans. Information Theory
# 1960), rows become 0.6 % shorter, and cosines with them; with this one they keep their length on average, for 2 %
# more error (0.005 of a cosine).
_STEP = 0.3641


class ScalarQuantizer:
    """Codes of unit rows, and back.

    :param dimension: d, length of a row
    :ivar low, span: lower end and width of the range of rotated values that codes tell apart
    :ivar code_bytes: of a row, half of d rounded up
    """

    def __init__(self, dimension: int) -> None:
        self.dimension, self.code_bytes = dimension, (dimension + 1) // 2
        step = _STEP / dimension ** 0.5
        # as faiss has it, the uppermost level begins where the range ends
        self.low, self.span = np.float32(-LEVELS / 2 * step), np.float32((LEVELS - 1) * step)
        self._values = self.low + (np.arange(LEVELS, dtype=np.float32) + np.float32(0.5)) / (LEVELS - 1) * self.span
        self._signs = random_signs(f'segvlad scalar quantizer 1: {dimension}', (1, dimension))[0]

    def rotated(self, rows: np.ndarray) -> np.ndarray:
        """(M, d) float32, rows as codes see them: cosines between rotated rows are those between rows."""
        from scipy.fft import dct

        return dct(np.asarray(rows, np.float32) * self._signs, axis=1, norm='ortho')

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The codes of rows.

        :param rows: (M, d) float32, unit rows; a row of zeros has no direction, and gets an arbitrary short row's code
        :return: (M, code_bytes) uint8; a value with an even number is in the lower half of its byte
        :raises SegvladError: rows of another length, NaN or infinite values
        """
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise SegvladError(f'descriptors of shape {rows.shape} have no codes of dimension {self.dimension}')
        if not np.isfinite(rows).all():
            raise SegvladError('descriptors with NaN or infinite values have no codes')
        share = ((self.rotated(rows) - self.low) / self.span).clip(0, 1)
        levels = np.zeros((len(rows), 2 * self.code_bytes), np.uint8)
        levels[:, :self.dimension] = share.astype(np.float64) * (LEVELS - 1)
        return levels[:, ::2] | levels[:, 1::2] << 4

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The rows of codes.

        :param codes: (M, code_bytes) uint8
        :return: (M, d) float32 unit rows
        """
        from scipy.fft import idct

        rows = idct(self.decode_rotated(codes), axis=1, norm='ortho') * self._signs
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(EPSILON)

    def decode_rotated(self, codes: np.ndarray) -> np.ndarray:
        """What faiss's index sees: (M, d) float32, rotated, and within 3 % of unit length."""
        levels = np.stack([codes & 0x0F, codes >> 4], axis=2).reshape(len(codes), 2 * self.code_bytes)
        return self._values[levels[:, :self.dimension]]
