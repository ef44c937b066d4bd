"""The table of learned and classic features: what counts as a wide baseline, what is chosen, and what the page says."""
import learned_features as benchmark
import learned_features_page as page
import numpy as np
import pytest

from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.types import Candidate, KeyframeId, Pose, Recognition, Status


def pose(metres, degrees=0.0):
    half = np.radians(degrees) / 2
    return Pose(np.array([metres, 0.0, 0.0]), np.array([0.0, 0.0, np.sin(half), np.cos(half)]), 'world')


def cell(correct=9, false=0, **changes):
    precision = correct / (correct + false) if correct + false else None
    return {'recall@1': 0.9, 'recall@1_bounds': [0.8, 0.95], 'recall@5': 1.0, 'correct': correct, 'false': false,
            'precision': precision, 'precision_bounds': precision and [0.7, 1.0], 'recall': 0.5,
            'recall_bounds': [0.3, 0.7], 'decided': 'calibrated', 'segments': 40.0, 'coverage': 0.99,
            'coverage_of_network': 0.45} | changes


def row(*cells, load=0.5):
    columns = dict(zip(page.COLUMNS, cells))
    return {'columns': columns, 'settings': {}, 'bytes_per_keyframe': 41_000.0, 'costs': {
        'describe_ms_p50': 48.4, 'stages': {'features': 20.0, 'segments': 30.2, 'vote': 0.1},
        'machine': {'load_average': load, 'cores': 2}}}


def test_wide_is_far_apart_and_still_one_place():
    entries = [pose(0.5), pose(1.5), pose(0.2, 50), pose(0.2, 70), pose(2.5), pose(1.2, 10)]
    usable = np.array([True] * 5 + [False])
    truth = benchmark.wide_truth(pose(0), entries, usable)
    assert (truth.true, truth.ignored) == ({1, 2}, {0})
    assert benchmark.wide_truth(pose(0), entries[:1], usable[:1]) is None


def test_near_images_are_ranked_and_a_match_from_further_back_counts_neither_way():
    def outcome(true, ignored=()):
        candidates = tuple(Candidate(entry, KeyframeId(0, 's', entry, 0), 0.5, 0.1, 1) for entry in (1, 2))
        return Outcome('q', Recognition(Status.MATCHED, '', candidates),
                       PlaceTruth(frozenset(true), frozenset(ignored)))

    numbers = benchmark.numbers_of({
        benchmark.WIDE: [outcome([2], ignored=[1])], 'ground_truth': [outcome([2]), outcome([1])],
        'place_truth': [outcome([2], ignored=[1]), outcome([1]), outcome([3])]})
    assert (numbers['recall@1'], numbers['recall@5'], numbers['wide']['recall@1']) == (0.5, 1.0, 1.0)
    assert (numbers['correct'], numbers['false'], numbers['ignored']) == (1, 1, 1)


def test_a_setting_is_chosen_without_the_set_that_it_is_reported_on():
    ranked = [{'a': 0.5, 'b': 0.5, 'c': 0.9}, {'a': 1.0, 'b': 0.5, 'c': 0.5}]
    assert [benchmark.chosen(ranked, tested) for tested in 'abc'] == [0, 1, 1]
    assert benchmark.chosen([{'a': 0.5, 'b': 0.5}] * 2, 'a') == 0


def test_only_presets_that_cut_by_sam_have_its_settings():
    classic, mobile = (benchmark.load_preset(name, {'calibration': None}) for name in ('classic', 'segvlad_mobile'))
    assert benchmark.with_setting(classic, 1) is classic
    assert benchmark.with_setting(mobile, 0) == mobile  # the shipped one comes first
    assert benchmark.with_setting(mobile, 2).segmenter.iou_threshold == 0.7


def test_what_was_made_is_kept(tmp_path):
    assert benchmark.kept(tmp_path / 'a.json', lambda: {'a': 1}) == {'a': 1}
    assert benchmark.kept(tmp_path / 'a.json', lambda: pytest.fail('made again')) == {'a': 1}


def test_the_page_has_a_line_for_each_set_and_description():
    rows = {'learned': row(cell(), cell(correct=0, **{'decided': 'by thresholds'}), cell(wide=cell()), load=9.0)}
    settings = [{'setting': benchmark.SETTINGS[0], 'sets': {'corridor': cell()}}]
    rows['learned']['settings'] = {'corridor': 0}
    text = page.as_page({'rows': rows, 'settings': settings}, benchmark.__doc__, {'cpu': 'x'})
    assert '| corridor | learned | 0.90 (0.80-0.95) | 1.00 | 9 + 0 | 1.00 (0.70-1.00) | 0.50 (0.30-0.70) |' in text
    assert '| 0 + 0 (by thresholds) | - |' in text
    assert ('| learned | 0.90 (0.80-0.95) | 40, 0.99 (0.45) | 48 | features 20, segments 30 | 41 | '
            'measured beside other work |') in text
    rows['learned']['costs'] = None
    assert '| 40, 0.99 (0.45) | not measured | - | 41 |  |' in page.as_page(
        {'rows': rows, 'settings': []}, benchmark.__doc__, {'cpu': 'x'})
    assert '| 0.88, 0.95, graph | 0.900 / 1.000; 40; 0.99 (0.45) |' in text
    assert 'taken 0.88, 0.95, graph for corridor' in text


def test_learned_is_recommended_if_it_finds_more_and_errs_no_more():
    classic = row(*[cell()] * 5)
    more, false = cell(correct=11), cell(correct=11, false=1)
    for cells, found in (([more] * 3 + [cell()] * 2, True), ([more] * 2 + [cell(correct=10)] * 3, False),
                         ([more] * 4 + [false], False)):
        said = page.verdict({'classic': classic, 'learned': row(*cells)})
        assert ('it is the one to recommend' in said) is found, said
    assert 'not measured' in page.verdict({'classic': classic, 'learned': row(more)})
