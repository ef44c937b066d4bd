"""The bond of a node to nav2's lifecycle manager, with the real bondpy as the manager's end, where it is installed."""
import os
import threading

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from node_harness import DEADLINE_S
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor

if not os.environ.get('SEGVLAD_REQUIRE_LAUNCH'):
    pytest.importorskip('bondpy', reason='no wheel has it: see .ci/launch-tools')
PATIENCE = Duration(seconds=DEADLINE_S)


@pytest.fixture
def manager(context, namespace):
    """Makes the manager's end for a node, as nav2 does once it has activated the node."""
    from bondpy.bondpy import Bond
    node = rclpy.create_node('lifecycle_manager', namespace=namespace, context=context)
    executor, ends = SingleThreadedExecutor(context=context), []
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()

    def bind(name):
        ends.append(Bond(node, 'bond', name))
        ends[-1].set_heartbeat_period(0.1)
        ends[-1].start()
        return ends[-1]
    yield bind
    executor.shutdown()
    thread.join(DEADLINE_S)
    for end in ends:
        end.shutdown()
    node.destroy_node()


def test_a_bond_forms_and_ends_with_the_active_state(robot, manager):
    running = robot('bridge', {'target': 'initial_pose', 'autostart': False}, wait=False)
    assert running.transition(Transition.TRANSITION_CONFIGURE)
    for _ in range(2):
        assert running.transition(Transition.TRANSITION_ACTIVATE)
        bond = manager('bridge')
        assert bond.wait_until_formed(PATIENCE)
        assert not bond.is_broken()
        assert running.transition(Transition.TRANSITION_DEACTIVATE)
        assert bond.wait_until_broken(PATIENCE)


def test_a_node_that_starts_by_itself_has_none(robot):
    running = robot('bridge', {'target': 'initial_pose'})
    assert running.peer.node.count_publishers(f'{running.peer.namespace}/bond') == 0
