"""Two results compared: numbers by hand, intervals that hold, and what cannot be compared refused in one line."""
from __future__ import annotations

import json

import numpy as np
import pytest

from segvlad_ros.cli import main
from segvlad_ros.evaluation.answers import answer_rows, kind_of, short_names, write_result
from segvlad_ros.evaluation.comparison import compare, read_result
from segvlad_ros.evaluation.measured import Costs, Evaluation
from segvlad_ros.evaluation.metrics import Outcome, decision_metrics, ranking_metrics
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.types import Candidate, KeyframeId, Recognition, Status


def outcome(name, ranked, true=(), ignored=(), status=Status.MATCHED):
    candidates = tuple(Candidate(entry, KeyframeId(0, 's', entry + 1, 0), score, 0.5, 1) for entry, score in ranked)
    return Outcome(name, Recognition(status, '', candidates), PlaceTruth(frozenset(true), frozenset(ignored)))


def made(count, seed, skill):
    """Queries of which a share is answered rightly; every fifth has no place, scores are coarse and often equal."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        right, sure = generator.random(2) < (skill, 0.8)
        entry = 1 if right else 2
        status = Status.MATCHED if sure else Status.NO_MATCH_AMBIGUOUS
        ranked = [(entry, round(generator.random() + right, 1)), (3 - entry, 0.0)] if generator.random() < 0.95 else []
        ignored = [2] if generator.random() < 0.1 else []
        rows.append(outcome(f'/data/q/{number}.png', ranked, [1] if number % 5 else [], ignored,
                            status if ranked else Status.NO_MATCH_LOW_SCORE))
    return rows


def written(path, outcomes, consecutive=False):
    write_result(path, Evaluation(outcomes, ['a', 'b', 'c'], Costs(), {}, consecutive=consecutive), {'preset': 'made'})
    return path


def test_every_kind_of_answer_is_told_apart():
    refused = Status.NO_MATCH_LOW_SCORE
    said = [kind_of(each).key for each in (
        outcome('q', [(1, 0.9)], [1]), outcome('q', [(1, 0.9)], [2]), outcome('q', [(1, 0.9)], [2], [1]),
        outcome('q', [(1, 0.9)], [1], status=refused), outcome('q', [(2, 0.9), (1, 0.8)], [1], status=refused),
        outcome('q', [(2, 0.9)], status=refused), outcome('q', [], [1], status=Status.QUERY_REJECTED))]
    assert said == ['correct', 'wrong', 'borderline', 'refused', 'missed', 'new', 'unusable']


def test_names_do_not_say_where_the_images_lie():
    assert short_names(['/a/b/q/1.png', '/a/b/r/1.png']) == ['q/1.png', 'r/1.png']
    assert short_names(['/a/q/1.png']) == ['1.png']
    assert short_names(['00001 at 5 ns', '00002 at 6 ns']) == ['00001 at 5 ns', '00002 at 6 ns']


@pytest.mark.parametrize('seed', range(5))
def test_the_numbers_are_those_of_the_evaluation(tmp_path, seed):
    outcomes = made(60, seed, 0.7)
    result = read_result(written(tmp_path / 'a.json', outcomes))
    numbers = {**ranking_metrics(outcomes), **decision_metrics(outcomes)}
    for each in compare(result, result):
        assert each.first == each.second == pytest.approx(numbers[each.metric]), each.metric
        assert (each.change, each.bounds, each.distinguishable) == (0.0, (0.0, 0.0), False)


def test_what_is_better_is_told_from_what_only_differs(tmp_path):
    poor, good = (read_result(written(tmp_path / f'{skill}.json', made(400, 1, skill))) for skill in (0.6, 0.8))
    better = compare(poor, good)
    assert all(each.change > 0 and each.distinguishable for each in better)
    assert all(each.bounds[0] < each.change < each.bounds[1] for each in better)
    assert [each.bounds for each in better] == [each.bounds for each in compare(poor, good)]  # seeded
    chance = read_result(written(tmp_path / 'other.json', made(400, 2, 0.6)))
    assert not any(each.distinguishable for each in compare(poor, chance))


def test_intervals_hold_the_truth_as_often_as_they_say(tmp_path):
    """Two systems of equal skill, 100 times: about 5 of the intervals leave out 0."""
    outside = 0
    for seed in range(100):
        pair = [read_result(written(tmp_path / 'x.json', made(60, [seed, side], 0.7))) for side in (0, 1)]
        outside += compare(*pair)[0].distinguishable
    assert outside <= 12  # binomial(100, 0.05): beyond once in 500


def test_neighbours_of_a_drive_are_drawn_together(tmp_path):
    """Ten equal answers in a row say hardly more than one of them."""
    kinds = [[each] * 10 for each in made(40, 3, 0.6)], [[each] * 10 for each in made(40, 4, 0.6)]
    rows = [[Outcome(str(number), each.recognition, each.truth) for number, each in enumerate(sum(kind, []))]
            for kind in kinds]
    widths = []
    for consecutive in (False, True):
        pair = [read_result(written(tmp_path / 'x.json', kind, consecutive)) for kind in rows]
        low, high = compare(*pair)[0].bounds
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_too_few_queries_have_no_interval(tmp_path):
    few = read_result(written(tmp_path / 'few.json', made(9, 1, 0.6)))
    drive = read_result(written(tmp_path / 'drive.json', made(99, 1, 0.6), consecutive=True))
    assert {each.bounds for result in (few, drive) for each in compare(result, result)} == {None}


def test_the_command(tmp_path, capsys):
    files = [str(written(tmp_path / f'{skill}.json', made(200, 1, skill))) for skill in (0.5, 0.9)]
    assert main(['evaluate', 'compare', *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ['first', 'recall@1', 'precision', 'recall', 'average_precision']
    assert all(line.endswith('   distinguishable') for line in lines[1:])
    assert main(['evaluate', 'compare', *files, '--json']) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first['metric'] == 'recall@1' and first['distinguishable'] and len(first['bounds']) == 2


@pytest.mark.parametrize(('content', 'words'), [
    (None, 'cannot be read'), ('no json', 'not a JSON file'), ('[1]', 'holds no answers'),
    ('{"recall@1": 0.5}', 'evaluate images|bag ... --output'), ('{"answers": [{"query": "a"}]}', 'answer 1'),
    ('{"answers": [{"query": "a", "outcome": "odd", "place": true, "rank": 1, "score": 1}]}', 'answer 1'),
    *((f'{{"answers": [{{"query": "a", "outcome": null, "place": true, "rank": 1, "score": {score}}}]}}', 'answer 1')
      for score in ('9' * 400, '1e999', 'NaN', '-Infinity')),
    ('[' * 100000, 'not a JSON file')])
def test_other_files_are_refused_in_one_line(tmp_path, capsys, content, words):
    if content is not None:
        (tmp_path / 'a.json').write_text(content)
    assert main(['evaluate', 'compare', str(tmp_path / 'a.json'), str(tmp_path / 'a.json')]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert words in line


def test_other_queries_and_another_truth_are_refused(tmp_path, capsys):
    rows = made(20, 1, 0.6)
    files = {'all': rows, 'fewer': rows[:19], 'turned': rows[::-1],
             'judged': [Outcome(row.query, row.recognition, PlaceTruth(frozenset())) for row in rows]}
    for name, outcomes in files.items():
        written(tmp_path / name, outcomes)
    for name, words in (('fewer', '1 are in one of them only'), ('turned', 'order differs'), ('judged', 'truth of 16')):
        assert main(['evaluate', 'compare', str(tmp_path / 'all'), str(tmp_path / name)]) == 2
        line, = capsys.readouterr().err.splitlines()
        assert words in line


def test_rows_are_json(tmp_path):
    rows = answer_rows(Evaluation(made(5, 1, 0.6), [], Costs(), {}))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
