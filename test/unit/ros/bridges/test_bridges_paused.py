"""``~/pause``, and answers that never come: what a bridge knows of the back-end goes on, or is asked for anew."""
from types import SimpleNamespace

import pytest
from stand_in_node import SECOND, database, info, swarm_keyframe
from test_bridges import MATCH_NS, QUERY_NS, answer_of, closure_of


@pytest.mark.fault('service', 'closures after a `~/pause` of a bridge, with keyframes that the back-end made during it',
                   'handed on: only closures are paused')
def test_nodes_of_rtabmap_are_learned_while_paused(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    links = node.clients['add_link'].requests
    node.paused = True
    node.inputs['loop_closures'](closure_of(two_poses))
    for number, stamp in ((1, MATCH_NS), (2, QUERY_NS)):
        node.inputs['info'](info(number, stamp))
    assert (links, bridge.waiting()) == ([], 0)
    node.paused = False
    node.inputs['loop_closures'](closure_of(two_poses))
    assert len(links) == 1


def test_keyframes_of_swarm_slam_are_learned_while_paused(cslam_bridge):
    node, bridge = cslam_bridge
    node.paused = True
    for number, stamp in ((7, MATCH_NS), (41, QUERY_NS)):
        node.inputs['cslam/keyframe_data'](swarm_keyframe(number, stamp))
    node.inputs['matches'](answer_of(query_robot=1, match_robot=1))
    assert not node.outputs['cslam/local_keyframe_match']
    node.paused = False
    node.inputs['matches'](answer_of(query_robot=1, match_robot=1))
    assert len(node.outputs['cslam/local_keyframe_match']) == 1
    assert len(node.outputs['~/image']) == 2  # our nodes have pauses of their own


@pytest.fixture
def asked(rtabmap_bridge, two_poses):
    """A bridge that has asked for the database, and a function that lets a closure come."""
    node, _ = rtabmap_bridge
    node.inputs['info'](info(300, QUERY_NS))

    def come():
        node.inputs['loop_closures'](closure_of(two_poses))
    come()
    service = node.clients['get_map_data2']
    assert len(service.requests) == 1
    return node, service, come


@pytest.mark.fault('service', 'the answer of the database of RTAB-Map is lost', 'asked again after `hold_timeout_s`')
def test_a_lost_answer_of_the_database_is_asked_for_again(asked, clock):
    node, service, come = asked
    clock[0] = 29.0
    node.timers[0]()
    come()
    assert len(service.requests) == 1
    clock[0] = 31.0
    node.timers[0]()  # the first closure is given up
    come()
    assert (len(service.requests), service.abandoned) == (2, 1)
    service.answer = database_of_yesterday()
    node.timers[0]()
    assert [request.link.to_id for request in node.clients['add_link'].requests] == [17, 17]
    clock[0] = 100.0
    node.timers[0]()
    come()
    assert len(service.requests) == 2


@pytest.mark.parametrize('answered', [False, True])
def test_an_rtabmap_that_was_started_again_is_asked_again(asked, answered):
    node, service, come = asked
    if answered:
        service.answer = database_of_yesterday(stamp_ns=MATCH_NS + 50 * SECOND)
        node.timers[0]()
        come()
        assert len(service.requests) == 1
    service.ready, service.answer = False, None
    node.timers[0]()
    assert service.abandoned == (0 if answered else 1)
    service.ready = True
    node.timers[0]()
    assert len(service.requests) == 2


def database_of_yesterday(stamp_ns=MATCH_NS):
    return SimpleNamespace(data=database((17, stamp_ns / 1e9, 0)))
