"""Inputs that nobody publishes: named after some seconds, if the bridge can do nothing without them."""
import logging

import pytest


def silence_of(bridge, clock, seconds):
    clock[0] += seconds
    return bridge.silence()


def test_inputs_that_nobody_publishes_are_named_and_said_once(rtabmap_bridge, clock, caplog):
    node, bridge = rtabmap_bridge
    assert silence_of(bridge, clock, 100) == ''
    node.unpublished = {'info', 'loop_closures', 'odom', 'matches'}
    assert silence_of(bridge, clock, 4) == ''
    with caplog.at_level(logging.WARNING):
        found = [silence_of(bridge, clock, 3) for _ in range(3)]
    assert found == ['nobody publishes on /info, /loop_closures: start its publisher, or remap the topic'] * 3
    assert len(caplog.records) == 1
    node.unpublished = {'odom', 'matches'}  # it goes without
    assert silence_of(bridge, clock, 100) == ''


def test_other_robots_come_and_go(cslam_bridge, clock):
    node, bridge = cslam_bridge
    node.unpublished = {'/r0/cslam/keyframe_odom', '/r2/cslam/keyframe_odom'}
    assert silence_of(bridge, clock, 100) == ''
    node.unpublished.add('cslam/keyframe_data')
    silence_of(bridge, clock, 1)
    assert '/cslam/keyframe_data:' in silence_of(bridge, clock, 100)


@pytest.mark.parametrize('again', [False, True])
def test_a_closed_bridge_awaits_nothing(hydra_bridge, clock, again):
    node, bridge = hydra_bridge
    node.unpublished = {'loop_closures'}
    clock[0] = 100.0
    bridge.close()
    if again:
        bridge.open()
    assert silence_of(bridge, clock, 1) == ''
