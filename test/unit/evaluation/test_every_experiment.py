"""Every experiment of the paper on a miniature of each data set: recall is that of the specification, word for word.

The second computation is ``benchmark/literal.py`` and what ``literal_experiments.py`` adds to it: it shares no code
with the product but the names of files.
"""
import json

import numpy as np
import pytest
from literal_experiments import DIMENSION, OTHER_RULES, literal_result
from place_miniatures import Miniature

from segvlad_ros.cli import OK, main
from segvlad_ros.evaluation.experiments import EXPERIMENTS
from segvlad_ros.evaluation.place_datasets import DATASETS

pytest.importorskip('h5py')


@pytest.fixture(scope='module', params=DATASETS)
def miniature(request, tmp_path_factory):
    data = tmp_path_factory.mktemp(request.param)
    return data, Miniature(data, request.param)


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
