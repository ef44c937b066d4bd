"""The reference's own map, end to end through the paper's evaluation: from features and masks to recall."""
import check
import numpy as np
import pytest

from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.reproduction import (
    Descriptors,
    ExtractedImage,
    SegmentRows,
    fit_pca,
    nearest_images,
    nearest_segments,
    ranked_images,
    recall,
)
from segvlad_ros.types import Masks


@pytest.fixture(scope='module')
def images(toy):
    def of(side):
        counts = toy[f'{side}/n_seg']
        pixels = check.unpacked(toy[f'{side}/masks'], (counts.sum(), *toy[f'{side}/mask_hw']))
        return [ExtractedImage(check.as_grid(features), Masks(part, np.ones(len(part), np.float32)))
                for features, part in zip(toy[f'{side}/feat'], np.split(pixels, np.cumsum(counts)[:-1]))]
    return {side: of(side) for side in 'rq'}


@pytest.fixture(scope='module')
def describing(toy):
    def of(order):
        return Descriptors(tuple(map(int, toy['cfg_wh'])), Vocabulary(toy['centers']), order)
    return of


def evaluated(descriptors, images, truth, rule='weighted', projection=None):
    references, queries = (SegmentRows.of(descriptors.of(image, projection) for image in images[side]) for side in 'rq')
    retrieved = nearest_segments(references, queries)
    ranked = ranked_images(retrieved, references.images, queries.images, len(images['q']), rule)
    return references, ranked, recall(ranked, truth)


@pytest.mark.parametrize('tag', ['o0', 'o1', 'o2', 'o3', 'pca_o0', 'pca_o3'])
def test_images_and_recall_are_those_of_the_reference(toy, images, describing, tag):
    truth = [np.flatnonzero(row) for row in toy['gt']]
    projection = check.golden_pca(toy, tag) if tag.startswith('pca') else None
    references, ranked, shares = evaluated(describing(int(tag[-1])), images, truth, projection=projection)
    np.testing.assert_array_equal(references.images, toy['imInds_r'])
    np.testing.assert_allclose(references.rows, check.unit(toy[f'{tag}/desc_r']), atol=1e-5)
    np.testing.assert_array_equal(ranked, toy[f'{tag}/preds'])
    np.testing.assert_allclose(shares, toy[f'{tag}/recall'])


@pytest.mark.parametrize('rule', ['max_sim', 'max_seg', 'max_seg_topk'])
def test_other_rules_rank_as_the_reference(toy, images, describing, rule):
    ranked = evaluated(describing(3), images, [], rule, check.golden_pca(toy, 'pca_o3'))[1]
    np.testing.assert_array_equal(ranked, toy[f'alt/{rule}'])


def test_our_pca_of_the_same_sample_gives_the_recall_of_the_reference(toy, images, describing):
    sample, truth = toy['pca_o0/fit_rows'], [np.flatnonzero(row) for row in toy['gt']]
    projection = fit_pca([sample], [len(sample)], int(toy['pca_dim']), int(toy['pca_max_segments']))
    shares = evaluated(describing(0), images, truth, projection=projection)[2]
    np.testing.assert_allclose(shares, toy['pca_o0/recall'])


def test_the_whole_image_ranks_as_anyloc(toy, images, describing):
    references, queries = (SegmentRows.of(describing(None).of(image) for image in images[side]) for side in 'rq')
    np.testing.assert_allclose(references.rows, toy['anyloc/desc_r'], atol=1e-5)
    ranked = nearest_images(nearest_segments(references, queries), references.images)
    np.testing.assert_array_equal(ranked, toy['anyloc/top5'])
    truth = [np.flatnonzero(row) for row in toy['gt']]
    np.testing.assert_allclose(100 * recall(ranked, truth), toy['anyloc/recall_pct'])


def test_an_image_without_segments_is_found_by_none_and_finds_none(toy, images, describing):
    grid = images['r'][0].features
    empty = ExtractedImage(grid, Masks(np.zeros((0, 8, 8), bool), np.zeros(0, np.float32)))
    truth = [np.array([1])] * 3
    several = {'r': [empty, *images['r'][:3]], 'q': [images['r'][0], empty, empty]}
    references, ranked, shares = evaluated(describing(1), several, truth)
    assert 0 not in references.images
    assert ranked[0, 0] == 1
    assert (ranked[1:] == -1).all()
    np.testing.assert_allclose(shares, np.full(5, 1 / 3))
