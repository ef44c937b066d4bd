"""Matches of earlier sessions: handed on where the clock went on from run to run, refused where each began at 0."""
import pytest
from stand_in_node import SECOND, info, stamped
from test_bridges import answer_of, closure_of

from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.ros.bridges.base_bridge import MOST, SessionStarts
from segvlad_ros.ros.output.conversions import from_time, to_time
from segvlad_ros.types import SegvladError

YESTERDAY, TODAY = 'yesterday', 'today'


def between(message, match, query, robots=(1, 1)):
    """A closure, or the best match of an answer, between (session, seconds) and (session, seconds)."""
    ends = message.matches[0] if isinstance(message, PlaceMatchArray) else message
    for end, (session, seconds), robot in zip((ends.match, ends.query), (match, query), robots):
        end.session_id, end.stamp, end.robot_id = session, to_time(seconds * SECOND), robot
    return message


def answered(seconds, session=TODAY, robot=1):
    """An answer without a match."""
    answer = answer_of(status=PlaceMatchArray.NO_MATCH_LOW_SCORE, query_robot=robot, session=session)
    answer.query.stamp = to_time(seconds * SECOND)
    return answer


@pytest.mark.fault('clock', 'a bridge, a known map, and a clock that begins at 0 each run: stamps of two sessions are '
                   'of one span', 'closures with the other session are given up with the reason')
def test_hydra_gets_no_edge_with_a_session_of_another_clock(hydra_bridge, two_poses):
    node, bridge = hydra_bridge
    edges = node.outputs['external_loop_closures']
    node.inputs['matches'](answered(1))
    node.inputs['loop_closures'](between(closure_of(two_poses), (YESTERDAY, 50), (TODAY, 80)))
    assert (edges, bridge.given_up) == ([], 1)
    assert "session 'yesterday'" in node.problems[-1]
    assert 'known_map' in node.problems[-1]
    node.inputs['loop_closures'](between(closure_of(two_poses), (TODAY, 50), (TODAY, 80)))
    node.inputs['loop_closures'](between(closure_of(two_poses), (YESTERDAY, 50), (TODAY, 80), robots=(2, 1)))
    assert len(edges) == 2  # of another robot nobody knows when its session began: it may run now


def test_what_closures_tell_of_a_sessions_start_counts_too(hydra_bridge, two_poses):
    node, bridge = hydra_bridge
    node.inputs['loop_closures'](between(closure_of(two_poses), (TODAY, 50), (TODAY, 80)))
    node.inputs['loop_closures'](between(closure_of(two_poses), (YESTERDAY, 60), (TODAY, 90)))
    assert (node.sent, bridge.given_up) == (1, 1)


def test_sessions_on_one_clock_are_handed_on_as_before(hydra_bridge, two_poses):
    node, bridge = hydra_bridge
    node.inputs['matches'](answered(1_000))
    node.inputs['loop_closures'](between(closure_of(two_poses), (YESTERDAY, 50), (TODAY, 1_080)))
    assert (node.sent, bridge.given_up) == (1, 0)


def test_rtabmap_gets_no_link_with_a_session_of_another_clock(rtabmap_bridge, two_poses):
    node, bridge = rtabmap_bridge
    node.inputs['matches'](answered(1))
    for seconds in range(1, 91):
        node.inputs['info'](info(seconds, seconds * SECOND))
    node.inputs['loop_closures'](between(closure_of(two_poses), (YESTERDAY, 50), (TODAY, 80)))
    assert (node.clients['add_link'].requests, bridge.waiting(), bridge.given_up) == ([], 0, 1)


def test_swarm_slam_gets_no_pair_with_a_session_of_another_clock(cslam_bridge):
    node, bridge = cslam_bridge
    keyframe = bridge._types.keyframe()
    for number in range(90):
        keyframe.id = number
        stamped(keyframe.image, number * SECOND)
        node.inputs['cslam/keyframe_data'](keyframe)
    node.inputs['matches'](answered(1))
    node.inputs['matches'](between(answer_of(query_robot=1, session=TODAY), (YESTERDAY, 50), (TODAY, 80)))
    assert (node.outputs['cslam/local_keyframe_match'], bridge.waiting(), bridge.given_up) == ([], 0, 1)


def test_a_session_that_ended_on_another_clock_while_the_bridge_ran():
    starts = SessionStarts()
    for session, seconds in ((YESTERDAY, 10), (YESTERDAY, 60), (TODAY, 20)):
        starts.note(answered(seconds, session).query)
    old, new = answered(30, YESTERDAY).query, answered(40).query
    with pytest.raises(SegvladError, match='another clock'):
        starts.check(new, old)
    starts.check(new, answered(19, YESTERDAY).query)


def test_only_so_many_sessions_are_remembered():
    starts = SessionStarts()
    for number in range(MOST + 1):
        starts.note(answered(1, session=str(number)).query)
        starts.note(answered(1).query)
    assert len(starts) == MOST
    assert from_time(answered(1).query.stamp) == SECOND
    with pytest.raises(SegvladError):
        starts.check(answered(2).query, answered(1, YESTERDAY).query)
