"""The table of learned and classic features: what counts as a wide baseline, and what its cells say."""
import learned_features as benchmark
import numpy as np

from segvlad_ros.types import Pose


def pose(metres, degrees=0.0):
    half = np.radians(degrees) / 2
    return Pose(np.array([metres, 0.0, 0.0]), np.array([0.0, 0.0, np.sin(half), np.cos(half)]), 'world')


def test_wide_is_far_apart_and_still_one_place():
    entries = [pose(0.5), pose(1.5), pose(0.2, 50), pose(0.2, 70), pose(2.5), pose(1.2, 10)]
    usable = np.array([True] * 5 + [False])
    truth = benchmark.wide_truth(pose(0), entries, usable)
    assert (truth.true, truth.ignored) == ({1, 2}, {0})
    assert benchmark.wide_truth(pose(0), entries[:1], usable[:1]) is None


def test_the_page_has_a_line_a_preset():
    numbers = {'recall@1': 0.9, 'recall@1_bounds': [0.8, 0.95], 'recall@5': 1.0, 'correct': 9, 'false': 0,
               'precision': 1.0, 'precision_bounds': [0.7, 1.0], 'recall': 0.5, 'recall_bounds': [0.3, 0.7]}
    nothing = {**numbers, 'correct': 0, 'precision': None, 'precision_bounds': None}
    row = {'columns': {**dict.fromkeys(benchmark.COLUMNS, numbers), benchmark.COLUMNS[0]: nothing}, 'wide': numbers,
           'ms': {'features': 20.0, 'segments': 30.2, 'thumbnail': 0.1}, 'bytes_per_keyframe': 41_000.0}
    line = benchmark.as_page({'learned': row}, {'cpu': 'x'}).splitlines()[-1]
    assert '0.90 (0.80-0.95), 1.00; 9 + 0, 1.00 (0.70-1.00); 0.50 (0.30-0.70)' in line
    assert '; 0 + 0, -; ' in line and 'features 20, segments 30, total 50' in line and '41 kB' in line
