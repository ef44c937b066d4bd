"""Every file is a program for each Python that is promised: 3.10, which Humble has, to 3.13."""
import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ('segvlad_ros', 'launch', 'benchmark', 'test', 'docs')
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py')]
COMPILE = 'import sys\nfor path in sys.stdin.read().split("\\0"): compile(open(path, "rb").read(), path, "exec")'


def promised():
    """The minor versions that setup.py allows."""
    first, last = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / 'setup.py').read_text()).groups()
    return range(int(first), int(last))


def test_the_oldest_python_is_the_linter_s_too():
    assert f'target-version = "py3{promised()[0]}"' in (ROOT / 'pyproject.toml').read_text()


def test_no_file_has_newer_syntax():
    for path in FILES:
        ast.parse(path.read_text(), str(path), feature_version=(3, promised()[0]))


def python_of(minor):
    """That of this machine, on the path or of pyenv, whose own commands need not work."""
    for python in (shutil.which(f'python3.{minor}'), *Path.home().glob(f'.pyenv/versions/3.{minor}.*/bin/python')):
        if python and not subprocess.run([python, '--version'], capture_output=True, check=False).returncode:
            return python
    pytest.skip(f'no Python 3.{minor} on this machine')


@pytest.mark.parametrize('minor', promised())
def test_every_file_compiles(minor):
    python = python_of(minor)
    ended = subprocess.run([python, '-c', COMPILE], input='\0'.join(map(str, FILES)), capture_output=True, text=True,
                           check=False)
    assert ended.returncode == 0, ended.stderr
