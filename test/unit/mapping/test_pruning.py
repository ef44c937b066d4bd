"""Which keyframes go, by which rule, and that the rest stays as it was."""
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from map_samples import make_keyframe

from segvlad_ros.cli import main
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.pruning import PlacedKeyframe, Selection, least_missed, prune, to_prune
from segvlad_ros.types import KeyframeId, OptimizedPose, Pose, SegvladError

SECOND = 10**9


def at(index, x, yaw=0.0, frame='odom', session='a'):
    pose = None if x is None else Pose(np.array([x, 0.0, 0.0]), np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]),
                                       frame)
    return PlacedKeyframe(KeyframeId(0, session, index, index * SECOND), pose)


def gone(keyframes, number):
    return [identity.index for identity in least_missed(keyframes, number)]


@pytest.fixture
def place_map(tmp_path):
    """Ten keyframes of session a every half metre, ten of b, optimised, that are 10 m further."""
    with PlaceMap.create(tmp_path / 'map.segvlad', {'a': 1}, 8, 'classic') as made:
        for index in range(1, 11):
            made.append(make_keyframe(index, session='a', thumbnail=bytes(20_000)))
        for index in range(11, 21):
            made.append(make_keyframe(index, session='b', thumbnail=bytes(20_000)))
        made.update_poses({make_keyframe(index, session='b').id: OptimizedPose(Pose(
            np.array([10.0 + index, 0, 0]), np.array([0, 0, 0, 1.0]), 'map')) for index in range(11, 21)})
        yield made


def same(one, other):
    assert one.id == other.id
    for field in ('descriptors', 'boxes', 'pixels'):
        np.testing.assert_array_equal(getattr(one.description, field), getattr(other.description, field))
    assert (one.thumbnail, repr(one.pose), repr(one.optimized)) == (other.thumbnail, repr(other.pose),
                                                                     repr(other.optimized))


def test_a_session_goes_and_the_rest_stays_as_it_was(place_map, tmp_path):
    before = place_map.path.read_bytes()
    assert len(prune(place_map, tmp_path / 'new.segvlad', Selection(sessions=('a',)))) == 10
    assert place_map.path.read_bytes() == before
    with PlaceMap.open(tmp_path / 'new.segvlad', full_check=True) as new:
        assert (new.count, new.map_id, new.preset) == (10, place_map.map_id, 'classic')
        assert {identity.session_id for identity in new.ids()} == {'b'}
        for keyframe in new.keyframes():
            same(keyframe, place_map.keyframe(keyframe.id))
        last = {session.session_id: session.last_index for session in new.sessions()}
        assert last['a'] == 10  # given once, and not again
        assert new.bytes < 0.6 * place_map.bytes
    assert [path.name for path in tmp_path.iterdir() if 'tmp' in path.name] == []


@pytest.mark.parametrize(('selection', 'expected'), [
    (Selection(sessions=('b', 'a')), list(range(1, 21))),
    (Selection(before_ns=4 * SECOND), [1, 2, 3]),
    (Selection(sessions=('b',), before_ns=13 * SECOND), [11, 12]),
    (Selection(center=np.array([1.0, 1.0, 0.0]), radius_m=0.6, frame='odom'), [1, 2, 3]),
    (Selection(center=np.array([25.0, 0.0, 0.0]), radius_m=1.0, frame='map'), [14, 15, 16]),
    (Selection(sessions=('a',), center=np.array([25.0, 0.0, 0.0]), radius_m=1.0, frame='map'), []),
    (Selection(), []),
])
def test_what_is_selected(place_map, selection, expected):
    everything = [PlacedKeyframe(keyframe.id, keyframe.best_pose) for keyframe in place_map.keyframes()]
    assert [identity.index for identity in selection.of(everything)] == expected


@pytest.mark.parametrize(('selection', 'says'), [
    (Selection(sessions=('c',)), "no keyframe of session 'c'; the sessions are a, b"),
    (Selection(center=np.zeros(3), radius_m=1.0), "'map' and 'odom'"),
    (Selection(center=np.zeros(3), radius_m=1.0, frame='world'), "'map' and 'odom'"),
    (Selection(before_ns=99 * SECOND), 'nothing would be left of its 20'),
])
def test_what_cannot_be_selected(place_map, tmp_path, selection, says):
    with pytest.raises(SegvladError, match=says):
        prune(place_map, tmp_path / 'new.segvlad', selection)
    assert not (tmp_path / 'new.segvlad').exists()


@pytest.mark.parametrize('radius', [-1.0, 0.0, float('nan'), float('inf')])
def test_a_radius_that_is_none_selects_nothing_quietly_no_more(radius):
    with pytest.raises(SegvladError, match='give one above 0'):
        Selection(center=np.zeros(3), radius_m=radius)


def test_the_only_frame_need_not_be_named():
    keyframes = [at(1, 0.0), at(2, 5.0), at(3, None)]
    assert [one.index for one in Selection(center=np.zeros(3), radius_m=1.0).of(keyframes)] == [1]
    with pytest.raises(SegvladError, match='no frame at all'):
        Selection(center=np.zeros(3), radius_m=1.0).of([at(1, None)])


def test_crowds_are_thinned_before_lonely_keyframes_go():
    crowd = [at(index, 0.1 * index) for index in range(1, 6)]
    lonely = [at(0, 50.0), at(9, 90.0)]
    assert gone([*lonely, *crowd], 4) == [1, 2, 3, 4]  # the oldest of the crowd, and one of it stays
    assert gone([*lonely, *crowd], 6) == [1, 2, 3, 4, 0, 5]
    assert gone(crowd, 0) == []


def test_views_to_other_sides_and_in_other_frames_show_something_else():
    assert gone([at(1, 0.0), at(2, 0.1, yaw=1.5), at(3, 0.2, frame='map'), at(4, 0.3, yaw=1.4)], 1) == [2]


def test_odometry_of_another_session_began_elsewhere_and_covers_nothing():
    kitchen, garage = ([at(index, 2.0 * index, session=session) for index in range(1, 4)] for session in 'ab')
    crowd = [at(index, 50 + 0.1 * index, session='c') for index in range(7, 9)]
    assert gone([*kitchen, *garage, *crowd], 1) == [7]


@pytest.mark.parametrize(('frame', 'optimized'), [('map', False), ('earth', False), ('odom', True), ('map/1a2b', True)])
def test_frames_that_sessions_share_cover_across_them(frame, optimized):
    lonely = replace(at(1, 50.0, frame=frame), optimized=optimized)
    shared = [replace(at(index, 0.1 * index, frame=frame, session=session), optimized=optimized)
              for index, session in ((2, 'a'), (3, 'b'))]
    assert gone([lonely, *shared], 1) == [2]


def test_a_point_in_the_odometry_of_several_sessions_is_nowhere():
    keyframes = [at(1, 4.0, session='a'), at(2, 4.0, session='b'), at(3, 4.0, session='b', frame='map'), at(4, None)]
    spot = {'center': np.array([4.0, 0.0, 0.0]), 'radius_m': 1.0}

    def chosen(**conditions):
        return [one.index for one in Selection(**spot, **conditions).of(keyframes)]

    with pytest.raises(SegvladError, match=r"'odom' begins elsewhere .* \(a, b\): name the session of the point"):
        chosen(frame='odom')
    assert chosen(frame='odom', sessions=('b',)) == [2]
    assert chosen(frame='odom', sessions=('a', 'b')) == [1, 2]
    assert chosen(frame='odom', before_ns=2 * SECOND) == [1]  # one session is left
    assert chosen(frame='map') == [3]


def test_the_tool_refuses_such_a_point_in_one_line(tmp_path, capsys):
    path = tmp_path / 'appended.segvlad'
    PlaceMap.write(path, [make_keyframe(index, session=session) for session in 'ab' for index in (1, 2)], {'a': 1}, 8)
    command = ['map', 'prune', str(path), '--near', '0.5', '1', '0', '0.2', '--dry-run']
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and 'name the session' in said[0]
    assert main([*command, '--session', 'b']) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ['session b: 1']


def test_without_poses_a_session_is_thinned_evenly():
    keyframes = [at(index, None) for index in range(1, 13)]
    left = sorted({*range(1, 13)} - {*gone(keyframes, 8)})
    assert max(np.diff([0, *left, 13])) <= 4


def test_a_map_is_made_small_enough(place_map, tmp_path):
    limit = place_map.bytes // 3
    removed = prune(place_map, tmp_path / 'small.segvlad', Selection(), max_bytes=limit)
    with PlaceMap.open(tmp_path / 'small.segvlad', full_check=True) as small:
        assert limit * 0.7 < small.bytes <= limit
        assert small.count == 20 - len(removed)
    assert len(prune(place_map, tmp_path / 'five.segvlad', Selection(sessions=('a',)), max_keyframes=5)) == 15
    assert len(to_prune(place_map, Selection(), max_keyframes=30)) == 0
    with pytest.raises(SegvladError, match='nothing would be left'):
        prune(place_map, tmp_path / 'none.segvlad', Selection(), max_bytes=5000)


@pytest.fixture
def two_robots(tmp_path):
    """One session id of two robots, as maps that are merged may have, and a session that one of them has alone."""
    with PlaceMap.create(tmp_path / 'two.segvlad', {'a': 1}, 8) as made:
        for index in range(1, 4):
            made.append(make_keyframe(index, session='a', robot_id=0))
            made.append(make_keyframe(index, session='a', robot_id=7))
        made.append(make_keyframe(1, session='b', robot_id=7))
        yield made


def test_a_session_id_of_several_robots_needs_the_robot(two_robots):
    with pytest.raises(SegvladError, match="^session id 'a' is of several robots: write 0/a or 7/a$"):
        to_prune(two_robots, Selection(sessions=('a',)))
    assert {identity.robot_id for identity in to_prune(two_robots, Selection(sessions=('7/a',)))} == {7}
    assert [identity.robot_id for identity in to_prune(two_robots, Selection(sessions=('0/a', 'b')))] == [0, 0, 0, 7]
    assert to_prune(two_robots, Selection(sessions=('7/b',))) == to_prune(two_robots, Selection(sessions=('b',)))
    for other in ('1/a', '0/b', '/a'):
        with pytest.raises(SegvladError, match=f"no keyframe of session '{other}'; the sessions are 0/a, 7/a, b$"):
            to_prune(two_robots, Selection(sessions=(other,)))
    with pytest.raises(SegvladError, match=r"'odom' begins elsewhere .* \(0/a, 7/a, b\)"):
        to_prune(two_robots, Selection(center=np.zeros(3), radius_m=1.0))


def test_what_goes_is_counted_by_session_and_robot(two_robots, capsys):
    prune_dry = ['map', 'prune', str(two_robots.path), '--dry-run', '--json']
    assert main([*prune_dry, '--session', '7/a', '--session', 'b']) == 0
    assert json.loads(capsys.readouterr().out)['removed_by_session'] == {'7/a': 3, 'b': 1}
    assert main([*prune_dry, '--session', 'a']) == 2
    assert 'write 0/a or 7/a' in capsys.readouterr().err


def test_an_existing_file_is_not_replaced(place_map, tmp_path):
    (tmp_path / 'old.segvlad').write_bytes(b'mine')
    with pytest.raises(SegvladError, match='exists already'):
        prune(place_map, tmp_path / 'old.segvlad', Selection(sessions=('a',)))
    assert (tmp_path / 'old.segvlad').read_bytes() == b'mine'
    with pytest.raises(SegvladError, match='exists already'):
        prune(place_map, place_map.path, Selection(sessions=('a',)))


def test_a_keyframe_that_is_optimised_lies_where_the_back_end_has_it():
    keyframe = make_keyframe(1)
    moved = replace(keyframe, optimized=OptimizedPose(Pose(np.ones(3), np.array([0, 0, 0, 1.0]), 'map')))
    assert PlacedKeyframe(moved.id, moved.best_pose).pose.frame == 'map'
