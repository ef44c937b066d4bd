"""When an initial pose goes out, and to whom: AMCL throws its particles away for each."""
import pytest
from stand_in_node import StandIn
from test_bridges import answer_of

from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.ros.bridges.base_bridge import MOST
from segvlad_ros.ros.bridges.initial_pose import InitialPose, Relocalisation

MATCHED, MISSED = PlaceMatchArray.MATCHED, PlaceMatchArray.NO_MATCH_LOW_SCORE


def answer(session='run', camera='', status=MATCHED, world=None):
    message = answer_of(world, session=session, status=status)
    message.query.camera = camera
    return message


def dues(relocalisation, *answers):
    """Whether a pose is due at each answer; it goes out at once."""
    found = []
    for message in answers:
        relocalisation.take(message)
        found.append(relocalisation.due)
        relocalisation.due = False
    return found


# several cameras

@pytest.mark.fault('topic', 'answers of two cameras, each of a session of its own, on one topic', 'one initial pose '
                   'for each session, not for each answer: AMCL begins anew with each')
def test_sessions_in_turn_are_no_new_starts():
    turns = [answer(*who) for who in (('front-run', 'front'), ('rear-run', 'rear'))] * 10
    assert dues(Relocalisation(30), *turns) == [True, True] + [False] * 18


def test_a_session_is_known_for_as_long_as_it_goes_on():
    relocalisation = Relocalisation(30)
    dues(relocalisation, answer('run'))
    for number in range(2 * MOST):
        assert dues(relocalisation, answer(f'{number}'), answer('run')) == [True, False]
    assert dues(relocalisation, answer('0')) == [True]  # long ago


def test_a_robot_is_not_lost_while_one_of_its_cameras_finds_the_place():
    relocalisation = Relocalisation(lost_after=3)
    dues(relocalisation, answer())
    assert not any(dues(relocalisation, *[answer(camera='rear', status=MISSED), answer(camera='front')] * 5))


def test_each_camera_counts_its_own_misses():
    relocalisation = Relocalisation(lost_after=3)
    dues(relocalisation, answer())
    both = [answer(camera=camera, status=MISSED) for camera in ('front', 'rear')]
    assert dues(relocalisation, *both * 3) == [False] * 4 + [True] * 2


# who listens

@pytest.fixture
def initial_pose_bridge(clock):
    node = StandIn(clock)
    bridge = InitialPose(node)
    bridge.open()
    return node, bridge


@pytest.mark.fault('topic', 'a recorder listens on `initialpose` before AMCL does', 'who comes later gets a pose')
def test_a_pose_is_due_for_who_comes_later(initial_pose_bridge, two_poses):
    node, _ = initial_pose_bridge
    poses = node.outputs['initialpose']

    def drive():
        for _ in range(3):
            node.inputs['matches'](answer(world=two_poses))
        return len(poses)
    assert drive() == 1  # ros2 bag record -a
    node.listeners = 2  # AMCL
    assert drive() == 2
    node.listeners = 1  # AMCL ends ...
    node.timers[0]()
    node.listeners = 2  # ... and is started again, while the robot stands: no answer came in between
    assert drive() == 3
    node.listeners = 1
    assert drive() == 3


def test_a_pose_that_nobody_listens_to_waits(initial_pose_bridge, two_poses):
    node, _ = initial_pose_bridge
    node.listeners = 0
    node.inputs['matches'](answer(world=two_poses))
    assert not node.outputs['initialpose']
    assert 'nobody listens' in node.problems[-1]
    node.listeners = 1
    node.inputs['matches'](answer(world=two_poses))
    assert len(node.outputs['initialpose']) == 1
