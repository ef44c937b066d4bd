"""Sending goes on beside the robot's work, and says how it goes."""
from __future__ import annotations

import time

import pytest
from fleet_samples import Network, segment_keys, stored_keys, wait_for
from map_samples import make_keyframe

from segvlad_ros.fleet import courier as courier_module
from segvlad_ros.fleet.courier import Courier, CourierFacts
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces


@pytest.fixture
def network(server, monkeypatch):
    monkeypatch.setattr(courier_module, 'PERIOD_S', 0.2)
    monkeypatch.setattr(courier_module, 'LONGEST_PERIOD_S', 0.5)
    network = Network(server.port)
    yield network
    network.close()


@pytest.fixture
def courier(network, office, digest):
    courier = Courier(office, lambda: MilvusPlaces(DatabaseAddress(network.uri), digest, 8), network.uri)
    yield courier
    courier.stop()
    courier.join()


def test_what_is_stored_is_sent(courier, office, server, digest):
    wait_for(lambda: courier.facts().sent == 5, 'what the map held')
    office.append(make_keyframe(6))
    wait_for(lambda: courier.facts().sent == 6, 'what was stored meanwhile')
    assert (courier.facts().waiting, courier.facts().problem) == (0, '')
    assert stored_keys(server.uri, digest) == segment_keys(office)


@pytest.mark.fault('fleet', 'no network', 'mapping goes on; keyframes are sent later')
def test_without_a_network_the_map_grows_and_is_sent_later(courier, network, office, caplog):
    wait_for(lambda: courier.facts().sent == 5, 'what the map held')
    network.cut()
    office.append(make_keyframe(6))
    wait_for(lambda: courier.facts().problem, 'the problem')
    slowest = 0.0
    for index in range(7, 20):
        begin = time.perf_counter()
        office.append(make_keyframe(index))
        slowest = max(slowest, time.perf_counter() - begin)
    assert slowest < 5.0  # a request waits for 30 s
    facts = courier.facts()
    assert (facts.sent, facts.waiting) == (5, 14)
    assert network.uri in facts.problem
    assert '\n' not in facts.problem
    wait_for(lambda: courier.facts().failing_s > 1.0, 'some failures')
    assert caplog.text.count('are sent later') == 1  # said once
    network.mend()
    wait_for(lambda: courier.facts() == CourierFacts(sent=19), 'the rest')
    assert stored_keys(network.uri, office.fingerprint['digest']) == segment_keys(office)


def test_a_problem_ends_when_sending_goes_on_and_not_when_all_is_sent(courier, network, office):
    wait_for(lambda: courier.facts().sent == 5, 'what the map held')
    network.cut()
    for index in range(6, 200):
        office.append(make_keyframe(index))
    wait_for(lambda: courier.facts().problem, 'the problem')
    network.mend()
    between, end = wait_for(lambda: courier.facts().sent > 5 and courier.facts(), 'the first'), time.monotonic() + 60
    while between.sent < 199 and time.monotonic() < end:
        assert between.sent <= 6 or not between.problem
        between = courier.facts()


def test_it_stops_at_once(courier):
    begin = time.perf_counter()
    courier.stop()
    courier.stop()
    courier.join()
    assert time.perf_counter() - begin < 10.0
