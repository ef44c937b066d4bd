"""What texts name is there: tests, benchmarks and their results, settings, other pages."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [*sorted(ROOT.glob('docs/*.md')), *sorted(ROOT.glob('*.md')), ROOT / 'CHANGELOG.rst', ROOT / 'Makefile',
         *sorted(ROOT.glob('.ci/*'))]
NAMED = re.compile(r'(?<![\w./-])(?:\.\./)?((?:test|benchmark|docs|config|launch|\.ci)/[\w/.*-]*[\w*])')


def missing(text):
    """Names of files and folders of the project that are not there; `*` stands for any."""
    return sorted({name for name in NAMED.findall(text) if not any(ROOT.glob(name))})


@pytest.mark.parametrize('path', TEXTS, ids=lambda path: path.name)
def test_what_it_names_is_there(path):
    assert missing(path.read_text()) == []


def test_a_name_that_is_not_there_is_found():
    assert missing('`test/soak.py` or `benchmark/soak.py`, ../test/faults/, docs/*.md') == ['test/soak.py']
