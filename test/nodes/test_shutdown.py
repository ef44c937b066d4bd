"""A node ends with status 0, whenever and however often it is told to."""
import os
import signal
import subprocess
import sys

import pytest
from node_harness import DEADLINE_S

from segvlad_ros.msg import SegVladStatus


@pytest.mark.fault('node', 'SIGINT, SIGTERM, several of them', 'ends with 0, without a traceback')
@pytest.mark.parametrize('signals', [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT],
                                     [signal.SIGINT, signal.SIGTERM, signal.SIGINT]],
                         ids=lambda signals: '+'.join(s.name for s in signals))
def test_signals_end_a_running_node_cleanly(robot, signals):
    running = robot('localizer', {'source': 'descriptors'})
    for number in signals:
        running.node.process.send_signal(number)
    assert running.node.wait() == 0, running.node.text()
    assert 'Traceback' not in running.node.text()


@pytest.mark.fault('node', 'a signal while models are loaded', 'likewise')
def test_a_signal_while_loading_ends_it_too(robot):
    loading = robot('map_builder', wait=False)
    loading.status(lambda s: s.state != SegVladStatus.UNCONFIGURED, 'a status')
    loading.node.process.send_signal(signal.SIGINT)
    assert loading.node.wait() == 0, loading.node.text()
    assert 'Traceback' not in loading.node.text()


def ended(domain: int, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """What a process that runs Python code left."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    return subprocess.run([sys.executable, '-c', code, *arguments], check=False, env=environment, capture_output=True,
                          text=True, timeout=DEADLINE_S)


@pytest.mark.fault('node', 'words on the command line that ROS 2 does not know, or that are no text',
                   'one line, status 1')
@pytest.mark.parametrize('words', [['-p', 'map:=office', '--parms-file', 'x.yaml'], ['-p', b'map:=caf\xe9']],
                         ids=['unknown', 'no text'])
def test_what_rclpy_does_not_take_is_said(domain, words):
    code = """
import sys
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.ros.node.run import run_node
sys.exit(run_node(Localizer))
"""
    refused = ended(domain, code, '--ros-args', *words)
    assert refused.returncode == 1
    assert 'ROS 2 does not start the node: ' in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_a_signal_that_meets_the_clean_up_does_not_break_it(domain):
    code = """
import os, signal, sys
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.ros.node.run import run_node

class Interrupted(Localizer):
    def destroy_node(self):
        os.kill(os.getpid(), signal.SIGINT)
        super().destroy_node()

sys.exit(run_node(lambda: Interrupted(), ['--ros-args', '-p', 'preset:=missing']))
"""
    interrupted = ended(domain, code)
    assert interrupted.returncode == 1, interrupted.stderr
    assert "unknown preset 'missing'" in interrupted.stderr
    assert 'Traceback' not in interrupted.stderr


@pytest.mark.parametrize('lock', [2, 3, 4, 6])
def test_a_signal_that_meets_a_lock_of_the_executor_gives_it_back(domain, lock):
    """Where it did not, a thread waited for the lock for ever, and the process for the thread."""
    code = """
import os, signal, sys, threading
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.ros.node import run

enter, start, left = threading.Condition.__enter__, run._start, int(sys.argv[1])
spinning = False

def interrupted(condition):
    global left
    entered = enter(condition)
    if spinning and threading.get_ident() == threading.main_thread().ident:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
    return entered

def started(node):
    global spinning
    spinning = start(node)
    return spinning

threading.Condition.__enter__, run._start = interrupted, started
sys.exit(run.run_node(Localizer, ['--ros-args', '-p', 'source:=descriptors']))
"""
    interrupted = ended(domain, code, str(lock))
    assert interrupted.returncode == 0, interrupted.stderr
    assert 'Traceback' not in interrupted.stderr
