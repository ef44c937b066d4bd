"""Tables of the pages are what the code says."""
import shutil
import subprocess
import sys

from pages import ROOT


def check(root):
    told = subprocess.run([sys.executable, root / 'docs/write_tables.py', '--check'], capture_output=True, text=True,
                          timeout=60, check=False)
    return told.returncode, told.stderr


def test_the_pages_have_the_tables():
    assert check(ROOT) == (0, '')


def test_an_old_table_is_noticed(tmp_path):
    for folder in ('docs', 'msg', 'srv'):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    message = tmp_path / 'msg/KeyframeId.msg'
    message.write_text(message.read_text().replace('0 in single-robot use', 'any number'))
    assert check(tmp_path) == (1, 'messages.md: not what the code says: make docs-tables\n')
