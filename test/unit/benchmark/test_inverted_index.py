"""DBoW2's search, against the definition of its score."""
import numpy as np
import pytest
from inverted_index import InvertedIndex


def test_scores_are_those_of_the_definition():
    generator = np.random.default_rng(0)
    rows = generator.random((20, 50)) * (generator.random((20, 50)) < 0.2)
    rows /= rows.sum(axis=1, keepdims=True)
    index = InvertedIndex(50)
    for row in rows:
        index.add(row)
    for row in rows[:5]:
        np.testing.assert_allclose(index.scores(row), 1 - abs(rows - row).sum(axis=1) / 2, atol=1e-12)
    assert index.scores(rows[0])[0] == pytest.approx(1)


def test_images_without_a_common_word_have_nothing():
    index = InvertedIndex(4)
    index.add(np.array([0.5, 0.5, 0, 0]))
    np.testing.assert_array_equal(index.scores(np.array([0, 0, 1.0, 0])), [0.0])
    assert index.count == 1
