"""A map is the outbox: what the database does not hold is sent, once or again, and what the map lost is removed."""
from __future__ import annotations

import shutil

import numpy as np
import pytest
from fleet_samples import keys_of, make_map, segment_keys, sessions_of, stored_keys
from map_samples import make_keyframe

from segvlad_ros.fleet.outbox import Outbox, position_file
from segvlad_ros.fleet.remote_places import find_places
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.recognition.voting import vote_online
from segvlad_ros.types import KeyframeKey, OptimizedPose, SegvladError, SessionKey


def test_each_keyframe_is_sent_once(connect, office, server, digest):
    places = connect()
    outbox = Outbox(office, 'server site')
    assert (outbox.sent, outbox.waiting) == (0, 5)
    assert [key.index for key in outbox.sync(places)] == [1, 2, 3, 4, 5]
    assert [*outbox.sync(places)] == []
    office.append(make_keyframe(6))
    assert outbox.waiting == 1
    assert [key.index for key in Outbox(office, 'server site').sync(places)] == [6]  # as after a restart
    assert stored_keys(server.uri, digest) == segment_keys(office)


def test_who_does_not_go_on_has_sent_what_is_acknowledged(connect, office):
    places = connect()
    for key in Outbox(office, 'server site').sync(places):
        if key.index == 2:
            break
    assert [key.index for key in Outbox(office, 'server site').sync(places)] == [3, 4, 5]


@pytest.mark.parametrize('content', [None, '', '{"row": 3', '[]', '{"map_id": 1}', 'null', '\x00'])
def test_without_its_position_all_is_sent_again_and_nothing_is_there_twice(connect, office, server, digest, content):
    places = connect()
    assert len([*Outbox(office, 'server site').sync(places)]) == 5
    if content is None:
        position_file(office.path).unlink()
    else:
        position_file(office.path).write_text(content)
    assert len([*Outbox(office, 'server site').sync(places)]) == 5
    assert stored_keys(server.uri, digest) == segment_keys(office)


def test_another_destination_begins_anew(connect, office):
    assert len([*Outbox(office, 'one').sync(connect())]) == 5
    assert len([*Outbox(office, 'two').sync(connect())]) == 5


def test_what_is_removed_from_the_map_is_removed_from_the_database(connect, office, server, digest):
    places = connect()
    outbox = Outbox(office, 'server site')
    assert len([*outbox.sync(places)]) == 5
    office.remove([make_keyframe(2).id, make_keyframe(5).id])
    assert [*outbox.sync(places)] == []
    assert stored_keys(server.uri, digest) == segment_keys(office)
    office.remove([make_keyframe(1).id])
    office.append(make_keyframe(7))  # as many as before
    assert [key.index for key in outbox.sync(places)] == [7]
    assert stored_keys(server.uri, digest) == segment_keys(office)
    assert (outbox.sent, outbox.waiting) == (3, 0)


def test_what_the_database_has_lost_is_sent_again(connect, office, server, digest):
    places = connect()
    assert len([*Outbox(office, 'server site').sync(places)]) == 5
    places.delete(KeyframeKey(0, 'session', index) for index in (2, 4))
    assert [key.index for key in Outbox(office, 'server site').sync(places)] == [2, 4]
    assert stored_keys(server.uri, digest) == segment_keys(office)


def test_an_older_copy_of_the_map_that_is_put_back_is_noticed(connect, office, tmp_path, server, digest):
    places = connect()
    copy = tmp_path / 'copy.segvlad'
    office.save_snapshot(copy)
    office.append(make_keyframe(6))
    assert len([*Outbox(office, 'server site').sync(places)]) == 6
    office.close()
    shutil.move(copy, office.path)
    with PlaceMap.open(office.path, read_only=False) as older:
        older.append(make_keyframe(1, session='next'))  # takes the row that keyframe 6 had
        assert ('next', 1) in {(key.session_id, key.index) for key in Outbox(older, 'server site').sync(places)}
        assert stored_keys(server.uri, digest) == segment_keys(older)


def test_a_map_that_cannot_be_written_beside_is_sent_all_the_same(connect, office, caplog):
    position_file(office.path).mkdir()
    assert len([*Outbox(office, 'server site').sync(connect())]) == 5
    assert 'sends all again' in caplog.text


def test_the_map_is_not_touched(connect, office):
    office.close()
    before = office.path.read_bytes()
    with PlaceMap.open(office.path) as place_map:
        assert len([*Outbox(place_map, 'server site').sync(connect())]) == 5
    assert office.path.read_bytes() == before


def test_a_map_that_is_written_meanwhile_is_sent_by_its_reader(connect, office, server, digest):
    with PlaceMap.open(office.path) as reader:
        office.append(make_keyframe(6))  # the reader has counted five
        outbox = Outbox(reader, 'server site')
        assert len([*outbox.sync(connect())]) == 6
        assert outbox.sent == 6
    assert stored_keys(server.uri, digest) == segment_keys(office)


def test_a_keyframe_that_is_sent_again_replaces_itself(connect, server, digest):
    places = connect()
    places.upsert(make_keyframe(1))
    places.upsert(make_keyframe(1))
    assert places.count([SessionKey(0, 'session')]) == 1
    assert len(stored_keys(server.uri, digest)) == 4


def test_names_that_a_filter_could_misread(connect, tmp_path, digest):
    places = connect(site='gate "A" or site != ""\\')
    for session in ('a" or robot == 0 or session == "', 'back\\slash', 'with/slash/2', "quote's", 'Gebäude 5', '%'):
        with make_map(tmp_path / 'map.segvlad', digest, (1, 2), session=session) as place_map:
            assert len([*Outbox(place_map, session).sync(places)]) == 2
            assert places.keyframes(sessions_of(place_map)) == keys_of(place_map)
            places.delete(keys_of(place_map))
            assert places.count(sessions_of(place_map)) == 0
        place_map.path.unlink()
    with pytest.raises(SegvladError, match='more than 200'):
        places.upsert(make_keyframe(1, session='s' * 201))


def test_sites_and_fingerprints_do_not_mix(connect, office):
    one, two = connect(site='one'), connect(site='two')
    assert len([*Outbox(office, 'one').sync(one)]) == 5
    rows = office.keyframe(1).description.descriptors
    assert two.search(rows, 10).keyframes == []
    assert two.count(sessions_of(office)) == 0
    two.delete(keys_of(office))
    assert one.count(sessions_of(office)) == 5


def test_one_map_at_several_sites(connect, office):
    """The second site took the rows from the first."""
    places = [connect(site=site) for site in ('one', 'two/1', 'zwei ü')]
    for number, each in enumerate(places):
        assert len([*Outbox(office, str(number)).sync(each)]) == 5
    rows = office.keyframe(1).description.descriptors
    for each in places:
        assert each.keyframes(sessions_of(office)) == keys_of(office)
        assert set(each.search(rows, 50).keyframes) == keys_of(office)
    places[1].delete(keys_of(office))
    assert [each.count(sessions_of(office)) for each in places] == [5, 0, 5]
    assert [len(each.facts(keys_of(office))) for each in places] == [5, 0, 5]


def test_more_keyframes_than_a_page(connect, office):
    places = connect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('segvlad_ros.fleet.milvus._PAGE', 2)
        assert len([*Outbox(office, 'server site').sync(places)]) == 5
        assert places.keyframes(sessions_of(office)) == keys_of(office)
        places.delete(keys_of(office))
    assert places.keyframes(sessions_of(office)) == set()


def test_the_vote_is_our_own(connect, tmp_path, digest):
    """The same scores as of an exact search and vote over what is not left out."""
    places = connect()
    floor, shown = 0.2, make_keyframe(4, segments=12).description.descriptors
    keyframes = [make_keyframe(number, segments=12, robot_id=robot) for robot in (1, 2) for number in range(1, 21)]
    for keyframe in keyframes:
        places.upsert(keyframe)
    others = [keyframe for keyframe in keyframes if keyframe.id.robot_id == 2]
    cosines = shown @ np.vstack([keyframe.description.descriptors for keyframe in others]).T
    order = np.argsort(-cosines, axis=1)[:, :50]
    votes = vote_online(np.take_along_axis(cosines, order, axis=1), order // 12, np.arange(20), floor, np.ones(20))
    expected = [(others[entry].id, votes.shares[entry]) for entry in votes.ranked_keyframes(np.arange(20), 5)]

    found = find_places(places, shown, floor, leave_out=[SessionKey(1, 'session')])
    assert [place.id for place in found] == [identity for identity, _share in expected]
    np.testing.assert_allclose([place.score for place in found], [share for _id, share in expected], atol=1e-5)
    assert found[0].id.index == 4
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    assert found[0].matched_segments == 12


def test_what_is_known_of_a_keyframe_comes_back(connect):
    places = connect()
    first, second = make_keyframe(1, camera='left'), make_keyframe(2, posed=False)
    moved = make_keyframe(3)
    moved = type(moved)(moved.id, moved.description, pose=moved.pose, optimized=OptimizedPose(make_keyframe(9).pose))
    for keyframe in (first, second, moved):
        places.upsert(keyframe)
    facts = places.facts(KeyframeKey(0, 'session', index) for index in (1, 2, 3, 4))
    assert [fact.id for _key, fact in sorted(facts.items())] == [first.id, second.id, moved.id]
    posed = facts[first.id.key].pose
    np.testing.assert_allclose([*posed.translation, *posed.quaternion], [*first.pose.translation,
                                                                         *first.pose.quaternion])
    assert posed.frame == 'odom'
    assert facts[second.id.key].pose is None
    assert facts[moved.id.key].pose.translation[0] == make_keyframe(9).pose.translation[0]


def test_nothing_to_ask_and_nothing_there(connect):
    places = connect()
    empty = np.zeros((0, 8), np.float32)
    assert find_places(places, empty, 0.2) == []
    assert find_places(places, make_keyframe(1).description.descriptors, 0.2) == []
    assert places.count([]) == 0
    assert places.keyframes([]) == set()
    assert places.facts([]) == {}
    places.delete([])
    places.upsert(make_keyframe(1, segments=0))
    assert places.count([SessionKey(0, 'session')]) == 0
