"""Nodes started without `ros2 launch`, as the demo does."""
from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from node_harness import DEADLINE_S, Robot

from segvlad_ros.cli import processes as node_processes
from segvlad_ros.cli.processes import NodeCommand, NodeProcesses, loop_closure_nodes
from segvlad_ros.types import Pose, SegvladError


def test_a_node_that_ends_is_named_with_what_it_said(domain, tmp_path):
    broken = NodeCommand('map_builder', parameters={'preset': 'nonsense', 'map_directory': str(tmp_path)})
    end = time.monotonic() + DEADLINE_S
    with pytest.raises(SegvladError, match=r'map_builder ended with status 1: .*nonsense'), \
            NodeProcesses([broken], tmp_path / 'logs') as nodes:
        while time.monotonic() < end:
            nodes.check()


def test_both_nodes_of_the_demo_become_active_and_end(domain, peer, tmp_path):
    mount = Pose(np.array([0.1, 0, 1]), np.array([0, 0, 0, 1.0]), 'base_link')

    class Started:
        """What a Robot wants to know of a process that it has not started."""

        started_ns = 0  # nothing else of this name was ever heard

        def __init__(self, name):
            self.name, self.process = f'{peer.namespace}/{name}', processes[name]

        def text(self):
            return (tmp_path / f'{self.name.rsplit("/", 1)[1]}.log').read_text()

    commands = loop_closure_nodes('classic', tmp_path / 'maps', mount)
    for command in commands:
        command.remaps['__ns'] = peer.namespace
    with NodeProcesses(commands, tmp_path) as nodes:
        processes = nodes.processes
        for command in commands:
            Robot(peer, Started(command.name)).running()
        nodes.check()
    said = '\n'.join(log.read_text() for log in sorted(tmp_path.glob('*.log')))
    assert [process.returncode for process in processes.values()] == [0, 0], said


@pytest.mark.fault('tool', 'a command that runs nodes is ended by SIGTERM or killed', 'its nodes end, too')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_nodes_end_with_the_command_that_runs_them(domain, tmp_path, number):
    code = """if True:
        import sys, time
        from pathlib import Path
        from segvlad_ros.cli import main, play
        from segvlad_ros.cli.processes import NodeCommand, NodeProcesses
        def run(args):
            command = NodeCommand('map_builder', parameters={'map_directory': sys.argv[1]})
            with NodeProcesses([command], Path(sys.argv[1])) as nodes:
                print(nodes.processes['map_builder'].pid, flush=True)
                time.sleep(60)
        play.run = run
        sys.exit(main(['play', 'run.mcap']))"""
    command = subprocess.Popen([sys.executable, '-c', code, tmp_path], stdout=subprocess.PIPE, text=True)
    node = int(command.stdout.readline())
    said, end = tmp_path / 'map_builder.log', time.monotonic() + DEADLINE_S
    while not said.read_text() and time.monotonic() < end:
        time.sleep(0.01)
    command.send_signal(number)
    assert command.wait(DEADLINE_S) == (143 if number == signal.SIGTERM else -number)
    while _runs(node) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(node)


def _runs(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0] != 'Z'
    except OSError:
        return False


def test_a_node_that_does_not_end_well_is_named(tmp_path, monkeypatch):
    code = """if True:
        import signal, sys, time
        signal.signal(signal.SIGINT, lambda *_: sys.exit('the map could not be closed'))
        print('ready', flush=True)
        time.sleep(60)"""
    monkeypatch.setattr(NodeCommand, 'line', lambda command: [sys.executable, '-c', code])
    with pytest.raises(SegvladError, match='localizer ended with status 1: the map could not be closed'), \
            NodeProcesses([NodeCommand('localizer')], tmp_path):
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and 'ready' not in (tmp_path / 'localizer.log').read_text():
            time.sleep(0.01)
    with pytest.raises(KeyError), NodeProcesses([NodeCommand('localizer')], tmp_path):
        raise KeyError('of the block itself: it says more')


@pytest.mark.parametrize('stopped', [False, True])
def test_a_node_that_hangs_is_ended_and_says_where_if_it_can(stopped, monkeypatch):
    monkeypatch.setattr(node_processes, 'END_S', 1.0)
    code = 'import time; print("ready", flush=True); time.sleep(60)'
    hanging = subprocess.Popen([sys.executable, '-X', 'faulthandler', '-c', code], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert hanging.stdout.readline() == 'ready\n'
    if stopped:
        hanging.send_signal(signal.SIGSTOP)
    node_processes.abort(hanging)
    assert hanging.returncode == (-signal.SIGKILL if stopped else -signal.SIGABRT)
    assert ('line 1 in <module>' in hanging.communicate()[1]) is not stopped
