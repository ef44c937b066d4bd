"""Every experiment of the paper on a miniature of each data set: recall is that of the specification, word for word.

The second computation is ``benchmark/literal.py`` and what this file adds to it: it shares no code with the product but
the names of files.
"""
import json
from collections import Counter

import faiss
import literal
import numpy as np
import pytest
from place_miniatures import Miniature

from segvlad_ros.cli import OK, main
from segvlad_ros.evaluation.experiments import EXPERIMENTS
from segvlad_ros.evaluation.place_datasets import DATASETS

pytest.importorskip('h5py')

DIMENSION = 12


@pytest.fixture(scope='module', params=DATASETS)
def miniature(request, tmp_path_factory):
    data = tmp_path_factory.mktemp(request.param)
    return data, Miniature(data, request.param)


def literal_pca(rows):
    """Mean, components and scale of a whitened PCA, from the eigenvectors of the covariance."""
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    kept = np.argsort(-values)[:DIMENSION]
    return mean, vectors[:, kept].T, 1 / np.sqrt(values[kept])


def literal_recall(ranked, truth):
    """segvlad-spec.md 10.3."""
    hits, asked = np.zeros(5), 0
    for images, true in zip(ranked, truth):
        if true:
            asked += 1
            first = [rank for rank, image in enumerate(images) if image in true]
            if first:
                hits[first[0]] += 1
    return (np.cumsum(hits) / asked).tolist()


def literal_search(miniature, row, words='domain'):
    """Similarities, and images, of the first 50 of ``IndexFlatL2``, and the rows of each query."""
    references, queries = (miniature.literal_rows(side, row.order, words) for side in 'rq')
    if row.pca:
        projection = literal_pca(np.concatenate(references))
        references, queries = ([literal.pca(table, *projection) for table in side] for side in (references, queries))
    index = faiss.IndexFlatL2(references[0].shape[1])
    index.add(np.concatenate(references).astype(np.float32))
    distances, found = index.search(np.concatenate(queries).astype(np.float32), min(50, index.ntotal))
    image_of, ends = np.repeat(np.arange(len(references)), list(map(len, references))), np.cumsum(
        [0, *map(len, queries)])
    return 2 - distances, image_of[found], [slice(*pair) for pair in zip(ends[:-1], ends[1:])]


def literal_result(miniature, row, words='domain', rule='weighted'):
    similarities, images, slices = literal_search(miniature, row, words)
    if row.order is None:
        return literal_recall(images[:, :5].tolist(), miniature.truth)
    if rule == 'weighted':
        return literal_recall(literal.vote(similarities, images, slices, 5), miniature.truth)
    return literal_recall([OTHER_RULES[rule](similarities[rows], images[rows]) for rows in slices], miniature.truth)


def by_count(images):
    """Ascending counts, reversed: of equals the larger number comes first (segvlad-spec.md 10.2)."""
    counts = Counter(images.ravel().tolist())
    return sorted(counts, key=lambda image: (counts[image], image), reverse=True)


def max_sim(similarities, images):
    best = sorted(range(len(images)), key=lambda row: -similarities[row, 0])[:50]
    return list(dict.fromkeys(images[row, 0] for row in best))[:5]


def max_seg_sim(similarities, images):
    nearest = {image: max(similarities[images[:, 0] == image, 0]) for image in by_count(images[:, 0])[:6]}
    return sorted(nearest, key=lambda image: -nearest[image])[:5]


OTHER_RULES = {'max_sim': max_sim, 'max_seg': lambda _, images: by_count(images[:, 0])[:5], 'max_seg_sim': max_seg_sim,
               'max_seg_topk': lambda _, images: by_count(images)[:5]}


def evaluated(data, miniature, capsys, *more):
    assert main(['reproduce', 'evaluate', '--data', str(data), '--dataset', miniature.name, '--json', *more]) == OK
    return json.loads(capsys.readouterr().out)


def experiment(data, row, words='domain'):
    return ['--experiment', row.name, '--pca-dimension', str(DIMENSION), '--centres', str(data / f'{words}.npy')]


def test_recall_of_every_experiment_is_that_of_the_specification(miniature, capsys):
    data, made = miniature
    recalls = {}
    for name, row in EXPERIMENTS.items():
        recalls[name] = evaluated(data, made, capsys, *experiment(data, row))['recall']
        assert recalls[name] == pytest.approx(literal_result(made, row)), name
    assert all(0.2 <= recall[0] <= 0.9 for recall in recalls.values())
    assert len(set(map(tuple, recalls.values()))) > 2


def test_other_words_the_tuned_network_and_other_votes_are_those_of_the_specification(miniature, capsys):
    data, made = miniature
    row = EXPERIMENTS['exp0_global_SegLoc_VLAD_PCA_o3']
    report = evaluated(data, made, capsys, *experiment(data, row, 'tuned'), '--finetuned')
    assert report['recall'] == pytest.approx(literal_result(made, row, 'tuned'))
    for rule in OTHER_RULES:
        report = evaluated(data, made, capsys, *experiment(data, row), '--rule', rule)
        assert report['recall'] == pytest.approx(literal_result(made, row, rule=rule)), rule
    report = evaluated(data, made, capsys, *experiment(data, row)[:4], '--vocabulary', 'map', '--words', '5')
    with np.load(report['words']) as words:
        made.centres['map'] = words['centres']
    assert report['recall'] == pytest.approx(literal_result(made, row, 'map'))
