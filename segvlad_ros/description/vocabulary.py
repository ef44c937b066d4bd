"""Visual words: reading, using and fitting them (segvlad-spec.md 7.1, 12).

Features may be whitened before they are given words: H. Jegou, O. Chum, "Negative evidences and co-occurences in image
retrieval: the benefit of PCA and whitening", ECCV 2012.
"""
from __future__ import annotations

import logging
import pickletools
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segvlad_ros.description.arrays import Array, Constant, reading, unit_rows
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.threads import one_blas_thread
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

# The reference's largest vocabulary has 0.2 MB; a file that asks for more than this is not a vocabulary.
MAX_BYTES = 256 << 20
# Rows whose similarities to all words are held at a time while fitting.
_CHUNK = 65536
# Directions in which features hardly vary are mostly noise: so much of the largest variance is added to all.
_SHRINKAGE = 0.05
# Rounding of equal float32 rows of unit length differs by less.
_LEAST_SPREAD = 1e-6


class Whitening(NamedTuple):
    """Makes features vary alike in all directions.

    :ivar mean: (D,) float32
    :ivar matrix: (D, D) float32; features less the mean are multiplied by it, from the right
    """

    mean: np.ndarray
    matrix: np.ndarray


class Vocabulary:
    """K visual words.

    :param centres: (K, D) float32, not unit length: residuals are taken to them as they are
    :param whitening: of the features that the words were fitted on; None: they are taken as they are
    """

    def __init__(self, centres: np.ndarray, whitening: Whitening | None = None) -> None:
        centres = np.ascontiguousarray(centres, np.float32)
        if centres.ndim != 2 or not centres.size:
            raise SegvladError(f'a vocabulary is a table of words x dimensions, not of shape {centres.shape}')
        if not np.isfinite(centres).all():
            raise SegvladError('the vocabulary holds NaN or infinite values; fit it again')
        self._centres = Constant(centres)
        self._unit = Constant(unit_rows(centres).T)
        self.whitening = whitening
        if whitening is not None:
            width = centres.shape[1]
            if whitening.mean.shape != (width,) or whitening.matrix.shape != (width, width) or not all(
                    np.isfinite(array).all() for array in whitening):
                raise SegvladError(f'the whitening of the vocabulary does not fit its words of {width} dimensions; '
                                   'fit it again')
            self._mean, self._matrix = (Constant(array.astype(np.float32)) for array in whitening)

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def centres(self) -> np.ndarray:
        """(K, D) float32."""
        return self._centres.array

    @property
    def dimension(self) -> int:
        """D, length of the features that the words were fitted on."""
        return self.centres.shape[1]

    def centres_like(self, features: Array) -> Array:
        """The centres as the kind of array that ``features`` is, on its device."""
        return self._centres.like(features)

    def prepared(self, features: Array) -> Array:
        """Unit rows of (N, D) float32 features of any length, whitened where the words are of whitened ones."""
        unit = unit_rows(features)
        if self.whitening is None:
            return unit
        return unit_rows((unit - self._mean.like(unit)) @ self._matrix.like(unit))

    def words(self, features: Array) -> Array:
        """The word of each feature: hard assignment by cosine, the first of equals.

        :param features: (N, D) float32 unit rows
        :return: (N,) int64
        """
        if features.shape[1] != self.dimension:
            raise SegvladError(f'the vocabulary is for {self.dimension}-d features, these have {features.shape[1]}; '
                               'use the vocabulary that was fitted with this preset')
        return (features @ self._unit.like(features)).argmax(axis=1)

    def save(self, path: str | Path) -> None:
        """Write the centres, and the whitening, as ``.npz``."""
        with whole_file(path) as temporary, temporary.open('wb') as file:
            np.savez(file, centres=self.centres, **(self.whitening._asdict() if self.whitening else {}))


def no_words(dimension: int) -> Vocabulary:
    """One word at the origin: the VLAD of a single feature is then the feature itself, at unit length."""
    return Vocabulary(np.zeros((1, dimension), np.float32))


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read ``.npz`` (array ``centres``, and those of a :class:`Whitening`), ``.npy``, or the reference's
    ``c_centers.pt`` (without torch).

    :raises SegvladError: missing, unreadable or oversized file
    """
    path, whitening = Path(path), None
    with reading('vocabulary', path, '.npz, .npy or c_centers.pt'):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SegvladError(f'{size >> 20} MB is too large for a vocabulary')
        if path.suffix == '.pt':
            centres = _read_tensor_archive(path)
        elif path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as archive:
                centres = _checked_member(archive, 'centres')
                if 'matrix' in archive.files:
                    whitening = Whitening(*(_checked_member(archive, name) for name in Whitening._fields))
        else:
            centres = np.load(path, mmap_mode='r', allow_pickle=False)  # checks the header against the file
        if centres.dtype.kind != 'f':
            raise SegvladError(f'it holds {centres.dtype}, not floating-point numbers')
        return Vocabulary(centres, whitening)


def fit_vocabulary(features: np.ndarray, words: int, seed: int = 42, iterations: int = 100, *,
                   whiten: bool = False) -> Vocabulary:
    """k-means with cosine assignment; centres are plain means of unit rows (segvlad-spec.md 12.2).

    Starts from random rows and stops when the centres have moved by 1e-4 at most (summed squares). Where the
    reference turns an empty word to zero, here it moves to the row that its word represents worst.

    :param features: (n, D) float32, of any length; rows of zeros are left out
    :param words: K
    :param whiten: whiten the features first
    :raises SegvladError: fewer features than words, some that are not finite, or none that differ to whiten by
    """
    features = np.asarray(features, np.float32)
    rows = unit_rows(features[(features != 0).any(axis=1)])
    if len(rows) < words:
        raise SegvladError(f'{words} words need at least as many textured cells, these images have {len(rows)}; '
                           'give more images or ask for fewer words')
    if not np.isfinite(rows).all():
        raise SegvladError('features are not finite; check the images and the weights')
    with one_blas_thread():  # two add up to other bytes, and the digest of the file is in the fingerprint of maps
        whitening = _fit_whitening(rows) if whiten else None
        if whitening is not None:
            rows = unit_rows((rows - whitening.mean) @ whitening.matrix)
        return Vocabulary(_clustered(rows, words, seed, iterations), whitening)


def _clustered(rows: np.ndarray, words: int, seed: int, iterations: int) -> np.ndarray:
    """Centres of (n, D) unit rows, (words, D) float32."""
    centres = rows[np.random.default_rng(seed).choice(len(rows), words, replace=False)]
    for iteration in range(1, iterations + 1):
        moved = _mean_by_word(rows, centres)
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= 1e-4:
            logger.info('vocabulary: %d words from %d cells settled in %d steps', words, len(rows), iteration)
            break
    return centres


def _fit_whitening(rows: np.ndarray) -> Whitening:
    """Of (n, D) unit rows."""
    if np.ptp(rows, axis=0).max() < _LEAST_SPREAD:
        raise SegvladError(f'all {len(rows)} textured cells are alike, which leaves nothing to whiten by; give other '
                           'images, and more of them, or do not whiten')
    variances, directions = np.linalg.eigh(np.cov(rows, rowvar=False).reshape(rows.shape[1], -1))
    matrix = directions / np.sqrt(variances + _SHRINKAGE * variances.max())
    return Whitening(rows.mean(axis=0), matrix.astype(np.float32))


def _mean_by_word(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """One step of k-means: the means of the rows that are nearest to each centre."""
    unit = unit_rows(centres).T
    sums = np.zeros(centres.shape)
    counts = np.zeros(len(centres), np.int64)
    similarity = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _CHUNK):
        chunk = rows[first:first + _CHUNK]
        table = chunk @ unit
        word = table.argmax(axis=1)
        similarity[first:first + _CHUNK] = table[np.arange(len(chunk)), word]
        one_hot = np.zeros(table.shape, np.float32)
        one_hot[np.arange(len(chunk)), word] = 1
        sums += one_hot.T @ chunk
        counts += np.bincount(word, minlength=len(centres))
    empty = np.flatnonzero(counts == 0)
    sums[empty] = rows[np.argsort(similarity, kind='stable')[:len(empty)]]
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _checked_member(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """One array of an ``.npz``, after the size that it unpacks to has been checked."""
    if name not in archive.files:
        raise SegvladError(f'it has no array {name!r}, only {", ".join(archive.files) or "none"}')
    if archive.zip.getinfo(f'{name}.npy').file_size > MAX_BYTES:
        raise SegvladError(f'the array {name!r} is too large for a vocabulary')
    return archive[name]


def _read_tensor_archive(path: Path) -> np.ndarray:
    """The one float32 tensor of a torch zip archive (segvlad-spec.md 12.1); its pickle is read, not executed."""
    with zipfile.ZipFile(path) as archive:
        members = {name.partition('/')[2]: archive.getinfo(name) for name in archive.namelist()}
        if not {'data.pkl', 'data/0'} <= members.keys() or 'data/1' in members:
            raise SegvladError('it is not one tensor saved by torch; save the bare centres, or use .npy')
        if members['data.pkl'].file_size > 4096 or members['data/0'].file_size > MAX_BYTES:
            raise SegvladError('its members are too large for a vocabulary')
        if 'byteorder' in members and archive.read(members['byteorder']).strip() != b'little':
            raise SegvladError('its numbers are not little-endian; save it again on a little-endian machine')
        shape = _tensor_shape(archive.read(members['data.pkl']))
        values = np.frombuffer(bytearray(archive.read(members['data/0'])), '<f4')
    if len(values) != shape[0] * shape[1]:
        raise SegvladError(f'it holds {len(values)} numbers for a shape of {shape[0]} x {shape[1]}; get it again')
    return values.reshape(shape)


def _tensor_shape(pickled: bytes) -> tuple[int, int]:
    """Rows and columns of the contiguous float32 tensor that a torch pickle describes."""
    numbers: list[int] = []
    pairs: list[tuple[int, int]] = []
    names = set()
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ('BININT', 'BININT1', 'BININT2'):
            numbers.append(argument)
        elif opcode.name == 'TUPLE2' and len(numbers) >= 2:
            pairs.append((numbers[-2], numbers[-1]))
        elif opcode.name == 'GLOBAL':
            names.add(argument)
    if 'torch FloatStorage' not in names or len(pairs) < 2 or pairs[1] != (pairs[0][1], 1):
        raise SegvladError('it is not one contiguous float32 table; save the bare centres, or use .npy')
    return pairs[0]
