"""Segment VLAD against its definition (segvlad-spec.md 7, 11)."""
import numpy as np
import pytest

from segvlad_ros.description.projection import NoProjection, PcaProjection, SeededProjection
from segvlad_ros.description.vlad import merge_neighbours, project_segment_vlad, segment_vlad
from segvlad_ros.description.vocabulary import Vocabulary

WORDS, DIMENSION, CELLS = 6, 10, 90


def unit(row):
    return row / max(np.linalg.norm(row), 1e-12)


def literal_vlad(features, member, centres):
    """One segment, word by word and cell by cell."""
    blocks = np.zeros(centres.shape)
    for cell in np.flatnonzero(member):
        if features[cell].any():
            row = unit(features[cell].astype(float))
            word = int(np.argmax([row @ unit(centre.astype(float)) for centre in centres]))
            blocks[word] += row - centres[word]
    return unit(np.concatenate([unit(block) for block in blocks]))


@pytest.fixture
def scene():
    rng = np.random.default_rng(4)
    features = rng.standard_normal((CELLS, DIMENSION)).astype(np.float32) * rng.uniform(0.1, 9, (CELLS, 1)).astype('f')
    features[::7] = 0
    incidence = rng.random((12, CELLS)) < 0.2
    incidence[3] = False
    incidence[4] = np.arange(CELLS) % 7 == 0  # nothing but cells without texture
    incidence[5] = True
    return features, incidence, Vocabulary(rng.standard_normal((WORDS, DIMENSION)).astype(np.float32) * 0.4)


def random_pca(dimension):
    rng = np.random.default_rng(5)
    width = WORDS * DIMENSION
    return PcaProjection(rng.standard_normal(width) / 8, rng.standard_normal((dimension, width)),
                         rng.uniform(0.5, 2, dimension))


def test_rows_follow_the_definition(scene):
    features, incidence, vocabulary = scene
    want = np.stack([literal_vlad(features, member, vocabulary.centres) for member in incidence])
    got = segment_vlad(features, incidence, vocabulary)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(segment_vlad(features, incidence, vocabulary, 'float32'), want, atol=1e-6)


def test_a_segment_without_texture_is_a_row_of_zeros_and_others_are_unit(scene):
    norms = np.linalg.norm(segment_vlad(*scene), axis=1)
    np.testing.assert_allclose(norms, [1, 1, 1, 0, 0] + [1] * 7)


@pytest.mark.parametrize('few', [1, 12], ids=['fewer segments than cells of a word', 'more'])
@pytest.mark.parametrize('projection', [random_pca(8), SeededProjection(WORDS, DIMENSION, 8),
                                        SeededProjection(WORDS, DIMENSION, 24), NoProjection(WORDS, DIMENSION)],
                         ids=['pca', 'seeded narrow', 'seeded wide', 'none'])
def test_projecting_while_summing_up_gives_the_projected_rows(scene, projection, few):
    features, incidence, vocabulary = scene
    incidence = incidence[-few:]
    got = project_segment_vlad(features, incidence, vocabulary, projection)
    want = projection.apply(segment_vlad(features, incidence, vocabulary))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_a_mask_over_everything_is_the_whole_image_vlad(scene):
    features, incidence, vocabulary = scene
    whole = segment_vlad(features, np.ones((1, CELLS), bool), vocabulary)
    np.testing.assert_allclose(whole[0], literal_vlad(features, np.ones(CELLS), vocabulary.centres), atol=1e-6)
    np.testing.assert_array_equal(whole[0], segment_vlad(features, incidence, vocabulary)[5])


def test_neighbours_are_merged_as_masks_and_a_shared_cell_counts_once(scene):
    features, incidence, vocabulary = scene
    adjacent = np.eye(12, dtype=bool)
    adjacent[0, 1] = adjacent[0, 5] = True
    merged = merge_neighbours(incidence, adjacent)
    assert merged.dtype == bool
    np.testing.assert_array_equal(merged[0], incidence[0] | incidence[1] | incidence[5])
    np.testing.assert_array_equal(merged[1:], incidence[1:])
    np.testing.assert_allclose(segment_vlad(features, merged, vocabulary)[0],
                               segment_vlad(features, incidence, vocabulary)[5])


def test_no_segments(scene):
    features, incidence, vocabulary = scene
    none = merge_neighbours(incidence[:0], np.zeros((0, 0), bool))
    assert segment_vlad(features, none, vocabulary).shape == (0, WORDS * DIMENSION)
    assert project_segment_vlad(features, none, vocabulary, random_pca(4)).shape == (0, 4)
