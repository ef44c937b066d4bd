"""``segvlad benchmark map`` in short: a made map of a few keyframes is written, answered and searched exactly."""
import map_search
import numpy as np
import pytest
from made_maps import MadeMap

from segvlad_ros.cli import main
from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Keyframe, KeyframeId, PlaceDescription


def keyframe(rows):
    count = len(rows)
    return Keyframe(KeyframeId(0, 'a', 1, 1), PlaceDescription(
        unit_rows(rows), np.tile(np.array([0, 0, 20, 20], np.int32), (count, 1)), np.full(count, 400)))


@pytest.fixture
def made(monkeypatch):
    """Keyframes of random segments, and queries that see them with little noise."""
    random, dimension = np.random.default_rng(0), load_preset('classic').projection.dimension
    seen = [random.standard_normal((50, dimension)).astype(np.float32) for _ in range(6)]
    pairs = [(keyframe(rows + 0.1 * random.standard_normal(rows.shape).astype(np.float32)), keyframe(rows))
             for rows in seen]
    monkeypatch.setattr(map_search, 'made_map', lambda data, work: MadeMap(pairs))


def test_a_small_map_is_measured_to_the_end(made, tmp_path):
    written = map_search.make(500, 4, None, tmp_path)
    assert (written.keyframes, written.segments, len(written.wanted)) == (10, 500, 4)
    shipped, exact = map_search.measure_shipped(written), map_search.measure_exact(written, 3, None)
    assert (shipped['segments'], shipped['keyframes'], shipped['right']) == (500, 10, [True] * 4)
    assert (exact['exact_queries'], exact['exact_right'], exact['exact_score_recall_at_1']) == (3, [True] * 3, 1.0)
    report = {'machine': map_search.machine('cpu'), 'images': 'made', 'preset': 'classic',
              'sizes': [map_search._row(shipped, exact)]}
    assert '| 500 | 10 |' in map_search.as_markdown(report)


@pytest.mark.parametrize('arguments', [
    ['map', '--queries', 'inf'], ['map', '--queries', '0.5'], ['map', '--exact-queries', '-1'],
    ['map', '--exact-queries', 'nan'], ['map', '--largest', 'inf'], ['map', '--largest', 'nan'],
    ['stock', '--stage', 'vote', '--repeats', '0'], ['stock', '--points', '0'], ['stock', '--threads', '0'],
    ['stock', '--threads', '9' * 30], ['stock', '--device', 'cdua']])
def test_numbers_that_count_nothing_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *arguments])
    line, = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert arguments[-2] in line and '(see segvlad benchmark' in line
