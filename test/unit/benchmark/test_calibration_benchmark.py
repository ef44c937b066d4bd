"""The benchmark behind the shipped calibration: what it leaves out stays out, and it is the shipped preset's."""

import calibration as benchmark
import numpy as np

from segvlad_ros.evaluation.calibration_fit import Samples, fit_calibration, trust
from segvlad_ros.pipeline.presets import config_directory, load_preset
from segvlad_ros.recognition.calibration import load_calibration
from segvlad_ros.recognition.evidence import FEATURES


def made(name, count, slope=2.0, seed=0):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, len(FEATURES)))
    vectors[:, 0] = 0.0
    return Samples(name, vectors, generator.random(count) < 1 / (1 + np.exp(-slope * vectors[:, 1])))


def test_every_set_is_judged_by_the_others():
    sets = [made(name, 100, seed=seed) for seed, name in enumerate(
        ('corridor', 'rtabmap_corridor_loop', 'hololens_office', 'simulation'))]
    pictures, preset = {}, load_preset('classic')
    calibration, numbers = benchmark.measure(
        sets, [made('simulation', 80, seed=9)], benchmark.left_out(sets, preset), preset, pictures.__setitem__)
    others = fit_calibration(sets[1:], preset)
    assert numbers['left out']['corridor'] == trust(others.probabilities(sets[0].vectors), sets[0].labels)
    assert [entry.name for entry in calibration.sets] == [samples.name for samples in sets]
    assert calibration.queries == 400  # nothing of what is held out
    assert numbers['held out']['simulation']['queries'] == 80
    assert len(pictures) == 5 and all(text.rstrip().endswith('</svg>') for text in pictures.values())
    decided = {'corridor': {'accepted': 9, 'false': ['7'], 'recall': 0.25}}
    text = benchmark.as_markdown(numbers, decided, calibration, ([101], [201, 202]), {})
    assert '| corridor | 9 | 1 | 0.250 |' in text
    assert all(f'({name})' in text for name in pictures)
    assert '201 to 202' in text and '101 to 101' in text


def test_sets_of_one_name_are_joined_and_nothing_held_out_is_learned():
    parts = benchmark.joined([made('a', 10), made('b', 20), made('a', 30)])
    assert [(part.name, len(part)) for part in parts] == [('a', 40), ('b', 20)]
    assert benchmark.HELD_OUT_SEED not in benchmark.LEARNED_SEEDS


def test_results_are_named_after_the_preset_but_for_classic():
    made_of = {name: benchmark._file(name, 'left out', 'corridor') for name in ('classic', 'learned')}
    assert made_of == {'classic': 'calibration_left_out_corridor.svg',
                       'learned': 'calibration_learned_left_out_corridor.svg'}


def test_shipped_calibration_is_that_of_the_shipped_preset():
    calibration = load_calibration(config_directory() / 'classic/calibration.json',
                                   load_preset('classic').fingerprint()['digest'])
    assert min(calibration.positives, calibration.queries - calibration.positives) > 300


def test_a_calibration_decides_whether_the_preset_ships_one_or_not(tmp_path):
    path = tmp_path / 'without_corridor.json'
    for name, changes in (('classic', {}), ('classic', {'calibration': None}), ('classic_patches', {})):
        judged = benchmark.judged_by(path, load_preset(name, changes))
        assert (judged.calibration, judged.decision.min_probability) == (path, 0.5)
    asked = benchmark.judged_by(path, load_preset('classic', {'decision.min_probability': 0.9}))
    assert asked.decision.min_probability == 0.9
