"""`segvlad reproduce extract --engine ray`: whoever is killed, the result is the same."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from extraction_samples import command, extracted, make_poster

from segvlad_ros.cli import OK, USAGE, main

IMAGES = 40  # references, and as many queries
IN_HAND = 4  # of a worker


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """What one process makes of it."""
    folder = tmp_path_factory.mktemp('local')
    make_poster(folder, IMAGES)
    assert main(command(folder, 'extract')) == OK
    return contents(folder)


@pytest.fixture
def data(tmp_path):
    make_poster(tmp_path, IMAGES)
    return tmp_path


def contents(data):
    return {path: content for path, (content, _) in extracted(data).items()}


def start(data, address):
    return subprocess.Popen([sys.executable, '-m', 'segvlad_ros.cli', *command(
        data, 'extract', '--engine', 'ray', '--address', address)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True)


def wait_for_more(process, data, before):
    """Until the process has finished some more parts of images."""
    deadline = time.monotonic() + 300
    while len(extracted(data)) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() in (None, OK), process.stderr.read()


def children(pid):
    """Of a process, and theirs: ids."""
    found = []
    for task in Path(f'/proc/{pid}/task').glob('*/children'):
        for child in task.read_text().split():
            found += [int(child), *children(child)]
    return found


def workers(root):
    """Ids of the workers that a cluster runs."""
    named = []
    for pid in children(root):
        try:
            if b'ClusterWorker' in Path(f'/proc/{pid}/cmdline').read_bytes():
                named.append(pid)
        except FileNotFoundError:  # it has ended
            pass
    return named


def kill_workers(cluster, data, kills):
    """Kill a worker at random moments of one run; the run's stderr."""
    rng, finished = np.random.default_rng(kills), {}
    process = start(data, cluster.address)
    for _ in range(kills):
        wait_for_more(process, data, len(finished))
        time.sleep(rng.uniform(0, 0.02))
        finished |= extracted(data)
        if victims := workers(cluster.process.pid):
            os.kill(victims[rng.integers(len(victims))], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == OK, err
    assert finished and finished.items() <= extracted(data).items()  # none was made again
    assert out == '' and 'Traceback' not in err
    return err


def done_again(err):
    return sum(map(int, re.findall('([0-9]+) images were done again', err)))


def test_a_killed_worker_loses_only_what_it_had_in_hand(cluster, data, expected):
    err = kill_workers(cluster, data, 1)
    assert err.count('a worker died') == 1
    assert 1 <= done_again(err) <= IN_HAND
    assert contents(data) == expected
    assert err.count(f'{IMAGES} images extracted, 0 were there') == 4


@pytest.mark.long
def test_workers_killed_at_twenty_random_moments(cluster, tmp_path, data, expected):
    for _ in range(5):
        err = kill_workers(cluster, data, 4)
        assert done_again(err) <= IN_HAND * err.count('a worker died')
        assert contents(data) == expected
        for path in expected:
            (data / path).unlink()


@pytest.mark.long
def test_a_run_whose_workers_all_die_ends(cluster, data):
    process = start(data, cluster.address)
    while process.poll() is None:
        for pid in workers(cluster.process.pid):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    _, err = process.communicate()
    assert process.returncode == USAGE
    assert 'segvlad reproduce: 3 workers died ' in err.splitlines()[-1]


def kill_drivers(cluster, data, kills):
    """Kill runs at random moments, then let one end, from outside of the cluster; none makes an image again."""
    rng, finished = np.random.default_rng(kills), {}
    for _ in range(kills):
        process = start(data, cluster.address)
        wait_for_more(process, data, len(finished))
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        before, finished = finished, extracted(data)
        assert before.items() <= finished.items()
    process = start(data, cluster.client)
    _, err = process.communicate(timeout=300)
    assert process.returncode == OK, err
    assert finished and finished.items() <= extracted(data).items()
    there = sum(map(int, re.findall('extracted, ([0-9]+) were there', err)))
    assert there == len(finished)


def test_a_killed_driver_goes_on_where_it_was(cluster, data, expected):
    kill_drivers(cluster, data, 1)
    assert contents(data) == expected


@pytest.mark.long
def test_drivers_killed_at_twenty_random_moments(cluster, data, expected):
    kill_drivers(cluster, data, 20)
    assert contents(data) == expected


def test_ctrl_c_ends_a_cluster_that_was_started_here(data):
    process = start(data, 'local')
    wait_for_more(process, data, 0)
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130 and started
    assert out == '' and err == ''
    deadline = time.monotonic() + 20
    while any(Path(f'/proc/{pid}').exists() for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in started if Path(f'/proc/{pid}').exists()]
    assert not [*(data / 'poster' / 'out').rglob('.*')]


def test_a_damaged_image_is_named(cluster, data):
    image = data / 'poster' / 'references' / '@0@0@0@.png'
    image.write_bytes(image.read_bytes()[:50])
    process = start(data, cluster.address)
    _, err = process.communicate(timeout=300)
    assert process.returncode == USAGE
    assert err.startswith(f'segvlad reproduce: {image}: ') and err.count('\n') == 1


@pytest.mark.parametrize('address', ['127.0.0.1:9', 'ray://127.0.0.1:9', 'here'])
def test_a_cluster_that_does_not_answer_is_one_line(data, address, capsys):
    assert main(command(data, 'extract', '--engine', 'ray', '--address', address)) == USAGE
    err = capsys.readouterr().err
    assert err.startswith(f'segvlad reproduce: no answer of a Ray cluster at {address}: ') and err.count('\n') == 1


def test_a_cluster_without_gpus_is_refused(cluster, data):
    process = subprocess.run([sys.executable, '-m', 'segvlad_ros.cli', *command(
        data, 'extract', '--engine', 'ray', '--address', cluster.address, '--device', 'cuda')], capture_output=True,
        text=True, timeout=300, check=False)
    assert process.returncode == USAGE
    assert process.stderr == (f'segvlad reproduce: the Ray cluster {cluster.address} has no GPU for --device cuda\n')
