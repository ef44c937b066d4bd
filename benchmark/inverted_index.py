"""The search of DBoW2, literally: an inverted index and the L1 score, for comparison with cosines of the same words.

Galvez-Lopez and Tardos, IEEE T-RO 28(5), 2012, section IV; Nister and Stewenius, CVPR 2006, for the score by the words
in common.
"""
from __future__ import annotations

import numpy as np


class InvertedIndex:
    """Of each word the images that have it, with its weight there."""

    def __init__(self, words: int) -> None:
        self._entries: list[list[int]] = [[] for _ in range(words)]
        self._weights: list[list[float]] = [[] for _ in range(words)]
        self.count = 0

    def add(self, histogram: np.ndarray) -> None:
        """Add an image.

        :param histogram: (words,) tf-idf weights, of sum 1
        """
        for word in np.flatnonzero(histogram):
            self._entries[word].append(self.count)
            self._weights[word].append(float(histogram[word]))
        self.count += 1

    def scores(self, histogram: np.ndarray) -> np.ndarray:
        """(count,) float64, ``1 - |v - w|_1 / 2`` of each image, which is 0 without a common word.

        For v and w of sum 1 this is the sum over common words of ``(|v_i| + |w_i| - |v_i - w_i|) / 2``.
        """
        scores = np.zeros(self.count)
        for word in np.flatnonzero(histogram):
            there, here = np.array(self._weights[word]), float(histogram[word])
            if len(there):
                scores[self._entries[word]] += (here + there - abs(here - there)) / 2
        return scores
