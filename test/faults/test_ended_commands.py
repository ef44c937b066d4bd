"""Commands that are ended half-way, and where they write: nothing is left behind, nothing of the user's goes."""
from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from segvlad_ros.cli import demo, main, processes
from segvlad_ros.simulation import robot

SEGVLAD = [sys.executable, '-m', 'segvlad_ros.cli']
DEADLINE_S = 60


def refused(capsys, arguments, *words):
    assert main([str(argument) for argument in arguments]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, **options)


@pytest.mark.fault('tool', '`segvlad demo` into a folder that has bags', 'replaces its own bags only, and those last')
def test_the_demo_removes_no_bag_but_its_own(tmp_path, monkeypatch):
    def folder(name, *files):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    old, noted = 'simulated_0123456789ab', 'simulated_ba9876543210'
    folder('simulated_friday', 'metadata.yaml', 'notes.txt')
    folder(old, 'metadata.yaml', f'{old}.mcap')
    folder(noted, 'metadata.yaml', f'{noted}.mcap', 'notes.txt')
    there = {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr(robot, 'SimulatedRobot', lambda scenario: SimpleNamespace(duration_s=1.0))

    def fails(*_, **__):
        raise OSError('the disk is full')
    monkeypatch.setattr(robot, 'write_bag', fails)
    with pytest.raises(OSError, match='full'):
        demo._simulated('demo', tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == there
    monkeypatch.setattr(robot, 'write_bag', lambda robot, bag, **_: bag.mkdir())
    bag = demo._simulated('demo', tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == there - {old} | {bag.name}


@pytest.mark.fault('tool', "another user's file, or a link, where a ROS domain is locked", 'another domain is taken')
def test_a_domain_whose_lock_cannot_be_opened_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.tempfile, 'gettempdir', lambda: str(tmp_path))
    monkeypatch.setattr(processes, 'DOMAINS', range(1, 4))
    for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE'):
        monkeypatch.setenv(name, os.environ.get(name, ''))  # put back after the test
    (tmp_path / 'precious').write_text('text')
    (tmp_path / 'segvlad_ros_domain_1.lock').mkdir()
    (tmp_path / 'segvlad_ros_domain_2.lock').symlink_to('precious')
    for _ in range(4):
        with processes.own_domain() as number:
            assert number == 3
    assert (tmp_path / 'precious').read_text() == 'text'


@pytest.mark.fault('tool', 'SIGTERM', 'cleaned up as after Ctrl-C; status 143')
def test_sigterm_leaves_nothing_behind(tmp_path):
    process = subprocess.Popen([*SEGVLAD, 'simulate', '--output', tmp_path / 'bag'], stderr=subprocess.DEVNULL)
    end = time.monotonic() + DEADLINE_S
    while not [*tmp_path.glob('.unfinished_*/bag/*')] and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(DEADLINE_S) == 143
    assert not [*tmp_path.iterdir()]


def test_signals_are_as_before_when_a_command_has_ended(tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(['describe', str(tmp_path / 'none.png')]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.fault('tool', 'Ctrl-C again while a command ends', 'no traceback')
def test_ctrl_c_after_ctrl_c_is_no_traceback():
    code = """if True:
        import atexit, os, signal, sys
        from segvlad_ros.cli import main, play
        def interrupt(*_): os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell runs in the background
        atexit.register(interrupt)
        play.run = interrupt
        sys.exit(main(['play', 'run.mcap']))"""
    done = run([sys.executable, '-c', code])
    assert (done.returncode, done.stderr) == (130, '')


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&-'])
def test_closed_streams_are_no_traceback(tmp_path, closed):
    command = f'{" ".join(SEGVLAD)} weights list --folder {tmp_path} {closed}'
    done = run(['bash', '-c', command])
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.fault('tool', '--report and --output that are one file', 'refused before anything is measured')
@pytest.mark.parametrize('arguments', [
    ['evaluate', 'bag', 'none'], ['calibrate', 'bag', 'none'],
    ['evaluate', 'images', '--references', 'none', '--queries', 'none', '--ground-truth', 'none']])
def test_two_outputs_in_one_file_are_refused(capsys, tmp_path, arguments):
    (tmp_path / 'link').symlink_to('page')
    refused(capsys, [*arguments, '--report', tmp_path / 'page', '--output', tmp_path / 'link'], 'are one file')


@pytest.mark.fault('tool', 'no HOME, and a user without an account', '--folder is enough; else one line')
def test_without_a_home(capsys, monkeypatch, tmp_path):
    def unknown(uid):
        raise KeyError(uid)
    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    for name in ('HOME', 'XDG_DATA_HOME'):
        monkeypatch.delenv(name, raising=False)
    assert main(['weights', 'list', '--folder', str(tmp_path)]) == 0
    for arguments in (['weights', 'list'], ['describe', 'none.png', '--preset', 'learned']):
        refused(capsys, arguments, "~ is nobody's home here", 'set HOME')


@pytest.mark.fault('tool', 'a pipe in place of an image', 'refused, not waited for')
def test_a_pipe_is_no_image(capsys, tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    refused(capsys, ['describe', tmp_path / 'pipe.png'], 'pipe.png: cannot be read')
