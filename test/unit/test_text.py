"""Whatever a message quotes, it is one line that can be printed."""
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvlad_ros.text import MOST, OneLineFormatter, one_line, said_by
from segvlad_ros.types import SegvladError


@pytest.mark.parametrize(('text', 'line'), [
    ('  a file with two  spaces.png ', 'a file with two  spaces.png'),
    ('malformed schema\n  near "\x1b[2J":\r\n syntax error\n', 'malformed schema near "\\x1b[2J": syntax error'),
    ('Tür 北側 é', 'Tür 北側 é'),
    ('a\u2028b\x85c\x0bd', 'a b c d'),
    ('right to left \u202e, a bell \a, a zero \0', 'right to left \\u202e, a bell \\x07, a zero \\x00'),
    (os.fsdecode(b'name \xff.png'), 'name \\udcff.png'),
    (SegvladError('one\ntwo'), 'one two'),
])
def test_what_it_becomes(text, line):
    assert one_line(text) == line


@given(st.text(st.characters(codec=None)), st.integers(20, 300))
def test_any_text(text, most):
    line = one_line(text, most)
    assert line.isprintable()
    assert len(line) <= most
    assert len(line.splitlines()) <= 1
    line.encode()
    assert one_line(line, most) == line.strip()
    assert str(SegvladError(text)) == one_line(text)


def test_long_text_keeps_its_beginning_and_its_end():
    line = str(SegvladError(f'office.segvlad: {"x" * 10**7}; restore a copy of the file'))
    assert len(line) == MOST
    assert line.startswith('office.segvlad: xxx')
    assert line.endswith('xxx; restore a copy of the file')


def test_what_an_exception_says():
    assert said_by(ValueError('a\nb')) == 'ValueError: a b'
    assert said_by(ValueError()) == 'ValueError:'


def test_log_lines(caplog):
    formatter = OneLineFormatter('%(levelname)s: %(message)s')
    logging.getLogger('segvlad_ros.test').warning('%s is odd', 'a\n\x1b[1mb')
    assert formatter.format(caplog.records[-1]) == 'WARNING: a \\x1b[1mb is odd'
    try:
        raise ValueError('x')
    except ValueError:
        logging.getLogger('segvlad_ros.test').exception('it\nfailed')
    lines = formatter.format(caplog.records[-1]).splitlines()
    assert (lines[0], lines[-1], len(lines) > 2) == ('ERROR: it failed', 'ValueError: x', True)
