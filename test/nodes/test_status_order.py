"""What several threads tell of one node arrives in the order in which it was true."""
import threading
from types import SimpleNamespace

import pytest
import rclpy

from segvlad_ros.nodes.pose_graph import PoseGraphNode


@pytest.fixture
def node(domain, monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(args=['--ros-args', '-p', 'autostart:=false'], domain_id=domain)
    node = PoseGraphNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def test_an_older_status_never_goes_out_behind_a_newer_one(node, monkeypatch):
    told, older_is_made, newer_is_told, facts = [], threading.Event(), threading.Event(), node.map_facts

    def slow_facts():
        if not older_is_made.is_set():
            older_is_made.set()
            newer_is_told.wait(0.5)  # as far as nothing keeps the newer one
        return facts()

    def publish(message):
        told.append(message.message)
        newer_is_told.set()
    with node.status.loading('loading') as progress:
        monkeypatch.setattr(node, 'map_facts', slow_facts)
        monkeypatch.setattr(node.status, '_publisher', SimpleNamespace(publish=publish))
        older = threading.Thread(target=node.status.publish)
        older.start()
        assert older_is_made.wait(5.0)
        progress(1, 2)
        older.join()
    assert told == ['loading', 'loading: 50 %']
