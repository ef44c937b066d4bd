"""How far long work is, and how fast: what was there before does not count as speed."""
import io
import re
import sys

import pytest

from segvlad_ros.cli import options


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [1000.0]
    monkeypatch.setattr(options.time, 'time', lambda: now[0])
    monkeypatch.setattr('tqdm.std.time', lambda: now[0])
    return now


def test_without_a_terminal_a_line_every_few_seconds(clock, capsys):
    with options.progress_bar('masks', ' images') as show:
        for done in range(1, 601):  # 600 that are there, in a minute
            clock[0] += 0.125
            show(done, 1000, done)
        capsys.readouterr()
        for done in range(601, 701):  # then two a second
            clock[0] += 0.5
            show(done, 1000, 600)
    lines = capsys.readouterr().err.splitlines()
    assert 9 <= len(lines) <= 11
    for line in lines:
        done, minutes, seconds = map(int, re.fullmatch(
            r'masks:  \d\d% (\d+)/1000 \[\d\d:\d\d<(\d\d):(\d\d),  2.00 images/s\]', line).groups())
        assert 60 * minutes + seconds == (1000 - done) // 2


def test_on_a_terminal_the_bar_has_the_same_rate(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True
    monkeypatch.setattr(sys, 'stderr', Terminal())
    with options.progress_bar('masks', ' images') as show:
        show(600, 1000, 600)
        clock[0] += 50
        show(700, 1000, 600)
        drawn = sys.stderr.getvalue()
    assert '2.00 images/s' in drawn and '700/1000' in drawn
