"""What several tests of the fleet use: maps, what a server holds row by row, a network that can be cut."""
from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from map_samples import make_keyframe

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import KeyframeKey, SessionKey

DEADLINE_S = 180.0


def make_map(path: Path, digest: str, numbers: Iterable[int], **kind) -> PlaceMap:
    """A map of small keyframes, open for writing; ``kind`` as of :func:`map_samples.make_keyframe`."""
    place_map = PlaceMap.create(path, {'digest': digest}, 8)
    for number in numbers:
        place_map.append(make_keyframe(number, **kind))
    return place_map


def sessions_of(place_map: PlaceMap) -> list[SessionKey]:
    return [SessionKey(session.robot_id, session.session_id) for session in place_map.sessions()]


def keys_of(place_map: PlaceMap) -> set[KeyframeKey]:
    return {identity.key for identity in place_map.ids()}


def segment_keys(place_map: PlaceMap, site: str = 'default') -> list[str]:
    """The primary keys that a map's segments must have, sorted."""
    keys = ((keyframe.id, number) for keyframe in place_map.keyframes() for number in range(len(keyframe.description)))
    return sorted(f'{quote(site)}/{key.robot_id}/{key.session_id}/{key.index}/{number}' for key, number in keys)


def stored_keys(uri: str, digest: str) -> list[str]:
    """The primary key of every row that the server holds, sorted; asked with pymilvus alone."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri, dedicated=True)
    name = f'segvlad_places_{digest}'
    client.load_collection(name)
    pages, found = client.query_iterator(name, batch_size=1000, output_fields=['id']), []
    while page := pages.next():
        found += [row['id'] for row in page]
    assert client.get_collection_stats(name)['row_count'] == len(found)
    client.close()
    return sorted(found)


def wait_for(condition: Callable[[], object], what: str) -> object:
    """Ask until a condition is true, and give what it gave."""
    pause, end = threading.Event(), time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < end, f'waited {DEADLINE_S:.0f} s for {what}'
        pause.wait(0.1)
    return result


class Network:
    """What lies between a robot and the server: passes bytes on, and can be cut.

    :ivar uri: where the robot finds the server
    """

    def __init__(self, port: int) -> None:
        self._port, self._sockets = port, []
        self._door = socket.create_server(('127.0.0.1', 0))
        self.uri = f'http://127.0.0.1:{self._door.getsockname()[1]}'
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and let no new one through."""
        self._open.clear()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.cut()
        self._door.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                robot, _ = self._door.accept()
                if not self._open.is_set():
                    robot.close()
                    continue
                server = socket.create_connection(('127.0.0.1', self._port))
                self._sockets += [robot, server]
                threading.Thread(target=self._pass_on, args=(robot, server), daemon=True).start()

    def _pass_on(self, robot: socket.socket, server: socket.socket) -> None:
        other = {robot: server, server: robot}
        with robot, server, contextlib.suppress(OSError):
            while self._open.is_set():
                for end in select.select([robot, server], [], [], 1.0)[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other[end].sendall(data)
