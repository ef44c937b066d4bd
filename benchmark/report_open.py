"""How long a report of 5,000 queries takes to write and to open, in headless Chromium.

    python benchmark/report_open.py

Opened in a new browser each time, from the click to the first tile with its pictures; then a filter, the last query by
keyboard and a pair. Writes results/report_open.{json,md}. Needs the extra ``browser`` and chromium.
"""
from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from made_reports import made_evaluation
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine, median
from segvlad_ros.evaluation.report import summarize
from segvlad_ros.evaluation.report_page import write_report
from segvlad_ros.pipeline.presets import load_preset

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

COUNTS, REPEATS, LIMIT_S = (500, 5000), 5, 3.0
STEPS = {'open': "document.querySelector('.tile img') && [...document.querySelectorAll('.tile img')].slice(0, 8)"
                 '.every(image => image.naturalWidth)',
         'filter': "document.querySelectorAll('.tile:not(.wrong)').length === 0",
         'pair': "document.getElementById('pair').open && [...document.querySelectorAll('.frame img')]"
                 '.every(image => image.naturalWidth)'}


def written(path: Path, count: int) -> dict[str, float]:
    """Write a report; seconds and megabytes."""
    evaluation, preset = made_evaluation(count), load_preset('classic')
    numbers = summarize(evaluation, preset)
    begin = time.perf_counter()
    write_report(path, evaluation, numbers, preset)
    pictures = list(path.parent.glob('*_pictures/*'))
    return {'write_s': time.perf_counter() - begin, 'page_mb': path.stat().st_size / 1e6, 'pictures': len(pictures),
            'pictures_mb': sum(picture.stat().st_size for picture in pictures) / 1e6}


def opened(playwright: Playwright, path: Path) -> dict[str, float]:
    """Seconds until the page stands, until it is filtered, until a pair is shown."""
    browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=[
        '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
        '--disable-sync', '--no-first-run'])
    tab = browser.new_page(viewport={'width': 1280, 'height': 900})
    taken = {}
    for step, act in (('open', lambda: tab.goto(path.as_uri() + '#gallery-title')),
                      ('filter', lambda: tab.click('#chips .wrong')), ('pair', lambda: tab.click('.tile >> nth=0'))):
        begin = time.perf_counter()
        act()
        tab.wait_for_function(f'() => {STEPS[step]}')
        taken[step] = time.perf_counter() - begin
    browser.close()
    return taken


def main() -> None:
    """Measure and write."""
    from playwright.sync_api import sync_playwright

    command_line(__doc__).parse_args()
    numbers = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for count in COUNTS:
            path = Path(folder) / str(count) / 'page.html'
            path.parent.mkdir()
            row = written(path, count)
            runs = [opened(playwright, path) for _ in range(REPEATS)]
            numbers[count] = row | {f'{step}_s': median([run[step] for run in runs]) for step in STEPS}
            numbers[count]['slowest_open_s'] = max(run['open'] for run in runs)
            print(count, numbers[count], flush=True)
    where = machine()
    rows = [(f'{count:,}', f'{row["write_s"]:.1f}', f'{row["page_mb"]:.1f}',
             f'{row["pictures_mb"]:.0f} ({row["pictures"]:,})' if row['pictures'] else 'in the page',
             f'{row["open_s"]:.2f} (at most {row["slowest_open_s"]:.2f})', f'{row["filter_s"]:.2f}',
             f'{row["pair_s"]:.2f}') for count, row in numbers.items()]
    head = heading('Opening a report', 'report_open.py', where,
                   f'Made evaluations, as many map keyframes as queries, thumbnails of 320 x 240; median of {REPEATS} '
                   f'new browsers, seconds from the click until it is seen. Asked for: 5,000 open in under '
                   f'{LIMIT_S:g} s.')
    write_results('report_open', where, {'reports': numbers}, page(
        head, ('queries', 'written in s', 'page, MB', 'pictures, MB', 'open', 'filter', 'pair'), rows))


if __name__ == '__main__':
    main()
