"""map_builder with a place database: keyframes are sent meanwhile, and a network that is gone costs nothing."""
from __future__ import annotations

import importlib.util

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from fleet_samples import Network, segment_keys, stored_keys
from node_harness import EVERY_IMAGE, image_message, real_images, reliable

from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.mapping.place_map import PlaceMap

pytestmark = [pytest.mark.fleet, pytest.mark.skipif(
    importlib.util.find_spec('pymilvus') is None, reason='pymilvus is not installed: make test-fleet')]


@pytest.fixture
def network(tmp_path):
    with LiteServer(tmp_path / 'server', '127.0.0.1', 0) as server:
        network = Network(server.port)
        yield network
        network.close()


def test_a_map_is_sent_while_it_is_made(robot, network, namespace, tmp_path):
    builder = robot('map_builder', {
        **EVERY_IMAGE, **reliable(namespace, 'image'), 'map': 'office',
        'robot_id': 3, 'fleet.uri': network.uri, 'fleet.site': 'office'})
    camera, pictures = builder.camera(), real_images('hololens_office/images', range(0, 120, 20))

    def told(sent: int, waiting: int, level: bytes) -> DiagnosticStatus | None:
        for message in reversed(builder.diagnostics):
            for status in message.status:
                values = {pair.key: pair.value for pair in status.values}
                if status.name.endswith(': fleet') and status.level == level and (
                        values['keyframes sent'], values['keyframes waiting']) == (str(sent), str(waiting)):
                    return status
        return None

    for number in (1, 2, 3):
        builder.send(camera, image_message(pictures[number - 1], number))
    builder.peer.wait(lambda: told(3, 0, DiagnosticStatus.OK), 'three keyframes sent')
    network.cut()
    for number in (4, 5):
        builder.send(camera, image_message(pictures[number - 1], number))
        assert builder.keyframe(number).keyframe.index == number
    status = builder.peer.wait(lambda: told(3, 2, DiagnosticStatus.WARN), 'a warning')
    assert status.message.startswith('2 keyframes have been waiting for ')
    assert network.uri in status.message
    network.mend()
    builder.peer.wait(lambda: told(5, 0, DiagnosticStatus.OK), 'the rest sent')
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad') as place_map:
        assert stored_keys(network.uri, place_map.fingerprint['digest']) == segment_keys(place_map, 'office')


@pytest.mark.fault('fleet', 'an address that is none', 'refused at the start')
def test_an_address_that_cannot_be_used_is_refused(launch):
    node = launch('map_builder', {'fleet.uri': 'milvus.db'})
    assert node.process.wait(30) == 1
    assert 'the place database needs an address' in node.text()
