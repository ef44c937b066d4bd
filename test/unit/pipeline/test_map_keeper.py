"""A map that is kept small: laps of a made loop, by day and in another look, with a file and without."""
from dataclasses import replace

import numpy as np
import patrol
import pytest
from map_samples import make_keyframe

from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.pipeline.map_keeper import Kept, MapKeeper
from segvlad_ros.types import SegvladError

PER_LAP = 60
GATE = NoveltySettings(0.3)


@pytest.fixture
def place_map(tmp_path):
    with PlaceMap.create(tmp_path / 'loop.segvlad', {'digest': 'f'}, patrol.DIMENSION) as place_map:
        yield place_map


def keeper_of(settings, place_map=None):
    return MapKeeper(patrol.make_recognizer(), settings, place_map)


def drive(keeper, laps):
    """What became of each keyframe."""
    return [keeper.add(visit.keyframe) for visit in patrol.laps(laps, True, 0.0)]


def same_map(keeper, place_map):
    """The file and the recogniser hold the same."""
    assert keeper.recognizer.ids == place_map.ids()
    assert keeper.recognizer.count == place_map.count


def test_a_patrol_ends_at_a_plateau(place_map):
    keeper = keeper_of(RetentionSettings(novelty=GATE), place_map)
    kept = drive(keeper, 2)
    assert sum(each.stored for each in kept[:PER_LAP]) >= PER_LAP - 2  # the last ones see the first ones again
    assert not any(each.stored for each in kept[PER_LAP:])
    assert all('explains it with score' in each.explained for each in kept[PER_LAP:])
    same_map(keeper, place_map)


def test_a_cap_holds(place_map):
    keeper, counts = keeper_of(RetentionSettings(25), place_map), []
    for visit in patrol.laps(2, True, 0.0):
        kept = keeper.add(visit.keyframe)
        counts.append(place_map.count)
        assert set(keeper.evicted) >= set(kept.removed)
    assert max(counts) == counts[-1] == 25
    same_map(keeper, place_map)
    assert len(keeper.evicted) == 16
    assert not set(keeper.evicted) & set(place_map.ids())


def test_a_cap_by_bytes(place_map):
    keeper = keeper_of(RetentionSettings(max_bytes=1_000_000), place_map)
    drive(keeper, 2)
    assert 750_000 < place_map.used_bytes <= 1_000_000
    assert place_map.bytes < 1_200_000
    same_map(keeper, place_map)


def test_another_look_of_the_same_places_is_kept_beside_the_first():
    """The second look shares no descriptor with the first, as night and day may, and lies on the same odometry."""
    keeper = keeper_of(RetentionSettings(40, novelty=GATE))
    rng = np.random.default_rng(5)
    for visit in patrol.laps(1, True, 0.0):
        day = visit.keyframe
        rows = patrol.unit(rng.normal(size=day.description.descriptors.shape)).astype(np.float32)
        night = replace(day, id=replace(day.id, session_id='night', stamp_ns=day.id.stamp_ns + 10**15),
                        description=replace(day.description, descriptors=rows))
        for keyframe in (day, night):
            keeper.add(keyframe)
    sessions = [identity.session_id for identity in keeper.recognizer.ids]
    assert len(sessions) == 40
    assert min(sessions.count('patrol'), sessions.count('night')) >= 10


def test_a_witness_stays_and_what_finds_no_room_is_refused():
    """A map of three places, each recognised once: nothing takes their place, until a back-end has its doubts."""
    visits = [visit.keyframe for number, visit in enumerate(patrol.laps(2, True, 0.0)) if number % 20 == 0]
    keeper = keeper_of(RetentionSettings(3))
    first, again = ([keeper.add(keyframe) for keyframe in lap] for lap in (visits[:3], visits[3:]))
    assert [kept.stored for kept in (*first, *again)] == [True] * 6
    assert [kept.removed for kept in again] == [(keyframe.id,) for keyframe in visits[:3]]  # of two witnesses the older
    unknown = [make_keyframe(index, dimension=patrol.DIMENSION, keypoints=None, session=f'elsewhere {index}')
               for index in range(11, 21)]
    assert {keeper.add(keyframe) for keyframe in unknown[:5]} == {Kept(False)}
    keeper.judge(visits[4].id, visits[1].id, accepted=False)
    assert visits[4].id in {identity for keyframe in unknown[5:] for identity in keeper.add(keyframe).removed}
    assert {visits[3].id, visits[5].id} < set(keeper.recognizer.ids)


def test_a_map_that_is_gone_on_with_is_bounded_as_well(place_map, tmp_path):
    drive(keeper_of(RetentionSettings(), place_map), 1)
    place_map.close()
    with PlaceMap.open(tmp_path / 'loop.segvlad', read_only=False) as again:
        keeper = keeper_of(RetentionSettings(30, novelty=GATE), again)
        assert len(keeper.trim()) == PER_LAP - 30
        assert keeper.trim() == ()
        later = [replace(visit.keyframe, id=replace(visit.keyframe.id, session_id='later'))
                 for visit in patrol.laps(1, False, 0.0)]
        kept = [keeper.add(keyframe) for keyframe in later]
        assert again.count <= 30
        assert any(each.explained for each in kept)
        same_map(keeper, again)


def test_witnesses_outlive_a_restart(place_map, tmp_path):
    keeper = keeper_of(RetentionSettings(3), place_map)
    for number, visit in enumerate(patrol.laps(2, True, 0.0)):
        if number % 20 == 0:
            keeper.add(visit.keyframe)
    before = place_map.ids()
    assert place_map.witnesses() == before
    place_map.close()
    with PlaceMap.open(tmp_path / 'loop.segvlad', read_only=False) as again:
        keeper = keeper_of(RetentionSettings(3), again)
        unknown = make_keyframe(11, dimension=patrol.DIMENSION, keypoints=None, session='elsewhere')
        assert keeper.add(unknown) == Kept(False)
        keeper.judge(before[0], before[1], accepted=False)
        assert again.ids() == before
        assert again.witnesses() == before[2:]


def test_a_keyframe_that_is_lost_hinders_none_after_it(tmp_path):
    """A sector of the disk goes bad under a map with a cap: what is no longer searched is not held either."""
    laps = [visit.keyframe for visit in patrol.laps(4, True, 0.0)]
    with PlaceMap.create(tmp_path / 'loop.segvlad', {'digest': 'f'}, patrol.DIMENSION) as written:
        for keyframe in laps[:20]:
            written.append(keyframe)
    with PlaceMap.open(tmp_path / 'loop.segvlad', read_only=False) as place_map:
        keeper = keeper_of(RetentionSettings(20), place_map)
        with place_map._writing():
            place_map._db.execute("UPDATE keyframes SET thumbnail = x'00' WHERE number = 3")
        keeper.recognizer.recognize(replace(laps[2], id=replace(laps[2].id, session_id='query')), exclude_recent=False)
        assert keeper.recognizer.count == 19
        for keyframe in laps[20:]:
            keeper.add(keyframe)
            assert keeper.recognizer.count <= 20
        assert set(keeper.recognizer.ids) <= set(place_map.ids()) and place_map.count <= 21


def test_what_cannot_be_stored_changes_nothing(place_map):
    keeper = keeper_of(RetentionSettings(5), place_map)
    keyframes = [visit.keyframe for visit in patrol.laps(1, True, 0.0)]
    for keyframe in keyframes[:5]:
        keeper.add(keyframe)
    before = place_map.ids()
    with pytest.raises(SegvladError, match='in the map already'):
        keeper.add(keyframes[4])
    place_map.close()  # as a disk that is full, it takes no more
    with pytest.raises(SegvladError):
        keeper.add(keyframes[5])
    assert keeper.recognizer.ids == before


def test_what_somebody_removes_leaves_both():
    keeper = keeper_of(RetentionSettings(9))
    keyframes = [make_keyframe(index, dimension=16) for index in (1, 2, 3)]
    for keyframe in keyframes:
        keeper.add(keyframe)
    assert keeper.remove([keyframes[1].id, make_keyframe(7).id]) == 1
    assert keeper.recognizer.ids == [keyframes[0].id, keyframes[2].id]
