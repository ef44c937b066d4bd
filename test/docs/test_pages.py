"""The commands of the pages, run as they stand: the blocks marked `bash run`, each page in a folder of its own.

In the folder lie the files that the pages speak of. A `text` block below shows lines that the commands print.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, blocks
from supplies import write_supplies

pytestmark = pytest.mark.pages
RUNNABLE = [page for page in PAGES if any(block.kind == 'bash run' for block in blocks(page))]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])


@pytest.fixture(scope='module')
def supplies(tmp_path_factory):
    folder = tmp_path_factory.mktemp('supplies')
    write_supplies(folder)
    return folder


@pytest.mark.parametrize('page', RUNNABLE, ids=lambda page: page.stem)
def test_a_pages_commands_run(page, supplies, tmp_path):
    shutil.copytree(supplies, tmp_path, dirs_exist_ok=True)
    printed = ''
    for block in blocks(page):
        if block.kind == 'bash run':
            told = subprocess.run(['bash', '-euo', 'pipefail', '-c', block.text], cwd=tmp_path, capture_output=True,
                                  text=True, timeout=600, check=False, env={**os.environ, 'PATH': PATH})
            assert told.returncode == 0, f'{block.text}\n{told.stdout}{told.stderr}'
            printed = told.stdout
        elif block.kind == 'text':
            missing = [line for line in block.text.splitlines() if line not in printed.splitlines()]
            assert not missing, f'{missing} of\n{printed}'
