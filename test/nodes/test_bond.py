"""The bond of a node to nav2's lifecycle manager, with the real bondpy as the manager's end, where it is installed."""
import os

import pytest
from lifecycle_msgs.msg import Transition
from node_harness import DEADLINE_S

if not os.environ.get('SEGVLAD_REQUIRE_LAUNCH'):
    pytest.importorskip('bondpy', reason='no wheel has it: see .ci/launch-tools')


@pytest.fixture
def manager(peer):
    """Makes the manager's end for a node, as nav2 does after it has activated the node."""
    from bondpy.bondpy import Bond
    ends = []

    def bind(name):
        end = Bond(peer.node, 'bond', name)
        end.set_heartbeat_period(0.1)
        end.set_heartbeat_timeout(4.0)
        end.start()
        ends.append(end)
        return end
    yield bind
    for end in ends:
        end.shutdown()


def activated(robot):
    running = robot('bridge', {'target': 'initial_pose', 'autostart': False}, wait=False)
    assert running.transition(Transition.TRANSITION_CONFIGURE)
    assert running.transition(Transition.TRANSITION_ACTIVATE)
    return running


def test_a_bond_forms_and_ends_with_the_active_state(robot, manager):
    running = activated(robot)
    for _ in range(2):
        bond = manager('bridge')
        assert bond.wait_until_formed(_seconds(DEADLINE_S))
        assert not bond.is_broken()
        assert running.transition(Transition.TRANSITION_DEACTIVATE)
        assert bond.wait_until_broken(_seconds(DEADLINE_S))
        assert running.transition(Transition.TRANSITION_ACTIVATE)


def test_the_manager_learns_of_a_death(robot, manager, monkeypatch):
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')  # see test_map_builder
    running = activated(robot)
    bond = manager('bridge')
    assert bond.wait_until_formed(_seconds(DEADLINE_S))
    running.node.kill()
    assert bond.wait_until_broken(_seconds(DEADLINE_S))


def test_a_node_that_starts_by_itself_has_none(robot):
    running = robot('bridge', {'target': 'initial_pose'})
    assert running.peer.node.count_publishers(f'{running.peer.namespace}/bond') == 0


def _seconds(seconds):
    from rclpy.duration import Duration
    return Duration(seconds=seconds)
