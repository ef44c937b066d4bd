"""P(same place): learned, measured, stored, and refused where it would be wrong."""
from __future__ import annotations

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
import yaml

from segvlad_ros.cli import main
from segvlad_ros.evaluation.calibration_fit import (
    MIN_OF_A_KIND,
    Samples,
    cross_validated,
    expected_calibration_error,
    fit_calibration,
    reliability,
    samples_of,
    trust,
)
from segvlad_ros.evaluation.charts import reliability_picture
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.recognition.calibration import Calibration, LearnedFrom, load_calibration
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.recognition.evidence import FEATURES, Evidence
from segvlad_ros.recognition.hypotheses import Support
from segvlad_ros.types import Candidate, KeyframeId, Pose, Recognition, SegvladError, Status

SECOND = 1_000_000_000
COUNT = len(FEATURES)
LIMITS = DecisionSettings(min_score=0.3, max_ambiguity=0.9)


def made(count, slope, offset=0.0, seed=0, name='made'):
    """Unproven samples of which the truth about P is known: logit = slope * score + offset; the others are noise."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, COUNT))
    vectors[:, 0] = 0.0
    p = 1 / (1 + np.exp(-slope * vectors[:, 1] - offset))
    return Samples(name, vectors, generator.random(count) < p), p


@pytest.fixture(scope='module')
def preset():
    return load_preset('classic')


@pytest.fixture
def calibration():
    others = COUNT - 1
    return Calibration(FEATURES, 0.97, (0.5,) * others, (2.0,) * others, (-10.0,) * others, (10.0,) * others,
                       (1.0,) + (0.0,) * (others - 1), -0.25, ((0.0,) * COUNT,) * COUNT, 'classic', 'ab' * 32,
                       (LearnedFrom('made', 98, 40),))


class Made:
    """Evidence of which only the features are known."""

    def __init__(self, score, proven=0.0):
        self._vector = np.array([proven, score, *(0.0,) * (COUNT - 2)])

    def vector(self):
        return self._vector


def test_probability_is_the_logistic_function(calibration):
    assert calibration.probability(Made(1.5)) == pytest.approx(1 / (1 + math.exp(-(-0.25 + (1.5 - 0.5) / 2))))


def test_a_probability_claims_no_more_than_its_data_can_show(calibration):
    assert calibration.probability(Made(1e6)) <= 0.99
    surest = dataclasses.replace(calibration, intercept=800.0)
    assert surest.probability(Made(1e6)) == 0.99  # 98 queries
    assert dataclasses.replace(calibration, intercept=-800.0).probability(Made(-1e6)) == pytest.approx(0.01)


def test_values_beyond_what_was_learned_count_as_its_end(calibration):
    assert calibration.probability(Made(1e9)) == calibration.probability(Made(10.0))


def test_what_geometry_has_proven_has_the_share_of_the_proven_that_are_true(calibration, preset):
    assert calibration.probability(Made(-9.0, proven=1.0)) == 0.97
    samples, _ = made(200, 2.0)
    samples.vectors[:100, 0], samples.labels[:100] = 1.0, np.arange(100) != 7
    learned = fit_calibration([samples], preset)
    assert learned.proven == pytest.approx(100 / 102)  # rule of succession
    assert learned.probability(Made(-9.0, proven=1.0)) == pytest.approx(100 / 102)


def test_a_camera_unlike_all_it_has_seen_makes_it_unsure(preset):
    few, _ = made(120, 2.0)
    calibration = fit_calibration([few], preset)
    strange = np.zeros((2, COUNT))
    strange[:, 1] = 2.0
    strange[1, 3:] = 60.0  # features that say nothing, thirty times beyond what was seen
    usual, unsure = calibration.probabilities(strange)
    assert usual > 0.9
    assert 0.5 < unsure < 0.8


@pytest.mark.parametrize('kind', [False, True])
@pytest.mark.parametrize('count', [40, 200, 1000])
def test_unproven_ones_of_one_kind_have_their_share(preset, kind, count):
    """Nothing holds the intercept of a regression on such labels back, and its variance made an even chance of it."""
    samples, _ = made(count + 100, 0.0)
    samples.labels[:] = kind
    samples.vectors[count:, 0], samples.labels[count:] = 1.0, not kind
    calibration = fit_calibration([samples], preset)
    share = (count * kind + 1) / (count + 2)  # rule of succession
    expected = np.full(count + 100, (100 * (not kind) + 1) / 102)
    expected[:count] = share
    assert np.abs(calibration.probabilities(samples.vectors) - expected).max() < 0.05
    strange = np.zeros((1, COUNT))
    strange[:, 2:] = 60.0
    assert abs(calibration.probabilities(strange)[0] - share) > 0.1  # a camera unlike all it has seen
    assert trust(*cross_validated([samples], preset))['ece'] < 0.05


def test_every_set_counts_alike_however_many_queries_it_has(preset):
    many, _ = made(3000, 0.0, -3.0, seed=5)
    few, _ = made(150, 0.0, 3.0, seed=6, name='few')
    base = fit_calibration([many, few], preset).probabilities(np.zeros((1, COUNT)))[0]
    assert 0.4 < base < 0.6


def test_save_and_load(calibration, tmp_path):
    calibration.save(tmp_path / 'c.json')
    assert load_calibration(tmp_path / 'c.json') == calibration
    assert load_calibration(tmp_path / 'c.json', 'ab' * 32) == calibration
    with pytest.raises(SegvladError, match='cannot be written'):
        calibration.save(tmp_path / 'nowhere' / 'c.json')


def test_calibration_of_another_preset_is_refused(calibration, tmp_path):
    calibration.save(tmp_path / 'c.json')
    with pytest.raises(SegvladError, match='segvlad calibrate') as refusal:
        load_calibration(tmp_path / 'c.json', 'cd' * 32)
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('change, word', [
    ({'format': 'recipe'}, 'no file'), ({'version': 1}, 'version'), ({'features': ['score']}, 'features'),
    ({'features': None}, 'features'), ({'weights': [1.0]}, 'weights'), ({'weights': [math.nan] * COUNT}, 'finite'),
    ({'centre': ['1'] * COUNT}, 'centre'), ({'intercept': math.inf}, 'intercept'), ({'intercept': None}, 'intercept'),
    ({'intercept': 10 ** 400}, 'intercept'), ({'scale': [0.0] * (COUNT - 1)}, 'scale'),
    ({'lowest': [11] * (COUNT - 1)}, 'lowest'), ({'proven': 2.0}, 'proven'), ({'covariance': [[0.0]]}, 'covariance'),
    ({'preset': 3}, 'preset'), ({'sets': []}, 'sets'), ({'sets': [{'name': 'x'}]}, 'sets'),
    ({'sets': [{'name': 'x', 'queries': 1, 'positives': 2}]}, 'sets'), ({'more': 1}, 'keys')])
def test_damaged_files_are_refused_in_one_line(calibration, tmp_path, change, word):
    calibration.save(tmp_path / 'c.json')
    values = json.loads((tmp_path / 'c.json').read_text()) | change
    (tmp_path / 'c.json').write_text(json.dumps(values))
    with pytest.raises(SegvladError, match=word) as refusal:
        load_calibration(tmp_path / 'c.json')
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('content', [b'', b'[1, 2]', b'\xff\xfe\x00', b'{"format": 1', b'[' * 100_000])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / 'c.json').write_bytes(content)
    with pytest.raises(SegvladError, match=r'c\.json'):
        load_calibration(tmp_path / 'c.json')


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(SegvladError, match='segvlad calibrate'):
        load_calibration(tmp_path / 'none.json')


def test_learns_the_probabilities_that_made_the_data(preset):
    samples, _ = made(4000, 2.0, -1.0)
    fresh, p = made(4000, 2.0, -1.0, seed=1)
    calibration = fit_calibration([samples], preset)
    assert calibration.evidence_digest == preset.fingerprint()['digest']
    assert calibration.sets == (LearnedFrom('made', 4000, int(samples.labels.sum())),)
    assert np.abs(calibration.probabilities(fresh.vectors) - p).mean() < 0.02
    assert trust(calibration.probabilities(fresh.vectors), fresh.labels)['ece'] < 0.03


def test_separable_data_and_constant_features_stay_sane(preset):
    vectors = np.zeros((80, COUNT))
    vectors[:, 1] = np.repeat([0.0, 1.0], 40)
    calibration = fit_calibration([Samples('separable', vectors, vectors[:, 1] > 0.5)], preset)
    low, high = calibration.probabilities(vectors[[0, -1]])
    assert 1 / 82 <= low < 0.1 and 0.9 < high <= 1 - 1 / 82
    assert calibration.weights[1:] == (0.0,) * (COUNT - 2)


@pytest.mark.parametrize('true, false', [(MIN_OF_A_KIND - 1, 100), (100, MIN_OF_A_KIND - 1), (0, 0)])
def test_too_little_data_is_refused(preset, true, false):
    labels = np.repeat([True, False], [true, false])
    with pytest.raises(SegvladError, match=f'{true} of them true and {false} false'):
        fit_calibration([Samples('few', np.zeros((len(labels), COUNT)), labels)], preset)


def test_cross_validation_never_asks_what_was_learned(preset):
    """Labels that nothing predicts: a fit that had seen them would look better than chance."""
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(100, COUNT)) * (np.arange(COUNT) > 0)
    noise = Samples('noise', vectors, generator.random(100) < 0.5)
    seen = trust(fit_calibration([noise], preset).probabilities(noise.vectors), noise.labels)
    unseen = trust(*cross_validated([noise], preset))
    assert seen['brier_skill'] > 0.02
    assert unseen['brier_skill'] < 0


def test_sets_of_ten_queries_or_fewer_are_left_out_in_turn(preset):
    """Counted in each set by itself, all of their queries were of the first ten: left out together."""
    sets = [made(10, 2.0, seed=seed, name=f'{seed}')[0] for seed in range(12)]
    probabilities, labels = cross_validated(sets, preset)
    assert len(probabilities) == len(labels) == 120
    for number in range(12):  # what a set is told depends on others, and not on itself
        changed = [*sets[:number], dataclasses.replace(sets[number], labels=~sets[number].labels), *sets[number + 1:]]
        theirs, _ = cross_validated(changed, preset)
        own = slice(10 * number, 10 * number + 10)
        assert np.array_equal(theirs[own], probabilities[own]) and not np.array_equal(theirs, probabilities)


def test_where_geometry_proves_every_candidate_the_others_are_an_open_question(preset):
    samples, _ = made(120, 2.0)
    samples.vectors[:, 0] = 1.0
    calibration = fit_calibration([samples, samples.part(slice(0))], preset)
    assert calibration.probability(Made(0.3, proven=1.0)) == pytest.approx((samples.labels.sum() + 1) / 122)
    assert calibration.probability(Made(0.3)) == pytest.approx(0.5)
    assert len(cross_validated([samples], preset)[0]) == 120


def test_ignored_and_unanswered_queries_are_left_out():
    def outcome(status, entries, true=(), ignored=(), known=True, **evidence):
        evidence = Evidence(entries[0], 0.5, single=True, **evidence) if known else None
        candidates = tuple(Candidate(e, KeyframeId(0, 'a', e, 1), 0.5, 0.1, 3) for e in entries)
        return Outcome('q', Recognition(status, '', candidates, evidence=evidence),
                       PlaceTruth(frozenset(true), frozenset(ignored)))

    samples = samples_of('run', [
        outcome(Status.MATCHED, [4, 5], true=[4]), outcome(Status.NO_MATCH_LOW_SCORE, [5, 4], true=[4]),
        outcome(Status.MATCHED, [4], ignored=[4]), outcome(Status.MAP_EMPTY, [], known=False),
        outcome(Status.NO_MATCH_TEMPORAL, [4], true=[4]), outcome(Status.MATCHED, [4]),
        outcome(Status.NO_MATCH_TEMPORAL, [4], support=Support(contradiction='by odometry it is far'))], LIMITS)
    np.testing.assert_array_equal(samples.labels, [True, False, True, False, False])  # whatever was decided
    np.testing.assert_array_equal(samples.open, [True] * 4 + [False])  # odometry rules the last one out
    assert samples.vectors.shape == (5, COUNT)
    assert samples.undecided().labels.tolist() == [True, False, True, False]
    assert samples_of('nothing', [], LIMITS).vectors.shape == (0, COUNT)


def test_measures_of_trust():
    labels = np.arange(1000) % 5 == 0
    always = trust(np.full(1000, 0.2), labels)
    assert always['brier_skill'] == pytest.approx(0.0)
    assert always['ece'] == pytest.approx(0.0, abs=1e-9)
    assert always['log_loss'] == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8))
    proud = np.where(labels, 0.99, 0.51)
    assert trust(proud, labels)['ece'] == pytest.approx(0.2 * 0.01 + 0.8 * 0.51)
    assert trust(proud, labels)['brier_skill'] == pytest.approx(1 - (0.2 * 0.01 ** 2 + 0.8 * 0.51 ** 2) / 0.16)
    assert trust(np.full(5, 0.9), np.ones(5, bool))['brier_skill'] is None


def test_interval_of_the_error_is_seeded_and_holds_it():
    samples, p = made(1500, 1.0)
    numbers = trust(p, samples.labels)
    assert numbers == trust(p, samples.labels)
    low, high = numbers['ece_bounds']
    assert 0 < low <= numbers['ece'] <= high < 0.1
    assert expected_calibration_error(np.full(3, 0.5), np.array([True, False, True])) == pytest.approx(0.5)


def test_reliability_bins_hold_equal_counts():
    samples, p = made(1003, 1.0)
    bins = reliability(p, samples.labels)
    assert {entry.count for entry in bins} == {100, 101}
    assert [entry.predicted for entry in bins] == sorted(entry.predicted for entry in bins)
    assert all(entry.bounds[0] <= entry.observed <= entry.bounds[1] for entry in bins)
    picture = reliability_picture(bins, 'a <title>')
    assert picture.count('<use ') >= 10 and '&lt;title&gt;' in picture


# The command: a small world with enough places that return, and enough that do not.

PRESET = {'name': 'small', 'image': {'width': 160, 'height': 120}, 'vocabulary': 'words.npz',
          'segmenter': {'kind': 'patches', 'rows': 3, 'cols': 3}, 'neighbourhood': {'order': 0},
          'features': {'kind': 'root_sift', 'cell': 8, 'bin_sizes': [4], 'min_gradient': 1.0},
          'projection': {'kind': 'seeded', 'dimension': 64}, 'vote': {'floor': 0.9},
          'decision': {'min_score': 0.3, 'max_ambiguity': 0.8, 'agreement': 2}, 'places': {'near_keyframes': 2},
          'exclude': {'time_s': 6.0, 'distance_m': 2.0}, 'geometry': {'candidates': 0, 'max_keypoints': 0},
          'calibration': 'not_there_yet.json'}  # what is learned does not ask what was learned before


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / 'words.npz', centres=np.random.default_rng(0).random((4, 128), np.float32) / 15)
    (tmp_path / 'small.yaml').write_text(yaml.safe_dump(PRESET))
    return tmp_path


def scene(number, view):
    coarse = np.random.default_rng(number).integers(0, 255, (15, 20, 3), np.uint8)
    image = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng([number, view]).integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_images(folder):
    """70 places, the map knows half of them."""
    lines = ['query,references']
    for number in range(70):
        for name in ('ref', 'query')[number % 2:]:
            (folder / name).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / name / f'{number}.png'), scene(number, view=name == 'query')[..., ::-1])
        lines.append(f'query/{number}.png,{f"ref/{number}.png" if number % 2 == 0 else ""}')
    (folder / 'truth.csv').write_text('\n'.join(lines))


def write_run(path, places):
    """A drive past places that are a metre apart, one a second."""
    with BagWriter(path) as bag:
        for second, number in enumerate(places, 1):
            pose = Pose(np.array([float(number), 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')
            bag.write_odometry('/odom', second * SECOND, pose)
            bag.write_pose('/ground_truth/pose', second * SECOND, pose)
            bag.write_image('/camera/image_raw', second * SECOND, 'camera', scene(number, view=second))
    return path


def calibrate(folder, *arguments):
    return main(['calibrate', *map(str, arguments), '--preset', str(folder / 'small.yaml'),
                 '--output', str(folder / 'made.json')])


def images(folder):
    return ('images', '--references', folder / 'ref', '--queries', folder / 'query',
            '--ground-truth', folder / 'truth.csv')


def test_calibrate_images_command(capsys, folder):
    write_images(folder)
    assert calibrate(folder, *images(folder), '--json', '--report', folder / 'report.html') == 0
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers['queries'], numbers['positives']) == (70, 35)
    assert numbers['brier_skill'] > 0.5
    calibration = load_calibration(folder / 'made.json',
                                   load_preset(folder / 'small.yaml').fingerprint()['digest'])
    assert (calibration.queries, calibration.positives) == (70, 35)
    assert numbers['weights'] == dict(zip(FEATURES[1:], calibration.weights))  # what is proven has none
    assert 'share that is true' in (folder / 'report.html').read_text()


def test_calibrate_joins_sources(capsys, folder):
    write_images(folder)
    assert calibrate(folder, *images(folder), *images(folder)[1:]) == 0
    out = capsys.readouterr().out
    assert 'queries                  140' in out
    assert out.splitlines()[-1] == f'calibration: {folder / "made.json"}'


def test_calibrate_bags_command(capsys, folder):
    runs = [write_run(folder / f'run{number}', [*range(base, base + 32), *range(base, base + 20)])
            for number, base in enumerate((0, 100))]
    assert calibrate(folder, 'bag', *runs, '--json') == 0
    numbers = json.loads(capsys.readouterr().out)
    assert [entry['name'] for entry in numbers['sets']] == [str(run) for run in runs]
    assert numbers['positives'] == 40


def test_calibrate_refuses_in_one_line(capsys, folder):
    write_images(folder)
    (folder / 'few.csv').write_text('query,references\nquery/0.png,ref/0.png\n')

    def refused(*arguments):
        assert calibrate(folder, *arguments) == 2
        assert not (folder / 'made.json').exists()
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert '1 of them true and 0 false' in refused(*images(folder)[:-1], folder / 'few.csv')
    assert 'once for every image set' in refused(*images(folder), '--references', folder / 'ref')
    assert 'folder does not exist' in refused(*images(folder), '--report', folder / 'no' / 'report.html')
    assert 'nothing.csv' in refused(*images(folder)[:-1], folder / 'nothing.csv')
    assert 'no_bag' in refused('bag', folder / 'no_bag')
