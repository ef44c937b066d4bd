"""Fixtures of the bridges' tests: a clock that the test moves, open bridges."""
from types import SimpleNamespace

import numpy as np
import peer_interfaces as peers
import pytest
from stand_in_node import StandIn
from test_bridges import ADD_LINK, CSLAM, GRAPH

from segvlad_ros.ros.bridges import cslam, pose_graph_tools, rtabmap


def opened(kind, node):
    """A node and a bridge of it that takes inputs."""
    bridge = kind(node)
    bridge.open()
    return node, bridge


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def two_poses():
    """World poses of match and query, and a covariance, as :func:`test_bridges.closure_of` takes them."""
    rng = np.random.default_rng(3)
    match, query = np.eye(4), np.eye(4)
    match[:3, 3], query[:3, 3] = rng.uniform(-1, 1, (2, 3))
    return match, query, np.eye(6) * 0.01


@pytest.fixture
def rtabmap_bridge(clock, monkeypatch):
    types = rtabmap.RtabmapTypes(SimpleNamespace(Request=ADD_LINK), SimpleNamespace(Request=SimpleNamespace),
                          peers.maker('rtabmap_msgs/msg/Info'))
    monkeypatch.setattr(rtabmap, 'load_types', lambda: types)
    return opened(rtabmap.Rtabmap, StandIn(clock))


@pytest.fixture
def hydra_bridge(clock, monkeypatch):
    monkeypatch.setattr(pose_graph_tools, 'load_types', lambda: GRAPH)
    return opened(pose_graph_tools.PoseGraphTools, StandIn(clock))


@pytest.fixture
def cslam_bridge(clock, monkeypatch):
    """Of robot 1 of three."""
    monkeypatch.setattr(cslam, 'load_types', lambda: CSLAM)
    return opened(cslam.Cslam, StandIn(clock, cslam__max_nb_robots=3, robot_id=1))
