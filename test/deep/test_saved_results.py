"""Results are saved as the research code saves them, and read again, ours as theirs."""
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from place_miniatures import Miniature

from segvlad_ros.cli import USAGE, main
from segvlad_ros.evaluation.experiments import EXPERIMENTS

pytest.importorskip('h5py')
pytestmark = pytest.mark.deep


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    Miniature(folder, 'baidu')
    return folder


@pytest.fixture
def evaluate(data, capsys):
    def run(*more):
        status = main(['reproduce', 'evaluate', '--data', str(data), '--dataset', 'baidu', '--json', *map(str, more)])
        said = capsys.readouterr()
        return (status, said.err) if status else json.loads(said.out)
    return run


@pytest.fixture
def saved(data, evaluate):
    def save(name, *more):
        report = evaluate('--experiment', name, '--centres', data / 'domain.npy', '--pca-dimension', 12,
                          '--save-results', *more)
        return report, Path(report['results'])
    return save


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_recall_of_saved_results_is_that_of_the_run(name, saved, evaluate):
    report, folder = saved(name)
    again = evaluate('--results', folder)
    assert {**report, **again} == report


def test_the_files_are_those_of_the_research_code(saved):
    report, folder = saved('exp0_global_SegLoc_VLAD_PCA_o3')
    assert folder.parts[-4:-1] == ('out', 'results', 'global')
    suffix = '_domain_indoor___results_exp11_global_SegLoc_VLAD_PCA_o3.pkl'
    held = pickle.loads((folder / f'baidu_matches_sims{suffix}').read_bytes())
    rows = [pickle.loads((folder / f'baidu_segFtVLAD{side}{suffix}').read_bytes()) for side in (1, 2)]
    assert all(isinstance(table, torch.Tensor) for table in rows)
    assert [len(table) for table in rows] == [report['map_segments'], report['query_segments']]
    assert held['sims'].shape == held['matches'].shape == (report['query_segments'], min(200, len(rows[0])))
    distances = ((rows[1][:, None] - rows[0][held['matches'][:, :3]]) ** 2).sum(2)
    np.testing.assert_allclose(held['sims'][:, :3], distances, atol=1e-5)


def test_old_pythons_read_them(saved):
    """Names that NumPy 2 has given to its insides are unknown to the NumPy of Python 3.8."""
    for name in ('exp0_global_SegLoc_VLAD_PCA_o3', 'exp1_global_Anyloc'):
        for path in saved(name)[1].glob('baidu_*.pkl'):
            assert b'numpy._core' not in path.read_bytes()


def test_results_of_the_research_code_are_read(saved, evaluate):
    """It does not save which segment is of which image: the masks say it. Of a small map, faiss fills up with -1."""
    report, folder = saved('exp5_global_SegLoc_VLAD_o1')
    (folder / 'segment_images.npz').unlink()
    [matches] = folder.glob('*matches*')
    held = pickle.loads(matches.read_bytes())
    matches.write_bytes(pickle.dumps({
        'sims': np.pad(held['sims'], ((0, 0), (0, 2)), constant_values=np.finfo(np.float32).max),
        'matches': np.pad(held['matches'], ((0, 0), (0, 2)), constant_values=-1)}))
    assert evaluate('--results', folder)['recall'] == report['recall']
    assert evaluate('--results', folder, '--rule', 'max_sim')['recall'] != report['recall']


def test_what_is_wrong_with_saved_results_is_one_line(saved, evaluate, tmp_path):
    _, folder = saved('exp5_global_SegLoc_VLAD_o1')
    [matches] = folder.glob('*matches*')
    held = pickle.loads(matches.read_bytes())

    def refused(problem):
        status, error = evaluate('--results', folder)
        assert status == USAGE and problem in error and error.count('\n') == 1
    for content, problem in ((pickle.dumps([1]), "no tables 'sims' and 'matches'"),
                             (pickle.dumps({**held, 'matches': held['matches'] + 10**6}), 'of other masks'),
                             (matches.read_bytes()[:100], 'not a sound pickle'),
                             (b'cos\nsystem\n(S"true"\ntR.', 'os.system')):
        matches.write_bytes(content)
        refused(problem)
    matches.unlink()
    refused('holds results of 0 experiments')


@pytest.mark.parametrize('option', [('--words', 8), ('--pca-dimension', 12), ('--vocabulary', 'map'),
                                    ('--centres', 'words.npy')])
def test_what_results_were_found_with_is_not_asked_again(option, saved, evaluate):
    _, folder = saved('exp5_global_SegLoc_VLAD_o1')
    status, error = evaluate('--results', folder, *option)
    assert status == USAGE and f'{option[0]} changes nothing without --experiment' in error
