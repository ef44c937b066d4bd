"""The bond of a node to nav2's lifecycle manager, with the real bondpy as the manager's end, where it is installed."""
import os
import signal
import threading

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from node_harness import DEADLINE_S
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor

from segvlad_ros.ros.node.bond import PERIOD_S, TIMEOUT_S

if not os.environ.get('SEGVLAD_REQUIRE_LAUNCH'):
    pytest.importorskip('bondpy', reason='no wheel has it: see .ci/launch-tools')
PATIENCE = Duration(seconds=DEADLINE_S)


@pytest.fixture
def manager(peer, context, namespace):
    """Makes the manager's end for a node, as nav2 does once it has activated the node."""
    from bondpy.bondpy import Bond
    node = rclpy.create_node('lifecycle_manager', namespace=namespace, context=context)
    executor, ends = SingleThreadedExecutor(context=context), []
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()

    def bind(name):
        end = Bond(node, 'bond', name)
        ends.append(end)
        end.set_heartbeat_period(0.1)
        end.start()
        assert end.wait_until_formed(PATIENCE)

        def watches():
            """From the second heartbeat on, as the end of bondcpp: who dies before is never missed (bond_core#93)."""
            return end.heartbeat_timer.timer.is_alive()
        peer.wait(watches, 'the second heartbeat')
        return end
    yield bind
    executor.shutdown()
    thread.join(DEADLINE_S)
    for end in ends:
        end.shutdown()
    node.destroy_node()


@pytest.fixture
def bound(robot, manager, monkeypatch):
    """An active node, and the manager's end of its bond."""
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')  # see test_map_builder
    running = robot('bridge', {'target': 'initial_pose', 'autostart': False}, wait=False)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert running.transition(transition)
    return running, manager('bridge')


@pytest.fixture
def heard(peer):
    """What an instance has said; bondpy's own end takes one message at a time and overhears some."""
    from bond.msg import Status
    messages = peer.listen(Status, 'bond', 1000)
    return lambda instance: [message for message in messages if message.instance_id == instance]


def test_a_bond_forms_and_ends_with_the_active_state(bound, manager, heard):
    running, bond = bound
    running.peer.wait(lambda: len(heard(bond.sister_instance_id)) > 1.1 * TIMEOUT_S / PERIOD_S, 'many heartbeats')
    assert not bond.is_broken()
    assert running.transition(Transition.TRANSITION_DEACTIVATE)
    running.peer.wait(lambda: not heard(bond.sister_instance_id)[-1].active, 'the farewell')
    assert bond.wait_until_broken(PATIENCE)
    assert running.transition(Transition.TRANSITION_ACTIVATE)
    again = manager('bridge')
    assert not again.is_broken()
    assert again.sister_instance_id != bond.sister_instance_id


@pytest.mark.fault('node', "a node of nav2's lifecycle manager dies", 'the manager misses its heartbeats')
@pytest.mark.parametrize('number', (signal.SIGKILL, signal.SIGTERM))
def test_the_manager_misses_a_node_that_is_gone(bound, number):
    """By its silence: also one that ends on a signal says nothing, since its context is gone by then."""
    running, bond = bound
    assert not bond.is_broken()
    running.node.process.send_signal(number)
    running.node.wait()
    assert bond.wait_until_broken(PATIENCE)


def test_a_node_that_starts_by_itself_has_none(robot):
    running = robot('bridge', {'target': 'initial_pose'})
    assert running.peer.node.count_publishers(f'{running.peer.namespace}/bond') == 0
