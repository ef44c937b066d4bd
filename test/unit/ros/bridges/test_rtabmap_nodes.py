"""Which node of RTAB-Map stands for a keyframe, and what odometry says of the motion between them."""
import numpy as np
import pytest
from stand_in_node import SECOND, database, info
from test_bridges import MATCH_NS, QUERY_NS

from segvlad_ros.geometry import to_matrix
from segvlad_ros.ros.bridges.rtabmap import RtabmapNodes
from segvlad_ros.types import Pose

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def nodes():
    return RtabmapNodes(max_difference_s=1.0)


def test_a_node_is_found_by_its_stamp_to_the_nanosecond(nodes):
    nodes.add_info(info(11, QUERY_NS))
    nodes.add_info(info(12, QUERY_NS + SECOND))
    found = nodes.locate(QUERY_NS)
    assert found.node_id == 11
    np.testing.assert_array_equal(to_matrix(found.node_from_keyframe), np.eye(4))


def test_nodes_of_a_loaded_database_are_found_by_their_rounded_stamps(nodes):
    nodes.add_map(database((3, MATCH_NS / 1e9, 0), (4, MATCH_NS / 1e9 + 5, -1)))
    assert nodes.locate(MATCH_NS).node_id == 3
    assert isinstance(nodes.locate(MATCH_NS + 5 * SECOND), str)  # an intermediate node takes no links
    nodes.add_info(info(9, QUERY_NS))
    nodes.add_map(database((9, QUERY_NS / 1e9 + 0.5, 0)))
    assert nodes.locate(QUERY_NS).node_id == 9  # what info said is exact


def test_nodes_that_left_the_memory_take_no_links(nodes):
    nodes.add_info(info(1, 10 * SECOND, alive=[1]))
    nodes.add_info(info(2, 11 * SECOND, alive=[1]))  # dropped at once: the robot had hardly moved
    assert 'no node of this time yet' in nodes.locate(11 * SECOND)
    nodes.add_info(info(3, 12 * SECOND, alive=[3]))
    assert 'nearest node in memory, 3, is 2.00 s away' in nodes.locate(10 * SECOND)
    nodes.add_info(info(4, 13 * SECOND, alive=[1, 3, 4]))
    assert nodes.locate(10 * SECOND).node_id == 1


def test_between_nodes_odometry_tells_the_motion(nodes):
    def pose_at(seconds):
        turn = np.array([0, 0, np.sin(0.1 * seconds), np.cos(0.1 * seconds)])
        return Pose(np.array([2.0 * seconds, 1.0, 0.0]), turn, 'odom')
    nodes.add_info(info(7, 10 * SECOND))
    assert 'no node of this time yet' in nodes.locate(10 * SECOND + 300_000_000)
    nodes.add_info(info(8, 11 * SECOND))
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)
    for tenths in range(95, 115):
        nodes.add_odometry(tenths * SECOND // 10, pose_at(tenths / 10))
    found = nodes.locate(10 * SECOND + 300_000_000)
    assert found.node_id == 7
    wanted = np.linalg.inv(to_matrix(pose_at(10.0))) @ to_matrix(pose_at(10.3))
    np.testing.assert_allclose(to_matrix(found.node_from_keyframe), wanted, atol=1e-3)
    assert nodes.locate(10 * SECOND + 800_000_000).node_id == 8
    nodes.add_odometry(1 * SECOND, pose_at(1.0))  # a bag began anew
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)


def test_odometry_that_leaps_moves_no_pose(nodes):
    nodes.add_info(info(7, 10 * SECOND))
    nodes.add_info(info(8, 12 * SECOND))
    for tenths in range(80, 130, 2):  # the driver starts again from zero behind the node
        x = 0.1 * tenths if tenths <= 100 else 0.1 * tenths - 10
        nodes.add_odometry(tenths * SECOND // 10, Pose(np.array([x, 0.0, 0.0]), IDENTITY, 'odom'))
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)
    assert nodes.locate(12 * SECOND - 300_000_000).node_id == 8
