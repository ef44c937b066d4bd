"""What back-ends and operators change in a map: optimised poses, and removals."""
from dataclasses import replace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.serialization import serialize_message

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.input.optimized_path import AT_ONCE, OptimizedPath
from segvlad_ros.ros.node.map_directory import keyframes_to_remove
from segvlad_ros.ros.output.conversions import to_keyframe_id, to_time
from segvlad_ros.srv import RemoveKeyframes
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, PlaceDescription, Pose, SegvladError

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def place_map(tmp_path):
    """Two sessions; keyframe n was seen n seconds after the start, n metres from it."""
    row = np.eye(1, 4, dtype=np.float32)
    place = PlaceDescription(row, np.ones((1, 4), np.int32), np.ones(1, np.int64))
    with PlaceMap.create(tmp_path / 'map.segvlad', {'digest': 'x'}, 4) as place_map:
        for session in ('a', 'b'):
            for index in (1, 2, 3):
                pose = Pose(np.array([index, 0.0, 0.0]), UPRIGHT, 'odom') if session == 'a' else None
                stamp = index * 10**9 + (10**12 if session == 'b' else 0)
                place_map.append(Keyframe(KeyframeId(0, session, index, stamp), place, pose=pose))
        yield place_map


def path(*poses):
    message = Path()
    message.header.frame_id = 'map'
    for seconds, x in poses:
        pose = PoseStamped()
        pose.header.stamp = to_time(round(seconds * 10**9))
        pose.pose.position.x, pose.pose.orientation.w = x, 1.0
        message.poses.append(pose)
    return message


def positions(place_map):
    """Of what a map says where it is; measured poses are never overwritten."""
    measured = [keyframe.pose for keyframe in place_map.keyframes() if keyframe.pose is not None]
    assert [(pose.frame, float(pose.translation[0])) for pose in measured] == [('odom', 1.0), ('odom', 2.0),
                                                                              ('odom', 3.0)]
    return [(pose.frame, float(pose.translation[0])) for pose in place_map.poses().values()]


def follow(follower, path, place_map):
    """Store what has moved, as map_builder does.

    :return: session and index of what has
    """
    moved = all_moved(follower, path)
    assert place_map.update_poses(moved) == len(moved)
    return [(identity.session_id, identity.index) for identity in moved]


def all_moved(follower, path, at_once=2):
    """All that has moved, in whatever steps."""
    follower.take(serialize_message(path))
    moved = {}
    while follower.waiting:
        left = follower.waiting
        moved |= follower.moved(at_once)
        assert follower.waiting == max(0, left - at_once)
    return moved


def test_keyframes_follow_the_optimised_path(place_map):
    follower = OptimizedPath(place_map.ids)
    assert follow(follower, path((1.0, 10.0), (2.5, 13.0)), place_map) == [('a', 1), ('a', 2)]
    assert positions(place_map) == [('map', 10.0), ('map', 12.0), ('odom', 3.0)]
    assert follow(follower, path((1.0, 10.0), (2.5, 13.0)), place_map) == []
    assert follow(follower, path((1.0, 10.0), (2.5, 16.0)), place_map) == [('a', 2)]
    assert positions(place_map)[1] == ('map', 14.0)


def test_only_the_keyframes_asked_for_move(place_map):
    second = place_map.ids()[1]
    moved = all_moved(OptimizedPath(lambda: [second]), path((1.0, 10.0), (2.0, 20.0)))
    assert list(moved) == [second]
    pose = moved[second].map_from_base
    assert (pose.frame, pose.translation[0]) == ('map', 20.0)


@pytest.mark.fault('topic', 'an optimised path with NaN', 'that pose is passed over')
def test_a_pose_that_is_none_is_passed_over(place_map):
    broken = path((1.0, 10.0), (2.0, 20.0))
    broken.poses[0].pose.orientation.w = 0.0
    assert follow(OptimizedPath(place_map.ids), broken, place_map) == [('a', 2)]
    assert positions(place_map) == [('odom', 1.0), ('map', 20.0), ('odom', 3.0)]


def test_of_poses_with_one_stamp_the_last_counts_in_whatever_order_they_come(place_map):
    unordered = path((2.0, 20.0), (1.0, 10.0), (2.0, 22.0))
    assert follow(OptimizedPath(place_map.ids), unordered, place_map) == [('a', 1), ('a', 2)]
    assert positions(place_map)[1] == ('map', 22.0)


def test_an_empty_path_and_an_empty_map_move_nothing(place_map):
    assert all_moved(OptimizedPath(place_map.ids), path()) == {}
    assert all_moved(OptimizedPath(list), path((1.0, 10.0))) == {}


def test_keyframes_that_are_added_follow_too(place_map):
    first, second, *_ = place_map.ids()
    follower = OptimizedPath(lambda: [first])
    follower.add(first)  # before the first path, nobody has asked yet
    assert list(all_moved(follower, path((1.0, 10.0), (1.5, 15.0)))) == [first]
    follower.add(second)
    assert all_moved(follower, path((1.0, 10.0), (1.5, 15.0))) == {}  # not that far yet
    assert list(all_moved(follower, path((1.0, 10.0), (1.5, 15.0), (2.0, 20.0)))) == [second]
    assert all_moved(follower, path((1.0, 10.0), (1.5, 15.0), (2.0, 20.0), (2.5, 25.0))) == {}


@pytest.mark.fault('memory', 'keyframes that leave the map under an optimised path',
                   'they are moved and shown no more, and nothing of them stays')
def test_keyframes_that_are_removed_follow_no_longer(place_map):
    first, second, third, *_ = place_map.ids()
    follower = OptimizedPath(place_map.ids)
    all_moved(follower, path((1.0, 10.0), (3.0, 30.0)))
    follower.remove([second])
    assert list(all_moved(follower, path((1.0, 11.0), (3.0, 31.0)))) == [first, third]
    follower.add(second)  # it has come again
    assert list(all_moved(follower, path((1.0, 11.0), (3.0, 31.0)))) == [second]


def test_keyframes_that_come_and_go_for_months_are_not_followed_for_ever():
    ids = [KeyframeId(0, 'a', index, index * 10**8) for index in range(2000)]
    follower = OptimizedPath(lambda: ids[:50])
    all_moved(follower, path((0.0, 0.0), (0.5, 5.0)), at_once=100)
    for old, new in zip(ids, ids[50:]):
        follower.remove([old])
        follower.add(new)
    assert len(follower) <= 50 + AT_ONCE + 1
    assert set(all_moved(follower, path(*((float(second), 2.0 * second) for second in range(201))), 1000)) == {
        *ids[-50:]}


def test_small_corrections_add_up(place_map):
    follower, seen = OptimizedPath(place_map.ids), []
    for step in range(11):
        for pose in all_moved(follower, path((1.0, 10 + 0.0004 * step), (3.0, 10 + 0.0004 * step))).values():
            seen.append(pose.map_from_base.translation[0])
    assert max(seen) > 10.003


def test_a_newer_path_counts_while_pieces_of_the_older_one_wait(place_map):
    follower = OptimizedPath(place_map.ids)
    follower.take(serialize_message(path((1.0, 10.0), (3.0, 30.0))))
    assert [pose.map_from_base.translation[0] for pose in follower.moved(1).values()] == [10.0]
    moved = all_moved(follower, path((1.0, 11.0), (3.0, 31.0)))
    assert [pose.map_from_base.translation[0] for pose in moved.values()] == [11.0, 21.0, 31.0]


def test_another_frame_moves_everything(place_map):
    follower, first = OptimizedPath(place_map.ids), path((1.0, 10.0), (2.0, 20.0))
    assert len(all_moved(follower, first)) == 2
    first.header.frame_id = 'earth'
    moved = all_moved(follower, first)
    assert {pose.map_from_base.frame for pose in moved.values()} == {'earth'}
    assert len(moved) == 2


@pytest.mark.fault('topic', 'an optimised path where the clock of each session begins at 0 (simulation, a bag again)',
                   'keyframes of the other sessions keep their poses; a warning')
def test_a_path_moves_no_keyframe_of_a_session_with_another_clock(caplog):
    """Yesterday's drive took 600 s, today's has the same stamps and goes elsewhere."""
    yesterday = [KeyframeId(0, 'yesterday', index, index * 10**9) for index in range(1, 601)]
    today = [KeyframeId(0, 'today', index, index * 10**9) for index in range(2, 700)]
    behind = [KeyframeId(0, 'today', index, index * 10**9, 'behind') for index in range(2, 30)]
    follower = OptimizedPath(lambda: yesterday)
    begun = path((0.0, 0.0), (1.5, 15.0), (3.0, 30.0))
    assert all_moved(follower, begun, at_once=1000) == {}  # today's, before any keyframe
    follower.run(today[0])
    follower.add(today[0])
    assert list(all_moved(follower, begun, at_once=1000)) == today[:1]
    for keyframe in today[1:]:
        follower.run(keyframe)
    for keyframe in today[1:] + behind:
        follower.add(keyframe)
    drive = path(*((float(second), 10.0 * second) for second in range(701)))
    assert set(all_moved(follower, drive, at_once=1000)) == {*today[1:], *behind}
    assert caplog.text.count('keyframes of session yesterday keep their poses') == 1
    follower.restart()  # the map is read anew, the session goes on
    assert all_moved(follower, drive, at_once=1000) == {}


def test_of_two_stored_sessions_with_one_clock_the_younger_one_is_moved():
    """The map_builder came up again in the middle of today's drive, of which some keyframes were stored before."""
    yesterday = [KeyframeId(0, 'yesterday', index, index * 10**9) for index in range(1, 101)]
    today = [KeyframeId(0, 'today', index, index * 10**9) for index in range(1, 51)]
    drive = path(*((float(second), 10.0 * second) for second in range(121)))
    assert set(all_moved(OptimizedPath(lambda: yesterday + today), drive, at_once=1000)) == {*today}
    other_robot = [KeyframeId(1, 'other', index, index * 10**9) for index in range(1, 51)]
    follower = OptimizedPath(lambda: today + other_robot)
    assert set(all_moved(follower, drive, at_once=1000)) == {*today, *other_robot}  # nothing says that it is not its


def chosen(place_map, **fields):
    return [(identity.session_id, identity.index)
            for identity in keyframes_to_remove(RemoveKeyframes.Request(**fields), place_map)]


def test_conditions_of_a_removal_are_joined(place_map):
    some = [to_keyframe_id(identity) for identity in place_map.ids() if identity.index == 2]
    assert chosen(place_map, session_id='b') == [('b', 1), ('b', 2), ('b', 3)]
    assert chosen(place_map, keyframes=some) == [('a', 2), ('b', 2)]
    assert chosen(place_map, keyframes=some, session_id='a') == [('a', 2)]
    center = PoseStamped()
    center.header.frame_id = 'odom'
    center.pose.position.x = 3.0
    assert chosen(place_map, center=center, radius=1.5) == [('a', 2), ('a', 3)]


def test_a_center_in_the_odometry_of_several_sessions_needs_the_session(place_map):
    """Each one's began elsewhere; what a back-end has placed lies in one frame."""
    again = KeyframeId(0, 'c', 1, 2 * 10**12)
    place_map.append(replace(place_map.keyframe(place_map.ids()[1]), id=again))  # where session a saw its second one
    around = PoseStamped()
    around.header.frame_id = 'odom'
    around.pose.position.x = 2.0
    with pytest.raises(SegvladError, match=r"'odom' begins elsewhere .* \(a, c\): name the session"):
        chosen(place_map, center=around, radius=0.5)
    assert chosen(place_map, center=around, radius=0.5, session_id='c') == [('c', 1)]
    assert chosen(place_map, center=around, radius=0.5, keyframes=[to_keyframe_id(again)]) == [('c', 1)]
    moved = Pose(np.array([2.0, 0.0, 0.0]), UPRIGHT, 'map')
    place_map.update_poses({identity: OptimizedPose(moved) for identity in (place_map.ids()[0], again)})
    around.header.frame_id = 'map'
    assert chosen(place_map, center=around, radius=0.5) == [('a', 1), ('c', 1)]


def test_a_session_that_is_not_there_is_said_with_those_that_are(place_map):
    with pytest.raises(SegvladError, match="no keyframe of session 'c'; the sessions are a, b"):
        chosen(place_map, session_id='c')


@pytest.mark.fault('service', '`remove_keyframes` without any condition', 'refused')
def test_a_removal_of_everything_or_in_another_frame_is_refused(place_map):
    with pytest.raises(SegvladError, match='whole map'):
        chosen(place_map)
    with pytest.raises(SegvladError, match='odom'):
        chosen(place_map, radius=1.0)
