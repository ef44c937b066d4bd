"""Pages of reports as files; test/browser opens them."""
from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_reports import made_evaluation

from segvlad_ros.cli import main
from segvlad_ros.evaluation.measured import Costs
from segvlad_ros.evaluation.page import check_drawing
from segvlad_ros.evaluation.recall_page import Ranking, write_ranking, write_recall_page
from segvlad_ros.evaluation.report import summarize
from segvlad_ros.evaluation.report_page import sentence, write_report
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError

SMALL = (40, 30)


def page_of(path, evaluation):
    preset = load_preset('classic')
    write_report(path, evaluation, summarize(evaluation, preset), preset)
    return path.read_text()


def data_of(page):
    return json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def charts_of(page):
    return re.findall('<figure class="card chart" id="(.*?)">', page)


def test_charts_are_there_where_the_data_are_and_the_same_each_time(tmp_path):
    evaluation = made_evaluation(40, thumbnail=SMALL)
    all_of_them = {'recall', 'curve', 'reliability', 'time', 'errors', 'trajectory', 'similarity'}
    page = page_of(tmp_path / 'a.html', evaluation)
    assert set(charts_of(page)) == all_of_them and page == page_of(tmp_path / 'b.html', evaluation)
    few = replace(evaluation, outcomes=evaluation.outcomes[:5], poses={}, closures=(), costs=Costs(segments=[4]))
    assert charts_of(page_of(tmp_path / 'a.html', few)) == ['recall', 'curve', 'similarity']
    assert 'nan' not in ''.join(re.findall('<svg.*?</svg>', page, re.S)).lower()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_queries_without_places_candidates_and_pictures(tmp_path):
    evaluation = made_evaluation(20, thumbnail=SMALL)
    dark = [outcome for outcome in evaluation.outcomes if not outcome.recognition.candidates]
    pictures = {name: replace(picture, thumbnail=b'') for name, picture in evaluation.pictures.items()}
    rows = data_of(page_of(tmp_path / 'a.html', replace(evaluation, outcomes=dark, pictures=pictures)))['queries']
    assert [(row['picture'], row['candidates'], row['outcome']) for row in rows] == [(-1, [], 'unusable')] * len(dark)
    new = [outcome for outcome in evaluation.outcomes if not outcome.truth.true]
    page = page_of(tmp_path / 'a.html', replace(evaluation, outcomes=new, closures=(), poses={}))
    assert 'no match was made' in page and 'recall' not in charts_of(page)


def test_the_verdict_is_one_sentence():
    numbers = {'queries': 9, 'queries_with_place': 8, 'accepted': 5, 'precision': 0.8, 'recall': 0.5}
    assert sentence(numbers) == '4 of 8 known places were recognised (50\u00a0%); 1 of 5 matches is wrong.'
    assert sentence({**numbers, 'precision': 1.0, 'recall': 5 / 8}).endswith('; all 5 matches are right.')
    assert sentence({**numbers, 'accepted': 0, 'precision': None, 'recall': 0.0}).endswith('; no match was made.')
    assert sentence({**numbers, 'queries_with_place': 0, 'precision': 0.0, 'recall': None}) == (
        'None of the 9 queries has a true place in the map; 5 of 5 matches are wrong.')


def test_pictures_in_a_folder_of_any_name(tmp_path):
    path = tmp_path / 'a #50% page.html'
    pictures = data_of(page_of(path, made_evaluation(501, thumbnail=SMALL)))['pictures']
    assert pictures[0] == 'a%20%2350%25%20page_pictures/000000.jpg'
    assert len(list((tmp_path / 'a #50% page_pictures').iterdir())) == len(pictures)
    (tmp_path / 'b_pictures').touch()
    with pytest.raises(SegvladError, match='the picture cannot be written'):
        page_of(tmp_path / 'b.html', made_evaluation(501, thumbnail=SMALL))


@pytest.mark.parametrize('package', ['jinja2', 'matplotlib'])
def test_what_draws_is_missing(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SegvladError, match=f'pip install {package}, or sudo apt install python3-{package}'):
        check_drawing()


@pytest.fixture
def ranking(tmp_path):
    paths = {side: [tmp_path / side / f'{number}.png' for number in range(4)] for side in ('r', 'q')}
    for side, files in paths.items():
        (tmp_path / side).mkdir()
        for number, file in enumerate(files):
            cv2.imwrite(str(file), np.full((30, 40, 3), 40 * number + 10 * (side == 'q'), np.uint8))
    ranked = np.array([[0, 1], [2, 1], [3, 0], [1, -1]])
    return Ranking(ranked, [np.array(true, int) for true in ([0], [1], [2], [])], paths['r'], paths['q'])


def test_a_ranking_is_a_page(tmp_path, ranking):
    assert ranking.ranks == [1, 2, None, None]
    numbers = ranking.numbers()
    assert (numbers['recall@1'], numbers['recall@2']) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    (tmp_path / 'r/3.png').unlink()
    write_recall_page(tmp_path / 'a.html', ranking, {'dataset': '17<places', 'experiment': 'exp0', 'paper': '94 / 95'})
    page = (tmp_path / 'a.html').read_text()
    assert '<h1>17&lt;places, exp0</h1>' in page and charts_of(page) == ['recall']
    assert 'right for 33.3\u00a0% of 3 queries; the paper says 94 / 95' in page
    data = data_of(page)
    assert [row['outcome'] for row in data['queries']] == ['correct', 'refused', 'missed', 'new']
    assert [each['truth'] for each in data['queries'][1]['candidates']] == ['false', 'true']
    assert data['queries'][2]['candidates'][0] == {'name': 'r/3.png', 'picture': -1, 'score': None, 'truth': 'false'}
    assert len(data['pictures']) == len(set(data['pictures'])) == 7


def test_a_true_place_beyond_the_last_reference_has_no_picture(tmp_path, ranking):
    """As 17places has them."""
    beyond = replace(ranking, truth=[np.arange(number + 1, number + 32) for number in range(4)])
    write_recall_page(tmp_path / 'a.html', beyond, {'dataset': '17places', 'experiment': 'exp0', 'paper': ''})
    shown = data_of((tmp_path / 'a.html').read_text())['queries']
    assert [row.get('true', {}).get('name') for row in shown] == ['r/1.png', 'r/2.png', 'r/3.png', None]


def test_rankings_are_compared_by_recall_alone(tmp_path, ranking, capsys):
    many = Ranking(np.tile(ranking.ranked, (10, 1)), ranking.truth * 10, ranking.references,
                   [Path(f'/data/{number}.png') for number in range(40)])
    write_ranking(tmp_path / 'a.json', many, {'dataset': 'made'})
    write_ranking(tmp_path / 'b.json', replace(many, ranked=many.ranked[:, ::-1]), {'dataset': 'made'})
    assert main(['evaluate', 'compare', str(tmp_path / 'a.json'), str(tmp_path / 'b.json'), '--json']) == 0
    only, = json.loads(capsys.readouterr().out)
    assert (only['metric'], only['change']) == ('recall@1', 0.0) and only['bounds'][0] < 0 < only['bounds'][1]
