"""Projections of a segment's K x D wide VLAD to d dimensions: seeded, fitted (PCA), or none (segvlad-spec.md 8).

A projection is an affine map. ``project_word`` is a linear map of one word's block, so that the blocks never have to
stand side by side; their sum goes through ``finish``.
"""
from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from segvlad_ros.description.arrays import Array, Constant, namespace, reading, zeros
from segvlad_ros.io.unpickling import CONTAINERS, NUMPY, load_pickle
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import SegvladError

# Largest array that a projection file may unpack to: 49152 x 1024 float32 has 201 MB.
MAX_BYTES = 1 << 30
# A direction with less than this share of the largest variance is rounding: float32 rows leave about 1e-14.
_RANK_TOLERANCE = 1e-10
_SCIKIT_LEARN = frozenset({'sklearn.decomposition._pca.PCA', 'sklearn.decomposition.pca.PCA'})


class Projection(Protocol):
    """What every projection offers; :class:`NoProjection` has no linear part. Results are not normalised.

    :ivar input_dimension: K x D
    :ivar dimension: d
    """

    input_dimension: int
    dimension: int

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Project whole rows, (M, K*D) to (M, d); the precision of a fit is float64."""
        ...

    def project_word(self, word: int, block: Array) -> Array:
        """The share of one word in the linear part, (n, D) float32 to (n, d) float32."""
        ...

    def finish(self, sums: Array) -> Array:
        """What :meth:`apply` gives, from sums of :meth:`project_word`, (M, d)."""
        ...


class NoProjection:
    """Keeps all K x D numbers.

    :param words, feature_dimension: K and D
    """

    def __init__(self, words: int, feature_dimension: int) -> None:
        self.input_dimension = self.dimension = words * feature_dimension

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Projection`."""
        return rows


class SeededProjection:
    """A random projection that needs no data and keeps lengths and angles (a subsampled randomised cosine transform).

    Each word's block gets random signs, an orthonormal DCT that spreads every coordinate over all, and a random
    signed permutation onto the d outputs (folded where d < D, padded where d > D). Signs and permutations differ
    between words, so that blocks do not interfere on average. The randomness is SHAKE-256 of the seed and the sizes:
    the same on every machine and with every numpy, and 49152 x 1024 take 0.5 MB instead of 200.

    :param words, feature_dimension: K and D
    :param dimension: d
    :param seed: names the projection; maps made with different seeds do not fit each other
    """

    def __init__(self, words: int, feature_dimension: int, dimension: int, seed: int = 0) -> None:
        if min(words, feature_dimension, dimension) < 1:
            raise SegvladError('a seeded projection needs at least one word, one feature and one output dimension')
        self.words, self.feature_dimension = words, feature_dimension
        self.input_dimension = words * feature_dimension
        self.dimension = dimension
        self.seed = seed
        folded = -(-feature_dimension // dimension) * dimension
        name = f'segvlad seeded projection 1: {words} {feature_dimension} {dimension} {seed}'
        places = np.frombuffer(_random_bytes(f'{name} 2', 8 * words * folded), '<u8').reshape(words, folded)
        self._signs = Constant(random_signs(f'{name} 1', (words, feature_dimension)))
        self._order = Constant(np.argsort(places, axis=1, kind='stable'))
        self._output_signs = Constant(random_signs(f'{name} 3', (words, folded)))
        self._matrix: Constant | None = None

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Projection`."""
        blocks = rows.reshape(len(rows), self.words, self.feature_dimension).astype(np.float32)
        return sum(self.project_word(word, blocks[:, word]) for word in range(self.words))

    def project_word(self, word: int, block: Array) -> Array:
        """See :class:`Projection`."""
        order = self._order.like(block)[word]
        spread = self._transform(block * self._signs.like(block)[word])
        if len(order) > self.feature_dimension:
            padding = zeros((len(block), len(order) - self.feature_dimension), block)
            spread = namespace(block).concatenate([spread, padding], axis=1)
        mixed = spread[:, order] * self._output_signs.like(block)[word]
        return mixed.reshape(len(block), -1, self.dimension).sum(axis=1)

    def finish(self, sums: Array) -> Array:
        """See :class:`Projection`."""
        return sums

    def _transform(self, block: Array) -> Array:
        """Orthonormal DCT of every row: the fast one on a CPU, a matrix product (exact to rounding) on a GPU."""
        from scipy.fft import dct

        if isinstance(block, np.ndarray):
            return dct(block, axis=1, norm='ortho')
        if self._matrix is None:
            self._matrix = Constant(dct(np.eye(self.feature_dimension), axis=1, norm='ortho').astype(np.float32))
        return block @ self._matrix.like(block)


class PcaProjection:
    """``y = (v - mean) @ components.T * scale``.

    :param mean: (K*D,)
    :param components: (d, K*D)
    :param scale: (d,); ``1 / sqrt(explained variance)`` whitens
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray, scale: np.ndarray) -> None:
        mean, components, scale = (np.asarray(array, np.float32) for array in (mean, components, scale))
        if components.ndim != 2 or mean.shape != components.shape[1:] or scale.shape != components.shape[:1]:
            raise SegvladError(f'mean {mean.shape}, components {components.shape} and scale {scale.shape} of the '
                               'projection do not fit together; fit it again')
        if not all(np.isfinite(array).all() for array in (mean, components, scale)):
            raise SegvladError('the projection holds NaN or infinite values; fit it again')
        self.mean, self.components, self.scale = mean, components, scale
        self.dimension, self.input_dimension = components.shape
        wide = mean.astype(np.float64)  # row by row: the whole table in float64 would take 400 MB
        self._offset = Constant(np.array([row @ wide for row in components], np.float32))
        self._components, self._scale = Constant(components), Constant(scale)

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Projection`; computed in float64 as the reference does, in float32 for float32 rows."""
        dtype = np.float32 if rows.dtype == np.float32 else np.float64
        return (rows - self.mean) @ self.components.T.astype(dtype, copy=False) * self.scale

    def project_word(self, word: int, block: Array) -> Array:
        """See :class:`Projection`."""
        width = block.shape[1]
        return block @ self._components.like(block)[:, word * width:(word + 1) * width].T

    def finish(self, sums: Array) -> Array:
        """See :class:`Projection`."""
        return (sums - self._offset.like(sums)) * self._scale.like(sums)

    def save(self, path: str | Path, dtype: str = 'float32') -> None:
        """Write an ``.npz`` without pickles.

        :param dtype: of the components; 'float16' halves the file
        """
        with whole_file(path) as temporary, temporary.open('wb') as file:
            np.savez_compressed(file, mean=self.mean, components=self.components.astype(dtype), scale=self.scale)


def rank_of(variances: np.ndarray) -> int:
    """How many of the (d,) variances of a PCA are of a direction, and no rounding."""
    return int((variances > _RANK_TOLERANCE * variances.max(initial=0)).sum())


def load_projection(path: str | Path) -> PcaProjection:
    """Read what :meth:`PcaProjection.save` wrote, or (``.pkl``) the reference's pickled PCA of scikit-learn.

    :raises SegvladError: missing, unreadable or oversized file
    """
    with reading('projection', path, '.npz'):
        if Path(path).suffix == '.pkl':
            return _from_scikit_learn(path)
        if not zipfile.is_zipfile(path):
            raise FileNotFoundError(path) if not Path(path).exists() else SegvladError('it is not an .npz file')
        names = ('mean', 'components', 'scale')
        with np.load(path, allow_pickle=False) as archive:
            if not set(names) <= set(archive.files):
                raise SegvladError(f'it must hold the arrays {", ".join(names)}; '
                                   'make one with "segvlad fit projection"')
            for name in names:
                if archive.zip.getinfo(f'{name}.npy').file_size > MAX_BYTES:
                    raise SegvladError(f'the array {name!r} is too large for a projection')
            return PcaProjection(*(archive[name] for name in names))


def _from_scikit_learn(path: str | Path) -> PcaProjection:
    """The parameters in a pickle of ``sklearn.decomposition.PCA``, which itself is not needed."""
    fitted = load_pickle(path, NUMPY | CONTAINERS | _SCIKIT_LEARN)
    values = getattr(fitted, 'attributes', {})
    if not {'mean_', 'components_', 'explained_variance_'} <= values.keys():
        raise SegvladError('it holds no fitted PCA of scikit-learn')
    variance = np.asarray(values['explained_variance_'], np.float64)
    if rank_of(variance) < variance.size:
        raise SegvladError('its PCA was fitted on rows of too low a rank; fit it on more images')
    scale = 1 / np.sqrt(variance) if values.get('whiten') else np.ones_like(variance)
    return PcaProjection(values['mean_'], values['components_'], scale)


def _random_bytes(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def random_signs(seed: str, shape: tuple[int, int]) -> np.ndarray:
    """+1 and -1, float32."""
    count = shape[0] * shape[1]
    bits = np.unpackbits(np.frombuffer(_random_bytes(seed, -(-count // 8)), np.uint8), count=count)
    return (bits.astype(np.float32) * 2 - 1).reshape(shape)
