"""What the benchmarks share: their command line, their tables, their files under results/, which name the machine."""
from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / 'results'


def command_line(about: str, *, sets: bool = False) -> argparse.ArgumentParser:
    """A parser.

    :param about: the text of the script's module
    :param sets: whether the script reads the image sets and keeps the described keyframes
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if sets:
        parser.add_argument('--data', type=Path, required=True, help='folder of the image sets')
        parser.add_argument('--work', type=Path, required=True, help='keeps the described keyframes')
    return parser


def heading(title: str, script: str, where: dict, about: str = '') -> list[str]:
    """The first lines of a page: its title, and what made it.

    :param where: the machine, see :func:`segvlad_ros.evaluation.measure.machine`
    """
    return [f'# {title}', '', f'Written by `benchmark/{script}` on {where}. {about}'.rstrip(), '']


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of a Markdown table."""
    columns = list(columns)
    return [_row(columns), '|---' * len(columns) + '|', *map(_row, rows)]


def page(head: list[str], columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A page of one table below its :func:`heading`."""
    return '\n'.join([*head, *table(columns, rows)]) + '\n'


def _row(cells: Iterable[object]) -> str:
    return f'| {" | ".join(map(str, cells))} |'


def write_results(name: str, where: dict, numbers: dict, page: str = '') -> None:
    """Write results/NAME.json, and results/NAME.md where there is a page."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f'{name}.json').write_text(json.dumps({'machine': where, **numbers}, indent=1) + '\n')
    if page:
        (RESULTS / f'{name}.md').write_text(page)
