"""Segment descriptors as codes of 3 or 4 bits a value, without training.

A unit row is rotated by a fixed random orthonormal transform, whereupon its values are as good as drawn from the normal
distribution of variance 1/d, whatever projection it comes from; then a quantiser for that distribution is right for
every map. The rotation keeps cosines, so that codes can be compared with rotated queries as they are: they are those of
faiss's ``IndexScalarQuantizer`` of type ``QT_3bit_tqmse`` or ``QT_4bit_uniform``, once its ``trained`` is ours.

3 bits are what a map file has room for, at the cost that benchmark/results/small_keyframes.md states; 4 bits are what
faiss searches three times as fast.
"""
from __future__ import annotations

import numpy as np

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.projection import random_signs
from segvlad_ros.types import SegvladError

# Of the normal distribution of variance 1, the upper half: where levels begin and the values that they stand for, so
# that squared errors are least (J. Max, IRE Trans. Information Theory 1960); and the inner product of a row with what
# then stands for it.
_BEGIN, _STAND, _PRODUCT = (0.5006, 1.050, 1.748), (0.2451, 0.7560, 1.344, 2.152), 0.96546
# Equal levels of this width keep the length of rows on average, for 2 % more error than the width of least error.
_STEP = 0.3641
# Cosine of a row with what its code stands for, on average, by bits.
_COSINE = {3: 0.98258, 4: 0.99397}
# Bits that are decoded at a time, by bits of a value.
_GROUP_BITS = {3: 12, 4: 8}


class ScalarQuantizer:
    """Codes of unit rows, and back.

    :param dimension: d, length of a row
    :param bits: of a value, 3 or 4; the error of a cosine is 0.009 or 0.005 (standard deviation, d = 512)
    :ivar code_bytes: of a row
    :ivar length: of decoded rows, a little above 1, so that cosines with other rows are right on average
    :ivar trained: float32, what faiss's index of this type wants to know
    """

    def __init__(self, dimension: int, bits: int) -> None:
        if bits not in _COSINE:
            raise SegvladError(f'codes of {bits} bits a value: give 3 or 4')
        self.dimension, self.bits, self.code_bytes = dimension, bits, (dimension * bits + 7) // 8
        self.length = 1 / _COSINE[bits]
        if bits == 4:
            low, span = -8 * _STEP, 15 * _STEP  # as faiss has it, the uppermost level begins where the range ends
            begin, values = low + np.arange(1, 16) * _STEP, low + (np.arange(16) + 0.5) * _STEP
            trained = [low, span]
        else:
            begin, upper = np.array(_BEGIN), np.array(_STAND) / _PRODUCT
            begin, values = np.concatenate([-begin[::-1], [0], begin]), np.concatenate([-upper[::-1], upper])
            trained = [*values, *begin]
        self._begin, self._values, self.trained = (
            np.array(numbers / dimension ** 0.5, np.float32) for numbers in (begin, values, np.array(trained)))
        shifts = np.arange(0, _GROUP_BITS[bits], bits)
        groups = np.arange(1 << _GROUP_BITS[bits])[:, None]
        self._values_of_group = self._values[groups >> shifts & ((1 << bits) - 1)]
        self._signs = random_signs(f'segvlad scalar quantizer 1: {dimension}', (1, dimension))[0]

    def rotated(self, rows: np.ndarray) -> np.ndarray:
        """(M, d) float32, rows as codes see them: cosines between rotated rows are those between rows."""
        from scipy.fft import dct

        return dct(np.asarray(rows, np.float32) * self._signs, axis=1, norm='ortho')

    def unrotated(self, rows: np.ndarray) -> np.ndarray:
        """(M, d) float32, what was :meth:`rotated`."""
        from scipy.fft import idct

        return idct(np.asarray(rows, np.float32), axis=1, norm='ortho') * self._signs

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The codes of rows.

        :param rows: (M, d) float32, unit rows; a row of zeros has no direction, and gets an arbitrary one
        :return: (M, code_bytes) uint8, the values of a row from the lowest bit of the first byte on
        :raises SegvladError: rows of another length, NaN or infinite values
        """
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise SegvladError(f'descriptors of shape {rows.shape} have no codes of dimension {self.dimension}')
        if not np.isfinite(rows).all():
            raise SegvladError('descriptors with NaN or infinite values have no codes')
        rotated, levels = self.rotated(rows), np.zeros(rows.shape, np.uint8)
        for begin in self._begin:  # np.searchsorted takes longer
            levels += rotated >= begin
        bits = np.unpackbits(levels[:, :, None], axis=2, count=self.bits, bitorder='little')
        return np.packbits(bits.reshape(len(rows), self.dimension * self.bits), axis=1, bitorder='little')

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The rows of codes.

        :param codes: (M, code_bytes) uint8
        :return: (M, d) float32, rows of :attr:`length`
        :raises SegvladError: codes of another length
        """
        return self.unrotated(self.seen(codes))

    def seen(self, codes: np.ndarray) -> np.ndarray:
        """What stands for the rows where these are :meth:`rotated`, (M, d) float32 of :attr:`length`."""
        return unit_rows(self.decode_rotated(codes)) * np.float32(self.length)

    def decode_rotated(self, codes: np.ndarray) -> np.ndarray:
        """What faiss's index sees: (M, d) float32, rotated, and within 8 % of unit length."""
        if codes.ndim != 2 or codes.shape[1] != self.code_bytes or codes.dtype != np.uint8:
            raise SegvladError(f'codes of shape {codes.shape} and type {codes.dtype} are none of {self.code_bytes} '
                               'bytes')
        groups = codes if self.bits == 4 else _groups_of_12_bits(codes)
        values = self._values_of_group.take(groups, axis=0)
        return values.reshape(len(codes), values.shape[1] * values.shape[2])[:, :self.dimension]


def _groups_of_12_bits(codes: np.ndarray) -> np.ndarray:
    """(M, 2 for each three bytes) uint16, the lowest bits first."""
    triples, missing = -(-codes.shape[1] // 3), -codes.shape[1] % 3
    if missing:
        codes = np.pad(codes, ((0, 0), (0, missing)))
    first, middle, last = (codes[:, byte::3].astype(np.uint16) for byte in range(3))
    return np.stack([first | (middle & 0x0F) << 8, middle >> 4 | last << 4], axis=2).reshape(len(codes), 2 * triples)
