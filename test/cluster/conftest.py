"""The tests of extraction on a Ray cluster: all marked ``cluster``, on a real one of two CPUs."""
from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import NamedTuple

import pytest
from optional_parts import mark_folder

MISSING = importlib.util.find_spec('ray') is None
if MISSING and os.environ.get('SEGVLAD_REQUIRE_CLUSTER'):
    raise pytest.UsageError('SEGVLAD_REQUIRE_CLUSTER is set and ray is not installed')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_folder(items, __file__, pytest.mark.cluster,
                'ray is not installed: make test-cluster' if MISSING else '')


class Cluster(NamedTuple):
    """Of a head node: its process, and where drivers knock."""

    process: subprocess.Popen
    address: str
    client: str


@pytest.fixture(scope='session')
def cluster():
    folder = tempfile.mkdtemp(prefix='ray-')  # a short path: it holds sockets
    os.environ |= {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': secrets.token_hex(32), 'RAY_USAGE_STATS_ENABLED': '0',
                   'RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S': '0',
                   # a machine that has other work may take longer than Ray's 30 s to start what serves a ray:// driver
                   'RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S': '300'}
    port, client = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block', '--num-cpus=2', '--port', str(port),
         '--ray-client-server-port', str(client), '--include-dashboard=false', '--temp-dir', folder],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if '--block' in line:  # the last of its greeting
                break
        assert process.poll() is None, ''.join(said)
        yield Cluster(process, f'127.0.0.1:{port}', f'ray://127.0.0.1:{client}')
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        return listening.getsockname()[1]
