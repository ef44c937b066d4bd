"""What goes wrong on a robot, and what happens then: the rows of docs/faults.md, each of which is a test.

    python test/fault_matrix.py        writes the page

A test that shows a row says so with the mark ``fault('where', 'what goes wrong', 'what happens then')``. Marks are read
from the text of the tests, so that the page needs nothing of what they need.
"""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / 'docs/faults.md'
AREAS = {
    'image': 'Images', 'clock': 'Stamps and clocks', 'camera': 'camera_info, depth, TF', 'odometry': 'Odometry',
    'topic': 'Topics, publishers, other nodes', 'node': 'Nodes that start, end and are started again',
    'service': 'Services', 'disk': 'Disks and power', 'map': 'Map files', 'parameter': 'Parameters and presets',
    'bag': 'Bags', 'tool': 'Tools and their files', 'memory': 'Memory, handles, months',
    'fleet': 'The database of a fleet',
}
HEAD = """# What happens when something goes wrong

Each row is a test, named at its end; `python test/fault_matrix.py` writes this page from them. Bad input costs
itself: one line in the log, in `~/status` and in `/diagnostics`, a count, and the node goes on. A tool ends with
status 2 and one line. Beside these cases, what comes in is changed at random:
[fuzz.md](../benchmark/results/fuzz.md) says how often so far, and with what result.
"""


class Fault(NamedTuple):
    """A row.

    :ivar test: file and name of the test that shows it
    """

    area: str
    what: str
    then: str
    test: str


def faults() -> list[Fault]:
    """All rows, by area, in the order of the files."""
    found = [fault for path in sorted(TESTS.rglob('test_*.py')) for fault in _of_file(path)]
    return sorted(found, key=lambda fault: [*AREAS].index(fault.area))


def _of_file(path: Path) -> Iterator[Fault]:
    text = path.read_text()
    if 'mark.fault(' not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == 'pytest.mark.fault':
                    yield Fault(*map(ast.literal_eval, mark.args), f'{path.relative_to(TESTS)}: {node.name}')


def page() -> str:
    """docs/faults.md."""
    lines, rows = [HEAD], faults()
    for area, title in AREAS.items():
        lines += [f'## {title}', '', '| what | then | test |', '|---|---|---|']
        lines += [f'| {fault.what} | {fault.then} | `{fault.test}` |' for fault in rows if fault.area == area]
        lines.append('')
    return '\n'.join(lines)


if __name__ == '__main__':
    PAGE.write_text(page())
    print(f'{PAGE}: {len(faults())} faults')
