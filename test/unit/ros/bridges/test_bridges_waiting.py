"""Bridges that wait for a back-end's ids: what is held, what is sent, what is given up and told.

The back-ends' packages are not installed, so a stand-in node records what a bridge opens and feeds it messages that are
built from the peers' definitions. The bridge node itself runs as a process in test/nodes/test_bridge.py.
"""
from types import SimpleNamespace

import numpy as np
import peer_interfaces as peers
import pytest
from nav_msgs.msg import Odometry
from stand_in_node import SECOND, database, info, stamped, swarm_keyframe
from test_bridges import MATCH_NS, QUERY_NS, answer_of, closure_of

from segvlad_ros.geometry import from_matrix
from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.ros.bridges.base_bridge import MOST, PendingMessages
from segvlad_ros.ros.output.conversions import fill_pose, to_time

# holding

def test_what_is_held_is_sent_once_or_given_up_once(clock):
    ready, sent, lost = set(), [], []

    def send(item):
        if item not in ready:
            return f'{item} is not ready'
        sent.append(item)
        return ''
    held = PendingMessages(send, lambda item, reason: lost.append((item, reason)), 10.0, lambda: clock[0])
    ready.add('a')
    for item in 'abc':
        held.add(item)
    assert (sent, len(held)) == (['a'], 2)
    ready.add('c')
    held.retry()
    assert (sent, len(held), lost) == (['a', 'c'], 1, [])
    clock[0] = 10.0
    held.retry()
    held.retry()
    assert (len(held), lost) == (0, [('b', 'b is not ready, 10 s long')])


def test_only_so_many_wait(clock):
    lost = []
    held = PendingMessages(lambda item: 'never', lambda item, reason: lost.append(item), 10.0, lambda: clock[0])
    for number in range(MOST + 2):
        held.add(number)
    assert (len(held), lost) == (MOST, [0, 1])


# wiring

def test_a_closure_waits_for_both_nodes_of_rtabmap(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    links = node.clients['add_link'].requests
    node.inputs['info'](info(1, MATCH_NS))
    node.inputs['loop_closures'](closure_of(two_poses))
    assert (links, bridge.waiting(), node.problems) == ([], 1, [])
    node.inputs['info'](info(300, QUERY_NS))
    request, = links
    assert (request.link.from_id, request.link.to_id) == (300, 1)
    assert (bridge.waiting(), node.sent, bridge.given_up) == (0, 1, 0)
    node.timers[0]()
    assert len(links) == 1


def test_a_closure_without_nodes_is_given_up_with_the_reason(rtabmap_bridge, two_poses, clock):
    node, bridge = rtabmap_bridge
    node.inputs['info'](info(300, QUERY_NS))
    node.inputs['loop_closures'](closure_of(two_poses))
    clock[0] = 31.0
    node.timers[0]()
    assert (bridge.waiting(), bridge.given_up, node.sent) == (0, 1, 0)
    assert node.problems == ['closure of keyframe 9 with 4 not added: its match: the nearest node in memory, 300, is '
                             '321.86 s away, 30 s long']


@pytest.mark.fault('topic', 'a back-end that is not there yet', 'waited for')
def test_a_missing_service_is_waited_for(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    node.clients['add_link'].ready = False
    for number, stamp in ((1, MATCH_NS), (2, QUERY_NS)):
        node.inputs['info'](info(number, stamp))
    node.inputs['loop_closures'](closure_of(two_poses))
    assert bridge.waiting() == 1
    node.clients['add_link'].ready = True
    node.timers[0]()
    assert len(node.clients['add_link'].requests) == 1


def test_nodes_of_an_earlier_session_are_asked_for_once(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    service = node.clients['get_map_data2']
    node.inputs['info'](info(300, QUERY_NS))
    for _ in range(2):
        node.inputs['loop_closures'](closure_of(two_poses))
    assert service.requests == [SimpleNamespace(global_map=True)]
    service.answer = SimpleNamespace(data=database((17, MATCH_NS / 1e9, 0)))
    node.timers[0]()
    assert [request.link.to_id for request in node.clients['add_link'].requests] == [17, 17]
    assert bridge.waiting() == 0


def test_keyframes_between_nodes_need_odometry(rtabmap_bridge, two_poses):
    node, _ = rtabmap_bridge
    early = 300_000_000
    for number, stamp in ((1, MATCH_NS - early), (2, MATCH_NS + SECOND), (3, QUERY_NS - early), (4, QUERY_NS + SECOND)):
        node.inputs['info'](info(number, stamp))
    for centre in (MATCH_NS, QUERY_NS):
        for step in range(-5, 6):
            odometry = stamped(Odometry(), centre + step * 200_000_000)
            fill_pose(odometry.pose.pose, from_matrix(np.eye(4)))
            odometry.pose.pose.position.x = float(step)  # five metres a second
            node.inputs['odom'](odometry)
    node.inputs['loop_closures'](closure_of(two_poses))
    link = node.clients['add_link'].requests[0].link
    assert (link.from_id, link.to_id) == (3, 1)
    match, query, _ = two_poses
    move = link.transform.translation
    np.testing.assert_allclose([move.x, move.y, move.z], (match - query)[:3, 3], atol=1e-9)


@pytest.mark.fault('odometry', "a bridge to RTAB-Map gets odometry of another frame than the robot's base, such as a "
                   "tracking camera's", 'a closure between nodes is given up, with both frames')
def test_odometry_of_a_camera_is_named_with_the_base(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    for number, stamp in ((1, MATCH_NS), (3, QUERY_NS - 300_000_000), (4, QUERY_NS + SECOND)):
        node.inputs['info'](info(number, stamp))
    for step in range(-5, 6):
        odometry = stamped(Odometry(child_frame_id='camera'), QUERY_NS + step * 200_000_000)
        fill_pose(odometry.pose.pose, from_matrix(np.eye(4)))
        node.inputs['odom'](odometry)
    node.inputs['loop_closures'](closure_of(two_poses))
    assert (node.clients['add_link'].requests, bridge.waiting(), bridge.given_up) == ([], 0, 1)
    assert "'camera'" in node.problems[0]
    assert "'base_link'" in node.problems[0]


@pytest.mark.fault('topic', 'closures that a bridge cannot translate', 'reported, and it goes on')
def test_wrong_input_is_reported_and_the_bridge_goes_on(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    for number, stamp in ((1, MATCH_NS), (2, QUERY_NS)):
        node.inputs['info'](info(number, stamp))
    broken = closure_of(two_poses)
    broken.query_pose_in_match.pose.orientation.w = 0.0
    node.inputs['loop_closures'](broken)
    assert (bridge.given_up, bridge.waiting(), len(node.problems)) == (1, 0, 1)
    node.inputs['loop_closures'](closure_of(two_poses))
    assert node.sent == 1
    node.paused = True
    node.inputs['loop_closures'](closure_of(two_poses))
    assert node.sent == 1
    bridge.close()
    assert not node.inputs
    assert not node.timers


def test_cslams_images_go_on_and_its_ids_come_back(cslam_bridge, clock):
    node, bridge = cslam_bridge
    assert {topic for topic in node.inputs if topic.startswith('/')} == {'/r0/cslam/keyframe_odom',
                                                                         '/r2/cslam/keyframe_odom'}
    for number, stamp in ((7, MATCH_NS), (41, QUERY_NS)):
        node.inputs['cslam/keyframe_data'](swarm_keyframe(number, stamp))
        node.inputs['matches'](answer_of(query_robot=1, match_robot=1))
    assert [image.header.stamp.nanosec for image in node.outputs['~/image']] == [123456789, 987654321]
    node.timers[0]()
    local, again = node.outputs['cslam/local_keyframe_match']
    assert (local.keyframe0_id, local.keyframe1_id) == (again.keyframe0_id, again.keyframe1_id) == (41, 7)
    other = peers.make('cslam_common_interfaces/msg/KeyframeOdom')
    other.id = 5
    stamped(other.odom, MATCH_NS)
    node.inputs['/r2/cslam/keyframe_odom'](other)
    node.inputs['matches'](answer_of(query_robot=1, match_robot=2))
    between = node.outputs['/cslam/inter_robot_matches'][0].matches[0]
    assert (between.robot0_id, between.robot0_keyframe_id) == (1, 41)
    assert (between.robot1_id, between.robot1_keyframe_id) == (2, 5)
    node.inputs['matches'](answer_of(query_robot=1, match_robot=0))
    node.inputs['matches'](answer_of(status=PlaceMatchArray.NO_MATCH_LOW_SCORE))
    assert bridge.waiting() == 1
    clock[0] = 31.0
    node.timers[0]()
    assert 'not sent' in node.problems[-1]


def test_a_pose_graph_goes_out_at_once(hydra_bridge, two_poses):
    node, _ = hydra_bridge
    node.inputs['loop_closures'](closure_of(two_poses))
    graph, = node.outputs['external_loop_closures']
    assert graph.edges[0].key_to == MATCH_NS
    assert node.sent == 1


def test_stamps_of_the_tests_do_not_fit_a_float():
    assert to_time(QUERY_NS).nanosec == 987654321
    assert round(QUERY_NS / 1e9 * 1e9) != QUERY_NS
