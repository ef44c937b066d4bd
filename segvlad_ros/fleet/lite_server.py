"""milvus-lite's server as a child process: one data folder, many robots."""
from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from segvlad_ros.io.child_processes import end_with_parent
from segvlad_ros.io.extras import import_extra
from segvlad_ros.mapping.map_file import reporting
from segvlad_ros.types import SegvladError

END_S = 20.0
# Rows that were not written to segments yet are slow to search, and all requests wait while they are written; its own
# limit is 128 MB.
_ENVIRONMENT = {'MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES': str(4 << 20), 'PYTHONUNBUFFERED': '1'}


class LiteServer:
    """Runs while a ``with`` block lasts, and ends with this process, however that ends.

    Requests are answered one at a time: milvus-lite's collections must not be written by two threads at once.

    :param folder: holds the data and ``server.log``; made if it is missing. One server at a time may use it
    :param host: address to listen on
    :param port: 0 takes a free one
    :raises SegvladError: milvus-lite is not installed; the folder or the port is in use
    """

    def __init__(self, folder: Path, host: str, port: int) -> None:
        import_extra('milvus_lite')
        self.host, self.port = host, _free_port(host, port)
        self._log = folder / 'server.log'
        self._command = [sys.executable, '-m', __name__, 'server', '--data-dir', str(folder / 'milvus'), '--host',
                         host, '--port', str(self.port), '--max-workers', '1']
        with reporting(folder):
            (folder / 'milvus').mkdir(parents=True, exist_ok=True)
            _refuse_shared(folder / 'milvus' / 'LOCK', folder)

    @property
    def uri(self) -> str:
        """Where a robot finds it."""
        return f'http://{self._reachable}:{self.port}'

    @property
    def _reachable(self) -> str:
        return '127.0.0.1' if self.host == '0.0.0.0' else self.host

    def __enter__(self) -> LiteServer:
        with reporting(self._log), self._log.open('w') as log:
            self._process = subprocess.Popen(  # a session of its own: Ctrl-C in the terminal is for us alone
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**_ENVIRONMENT, **os.environ},
                start_new_session=True)
        try:
            while not self._answers():
                self.wait(0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the time has passed.

        :raises SegvladError: the server has ended
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return
        words = self._log.read_text(errors='replace').strip().splitlines() or ['(it said nothing)']
        raise SegvladError(f'the server ended with status {status}: {words[-1][:200]} (see {self._log})')

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._reachable, self.port), timeout=1.0).close()
            return True
        except OSError:
            return False


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; gRPC itself would share a port with a server that has it already."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except OSError as error:
        raise SegvladError(f'cannot listen on {host}:{port} ({error.strerror or error}): stop the other server, or '
                           'give another --host or --port') from None


def _refuse_shared(lock: Path, folder: Path) -> None:
    """Milvus-lite locks its data by itself; found out before, it is one line."""
    with lock.open('a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SegvladError(f'{folder}: another server uses this folder; stop it, or give another one') from None


def _serve(arguments: list[str]) -> int:
    """The child: milvus-lite's own command, which ends cleanly by SIGINT, also when the parent dies by kill -9."""
    def stop(*_signal) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a parent with threads dies thread by thread, each with a signal
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    end_with_parent()
    return import_extra('milvus_lite.cmdline').main(arguments)


if __name__ == '__main__':
    sys.exit(_serve(sys.argv[1:]))
