"""Segment VLAD (segvlad-spec.md 7): exact rows, and rows that are projected while they are summed up.

Functions take numpy arrays or torch tensors and answer in kind. Cells whose feature is zero (no texture) belong to
no word.
"""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segvlad_ros.description.arrays import EPSILON, Array, cast, like, namespace, row_norms, to_numpy, unit_rows, zeros
from segvlad_ros.description.projection import NoProjection, Projection
from segvlad_ros.description.vocabulary import Vocabulary


def merge_neighbours(incidence: Array, adjacent: Array) -> Array:
    """Give every segment the cells of its neighbours too: masks are merged, not descriptors (segvlad-spec.md 7.3).

    :param incidence: (M, N) bool
    :param adjacent: (M, M) bool, see :func:`segvlad_ros.description.segments.neighbours`
    """
    return cast(like(adjacent, incidence), 'float32') @ cast(incidence, 'float32') > 0


def segment_vlad(features: Array, incidence: Array, vocabulary: Vocabulary, dtype: str = 'float64') -> Array:
    """The full descriptors, K x D wide (segvlad-spec.md 7.4, 7.5).

    :param features: (N, D) float32, one row a cell, of any length
    :param incidence: (M, N) bool, neighbours merged already; a row of ones gives the whole-image VLAD
    :param dtype: in which residuals are summed up; the reference uses 'float64'
    :return: (M, K*D) of that dtype, word by word; unit rows, zero for a segment without a textured cell
    """
    width = features.shape[1]
    rows = zeros((len(incidence), len(vocabulary) * width), cast(features[:0], dtype))
    for word, cells, residuals in _by_word(features, incidence, vocabulary):
        sums = cast(cells, dtype) @ cast(residuals, dtype)
        rows[:, word * width:(word + 1) * width] = unit_rows(sums)
    return unit_rows(rows)


def project_segment_vlad(features: Array, incidence: Array, vocabulary: Vocabulary, projection: Projection) -> Array:
    """``projection.apply(segment_vlad(...))`` in float32, without the K x D wide rows.

    A word's block is a sum of its cells' residuals over their norm, and projecting is linear: the residuals (or the
    sums, whichever are fewer) are projected and the results added up.

    :return: (M, d) float32, not normalised
    """
    if isinstance(projection, NoProjection):
        return segment_vlad(features, incidence, vocabulary, 'float32')
    total = zeros((len(incidence), projection.dimension), features)
    words = zeros((len(incidence),), features)
    for word, cells, residuals in _by_word(features, incidence, vocabulary):
        member = cast(cells, 'float32')
        sums = member @ residuals
        norms = row_norms(sums)
        weights = 1 / norms.clip(EPSILON)
        words += (norms * weights) ** 2
        if len(residuals) <= len(member):
            total += (member * weights[:, None]) @ projection.project_word(word, residuals)
        else:
            total += projection.project_word(word, sums * weights[:, None])
    total /= (words ** 0.5).clip(EPSILON)[:, None]
    return projection.finish(total)


def textured_cells(features: Array) -> Array:
    """Cells that have a feature: (N,) bool."""
    return (features != 0).any(axis=1)


def _by_word(features: Array, incidence: Array, vocabulary: Vocabulary) -> Iterator[tuple[int, Array, Array]]:
    """For every word that occurs: its number, its cells' columns of the incidence, and their residuals.

    Cells are sorted by word once, so that each word's are a slice.
    """
    xp = namespace(features)
    unit = vocabulary.prepared(features)
    words = vocabulary.words(unit)
    key = xp.where(textured_cells(features), words, len(vocabulary))
    order = xp.argsort(key * len(key) + like(np.arange(len(key)), key))  # in a word by number: sums never vary
    counts = to_numpy(xp.bincount(key, minlength=len(vocabulary) + 1))
    columns = incidence[:, order]
    residuals = unit[order] - vocabulary.centres_like(unit)[words[order]]
    last = 0
    for word, count in enumerate(counts[:-1]):
        first, last = last, last + int(count)
        if count:
            yield word, columns[:, first:last], residuals[first:last]
