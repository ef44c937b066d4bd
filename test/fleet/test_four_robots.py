"""Four robots of one building, four processes, one server: one is killed, one is offline for half of the time."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fleet_robot import SITE, pictures
from fleet_samples import Network, keys_of, segment_keys, sessions_of, stored_keys, wait_for

from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
from segvlad_ros.fleet.remote_places import find_places
from segvlad_ros.geometry import distance, rotation_angle
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.presets import load_preset

ROBOTS = (1, 2, 3, 4)
KILLED, OFFLINE = 2, 3
NEAR_M, NEAR_RAD = 3.5, np.radians(60)  # of one place, as geometry.max_distance_m and max_angle_rad of the preset


class RobotProcess:
    """:ivar stored: keyframes that it has reported as stored"""

    def __init__(self, folder: Path, number: int, uri: str) -> None:
        self.path, self.number, self.uri = folder / f'robot_{number}.segvlad', number, uri
        self.start()

    def start(self) -> None:
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'fleet_robot', str(self.path), str(self.number), self.uri], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def drive(self, stored: int) -> None:
        """Wait until it has stored this many keyframes."""
        while int(self.process.stdout.readline()) < stored:
            pass

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate('end\n')
        assert self.process.returncode == 0


@pytest.fixture
def server(tmp_path):
    """One for them alone: every row that it holds is counted."""
    with LiteServer(tmp_path / 'server', '127.0.0.1', 0) as server:
        yield server


@pytest.fixture
def network(server):
    network = Network(server.port)
    yield network
    network.close()


@pytest.fixture
def maps(server, network, tmp_path):
    """The four maps, after all has been driven and sent."""
    robots = {number: RobotProcess(tmp_path, number, network.uri if number == OFFLINE else server.uri)
              for number in ROBOTS}
    whole = {number: len(pictures(number)) for number in ROBOTS}
    robots[OFFLINE].drive(whole[OFFLINE] // 4)
    network.cut()
    robots[KILLED].drive(whole[KILLED] // 2)
    robots[KILLED].kill()
    robots[KILLED].start()
    robots[OFFLINE].drive(3 * whole[OFFLINE] // 4)
    network.mend()
    for robot in robots.values():
        robot.drive(whole[robot.number])
    maps = {number: PlaceMap.open(robot.path) for number, robot in robots.items()}
    with connected(server, maps[1]) as places:
        wait_for(lambda: all(places.count(sessions_of(known)) == known.count for known in maps.values()),
                 'all keyframes of all robots')
    for robot in robots.values():
        robot.end()
    yield maps
    for known in maps.values():
        known.close()


def connected(server, known: PlaceMap) -> MilvusPlaces:
    return MilvusPlaces(DatabaseAddress(server.uri, SITE), known.fingerprint['digest'], known.dimension)


def test_each_finds_the_places_of_the_others(server, maps):
    assert [known.count for known in maps.values()] == [len(pictures(number)) for number in ROBOTS]
    assert len(maps[KILLED].sessions()) == 2
    held = stored_keys(server.uri, maps[1].fingerprint['digest'])
    expected = {key for known in maps.values() for key in segment_keys(known, SITE)}
    assert len(held) == len(expected) > 5000
    assert set(held) == expected

    floor = load_preset('classic').vote.floor
    with connected(server, maps[1]) as places:
        assert places.keyframes([key for known in maps.values() for key in sessions_of(known)]) \
            == set.union(*map(keys_of, maps.values()))
        for number, known in maps.items():
            asked = [*known.keyframes()][::3]
            found = {other: 0 for other in ROBOTS if other != number}
            for keyframe in asked:
                answer = find_places(places, keyframe.description.descriptors, floor, top_k=10,
                                     leave_out=sessions_of(known))
                assert answer[0].id.robot_id != number
                for other in {place.id.robot_id for place in answer if shows_the_same(place.pose, keyframe.pose)}:
                    found[other] += 1
            print(f'robot {number}: of {len(asked)} keyframes asked about, seen by the others: {found}')
            assert min(found.values()) >= len(asked) - 1


def shows_the_same(there, here) -> bool:
    """True poses, of one frame."""
    return distance(there, here) < NEAR_M and rotation_angle(there, here) < NEAR_RAD
