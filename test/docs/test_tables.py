"""Tables of the pages are what the code says."""
import re
import shutil
import subprocess
import sys

import pytest
from pages import PAGES, ROOT


def check(root, *options):
    told = subprocess.run([sys.executable, root / 'docs/write_tables.py', *options], capture_output=True, text=True,
                          timeout=60, check=False)
    return told.returncode, told.stderr


def test_the_pages_have_the_tables():
    assert check(ROOT, '--check') == (0, '')


@pytest.fixture
def copy(tmp_path):
    for folder in ('docs', 'msg', 'srv'):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_an_old_table_is_noticed(copy):
    message = copy / 'msg/KeyframeId.msg'
    message.write_text(message.read_text().replace('0 in single-robot use', 'any number'))
    assert check(copy, '--check') == (1, 'messages.md: not what the code says: make docs-tables\n')


def test_tables_that_were_emptied_are_written_again(copy):
    """Each up to its own end: what stands between two of them stays."""
    pages = {page.name: page.read_text() for page in (copy / 'docs').glob('*.md')}
    for name, text in pages.items():
        (copy / 'docs' / name).write_text(re.sub(r'(docs/write_tables.py -->\n).*?(<!-- end -->)', r'\1\2', text,
                                                 flags=re.DOTALL))
    assert check(copy) == (0, '')
    assert {name: (copy / 'docs' / name).read_text() for name in pages} == pages


def test_one_empty_line_is_enough():
    """Answers of services had three before their table."""
    assert '\n\n\n' not in (ROOT / 'docs/messages.md').read_text()


def test_every_table_has_its_place():
    code = (ROOT / 'docs/write_tables.py').read_text()
    named = set(re.findall(r"^    '(\w+)': ", code, re.MULTILINE))
    placed = re.findall(r'<!-- (\w+): written by docs/write_tables.py -->', ''.join(page.read_text() for page in PAGES))
    assert sorted(placed) == sorted(named)
