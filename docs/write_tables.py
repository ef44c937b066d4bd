"""Writes the tables of docs/*.md by what the code says: `make docs-tables`, or `python docs/write_tables.py [--check]`.

A table stands between `<!-- NAME: written by docs/write_tables.py -->` and `<!-- end -->`.
"""
from __future__ import annotations

import re
import sys
from pathlib import Path

from segvlad_ros.ros.node import interface_table, parameter_table

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'(<!-- (\w+): written by docs/write_tables\.py -->\n).*?(<!-- end -->)', re.DOTALL)
DEFINITION = re.compile(r'([\w/]+(?:\[\d*\])?)\s+(\w+)\s*(?:=\s*(\S+)\s*)?')


def definition(text: str) -> str:
    """One message, or one half of a service, as Markdown: what it is, and a table of its fields and constants.

    :param text: in ROS's format: a comment behind a field is its meaning, also where it goes on below
    """
    about, rows = [], []
    for line in text.splitlines():
        code, _, comment = (part.strip() for part in line.partition('#'))
        if code:
            kind, name, value = DEFINITION.fullmatch(code).groups()
            rows.append([f'`{name}`' if value is None else f'`{name}` = {value}', f'`{kind}`', comment])
        elif rows:
            rows[-1][-1] += f' {comment}'
        else:
            about.append(comment)
    table = ['| field | type | meaning |', '|---|---|---|', *(f'| {" | ".join(row)} |' for row in rows)]
    return '\n'.join([*about, '', *table] if about else table)


def messages() -> str:
    """All messages, one after the other."""
    return '\n\n'.join(f'### {file.stem}\n\n{definition(file.read_text())}' for file in sorted(ROOT.glob('msg/*.msg')))


def services() -> str:
    """All services, likewise."""
    parts = []
    for file in sorted(ROOT.glob('srv/*.srv')):
        request, answer = map(definition, re.split(r'^---\n', file.read_text(), flags=re.MULTILINE))
        parts.append(f'### {file.stem}\n\nRequest:\n\n{request}\n\nAnswer:\n\n{answer}')
    return '\n\n'.join(parts)


TABLES = {
    'parameters': parameter_table.markdown,
    'outputs': lambda: interface_table.topics(interface_table.OUTPUTS),
    'inputs': lambda: interface_table.topics(interface_table.INPUTS),
    'services': lambda: interface_table.services(interface_table.SERVICES),
    'clients': lambda: interface_table.services(interface_table.CLIENTS),
    'message_definitions': messages,
    'service_definitions': services,
}


def main(arguments: list[str]) -> int:
    """Write the tables; with --check only tell the pages that are not as they would be written."""
    old = []
    for page in sorted((ROOT / 'docs').glob('*.md')):
        text = page.read_text()
        written = BLOCK.sub(lambda found: f'{found[1]}{TABLES[found[2]]()}\n{found[3]}', text)
        if written != text:
            old.append(page.name)
            if '--check' not in arguments:
                page.write_text(written)
    if old and '--check' in arguments:
        print(f'{", ".join(old)}: not what the code says: make docs-tables', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
