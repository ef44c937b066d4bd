"""Which node of RTAB-Map stands for a keyframe, and what odometry says of the motion between them."""
import time

import numpy as np
import pytest
from stand_in_node import SECOND, database, info
from test_bridges import MATCH_NS, QUERY_NS

from segvlad_ros.geometry import to_matrix
from segvlad_ros.ros.bridges.rtabmap_nodes import RtabmapNodes
from segvlad_ros.types import Pose, SegvladError

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
    assert 'node 1 is 1.00 s away, and without unbroken odometry' in nodes.locate(11 * SECOND)
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


def ids(nodes, *seconds):
    """Of the nodes at these stamps; None where there is none."""
    return [getattr(nodes.locate(at * SECOND), 'node_id', None) for at in seconds]


# a clock, or RTAB-Map, that begins anew

@pytest.mark.fault('clock', 'the clock begins anew under a bridge to RTAB-Map, which goes on with its map',
                   'nodes of the time before are no longer taken for those of now')
def test_nodes_of_the_time_before_a_clock_began_anew_are_forgotten(nodes):
    for number in range(10):
        nodes.add_info(info(1 + number, (100 + number) * SECOND))
    assert nodes.add_info(info(11, 102 * SECOND))
    assert not nodes.add_info(info(12, 103 * SECOND))
    assert ids(nodes, 100, 101, 102, 103, 105) == [None, None, 11, 12, None]
    nodes.add_map(database(*((1 + number, 100.0 + number, 0) for number in range(10)), (11, 102.0, 0)))
    assert ids(nodes, 100, 101, 102, 103, 105) == [None, None, 11, 12, None]


def test_nodes_of_an_rtabmap_that_began_anew_take_the_place_of_the_old_ones(nodes):
    for number in range(10):
        nodes.add_info(info(101 + number, (100 + number) * SECOND))
    assert nodes.add_info(info(31, 200 * SECOND))  # with a database of 30 nodes
    nodes.add_map(database((30, 50.0, 0), (31, 200.0, 0)))
    assert ids(nodes, 50, 105, 200) == [30, None, 31]


@pytest.mark.parametrize('database_first', [True, False])
def test_nodes_of_a_database_with_another_clock_are_not_taken_for_those_of_now(nodes, database_first):
    """A simulator that begins at 0 each run; a node older than the first of now may be of the same clock."""
    earlier = database(*((1 + number, float(number), 0) for number in range(90)))
    if database_first:
        nodes.add_map(earlier)
    nodes.add_info(info(91, 2 * SECOND))
    nodes.add_info(info(92, 3 * SECOND))
    nodes.add_map(earlier)
    assert ids(nodes, 1, 2, 3, 50) == [2, 91, 92, None]


# whose odometry it is

def driven(nodes, child):
    """Odometry of a frame that drives ahead, 1 m/s, with nodes each second."""
    for tenths in range(100, 142, 2):
        nodes.add_odometry(tenths * SECOND // 10, Pose(np.array([0.1 * tenths, 0.0, 0.0]), IDENTITY, 'odom'), child)
    for number in (10, 11, 12, 13):
        nodes.add_info(info(number, number * SECOND))


@pytest.mark.parametrize(('child', 'base'), [
    ('base_link', 'base_link'), ('/base_link', 'base_link'), ('', 'base_link'), ('camera', ''),
    ('base_footprint', 'base_link'), ('r1/base_link', 'r1/base_footprint')])
def test_odometry_of_the_base_moves_a_pose(nodes, child, base):
    driven(nodes, child)
    found = nodes.locate(12 * SECOND + 400_000_000, base)
    np.testing.assert_allclose(found.node_from_keyframe.translation, [0.4, 0, 0], atol=1e-9)


@pytest.mark.parametrize(('child', 'base'), [
    ('tracking_camera', 'base_link'), ('r2/base_link', 'r1/base_link'), ('r2/base_footprint', 'r1/base_link')])
def test_odometry_of_another_frame_moves_none(nodes, child, base):
    driven(nodes, child)
    with pytest.raises(SegvladError, match='base_frame') as error:
        nodes.locate(12 * SECOND + 400_000_000, base)
    assert f"'{child}'" in str(error.value)
    assert f"'{base}'" in str(error.value)
    assert '\n' not in str(error.value)
    assert nodes.locate(12 * SECOND, base).node_id == 12  # no odometry is asked


def test_a_base_and_its_footprint_are_taken_as_one_and_that_is_said_once(nodes, caplog):
    driven(nodes, 'base_footprint')
    for tenths in (2, 4):
        nodes.locate(12 * SECOND + tenths * 100_000_000, 'base_link')
    warning, = caplog.records
    assert "odom is of 'base_footprint', and the closures are of 'base_link': taken as one" in warning.getMessage()


@pytest.mark.fault('topic', 'the robot stops, and RTAB-Map makes no more nodes', 'the last one stands for the '
                   'keyframe as soon as `info` has come so far')
def test_a_robot_that_stands_is_at_its_last_node(nodes):
    driven(nodes, 'base_link')
    stopped = 13 * SECOND + 100_000_000
    assert 'no node of this time yet' in nodes.locate(stopped)
    nodes.add_info(info(14, 14 * SECOND, alive=[10, 11, 12, 13]))  # dropped at once: the robot has hardly moved
    found = nodes.locate(stopped)
    assert found.node_id == 13
    np.testing.assert_allclose(found.node_from_keyframe.translation, [0.1, 0, 0], atol=1e-9)


@pytest.mark.fault('odometry', 'one message comes 10 ms late to a bridge', 'passed over: a clock that begins anew '
                   'goes back by more than a second')
def test_odometry_that_is_late_costs_itself(nodes):
    driven(nodes, 'base_link')
    late = Pose(np.array([14.0, 0.0, 0.0]), IDENTITY, 'odom')
    for milliseconds in (10, 900):
        nodes.add_odometry(14 * SECOND - milliseconds * 1_000_000, late, 'base_link')
    found = nodes.locate(12 * SECOND + 400_000_000, 'base_link')
    np.testing.assert_allclose(found.node_from_keyframe.translation, [0.4, 0, 0], atol=1e-9)
    nodes.add_odometry(12 * SECOND, late, 'base_link')
    assert 'without unbroken odometry' in nodes.locate(12 * SECOND + 400_000_000, 'base_link')


def test_a_look_for_a_node_does_not_grow_with_the_map(nodes):
    """Each closure that waits looks twice, and again every half second: up to a thousand wait."""
    nodes.add_map(database(*((number, float(number), 0) for number in range(1, 5001))))
    nodes.add_info(info(5001, 5001 * SECOND, alive=range(1, 5002)))
    began_s = time.perf_counter()
    found = [nodes.locate(number * SECOND).node_id for number in range(1, 5002)]
    assert not any(nodes.is_older(number * SECOND) for number in range(1, 5002))
    assert time.perf_counter() - began_s < 2  # 0.02 s; was 20 s
    assert found == [*range(1, 5002)]


def test_of_two_nodes_the_nearer_one_stands_for_a_keyframe(nodes):
    driven(nodes, '')
    nodes.add_map(database((20, 12.6, 0)))  # in the order of stamps, not of ids
    assert [nodes.locate(12 * SECOND + tenths * 100_000_000).node_id for tenths in (2, 4, 7, 9)] == [12, 20, 20, 13]
