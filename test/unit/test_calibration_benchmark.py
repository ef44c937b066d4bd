"""The benchmark behind the shipped calibration: what it leaves out stays out, its truth is that of the evaluation."""
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from segvlad_ros.evaluation.calibration import Samples, fit_calibration, trust
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.pipeline.presets import config_directory, load_preset
from segvlad_ros.recognition.calibration import load_calibration
from segvlad_ros.recognition.statistics import FEATURES
from segvlad_ros.types import Pose

PATH = Path(__file__).resolve().parents[2] / 'benchmark' / 'calibration.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('calibration_benchmark', PATH)
    module = sys.modules['calibration_benchmark'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules['calibration_benchmark']


def made(name, count, slope=2.0, seed=0):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, len(FEATURES)))
    return Samples(name, vectors, generator.random(count) < 1 / (1 + np.exp(-slope * vectors[:, 0])))


@pytest.fixture
def sets(benchmark):
    real = [made(name, 100, seed=seed) for seed, name in enumerate(benchmark.REAL)]
    worlds = [[made(f'{kind} {seed}', 80, seed=seed) for kind in benchmark.RUNS] for seed in (101, 106)]
    return real, *worlds, [made('single loop 106', 50)]


def test_every_set_is_judged_by_the_others(benchmark, sets):
    real, learned, held_out, single = sets
    pictures = {}
    calibration, numbers = benchmark.measure(real, learned, held_out, single, pictures.__setitem__)
    simulation = benchmark.joined(benchmark.SIMULATION, learned)
    others = fit_calibration([*real[1:], simulation], load_preset('classic'))
    assert numbers['left out'][real[0].name] == trust(others.probabilities(real[0].vectors), real[0].labels)
    assert {entry.name for entry in calibration.sets} == {*benchmark.REAL, 'simulation'}
    assert calibration.queries == 3 * 100 + 4 * 80  # nothing of what is held out
    assert numbers['held out']['all']['queries'] == 4 * 80
    assert (numbers['held out']['twins']['queries'], numbers['held out']['single']['queries']) == (80, 50)
    assert len(pictures) == 5 and all(text.startswith('<svg') for text in pictures.values())
    text = benchmark.as_markdown(numbers, calibration, {'learned': [101], 'held_out': [106, 107], 'single': [106]}, {})
    assert all(f'({name})' in text for name in pictures)
    assert '106 to 107' in text
    assert '| 320 ' in text and 'not reached' in text  # 320 held-out queries are too few


def test_truth_of_files_and_poses(benchmark):
    a, b, c = map(Path, 'abc')
    truth = {c: PlaceTruth(frozenset({a, b}), frozenset())}
    assert benchmark._truth(c, [a, b], np.array([False, True]), truth) == PlaceTruth(frozenset({1}))
    assert benchmark._truth(a, [b], np.array([True]), truth) is None
    here = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    assert benchmark._truth(here, [here], np.array([True]), {}) == PlaceTruth(frozenset({0}))


def test_shipped_calibration_is_that_of_the_shipped_preset():
    calibration = load_calibration(config_directory() / 'classic/calibration.json',
                                   load_preset('classic').fingerprint()['digest'])
    assert min(calibration.positives, calibration.queries - calibration.positives) > 300
