"""Bridges by numbers: which end is which, which axes and order a covariance has, stamps to the nanosecond.

World poses of both ends are drawn at random. A back-end is played as its source reads the message, and has to find the
second end where it is; covariances are compared with those of a numerical differentiation.
"""
import importlib.util
import math

import numpy as np
import peer_interfaces as peers
import pytest
from scipy.linalg import eigh
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import from_matrix, identity, to_matrix
from segvlad_ros.msg import KeyframeId, LoopClosure, PlaceMatch, PlaceMatchArray
from segvlad_ros.ros.bridges import cslam, pose_graph_tools, rtabmap
from segvlad_ros.ros.bridges.initial_pose import UNKNOWN, Relocalisation, is_metric, to_initial_pose
from segvlad_ros.ros.bridges.rtabmap_nodes import Located
from segvlad_ros.ros.output.conversions import fill_pose, to_pose_with_covariance, to_time
from segvlad_ros.types import Pose, SegvladError

MATCH_NS, QUERY_NS = 1_700_000_000_123_456_789, 1_700_000_321_987_654_321
GRAPH = pose_graph_tools.PoseGraphToolsTypes(*(peers.maker(f'pose_graph_tools_msgs/msg/{name}')
                                 for name in ('PoseGraph', 'PoseGraphEdge')))
ADD_LINK = peers.maker('rtabmap_msgs/msg/AddLink_Request')
CSLAM = cslam.CslamTypes(*(peers.maker(f'cslam_common_interfaces/msg/{name}') for name in (
    'LocalKeyframeMatch', 'InterRobotMatches', 'InterRobotMatch', 'KeyframeRGB', 'KeyframeOdom')))


def random_matrix(rng):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=rng.integers(2**31)).as_matrix()
    matrix[:3, 3] = rng.uniform(-5, 5, 3)
    return matrix


@pytest.fixture(params=range(5))
def world(request):
    """World poses of match and query, and an anisotropic covariance that couples everything."""
    rng = np.random.default_rng(request.param)
    root = rng.normal(size=(6, 6)) * np.array([0.1, 0.02, 0.3, 0.01, 0.05, 0.002])[:, None]
    return random_matrix(rng), random_matrix(rng), root @ root.T + np.diag([1e-4, 2e-4, 3e-4, 1e-6, 2e-6, 3e-6])


def closure_of(world, covariance=True, query_robot=3, match_robot=1):
    match, query, spread = world
    message = LoopClosure(
        match=KeyframeId(robot_id=match_robot, index=4, stamp=to_time(MATCH_NS)),
        query=KeyframeId(robot_id=query_robot, index=9, stamp=to_time(QUERY_NS)), base_frame='base_link',
        query_pose_in_match=to_pose_with_covariance(
            from_matrix(np.linalg.inv(match) @ query, '', spread if covariance else None)), scale_source='depth')
    message.header.stamp = to_time(QUERY_NS)
    return message


def matrix_of(translation, rotation):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([rotation.x, rotation.y, rotation.z, rotation.w]).as_matrix()
    matrix[:3, 3] = translation.x, translation.y, translation.z
    return matrix


def disturbed(matrix, error):
    """A pose with an error as geometry_msgs/PoseWithCovariance means it: fixed axes of the parent."""
    result = matrix.copy()
    result[:3, 3] += error[:3]
    result[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ matrix[:3, :3]
    return result


def tangent_error(matrix, other):
    """x of ``other = matrix exp(x)`` for small x, translation first."""
    step = np.linalg.inv(matrix) @ other
    return np.concatenate([step[:3, 3], Rotation.from_matrix(step[:3, :3]).as_rotvec()])


def fixed_error(matrix, other):
    """The error that :func:`disturbed` makes ``other`` of ``matrix`` with."""
    turn = Rotation.from_matrix(other[:3, :3] @ matrix[:3, :3].T).as_rotvec()
    return np.concatenate([other[:3, 3] - matrix[:3, 3], turn])


def differentiated(measure, relative, covariance, error_of):
    """Covariance of ``measure(relative)`` by central differences."""
    centre, step, columns = measure(relative), 1e-6, []
    for axis in np.eye(6):
        ahead, behind = (error_of(centre, measure(disturbed(relative, sign * step * axis))) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = np.column_stack(columns)
    return jacobian @ covariance @ jacobian.T


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


def same_covariance(got, wanted):
    """Equal in every direction, however small its variance is."""
    np.testing.assert_allclose(got, got.T, rtol=1e-6, atol=1e-12 * np.abs(got).max())
    np.testing.assert_allclose(eigh(got, wanted, eigvals_only=True), 1, atol=1e-4)


# pose_graph_tools

def test_hydra_finds_the_query_from_the_match(world):
    match, query, _ = world
    graph = peers.over_the_wire(pose_graph_tools.to_pose_graph(closure_of(world), GRAPH))
    edge, = graph.edges
    assert len(graph.nodes) == 0
    assert edge.type == 1
    nodes = {(1, MATCH_NS): match, (3, QUERY_NS): query}  # Hydra looks nodes up by robot and stamp in nanoseconds
    world_from_from = nodes[edge.robot_from, edge.key_from]
    world_from_to = nodes[edge.robot_to, edge.key_to]
    to_from_from = matrix_of(edge.pose.position, edge.pose.orientation)  # as Hydra reads it: to_T_from
    close(world_from_to @ to_from_from, world_from_from)
    assert not np.allclose(world_from_from @ to_from_from, world_from_to, atol=0.1)
    assert (edge.header.stamp.sec, edge.header.stamp.nanosec) == divmod(QUERY_NS, 10**9)
    assert graph.header.stamp == edge.header.stamp


def test_hydra_gets_gtsams_covariance(world):
    match, query, spread = world
    edge, = peers.over_the_wire(pose_graph_tools.to_pose_graph(closure_of(world), GRAPH)).edges
    translation_first = differentiated(lambda pose: pose, np.linalg.inv(match) @ query, spread, tangent_error)
    swapped = np.roll(np.roll(translation_first, 3, axis=0), 3, axis=1)
    same_covariance(edge.covariance.reshape(6, 6), swapped)
    assert not np.allclose(edge.covariance.reshape(6, 6), translation_first, rtol=0.1)


def test_an_unknown_covariance_stays_unknown(world):
    edge, = pose_graph_tools.to_pose_graph(closure_of(world, covariance=False), GRAPH).edges
    assert not edge.covariance.any()


def test_what_a_pose_graph_cannot_hold_is_refused(world):
    with pytest.raises(SegvladError, match='int32'):
        pose_graph_tools.to_pose_graph(closure_of(world, query_robot=2**31), GRAPH)
    broken = closure_of(world)
    broken.query_pose_in_match.pose.position.x = math.nan
    with pytest.raises(SegvladError, match='finite'):
        pose_graph_tools.to_pose_graph(broken, GRAPH)


# rtabmap

def test_rtabmap_finds_the_match_from_the_query(world):
    match, query, spread = world
    request = rtabmap.to_add_link(closure_of(world), Located(77, identity()), Located(12, identity()), ADD_LINK)
    link = peers.over_the_wire(request).link
    assert (link.from_id, link.to_id, link.type) == (77, 12, 4)
    nodes = {77: query, 12: match}
    from_from_to = matrix_of(link.transform.translation, link.transform.rotation)
    close(nodes[link.from_id] @ from_from_to, nodes[link.to_id])
    assert not np.allclose(nodes[link.to_id] @ from_from_to, nodes[link.from_id], atol=0.1)
    covariance = differentiated(np.linalg.inv, np.linalg.inv(match) @ query, spread, tangent_error)
    same_covariance(np.linalg.inv(link.information.reshape(6, 6)), covariance)
    assert not np.allclose(link.information.reshape(6, 6), np.linalg.inv(spread), rtol=0.1)


def test_odometry_moves_a_link_from_the_keyframes_to_the_nodes(world):
    match, query, spread = world
    rng = np.random.default_rng(len(world))
    moves = [random_matrix(rng) for _ in range(2)]  # keyframe_from_node at either end
    nodes = {5: query @ moves[0], 6: match @ moves[1]}
    ends = [Located(node_id, from_matrix(np.linalg.inv(move))) for node_id, move in zip(nodes, moves)]
    link = peers.over_the_wire(rtabmap.to_add_link(closure_of(world), *ends, ADD_LINK)).link
    close(nodes[link.from_id] @ matrix_of(link.transform.translation, link.transform.rotation), nodes[link.to_id])

    def link_of(match_from_query):
        return np.linalg.inv(np.linalg.inv(moves[1]) @ match_from_query @ moves[0])
    covariance = differentiated(link_of, np.linalg.inv(match) @ query, spread, tangent_error)
    same_covariance(np.linalg.inv(link.information.reshape(6, 6)), covariance)


def test_rtabmap_always_gets_a_finite_positive_information(world):
    match, query, spread = world
    unknown = rtabmap.to_add_link(closure_of(world, covariance=False), Located(2, identity()), Located(1, identity()),
                                  ADD_LINK).link
    close(unknown.information.reshape(6, 6), np.eye(6))
    planar = np.diag([0.01, 0.04, 0, 0, 0, 0.001])
    flat = rtabmap.to_add_link(closure_of((match, query, planar)), Located(2, identity()), Located(1, identity()),
                               ADD_LINK).link
    assert np.isfinite(flat.information).all()
    assert np.diag(flat.information.reshape(6, 6)).min() > 0
    for wrong in (np.diag([1, 1, 1, 1, 1, -1.0]), np.full((6, 6), np.inf)):
        with pytest.raises(SegvladError, match='covariance'):
            rtabmap.to_add_link(closure_of((match, query, wrong)), Located(2, identity()), Located(1, identity()),
                                ADD_LINK)


# cslam

def answer_of(world=None, *, query_robot=0, match_robot=0, probability=math.nan, session='run', frame='map',
              status=PlaceMatchArray.MATCHED, covariance=True):
    query = KeyframeId(robot_id=query_robot, index=9, stamp=to_time(QUERY_NS), session_id=session)
    best = PlaceMatch(query=query, match=KeyframeId(robot_id=match_robot, index=4, stamp=to_time(MATCH_NS)),
                      score=0.5, probability=probability)
    if world is not None:
        best.has_relative_pose = True
        best.query_pose_in_match = closure_of(world, covariance).query_pose_in_match
        best.match_pose.header.frame_id = frame
        fill_pose(best.match_pose.pose, from_matrix(world[0]))
    message = PlaceMatchArray(query=query, status=status, matches=[best], base_frame='base_link')
    message.header.stamp = query.stamp
    return message


def keyframes(*known):
    table = cslam.CslamKeyframes()
    for robot_id, stamp_ns, number in sorted(known):
        table.add(robot_id, stamp_ns, number)
    return table.id_of


def test_cslam_gets_its_own_ids_query_first():
    known = keyframes((0, QUERY_NS, 41), (0, MATCH_NS, 7), (1, MATCH_NS, 8))
    match = peers.over_the_wire(cslam.to_cslam_match(answer_of(), known, CSLAM))
    assert (match.keyframe0_id, match.keyframe1_id) == (41, 7)


@pytest.mark.parametrize(('probability', 'weight'), [(math.nan, 0.5), (0.75, 0.75)])
def test_cslam_matches_two_robots(probability, weight):
    known = keyframes((0, QUERY_NS, 41), (0, MATCH_NS, 7), (2, MATCH_NS, 8))
    message = peers.over_the_wire(cslam.to_cslam_match(
        answer_of(match_robot=2, probability=probability), known, CSLAM))
    match, = message.matches
    assert (match.robot0_id, match.robot0_keyframe_id) == (0, 41)
    assert (match.robot1_id, match.robot1_keyframe_id) == (2, 8)
    assert match.weight == weight
    assert message.robot_id == 2**32 - 1  # nobody's: a robot ignores its own


@pytest.mark.parametrize('known', [((0, QUERY_NS, 41),), ((0, MATCH_NS, 7),),
                                   ((0, QUERY_NS + 1, 41), (0, MATCH_NS, 7))])
def test_cslam_waits_for_unknown_ids(known):
    assert cslam.to_cslam_match(answer_of(), keyframes(*known), CSLAM) is None


# initial pose

def test_the_initial_pose_is_where_the_query_is(world):
    match, query, spread = world
    message = to_initial_pose(answer_of(world), 'map')
    close(matrix_of(message.pose.pose.position, message.pose.pose.orientation), query)
    assert message.header.frame_id == 'map'
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(QUERY_NS, 10**9)
    turned = differentiated(lambda pose: match @ pose, np.linalg.inv(match) @ query, spread, fixed_error)
    same_covariance(np.reshape(message.pose.covariance, (6, 6)), turned)
    assert not np.allclose(turned, spread, rtol=0.1)
    wider = np.reshape(to_initial_pose(answer_of(world), 'map', 0.1, 0.05).pose.covariance, (6, 6))
    close(wider - turned, np.diag([0.01] * 3 + [0.0025] * 3))


def test_an_initial_pose_of_unknown_covariance_is_wide(world):
    message = to_initial_pose(answer_of(world, covariance=False), 'map')
    close(np.reshape(message.pose.covariance, (6, 6)), UNKNOWN)


def test_an_initial_pose_in_another_frame_is_refused(world):
    with pytest.raises(SegvladError, match='are in odom, not in map'):
        to_initial_pose(answer_of(world, frame='odom'), 'map')


def test_only_metric_matches_of_known_keyframes_are_initial_poses(world):
    assert is_metric(answer_of(world))
    assert not is_metric(answer_of())
    assert not is_metric(answer_of(world, frame=''))
    assert not is_metric(answer_of(world, status=PlaceMatchArray.NO_MATCH_GEOMETRIC))
    assert not is_metric(PlaceMatchArray(status=PlaceMatchArray.MATCHED))


def test_a_pose_is_due_at_the_start_and_when_lost():
    relocalisation = Relocalisation(lost_after=3)
    assert relocalisation.due

    def take(status, session='run'):
        relocalisation.take(answer_of(status=status, session=session))
        return relocalisation.due
    assert take(PlaceMatchArray.MATCHED)
    relocalisation.due = False
    assert not take(PlaceMatchArray.MATCHED)
    misses = [PlaceMatchArray.NO_MATCH_LOW_SCORE, PlaceMatchArray.NO_MATCH_AMBIGUOUS]
    assert [take(status) for status in misses] == [False, False]
    assert not take(PlaceMatchArray.MATCHED)  # found again in time
    others = [PlaceMatchArray.QUERY_REJECTED, PlaceMatchArray.MAP_ONLY_RECENT]  # say nothing about the place
    assert [take(status) for status in others * 3] == [False] * 6
    assert [take(PlaceMatchArray.NO_MATCH_TEMPORAL) for _ in range(3)] == [False, False, True]
    relocalisation.due = False
    assert take(PlaceMatchArray.MATCHED, session='after a reboot')


def test_a_robot_that_cannot_be_lost():
    relocalisation = Relocalisation(lost_after=0)
    relocalisation.take(answer_of())
    relocalisation.due = False
    for _ in range(5):
        relocalisation.take(answer_of(status=PlaceMatchArray.NO_MATCH_LOW_SCORE))
    assert not relocalisation.due


# packages that are not installed

@pytest.mark.parametrize(('bridge', 'package', 'how'), [
    (pose_graph_tools, 'pose_graph_tools_msgs', 'github.com/MIT-SPARK'),
    (rtabmap, 'rtabmap_msgs', 'apt install ros-'), (cslam, 'cslam_common_interfaces', 'github.com/lajoiepy')])
def test_a_missing_package_is_named_with_how_to_get_it(bridge, package, how):
    if importlib.util.find_spec(package):
        assert bridge.load_types()
        return
    with pytest.raises(SegvladError, match=package) as error:
        bridge.load_types()
    assert how in str(error.value)
    assert '\n' not in str(error.value)


def test_poses_of_the_test_are_asymmetric(world):
    relative = np.linalg.inv(world[0]) @ world[1]
    assert not np.allclose(relative, np.linalg.inv(relative), atol=0.1)
    assert isinstance(from_matrix(relative), Pose)
    np.testing.assert_allclose(to_matrix(from_matrix(relative)), relative, atol=1e-12)
