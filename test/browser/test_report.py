"""A report as a reader meets it."""
from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from made_reports import BOXES, ODD, TALL, WIDE, made_evaluation

from segvlad_ros.evaluation.answers import kind_of
from segvlad_ros.evaluation.recall_page import Ranking, write_recall_page
from segvlad_ros.evaluation.report import summarize
from segvlad_ros.evaluation.report_page import write_report
from segvlad_ros.pipeline.presets import load_preset

COUNT, MANY = 48, 501


def written(folder, count):
    evaluation = made_evaluation(count, thumbnail=(160, 120))
    preset = load_preset('classic')
    write_report(folder / 'page.html', evaluation, summarize(evaluation, preset), preset)
    return folder / 'page.html', evaluation


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return written(tmp_path_factory.mktemp('report'), COUNT)


@pytest.fixture(scope='module')
def path(made):
    return made[0]


def test_a_small_report_is_one_file_that_asks_for_nothing_else(opened, path):
    assert [file.name for file in path.parent.iterdir()] == ['page.html']
    seen = opened(path)
    assert [url for url in seen.asked if not url.startswith('data:')] == [path.as_uri()]
    assert seen.visible('.tile') == COUNT
    assert seen.visible('figure.chart svg') == 7
    assert seen.page.evaluate('[...document.images].every(image => image.alt)')
    seen.page.locator('.tile img').first.scroll_into_view_if_needed()
    seen.page.wait_for_function('() => document.images[0].naturalWidth === 160')


def test_odd_names_are_text(opened, path):
    seen = opened(path)
    assert ODD in seen.text('.tile .name')
    assert seen.visible('img[src="x"]') == 0 and seen.visible('.tile b') == 0


def test_each_thumbnail_is_stored_once(made):
    path, evaluation = made
    stored = re.findall(r'data:image/jpeg;base64,([^"]+)', path.read_text())
    assert len(stored) == len(set(stored)) <= len(evaluation.pictures)


def test_the_filters_filter(opened, made):
    path, evaluation = made
    expected = Counter(kind_of(outcome).key for outcome in evaluation.outcomes)
    seen = opened(path)
    for key, count in expected.items():
        seen.page.click(f'#chips .{key}')
        assert seen.visible('.tile') == seen.visible(f'.tile.{key}') == count
        assert seen.text('#count').startswith(f'{count} of {COUNT} queries')
        assert seen.page.locator('#chips [aria-pressed=true]').get_attribute('data-outcome') == key
    seen.page.click('#chips .all')
    seen.page.fill('#search', 'QUERY_rejected')
    assert seen.visible('.tile') == seen.visible('.tile.unusable') == expected['unusable']
    seen.page.fill('#search', 'no such name')
    assert (seen.visible('.tile'), seen.text('#count')) == (0, f'0 of {COUNT} queries')
    seen.page.fill('#search', '')
    seen.page.click('#outcomes .wrong')
    assert seen.visible('.tile') == expected['wrong']


def test_the_order_goes_by_score(opened, made):
    path, evaluation = made
    best = max(evaluation.outcomes, key=lambda each: max((one.score for one in each.recognition.candidates), default=0))
    seen = opened(path)
    seen.page.select_option('#order', 'falling')
    assert seen.text('.tile .name').startswith(best.query[:11])
    seen.page.select_option('#order', 'rising')
    assert seen.text('.tile .badge') == 'unusable'  # has no candidate


def test_a_click_opens_the_pair_with_the_same_segments_in_the_same_colours(opened, path):
    seen = opened(path)
    seen.page.click('.tile >> nth=0')
    assert seen.text('#pair-title').startswith('query/00000')
    assert seen.text('#pair-reason').startswith('MATCHED: score 0.')
    sides = seen.page.locator('#sides figure')
    assert sides.count() == 2  # the best candidate is the true place
    colours = [sides.nth(number).locator('.box').evaluate_all(
        'boxes => boxes.map(box => getComputedStyle(box).borderTopColor)') for number in (0, 1)]
    assert colours[0] == colours[1] and len(set(colours[0])) == len(BOXES)
    seen.page.wait_for_function('() => [...document.querySelectorAll(".frame img")].every(image => image.naturalWidth)')
    frame, box = (sides.nth(0).locator(selector).first.bounding_box() for selector in ('.frame', '.box'))
    left, top, wide, tall = BOXES[0]  # the most similar pair is the first
    assert (box['x'] - frame['x']) / frame['width'] == pytest.approx(left / WIDE, abs=0.01)
    assert (box['y'] - frame['y']) / frame['height'] == pytest.approx(top / TALL, abs=0.01)
    assert box['width'] / frame['width'] == pytest.approx(wide / WIDE, abs=0.01)
    assert box['height'] / frame['height'] == pytest.approx(tall / TALL, abs=0.01)
    seen.page.locator('#candidates button').nth(1).click()
    assert seen.text('#sides figure:nth-child(2) figcaption').startswith('candidate 2')
    assert sides.count() == 3 and seen.visible('.box') == 0  # now the true place is shown, too
    seen.page.click('#close')
    assert not seen.page.locator('#pair').is_visible()


def test_the_keyboard_is_enough(opened, path):
    seen = opened(path)
    seen.page.locator('.tile').first.focus()
    last = f'{COUNT - 1:05d}'
    for key, name in (('ArrowRight', '00001'), ('ArrowRight', '00002'), ('ArrowLeft', '00001'), ('End', last),
                      ('ArrowRight', last), ('Home', '00000')):
        seen.page.keyboard.press(key)
        assert name in seen.focused(), key
    columns = len(seen.style('#tiles', 'gridTemplateColumns').split())
    seen.page.keyboard.press('ArrowDown')
    assert f'{columns:05d}' in seen.focused()
    seen.page.keyboard.press('Enter')
    assert seen.page.locator('#pair').is_visible()
    seen.page.keyboard.press('ArrowRight')
    assert seen.text('#pair-title').startswith(f'query/{columns + 1:05d}')
    seen.page.keyboard.press('Escape')
    assert not seen.page.locator('#pair').is_visible()
    assert f'{columns + 1:05d}' in seen.focused()  # where the reader was


def test_the_focus_is_back_at_once_so_that_no_key_is_lost(opened, path):
    seen = opened(path)
    seen.page.click('.tile >> nth=2')
    seen.page.click('#next')
    assert '00003' in seen.page.evaluate('document.getElementById("close").click(), document.activeElement.innerText')
    seen.page.click('.tile >> nth=2')
    seen.page.click('#next')
    beside = 'document.getElementById("pair").dispatchEvent(new MouseEvent("click")), document.activeElement.innerText'
    assert '00003' in seen.page.evaluate(beside)


@pytest.mark.parametrize('width', [320, 390, 800, 1920])
def test_nothing_hangs_over_the_edge(opened, path, width):
    seen = opened(path, width=width)
    assert seen.page.evaluate('document.documentElement.scrollWidth') <= width
    seen.page.click('.tile >> nth=0')
    assert seen.page.evaluate('document.getElementById("pair").getBoundingClientRect().right') <= width


def luminance(colour):
    """Relative, of 'rgb(r, g, b)' (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r'\d+', colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_is_legible_by_day_and_by_night(opened, path, scheme):
    seen = opened(path, color_scheme=scheme)
    page, card = (luminance(seen.style(selector, 'backgroundColor')) for selector in ('body', '.card'))
    assert (page < 0.1) == (card < 0.1) == (scheme == 'dark')
    for selector, ground in (('body', page), ('.kicker', page), ('.key dt', card), ('figcaption', card), *(
            (f'.tile.{key} .badge', card) for key in ('correct', 'wrong', 'refused', 'missed', 'new', 'borderline',
                                                      'unusable'))):
        lights = sorted((luminance(seen.style(selector, 'color')), ground))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, selector  # WCAG AA
    drawn = seen.page.locator('#recall svg text').first.evaluate('element => getComputedStyle(element).fill')
    assert (luminance(drawn) > 0.3) == (scheme == 'dark')


def test_a_ranking_without_scores_and_pictures(opened, tmp_path):
    images = [tmp_path / f'{number}.png' for number in range(3)]  # not there
    truth = [np.array(true, int) for true in ([0], [1], [])]
    ranking = Ranking(np.array([[0, 1], [2, 1], [-1, -1]]), truth, images, images)
    write_recall_page(tmp_path / 'page.html', ranking, {'dataset': ODD})
    seen = opened(tmp_path / 'page.html', color_scheme='dark')
    assert [seen.visible(f'.tile.{key}') for key in ('correct', 'refused', 'new')] == [1, 1, 1]
    assert not seen.page.locator('#order').is_visible()
    seen.page.click('.tile.refused')
    assert seen.visible('#candidates button') == 2 and seen.text('#pair-reason').endswith('rank 2')


def test_a_large_report_has_its_pictures_in_a_folder_and_loads_what_is_looked_at(opened, tmp_path):
    path, evaluation = written(tmp_path, MANY)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['page.html', 'page_pictures']
    assert len(list((tmp_path / 'page_pictures').iterdir())) <= len(evaluation.pictures)
    assert 'data:image/jpeg' not in path.read_text()
    seen = opened(path)
    seen.page.locator('.tile img').first.scroll_into_view_if_needed()
    seen.page.wait_for_function('() => document.images[0].naturalWidth === 160')
    assert 0 < sum('page_pictures' in url for url in seen.asked) < MANY
    assert seen.visible('.tile') < MANY
    seen.page.locator('.tile').first.focus()
    seen.page.keyboard.press('End')
    assert f'{MANY - 1:05d}' in seen.focused()
