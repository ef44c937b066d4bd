"""The tests of the place database of many robots: all marked ``fleet``, on a real server of milvus-lite."""
from __future__ import annotations

import importlib.util
import os
import uuid

import pytest
from fleet_samples import make_map
from optional_parts import mark_folder

from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces

MISSING = [name for name in ('pymilvus', 'milvus_lite') if importlib.util.find_spec(name) is None]
if MISSING and os.environ.get('SEGVLAD_REQUIRE_FLEET'):
    raise pytest.UsageError(f'SEGVLAD_REQUIRE_FLEET is set and {MISSING[0]} is not installed')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_folder(items, __file__, pytest.mark.fleet,
                f'{MISSING[0]} is not installed: make test-fleet' if MISSING else '')


@pytest.fixture(scope='session')
def server(tmp_path_factory):
    with LiteServer(tmp_path_factory.mktemp('server'), '127.0.0.1', 0) as server:
        yield server


@pytest.fixture
def digest():
    """A fingerprint of its own for each test, and so a collection."""
    return uuid.uuid4().hex


@pytest.fixture
def connect(server, digest):
    """Opens the database; another site or address by name."""
    opened = []

    def start(**named) -> MilvusPlaces:
        opened.append(MilvusPlaces(DatabaseAddress(**{'uri': server.uri, **named}), digest, 8))
        return opened[-1]
    yield start
    for places in opened:
        places.close()


@pytest.fixture
def office(tmp_path, digest):
    """A map of five keyframes, open for writing."""
    with make_map(tmp_path / 'office.segvlad', digest, range(1, 6)) as place_map:
        yield place_map
