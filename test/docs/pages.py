"""The pages, and the commands in them."""
from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
FENCE = re.compile(r'^```([^\n]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ASSIGNED = re.compile(r'\w+=')
INLINE = re.compile(r'`((?:segvlad|ros2|make|python3?) [^`]+)`')


@dataclass(frozen=True)
class Block:
    """A code block.

    :ivar kind: what stands behind its three backticks
    """

    page: Path
    kind: str
    text: str

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return self.kind.split(' ')[0] == 'bash'


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page."""
    return [Block(page, kind.strip(), text) for kind, text in FENCE.findall(page.read_text())]


def commands(page: Path) -> list[list[str]]:
    """Every command of a page as words, without the variables set for it: those in blocks, of `a && b` both, and those
    in its sentences.
    """
    text = '\n'.join(block.text for block in blocks(page) if block.is_shell).replace('\\\n', ' ')
    lines = re.sub(r'(^|\s)#.*', '', text, flags=re.MULTILINE).splitlines()
    lines += [' '.join(found.split()) for found in INLINE.findall(FENCE.sub('', page.read_text()))]
    parts = [part.strip() for line in lines for part in re.split(r'&&|;', line)]
    words = [list(dropwhile(ASSIGNED.match, shlex.split(part))) for part in parts]
    return [command for command in words if command]
