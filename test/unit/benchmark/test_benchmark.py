"""The baselines are the procedures that they claim to be, and the measurement measures."""
import json
from pathlib import Path

import literal
import numpy as np
import pytest
from comparisons import Comparison, alternate
from gpu_keyframe import mask_agreement

from segvlad_ros.cli import main
from segvlad_ros.description.projection import PcaProjection
from segvlad_ros.description.segments import neighbours, segments_from_masks
from segvlad_ros.description.vlad import merge_neighbours, segment_vlad
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.measure import machine, peak_memory
from segvlad_ros.types import CellGrid, Masks

ROOT = Path(__file__).resolve().parents[3]


def random_masks(rng, count=9, height=40, width=50):
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, (width, height), (count, 2))
    return np.stack([(x - u) ** 2 + (y - v) ** 2 < r ** 2 for (u, v), r in zip(centres, rng.uniform(4, 12, count))])


def test_literal_description_agrees_with_the_product():
    rng = np.random.default_rng(1)
    masks, grid = random_masks(rng), CellGrid(103, 87, 14)
    features = rng.normal(size=(grid.cells, 12)).astype(np.float32)
    centres = 0.5 * rng.normal(size=(4, 12)).astype(np.float32)
    seen = segments_from_masks(Masks(masks, np.ones(9, np.float32)), grid)
    np.testing.assert_array_equal(literal.incidence(masks, 103, 87, 14), seen.incidence)
    np.testing.assert_array_equal(literal.adjacency(masks, 2), neighbours(seen.centroids, 2, 'reference'))
    rows = segment_vlad(features, merge_neighbours(seen.incidence, neighbours(seen.centroids, 2)), Vocabulary(centres))
    mean, components, scale = rng.normal(size=48), rng.normal(size=(6, 48)), rng.uniform(1, 2, 6)
    expected = PcaProjection(mean, components, scale).apply(rows)
    found = literal.describe(masks, features, centres, (mean, components, scale), size=(103, 87), cell=14, order=2)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_identical_masks_agree_in_any_order():
    masks = Masks(random_masks(np.random.default_rng(2)), np.ones(9, np.float32))
    shuffled = Masks(masks.masks[::-1], masks.quality)
    assert mask_agreement(masks, shuffled, CellGrid(100, 80, 10)) == {
        'mean_iou': 1.0, 'matched_at_0.9': 1.0, 'count_difference': 0, 'grid_hamming': 0.0}


def test_a_lost_and_a_changed_mask_show():
    masks = random_masks(np.random.default_rng(2))
    other = masks[:-1].copy()
    other[0] = ~other[0]
    found = mask_agreement(Masks(masks, np.ones(9, np.float32)), Masks(other, np.ones(8, np.float32)),
                           CellGrid(100, 80, 10))
    assert found['count_difference'] == -1
    assert found['matched_at_0.9'] == pytest.approx(7 / 9)
    assert found['grid_hamming'] > 0.05


def test_memory_is_measured():
    taken = peak_memory(lambda: np.ones(20_000_000).sum())
    if taken is None:
        pytest.skip('this system does not tell the peak memory of a process')
    assert 150 < taken < 250


def test_functions_are_called_in_turn_after_a_warm_up():
    calls = []
    first, second = alternate(lambda: calls.append(1), lambda: calls.append(2), 3)
    assert calls == [1, 2] * 4
    assert len(first) == len(second) == 3


def test_a_ratio_below_its_floor_is_not_good():
    slow = Comparison('a', 'b', [10.0, 30.0, 11.0], [20.0, 61.0, 21.0], 3)
    assert (slow.ratio, slow.as_dict()['good']) == (2.0, False)
    assert slow.as_dict()['ratio_range'] == [1.91, 2.03]
    assert machine()['cores'] >= 1


def test_the_command_reports_one_stage_as_json(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr('segvlad_ros.__file__', str(ROOT / 'segvlad_ros' / '__init__.py'))  # colcon installs elsewhere
    output = tmp_path / 'vote.json'
    status = main(['benchmark', 'stock', '--stage', 'vote', '--repeats', '1', '--json', '--output', str(output)])
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(output.read_text())
    assert '| vote of one query |' in output.with_suffix('.md').read_text()
    row, = report['comparisons']
    assert row['floor'] == 50
    assert row['good'] == (row['ratio'] >= 50) == (status == 0)


def test_without_a_checkout_the_stock_comparison_says_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('segvlad_ros.__file__', str(tmp_path / 'segvlad_ros' / '__init__.py'))
    assert main(['benchmark', 'stock', '--stage', 'vote']) == 2
    error, = capsys.readouterr().err.splitlines()
    assert 'git clone' in error
