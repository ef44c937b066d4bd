"""A day of a robot whose map is bounded: nothing grows."""
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict

import flatness
import pytest
import soak
import soak_nodes

from segvlad_ros.types import SegvladError

COUNTS = {'sent': 100, 'received': 97, 'lost': 3, 'dropped': 1, 'rejected': 1, 'described': 30, 'passed_by_gate': 65,
          'explained': 20, 'refused': 0, 'stored': 10, 'evicted': 4, 'held': 6, 'answered': 30, 'matched': 25}


def samples(growth):
    """Ten minutes of the robot's day each, with a map that is full after the second hour."""
    return [asdict(soak.Sample(hour, hour / 6, 300 * (1 + growth * hour), 20, 4,
                               40.0 + hour // 6 % 3 if hour % 6 else None, 50.0, min(hour * 8, 100)))
            for hour in range(1, 24 * 6 + 1)]


def test_the_verdict_compares_hours_of_the_same_lights():
    names = ('rss_anon_mb', 'handles', 'keyframe_ms_p50')
    flat, steep = (flatness.verdict(samples(growth), 100, names) for growth in (0.0, 0.001))
    assert flat['full_after_hours'] == pytest.approx(13 / 6)
    assert [flat[f'{name}_growth'] for name in names] == [0, 0, 0]
    assert (flatness.growing(flat, names), flatness.growing(steep, names)) == ([], ['rss_anon_mb'])


def test_times_are_measured_by_the_same_work_at_the_same_moments():
    machine = [100 + 30 * math.sin(sample) for sample in range(120)]  # busy with other work now and then
    day = [{'hour': number / 6, 'machine_ms': ms, 'same': ms / 2, 'slower': ms * (1 + 0.02 * (number // 6)),
            'noisy': ms / 2 + (-1) ** (number // 6), 'seldom': None if number % 6 else ms / 2}
           for number, ms in enumerate(machine)]
    assert [flatness.trend(day, name, 'machine_ms') for name in ('same', 'seldom')] == [pytest.approx((0, 0))] * 2
    growth, error = flatness.trend(day, 'slower', 'machine_ms')
    assert (growth, error) == (pytest.approx(0.38 / 1.19), pytest.approx(0, abs=1e-9))
    growth, error = flatness.trend(day, 'noisy', 'machine_ms')
    assert abs(growth) < error < 0.05


def test_a_day_that_is_too_short_has_no_verdict():
    for short, advice in ((samples(0.0)[:6 * 8], 'two rounds'), (samples(0.0)[:6], 'smaller cap')):
        with pytest.raises(SegvladError, match=advice):
            flatness.verdict(short, 100, ['handles'])


def test_a_look_sees_memory_handles_and_threads(tmp_path):
    """In a process of its own: what other tests leave behind is freed when Python likes."""
    code = """if True:
        import json, os, sys, threading
        from dataclasses import asdict
        import numpy as np
        from flatness import look

        before, end = look(), threading.Event()
        waiting = threading.Thread(target=end.wait)
        waiting.start()
        with open(sys.argv[1], 'w'):
            taken = np.ones(40 * 2**17)  # 40 MB
            looks = before, look(), look(os.getpid())
        end.set()
        print(json.dumps([asdict(each) for each in looks]))"""
    told = subprocess.run([sys.executable, '-c', code, str(tmp_path / 'open')], check=True, stdout=subprocess.PIPE,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
    before, after, same = (flatness.Look(**each) for each in json.loads(told.stdout))
    for name in ('rss_mb', 'rss_anon_mb', 'pss_mb'):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(40, abs=8), name
    assert (after.handles - before.handles, after.threads - before.threads) == (1, 1)
    assert (same.handles, same.threads) == (after.handles, after.threads)
    assert after.cpu_s > 0


@pytest.mark.parametrize('name', ['sent', 'received', 'lost', 'described', 'passed_by_gate', 'stored', 'evicted',
                                  'answered'])
def test_what_came_to_nothing_is_named(name):
    assert soak_nodes.accounted(COUNTS) == COUNTS
    with pytest.raises(SegvladError, match=f'{name} |[+] {name}|is not {name}'):
        soak_nodes.accounted({**COUNTS, name: COUNTS[name] + 1})


def test_a_day_may_end_at_a_full_hour():
    stream = [(hour, None) for hour in (0.0, 0.9, 1.0, 1.5, 2.0)]
    assert list(soak_nodes.whole_hours(stream, 0.0)) == stream[:2]
    assert list(soak_nodes.whole_hours(stream, math.inf)) == stream


@pytest.mark.long
def test_a_day():
    days = [asdict(each) for each in soak.run(24.0, 100, 11, 160)]
    figures = flatness.verdict(days, 100, soak.FIGURES)
    assert not flatness.growing(figures, ('rss_anon_mb', 'handles', 'threads')), figures
