"""`segvlad reproduce` on the reference's own map, laid out as a data set with the archives of the research code."""
import json
import os

import check
import numpy as np
import pytest
from made_archives import MadeArchive
from place_miniatures import Miniature

from segvlad_ros.cli import OK, USAGE, main
from segvlad_ros.evaluation.experiments import EXPERIMENTS
from segvlad_ros.types import Masks

pytest.importorskip('h5py')


@pytest.fixture(scope='module')
def data(toy, tmp_path_factory):
    """Folder of data sets with the toy in it."""
    folder = tmp_path_factory.mktemp('data')
    (folder / 'toy' / 'out').mkdir(parents=True)
    for side, images in (('r', 'references'), ('q', 'queries')):
        (folder / 'toy' / images).mkdir()
        counts, (height, width) = toy[f'{side}/n_seg'], toy[f'{side}/mask_hw']
        pixels = check.unpacked(toy[f'{side}/masks'], (counts.sum(), height, width))
        parts = np.split(pixels, np.cumsum(counts)[:-1])
        with MadeArchive(folder / f'toy/out/toy_{side}_dino_240.h5') as features, \
                MadeArchive(folder / f'toy/out/toy_{side}_masks_120.h5') as masks:
            for name, table, part in zip(map(str, toy[f'{side}/names']), toy[f'{side}/feat'], parts):
                (folder / 'toy' / images / name).touch()
                features.add_features(name, check.as_grid(table))
                masks.add_masks(name, Masks(part, np.ones(len(part), np.float32)))
    np.save(folder / 'centres.npy', toy['centers'])
    for order in (0, 3):
        check.golden_pca(toy, f'pca_o{order}').save(folder / f'toy/out/toy_r_fitted_pca_model_order{order}.npz')
    return folder


def evaluate(data, experiment, *more):
    return main(['reproduce', 'evaluate', '--data', str(data), '--dataset', 'toy', '--experiment', experiment,
                 '--size', '240x174', '--centres', str(data / 'centres.npy'), *more])


@pytest.mark.parametrize(('name', 'tag'), [
    ('exp0_global_SegLoc_VLAD_PCA_o3', 'pca_o3'), ('exp4_global_SegLoc_VLAD_o0', 'o0'),
    ('exp5_global_SegLoc_VLAD_o1', 'o1'), ('exp6_global_SegLoc_VLAD_o2', 'o2'), ('exp7_global_SegLoc_VLAD_o3', 'o3'),
    ('exp8_global_SegLoc_VLAD_PCA_o0', 'pca_o0')])
def test_recall_is_that_of_the_reference(toy, data, name, tag, capsys):
    assert evaluate(data, name, '--json') == OK
    report = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(report['recall'], toy[f'{tag}/recall'])
    assert (report['queries'], report['map_segments']) == (6, 540)


def test_anyloc_needs_no_masks(toy, data, capsys):
    assert evaluate(data, 'exp1_global_Anyloc', '--json') == OK
    np.testing.assert_allclose(100 * np.array(json.loads(capsys.readouterr().out)['recall']), toy['anyloc/recall_pct'])


def test_a_missing_pca_is_fitted_and_kept(data, capsys):
    arguments = 'exp10_global_SegLoc_VLAD_PCA_o2', '--pca-dimension', '16'
    assert evaluate(data, *arguments) == OK
    first = capsys.readouterr().out
    assert 'recall@1' in first
    [kept] = (data / 'toy/out').glob('toy_r_fitted_pca_model_order2.*.npz')
    before = kept.stat().st_mtime_ns
    assert evaluate(data, *arguments) == OK
    assert (capsys.readouterr().out, kept.stat().st_mtime_ns) == (first, before)


def test_a_pca_of_other_words_or_features_is_not_taken(toy, data, capsys):
    others = data / 'others.npy'
    np.save(others, np.roll(toy['centers'], 1, axis=0))
    arguments = 'exp9_global_SegLoc_VLAD_PCA_o1', '--pca-dimension', '16'
    assert evaluate(data, *arguments) == evaluate(data, *arguments, '--centres', str(others)) == OK
    masks = data / 'toy/out/toy_r_masks_120.h5'
    os.utime(masks, ns=(1, 1))  # as one that was exchanged
    assert evaluate(data, *arguments) == OK
    assert len([*(data / 'toy/out').glob('toy_r_fitted_pca_model_order1.*.npz')]) == 3


def test_a_pca_of_another_width_is_one_line(data, capsys):
    fewer = data / 'fewer.npy'
    np.save(fewer, np.load(data / 'centres.npy')[:-1])
    assert evaluate(data, 'exp0_global_SegLoc_VLAD_PCA_o3', '--centres', str(fewer)) == USAGE
    error = capsys.readouterr().err
    assert 'pca_model_order3.npz: is for descriptors of' in error and error.count('\n') == 1


def test_a_truth_of_nothing_is_no_recall(data, capsys):
    truth = data / 'toy/truth.csv'
    query = next((data / 'toy/queries').iterdir()).name
    truth.write_text(f'query,references\nqueries/{query},\n')
    try:
        assert evaluate(data, 'exp4_global_SegLoc_VLAD_o0') == USAGE
    finally:
        truth.unlink()
    assert 'has a true reference' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'problem'), [
    (['--finetuned'], 'holds no toy_r_dinoNV_240.h5'),
    (['--size', '640x480'], 'holds no toy_r_dino_640.h5'),
    (['--centres', '/nowhere'], '/nowhere'),
])
def test_what_is_missing_is_one_line(data, capsys, arguments, problem):
    assert evaluate(data, 'exp0_global_SegLoc_VLAD_PCA_o3', *arguments) == USAGE
    error = capsys.readouterr().err
    assert problem in error and error.count('\n') == 1


def test_the_list_tells_what_is_needed_and_where_to_ask(data, capsys):
    assert main(['reproduce', 'list', '--data', str(data)]) == OK
    text = capsys.readouterr().out
    for part in ('17places', 'training_gt/*.camera', 'https://', '95.3 / 98.0', 'academic use only', 'git clone',
                 *EXPERIMENTS):
        assert part in text
    assert main(['reproduce', 'list', '--data', str(data), '--json']) == OK
    assert len(json.loads(capsys.readouterr().out)['datasets']) == 9


def test_the_list_tells_what_is_there(tmp_path, capsys):
    Miniature(tmp_path, '17places')
    (tmp_path / 'vocabulary' / 'indoor').mkdir(parents=True)
    (tmp_path / 'vocabulary' / 'indoor' / 'c_centers.pt').touch()
    assert main(['reproduce', 'list', '--data', str(tmp_path)]) == OK
    text = capsys.readouterr().out
    assert '17places    40 references, 40 queries' in text
    assert 'there: features, features of the fine-tuned network, masks, words of indoor\n' in text
