"""Back-ends that are started again, or whose clock is, while a bridge runs: old ids stand for other keyframes then."""
import pytest
from stand_in_node import SECOND, info
from test_bridges import MATCH_NS, QUERY_NS, closure_of

from segvlad_ros.msg import KeyframeId
from segvlad_ros.ros.bridges.cslam import CslamKeyframes
from segvlad_ros.ros.output.conversions import to_time


def test_what_waits_for_an_rtabmap_that_begins_anew_is_given_up(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    node.inputs['info'](info(50, MATCH_NS))
    node.inputs['loop_closures'](closure_of(two_poses))
    assert bridge.waiting() == 1
    node.inputs['info'](info(1, MATCH_NS + SECOND))
    assert (bridge.waiting(), bridge.given_up) == (0, 1)
    assert node.problems == ['closure of keyframe 9 with 4 not added: RTAB-Map, or its clock, began anew']
    node.inputs['info'](info(2, QUERY_NS))
    node.inputs['loop_closures'](closure_of(two_poses))
    assert node.clients['add_link'].requests == []


def test_the_database_of_an_rtabmap_that_began_anew_is_asked_for(rtabmap_bridge, two_poses):
    node, _ = rtabmap_bridge
    asked = node.clients['get_map_data2'].requests
    for number in (300, 20):
        node.inputs['info'](info(number, QUERY_NS + SECOND - number))
        node.inputs['loop_closures'](closure_of(two_poses))
    assert len(asked) == 2


def known(table, robot_id, *seconds):
    return [table.id_of(KeyframeId(robot_id=robot_id, stamp=to_time(at * SECOND))) for at in seconds]


@pytest.fixture
def table():
    """Of two robots, ten keyframes each."""
    table = CslamKeyframes()
    for robot_id in (0, 1):
        for number in range(10):
            table.add(robot_id, (100 + number) * SECOND, number)
    return table


@pytest.mark.fault('topic', 'Swarm-SLAM is started again under its bridge: its ids begin at 0', 'the ids of its first '
                   'life stand for no keyframe any more')
@pytest.mark.parametrize('first', [0, 3, 9])
def test_ids_of_a_swarm_slam_that_began_anew_are_forgotten(table, first):
    table.add(0, 500 * SECOND, first)
    table.add(0, 501 * SECOND, first + 1)
    assert known(table, 0, 102, 109, 500, 501) == [None, None, first, first + 1]
    assert known(table, 1, 102, 109) == [2, 9]


def test_ids_of_a_clock_that_began_anew_are_forgotten(table):
    table.add(0, 103 * SECOND, 10)
    assert known(table, 0, 102, 103, 109) == [None, 10, None]


def test_a_keyframe_that_is_told_twice_changes_nothing(table):
    table.add(0, 104 * SECOND, 4)
    assert known(table, 0, 100, 104, 109) == [0, 4, 9]
