"""A real file system that is small or read-only, for a process of a test: tmpfs in a mount namespace of its own."""
from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest


def on_small_disk(folder: Path, kilobytes: int, *, holding: Path | None = None, read_only: bool = False) -> list[str]:
    """What to put before a command, so that a folder is a small disk for it; it goes with the process.

    A user namespace makes that possible without being root. :func:`inside` leads there from outside.

    :param holding: a file that is copied onto it
    :param read_only: nothing more can be written there, by root neither
    """
    if not _possible():
        pytest.skip('this machine lets no process mount a tmpfs in a namespace of its own')
    steps = [f'mount -t tmpfs -o size={kilobytes}k tmpfs "$0"']
    steps += [f'cp "{holding}" "$0"'] if holding is not None else []
    steps += ['mount -o remount,ro "$0"'] if read_only else []
    return ['unshare', '--map-root-user', '--mount', 'sh', '-c', ' && '.join([*steps, 'exec "$@"']), str(folder)]


def inside(pid: int, folder: Path) -> Path:
    """The folder as a process sees it that runs on a small disk."""
    return Path(f'/proc/{pid}/root{folder}')


@functools.lru_cache
def _possible() -> bool:
    command = ['unshare', '--map-root-user', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=64k tmpfs /mnt']
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
