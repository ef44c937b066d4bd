"""What goes out on bond, with a stand-in for the package bond, which no wheel has."""
import sys
from types import ModuleType, SimpleNamespace

import pytest
from builtin_interfaces.msg import Time
from rclpy.clock import Clock

from segvlad_ros.ros.node.bond import Bond


class Status:
    """The fields of bond/msg/Status."""

    def __init__(self, **fields):
        for name in ('header', 'id', 'instance_id', 'active', 'heartbeat_timeout', 'heartbeat_period'):
            setattr(self, name, fields.pop(name))
        assert not fields


class ManagedNode:
    """What a bond needs of a node: timers are called by hand."""

    def __init__(self):
        self.sent, self.timers, self.said = [], [], []
        self.steady_clock = Clock()
        self.context = SimpleNamespace(ok=lambda: True)

    def get_name(self):
        return 'localizer'

    def get_clock(self):
        return self.steady_clock

    def get_logger(self):
        return SimpleNamespace(info=self.said.append)

    def create_publisher(self, kind, topic, profile):
        assert (kind, topic) == (Status, 'bond')
        return SimpleNamespace(publish=self.sent.append)

    def create_timer(self, period_s, call, clock):
        assert period_s < 4.0 / 4  # several heartbeats in the manager's least patience
        self.timers.append(call)
        return call

    def destroy_timer(self, timer):
        self.timers.remove(timer)

    def destroy_publisher(self, publisher):
        pass


@pytest.fixture
def bond_package(monkeypatch):
    package, messages = ModuleType('bond'), ModuleType('bond.msg')
    messages.Status = Status
    monkeypatch.setitem(sys.modules, 'bond', package)
    monkeypatch.setitem(sys.modules, 'bond.msg', messages)


def test_heartbeats_while_it_lasts_and_a_farewell(bond_package):
    node = ManagedNode()
    bond = Bond(node)
    bond.end()
    assert not node.sent
    instances = []
    for _ in range(2):
        node.sent.clear()
        bond.form()
        for _ in range(3):
            node.timers[0]()
        bond.end()
        assert not node.timers
        assert [message.active for message in node.sent] == [True, True, True, False]
        assert {message.id for message in node.sent} == {'localizer'}
        assert all(isinstance(message.header.stamp, Time) and message.header.stamp.sec for message in node.sent)
        instances.append({message.instance_id for message in node.sent})
    assert [len(ids) for ids in instances] == [1, 1]
    assert instances[0] != instances[1]


def test_without_the_package_it_says_so_and_sends_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'bond', None)
    node = ManagedNode()
    bond = Bond(node)
    bond.form()
    bond.end()
    assert not node.sent and not node.timers
    assert 'bond_timeout: 0.0' in node.said[0]
