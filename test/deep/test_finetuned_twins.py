"""The fine-tuned twin of every experiment: from a trained checkpoint to recall, beside the pre-trained one."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from random_models import random_dinov2
from small_gsv_cities import save_gsv_cities

if not os.environ.get('SEGVLAD_REQUIRE_DEEP'):
    pytest.importorskip('pytorch_metric_learning', reason='needs the extra "train"')

from segvlad_ros.cli import OK, USAGE, main
from segvlad_ros.description.vocabulary import load_vocabulary
from segvlad_ros.evaluation.experiments import EXPERIMENTS
from segvlad_ros.features.dinov2 import Dinov2Extractor
from segvlad_ros.io.extraction_store import ExtractionStore
from segvlad_ros.io.images import list_images, read_image

WIDTH, HEIGHT = 224, 168


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """DATA with a trained network, and a folder of one's own described by it and by the one that it began as."""
    data = tmp_path_factory.mktemp('data')
    cities, weights = save_gsv_cities(data / 'gsv_cities'), data / 'backbone.pth'
    torch.save(random_dinov2(5, 64, 6), weights)
    for folder, view in (('references', 1), ('queries', 5)):
        (data / 'office' / folder).mkdir(parents=True)
        for path in cities.glob(f'Images/*/*_2015_0{view}_*'):
            shutil.copy(path, data / 'office' / folder / f'{path.name.partition("_2015")[0]}.jpg')
    pairs = [f'queries/{path.name},references/{path.name}' for path in list_images(data / 'office/queries')]
    (data / 'office/truth.csv').write_text('\n'.join(('query,references', *pairs)))
    assert main(['reproduce', 'train', '--data', str(data), '--weights', str(weights), '--places', '3', '--epochs', '2',
                 '--workers', '0']) == OK
    assert reproduce('extract', data, '--what', 'masks', '--preset', 'classic') == OK
    for checkpoint, more in ((data / 'models/DnV2_NV/last.ckpt', ['--finetuned']), (weights, [])):
        assert reproduce('extract', data, '--what', 'features', '--preset', 'segvlad_finetuned', '--set',
                         f'features.weights={checkpoint}', '--set', 'features.model=auto', *more) == OK
        assert reproduce('vocabulary', data, '--words', '8', *more) == OK
    return data


def reproduce(action, data, *more) -> int:
    return main(['reproduce', action, '--data', str(data), '--dataset', 'office', '--size', f'{WIDTH}x{HEIGHT}', *more])


def evaluated(data, experiment, capsys, *more):
    capsys.readouterr()
    assert reproduce('evaluate', data, '--experiment', experiment, '--vocabulary', 'map', '--words', '8',
                     '--pca-dimension', '6', '--json', *more) == OK
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize('experiment', EXPERIMENTS)
def test_every_experiment_has_its_twin(data, experiment, capsys):
    report = evaluated(data, experiment, capsys, '--finetuned')
    assert 'vocabulary/officeNVFinetuned/' in report['words']
    assert (report['pca'] is not None) == EXPERIMENTS[experiment].pca
    assert report['pca'] is None or '_map_dinoNV.' in report['pca']
    assert report['queries'] == 6
    assert 0 <= report['recall'][0] <= report['recall'][-1] <= 1


def test_what_is_kept_of_the_twin_is_named_as_in_the_research_code(data, capsys):
    for more in ([], ['--finetuned']):
        evaluated(data, 'exp0_global_SegLoc_VLAD_PCA_o3', capsys, *more)
    out = {path.name.partition('.')[0] for path in (data / 'office/out').iterdir()}
    assert {'office_r_dino_224', 'office_r_dinoNV_224', 'office_q_dinoNV_224', 'office_r_masks_112',
            'office_r_fitted_pca_model_order3_map', 'office_r_fitted_pca_model_order3_map_dinoNV'} <= out
    assert {path.name for path in (data / 'vocabulary').iterdir()} == {'office', 'officeNVFinetuned'}


def test_its_features_are_those_of_the_checkpoint(data):
    path = list_images(data / 'office/references')[0]
    rgb = cv2.resize(read_image(path), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    kept = {kind: ExtractionStore(data / f'office/out/office_r_{kind}_224').features(path.name).features
            for kind in ('dino', 'dinoNV')}
    checkpoint = Dinov2Extractor.from_checkpoint(data / 'models/DnV2_NV/last.ckpt', facet='patches')
    np.testing.assert_array_equal(kept['dinoNV'], checkpoint.extract(rgb).features)
    assert np.abs(kept['dinoNV'] - kept['dino']).max() > 1e-3


def test_recall_is_computed_from_the_features_and_words_of_the_twin(data, capsys):
    """AnyLoc's twin by the literal procedure of segvlad-spec.md 11."""
    [words] = (data / 'vocabulary/officeNVFinetuned').iterdir()
    centres = load_vocabulary(words).centres.astype(float)

    def vlads(folder, side):
        store = ExtractionStore(data / f'office/out/office_{side}_dinoNV_224')
        for path in list_images(data / 'office' / folder):
            cells = store.features(path.name).features.astype(float)
            cells /= np.linalg.norm(cells, axis=1, keepdims=True)
            nearest = (cells @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(axis=1)
            sums = np.stack([(cells[nearest == word] - centre).sum(axis=0) for word, centre in enumerate(centres)])
            sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
            yield sums.ravel() / np.linalg.norm(sums)
    references, queries = np.stack([*vlads('references', 'r')]), np.stack([*vlads('queries', 'q')])
    names = [[path.name for path in list_images(data / 'office' / folder)] for folder in ('references', 'queries')]
    ranks = [np.argsort(np.linalg.norm(references - query, axis=1)).tolist().index(names[0].index(name))
             for name, query in zip(names[1], queries)]
    report = evaluated(data, 'exp1_global_Anyloc', capsys, '--finetuned')
    assert report['recall'] == pytest.approx([np.mean(np.array(ranks) < rank) for rank in range(1, 6)])


def test_saved_results_of_a_twin_are_counted_again(data, capsys):
    report = evaluated(data, 'exp0_global_SegLoc_VLAD_PCA_o3', capsys, '--finetuned', '--save-results')
    assert any('officeNVFinetuned' in path.name for path in Path(report['results']).rglob('*'))
    assert reproduce('evaluate', data, '--results', report['results'], '--finetuned', '--json') == OK
    assert json.loads(capsys.readouterr().out)['recall'] == report['recall']


def test_the_whole_command_finds_the_features_of_the_checkpoint_there(data, capsys):
    arguments = ['--experiment', 'exp1_global_Anyloc', '--vocabulary', 'map', '--words', '8', '--finetuned', '--preset',
                 'segvlad_finetuned', '--set', f'features.weights={data / "models/DnV2_NV/last.ckpt"}', '--set',
                 'features.model=auto']
    assert reproduce('run', data, *arguments) == OK
    said = capsys.readouterr()
    assert 'office_r_dinoNV_224: 0 images extracted, 8 were there' in said.err
    assert 'recall@1' in said.out


def test_words_of_the_domain_must_be_of_the_same_network(data, tmp_path, capsys):
    np.savez(tmp_path / 'c_centers.npz', centres=np.ones((8, 1536), np.float32))
    assert reproduce('evaluate', data, '--experiment', 'exp1_global_Anyloc', '--finetuned', '--centres',
                     str(tmp_path / 'c_centers.npz')) == USAGE
    error = capsys.readouterr().err
    assert 'the vocabulary is for 1536-d features, these have 64' in error and error.count('\n') == 1
