"""The benchmark of the pose graph on real poses: its core, with one seed."""
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('pose_graph_drift', ROOT / 'benchmark' / 'pose_graph_drift.py')
    module = sys.modules['pose_graph_drift'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules['pose_graph_drift']


def test_drift_is_what_it_says(benchmark):
    step = np.eye(4)
    step[0, 3] = 0.1
    true = [np.linalg.matrix_power(step, k) for k in range(101)]
    for seed in range(5):
        end = benchmark.drifting(true, np.random.default_rng(seed))[-1]
        turned = np.degrees(np.arccos((np.trace(end[:3, :3]) - 1) / 2))
        assert 4 < turned < 6  # 0.5 degrees a metre on 10 m
        assert abs(np.linalg.norm(end[:3, 3]) - 10) < 0.35


def test_real_poses_with_drift_are_mended_and_false_closures_rejected(benchmark):
    variants, shown = benchmark.experiment(shared('data/hololens_office').parent, [3])
    for variant in variants.values():
        assert variant['false_accepted'] == 0
        assert variant['median_ate_ratio'] < 0.65
        assert variant['runs'][0]['true_accepted'] >= 38
    assert set(shown.paths) == {'truth', 'odometry', 'optimised'}


def test_closures_of_a_recogniser_are_read(benchmark, tmp_path):
    np.savez(tmp_path / 'c.npz', match_stamps_ns=np.array([10**9]), query_stamps_ns=np.array([9 * 10**9]),
             query_poses_in_match=np.eye(4)[None], covariances=np.eye(6)[None])
    closure, = benchmark.load_closures(tmp_path / 'c.npz')
    assert (closure.match_stamp_ns, closure.query_stamp_ns, closure.true) == (10**9, 9 * 10**9, None)
