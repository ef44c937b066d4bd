"""kill -9 at random moments of syncing, of the robot's process and of the server: nothing twice, nothing missing."""
from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from fleet_samples import make_map, segment_keys, sessions_of, stored_keys
from map_samples import make_keyframe

from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
from segvlad_ros.fleet.outbox import Outbox, position_file
from segvlad_ros.types import SegvladError

SYNC = textwrap.dedent("""
    import sys
    from segvlad_ros.fleet import outbox
    from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
    from segvlad_ros.mapping.place_map import PlaceMap
    outbox._NOTED = 2
    path, uri, digest = sys.argv[1:]
    with PlaceMap.open(path) as place_map, MilvusPlaces(DatabaseAddress(uri), digest, 8) as places:
        for key in outbox.Outbox(place_map, 'fleet').sync(places):
            print(key.index, flush=True)
""")


def start_sync(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, '-c', SYNC, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)


def run_kill_loop(folder, digest: str, rounds: int) -> None:
    """Twelve keyframes are stored before each round, of which some are sent when the kill comes."""
    rng = random.Random(11)
    place_map, acknowledged, server, kills = make_map(folder / 'map.segvlad', digest, ()), set(), None, 0
    try:
        while kills < rounds:
            server = server or LiteServer(folder / 'server', '127.0.0.1', 0).__enter__()
            for _ in range(12):
                place_map.append(make_keyframe(place_map.count + 1))
            sync = start_sync(str(place_map.path), server.uri, digest)
            acknowledged |= {int(sync.stdout.readline()) for _ in range(rng.randint(1, 8))}
            time.sleep(rng.uniform(0, 0.03))  # waits for nothing: the kill may come anywhere
            if rng.random() < 0.5:
                server._process.send_signal(signal.SIGKILL)
                server.__exit__()
                server = None
            sync.send_signal(signal.SIGKILL)
            acknowledged |= set(map(int, sync.communicate()[0].split()))
            kills += 1
            noted = position_file(place_map.path)
            assert not noted.exists() or json.loads(noted.read_text())['row'] <= max(acknowledged) + 1
            server = server or LiteServer(folder / 'server', '127.0.0.1', 0).__enter__()
            with MilvusPlaces(DatabaseAddress(server.uri), digest, 8) as places:
                there = {key.index for key in places.keyframes(sessions_of(place_map))}
            assert there >= acknowledged, 'what was acknowledged is gone'
        with MilvusPlaces(DatabaseAddress(server.uri), digest, 8) as places:
            list(Outbox(place_map, 'fleet').sync(places))
        assert stored_keys(server.uri, digest) == segment_keys(place_map)
        assert len(set(segment_keys(place_map))) == 4 * 12 * rounds
    finally:
        if server is not None:
            server.__exit__()
        place_map.close()


@pytest.mark.fault('fleet', 'the sender is killed', 'each keyframe is there once')
def test_a_few_kills(tmp_path, digest):
    run_kill_loop(tmp_path, digest, 4)


@pytest.mark.long
def test_kill_loop(tmp_path, digest):
    run_kill_loop(tmp_path, digest, 200)


@pytest.mark.fault('fleet', 'the server is killed', 'one line; sending goes on when it is back')
def test_a_server_that_is_killed_is_one_line_and_goes_on(tmp_path, digest, office):
    with LiteServer(tmp_path / 'server', '127.0.0.1', 0) as server, \
            MilvusPlaces(DatabaseAddress(server.uri), digest, 8) as places:
        outbox = Outbox(office, 'fleet')
        assert len(list(outbox.sync(places))) == 5
        office.append(make_keyframe(6))
        server._process.kill()
        server._process.wait()
        with pytest.raises(SegvladError, match='place database') as refused:
            list(outbox.sync(places))
        assert '\n' not in str(refused.value)
    with LiteServer(tmp_path / 'server', '127.0.0.1', 0) as server, \
            MilvusPlaces(DatabaseAddress(server.uri), digest, 8) as places:
        assert [key.index for key in outbox.sync(places)] == [6]
        assert stored_keys(server.uri, digest) == segment_keys(office)
