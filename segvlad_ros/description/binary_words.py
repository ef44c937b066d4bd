"""A tree of binary visual words, and what they say of an image: the bag of words of ORB-SLAM.

Galvez-Lopez and Tardos, "Bags of Binary Words for Fast Place Recognition in Image Sequences", IEEE T-RO 28(5), 2012;
as implemented in DBoW2, which ORB-SLAM and many robots run, with a tree of 10 children a node and weights TF_IDF.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segvlad_ros.description.arrays import reading
from segvlad_ros.features import whole_image
from segvlad_ros.features.orb import ORB_BYTES, OrbDetector
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import FeatureGrid, SegvladError

WORDS = 10_000
"""Words of a vocabulary where nothing else is asked for. ORB-SLAM's has up to a million, and an image few of them; here
their histogram is a vector of the map."""
_MOST_CHILDREN = 10  # of a node
MAX_WORDS = 0xFFFF
"""Words of a vocabulary at most: their histogram is a descriptor, and msg/PlaceDescriptor holds no longer ones."""
_MAX_BYTES = 64 << 20  # of an array in a file

_ITERATIONS = 30
_CHUNK = 20_000  # descriptors compared at a time
_SET_BITS = np.array([bin(byte).count('1') for byte in range(256)], np.uint8)


class BinaryVocabulary:
    """Words are the leaves of a tree, found from its root by the nearest child at each node.

    :param centres: (n, 32) uint8, descriptors of the nodes; those of one node stand together, after their parent
    :param parents: (n,) int, number of the parent, -1 below the root
    :param idf: (words,) float32, ``log(N / N_i)`` of the N training images of which N_i have the word
    :raises SegvladError: they do not form a tree
    """

    def __init__(self, centres: np.ndarray, parents: np.ndarray, idf: np.ndarray) -> None:
        parents = np.asarray(parents, np.int64)
        if centres.ndim != 2 or centres.shape[1] != ORB_BYTES or centres.dtype != np.uint8 or not len(centres):
            raise SegvladError(f'nodes of shape {centres.shape} and type {centres.dtype} are not ORB descriptors')
        if parents.shape != (len(centres),) or (np.diff(parents) < 0).any() or parents[0] != -1 or (
                parents >= np.arange(len(parents))).any():
            raise SegvladError('its nodes form no tree; fit it again')
        self.centres, self.parents, self.idf = centres, parents, np.asarray(idf, np.float32)
        numbers = np.arange(-1, len(centres))
        self._first = np.searchsorted(parents, numbers)  # of the children of each node, the root first
        self._children = np.searchsorted(parents, numbers, side='right') - self._first
        self._word = np.cumsum(self._children[1:] == 0) - 1  # of each node that is a leaf
        if self.idf.shape != (int(self._word[-1]) + 1,) or not (self.idf >= 0).all() or len(self) > MAX_WORDS:
            raise SegvladError(f'{self.idf.shape} weights do not fit {self._word[-1] + 1} words, of which there may be '
                               f'{MAX_WORDS}; fit it again')

    def __len__(self) -> int:
        return len(self.idf)

    def words(self, descriptors: np.ndarray) -> np.ndarray:
        """The word of each descriptor; of equally near children the first.

        :param descriptors: (N, 32) uint8
        :return: (N,) int64
        """
        found = np.full(len(descriptors), -1)
        below = np.arange(len(descriptors))
        while len(below):
            node = found[below] + 1
            first, count = self._first[node], self._children[node]
            nearest = np.zeros(len(below), np.int64)
            least = np.full(len(below), 8 * ORB_BYTES + 1)
            for child in range(int(count.max())):
                distance = hamming(descriptors[below], self.centres[np.minimum(first + child, len(self.centres) - 1)])
                nearer = (child < count) & (distance < least)
                nearest[nearer], least[nearer] = child, distance[nearer]
            found[below] = first + nearest
            below = below[self._children[found[below] + 1] > 0]
        return self._word[found]

    def histogram(self, descriptors: np.ndarray) -> np.ndarray:
        """(words,) float32, the tf-idf weights of an image's words, of sum 1; zeros where no word tells anything.

        :param descriptors: (N, 32) uint8, all of one image
        """
        weights = np.bincount(self.words(descriptors), minlength=len(self)).astype(np.float32) * self.idf
        total = weights.sum()
        return weights / total if total > 0 else weights

    def save(self, path: str | Path) -> None:
        """Write ``.npz``."""
        with whole_file(path) as temporary, temporary.open('wb') as file:
            np.savez_compressed(file, centres=self.centres, parents=self.parents.astype(np.int32), idf=self.idf)


def load_binary_vocabulary(path: str | Path) -> BinaryVocabulary:
    """Read what :meth:`BinaryVocabulary.save` wrote.

    :raises SegvladError: missing, unreadable or oversized file
    """
    names = ('centres', 'parents', 'idf')
    with reading('vocabulary', path, '.npz'), np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile) or not set(names) <= set(archive.files):
            raise SegvladError('it holds no tree of binary words; make one with "segvlad fit vocabulary" and this '
                               'preset')
        if any(archive.zip.getinfo(f'{name}.npy').file_size > _MAX_BYTES for name in names):
            raise SegvladError('its arrays are too large for a vocabulary')
        return BinaryVocabulary(*(archive[name] for name in names))


def hamming(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bits in which rows of bytes differ, along the last axis."""
    return _SET_BITS[left ^ right].sum(axis=-1, dtype=np.int64)


class BagOfWords:
    """One vector an image: the square roots of the tf-idf weights of its words.

    Their cosine is the Bhattacharyya coefficient of the two images' histograms, which is one of DBoW2's scores.
    ORB-SLAM takes another, ``1 - |v - w|_1 / 2``, which is not an inner product; what it gives on the same images is in
    benchmark/results/baselines.md.

    It is a :class:`segvlad_ros.features.FeatureExtractor` of a grid of equal cells.

    :param cell: side of a cell, pixels
    """

    def __init__(self, detector: OrbDetector, vocabulary: BinaryVocabulary, cell: int) -> None:
        self._detector, self._vocabulary, self.cell = detector, vocabulary, cell
        self.dimension = len(vocabulary)

    def extract(self, rgb: np.ndarray) -> FeatureGrid:
        """See :class:`segvlad_ros.features.FeatureExtractor`; zeros where no word tells anything."""
        weights = self._vocabulary.histogram(self._detector.describe(rgb))
        return whole_image(np.sqrt(weights), rgb.shape, self.cell)


def fit_binary_vocabulary(images: Sequence[np.ndarray], words: int, seed: int = 42) -> BinaryVocabulary:
    """Cluster descriptors in clusters of clusters, by k-majority with the seeding of k-means++.

    :param images: (n, 32) uint8 each, descriptors of the training images
    :param words: at most; 10, 100, 1000 ... where each node has 10 children
    :raises SegvladError: fewer descriptors than words, or more words than a map takes
    """
    if not 2 <= words <= MAX_WORDS:
        raise SegvladError(f'{words} binary words: ask for 2 to {MAX_WORDS}')
    descriptors = np.concatenate([np.zeros((0, ORB_BYTES), np.uint8), *images])
    if len(descriptors) < words:
        raise SegvladError(f'{words} words need at least as many keypoints, these images have {len(descriptors)}; '
                           'give more images or ask for fewer words')
    generator = np.random.default_rng(seed)
    depth = 1
    while words > _MOST_CHILDREN ** depth:
        depth += 1
    children = int(words ** (1 / depth) + 1e-9)
    centres, parents = [], []
    level = [(-1, np.arange(len(descriptors)))]
    for _ in range(depth):
        below = []
        for parent, members in level:
            found, nearest = _k_majority(descriptors[members], children, generator)
            if len(found) < 2:
                continue  # all are alike: the node stays a word
            for number, centre in enumerate(found):
                below.append((len(centres), members[nearest == number]))
                centres.append(centre)
                parents.append(parent)
        level = below
    if not centres:
        raise SegvladError('these keypoints are all alike and tell no words apart; give other images')
    vocabulary = BinaryVocabulary(np.array(centres), np.array(parents), np.zeros(_leaves(parents), np.float32))
    seen = np.zeros(len(vocabulary), np.int64)
    for image in images:
        seen[np.unique(vocabulary.words(image))] += 1
    idf = np.log(len(images) / np.maximum(seen, 1)) * (seen > 0)
    return BinaryVocabulary(vocabulary.centres, vocabulary.parents, idf)


def _leaves(parents: Sequence[int]) -> int:
    return len(parents) - len(set(parents) - {-1})


def _k_majority(rows: np.ndarray, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """k-means under the Hamming distance, whose means are the bits that most have.

    :param rows: (n, 32) uint8
    :return: centres, (up to ``count``, 32) uint8, and (n,) int64, the nearest one of each row
    """
    centres = _seeds(rows, count, generator)
    bits = np.unpackbits(rows, axis=1)
    nearest = _nearest(rows, centres)
    for _ in range(_ITERATIONS):
        members = [bits[nearest == number] for number in range(len(centres))]
        centres = np.packbits([2 * group.sum(axis=0) >= len(group) for group in members if len(group)], axis=1)
        before, nearest = nearest, _nearest(rows, centres)
        if np.array_equal(before, nearest):
            break
    used = np.unique(nearest)
    return centres[used], np.searchsorted(used, nearest)


def _seeds(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``count`` different rows, far from each other more often than not (k-means++, Arthur and Vassilvitskii,
    2007).
    """
    seeds = [rows[generator.integers(len(rows))]] if len(rows) else []
    distance = np.full(len(rows), np.inf)
    while seeds and len(seeds) < count:
        distance = np.minimum(distance, hamming(rows, seeds[-1]).astype(float) ** 2)
        if not distance.any():
            break
        seeds.append(rows[generator.choice(len(rows), p=distance / distance.sum())])
    return np.array(seeds).reshape(-1, ORB_BYTES)


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n,) int64, the first of equally near centres."""
    nearest = [hamming(rows[first:first + _CHUNK, None], centres).argmin(axis=1)
               for first in range(0, len(rows), _CHUNK)]
    return np.concatenate(nearest) if nearest else np.zeros(0, np.int64)
