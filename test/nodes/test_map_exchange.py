"""What a node does while a map is read or copied: all that it did before. In this process, so that reading can wait."""
import functools
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from map_samples import make_keyframe
from std_srvs.srv import Trigger

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.nodes.map_builder import MapBuilder
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.output.conversions import to_keyframe_id
from segvlad_ros.srv import GetKeyframe, LoadMap
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, PlaceDescription, Recognition, SegvladError, Status

WAIT_S = 60.0


@pytest.fixture
def maps(tmp_path):
    """A folder of two maps."""
    for name, count in (('office', 3), ('hall', 2)):
        with PlaceMap.create(tmp_path / f'{name}.segvlad', load_preset('classic').fingerprint(), 512) as place_map:
            for index in range(1, count + 1):
                place_map.append(make_keyframe(index, dimension=512, session=name))
    return tmp_path


@pytest.fixture
def start(in_process, maps):
    """Configures a node in this process."""
    return functools.partial(in_process, map_directory=maps)


class Reading:
    """Holds up whoever reads the keyframes of a map, until it is let go."""

    def __init__(self, monkeypatch):
        self.begun, self.go_on = threading.Event(), threading.Event()
        packed = PlaceMap.packed

        def slowly(place_map, *asked):
            self.begun.set()
            assert self.go_on.wait(WAIT_S)
            yield from packed(place_map, *asked)
        monkeypatch.setattr(PlaceMap, 'packed', slowly)


@pytest.mark.parametrize('append', [False, True])
def test_the_worker_goes_on_while_a_map_is_read(start, maps, monkeypatch, append):
    node = start(Localizer, map='office')
    reading, response = Reading(monkeypatch), LoadMap.Response()
    service = threading.Thread(target=node._load_map, args=(
        LoadMap.Request(name='hall', read_only=True, append=append), response))
    service.start()
    try:
        assert reading.begun.wait(WAIT_S)
        assert node.on_worker(lambda: node.map_facts().keyframes) == 3  # answers, from the map so far
        with PlaceMap.open(maps / 'hall.segvlad', read_only=False) as writer:  # and it grows meanwhile
            writer.append(make_keyframe(3, dimension=512, session='hall'))
    finally:
        reading.go_on.set()
        service.join(WAIT_S)
    assert response.keyframes == node.map_facts().keyframes == (6 if append else 3)


def test_an_empty_map_can_be_added_to_nothing(start, maps):
    PlaceMap.create(maps / 'empty.segvlad', load_preset('classic').fingerprint(), 512).close()
    node, response = start(Localizer), LoadMap.Response()
    node._load_map(LoadMap.Request(name='empty', read_only=True, append=True), response)
    assert response.keyframes == 0


@pytest.mark.fault('service', '`load_map` with `append` of a map that is searched already',
                   'only keyframes that are new are added')
def test_a_map_that_is_searched_already_is_not_added_again(start, maps):
    node = start(Localizer, map='office')

    def load(name):
        response = LoadMap.Response()
        said = node._load_map(LoadMap.Request(name=name, read_only=True, append=True), response)
        return said, response.keyframes, response.map_id
    _, _, before = load('office')
    assert load('office') == ('office: all of it is searched already', 3, before)
    assert load('hall')[:2] == ('loaded hall: 2 keyframes', 5)
    with PlaceMap.open(maps / 'office.segvlad', read_only=False) as writer:
        writer.append(make_keyframe(4, dimension=512, session='office'))
        writer.save_snapshot(maps / 'copy.segvlad')
    assert load('office')[:2] == ('loaded office: 1 keyframes', 6)  # it has grown
    assert load('copy')[1] == 6
    assert len(set(node._places.recognizer.ids)) == 6
    assert load('office')[2] == '+'.join(dict.fromkeys(load('office')[2].split('+')))


def test_a_keyframe_of_any_loaded_map_can_be_fetched(start):
    """Only the map that was added last was asked."""
    node = start(Localizer, map='office')

    def fetch(session, index):
        wanted, response = to_keyframe_id(make_keyframe(index, session=session).id), GetKeyframe.Response()
        assert node._get_keyframe(GetKeyframe.Request(keyframe=wanted), response) == 'found'
        return response.descriptor.keyframe == wanted
    node._load_map(LoadMap.Request(name='hall', read_only=True, append=True), LoadMap.Response())
    assert fetch('office', 3) and fetch('hall', 2)
    with pytest.raises(SegvladError, match=r'^keyframe 3 of session hall is in no loaded map file \(office, hall\)'):
        fetch('hall', 3)
    node._reset_map(None, None)
    with pytest.raises(SegvladError, match=r'no loaded map file \(none\): ask the map_builder'):
        fetch('office', 3)


def test_what_a_localizer_followed_does_not_come_back_into_another_map(start):
    """After a reset, or a map instead of that so far, the map_builder was asked for all of the session again."""
    node = start(Localizer, source='descriptors')
    follower = node.keyframes.follower

    def came(*indices, session='now'):
        for index in indices:
            node.on_worker(lambda index=index: follower.offer(make_keyframe(index, dimension=512, session=session)))
        return node.map_facts().keyframes, follower.missing()
    assert came(1, 2, 4) == (2, (0, 'now', 3))
    node._reset_map(None, None)
    assert came(5) == (1, None)
    node._load_map(LoadMap.Request(name='office', read_only=True), LoadMap.Response())
    assert came(6) == (4, None)
    assert came(5, session='office') == (4, (0, 'office', 4))


@pytest.mark.fault('map', 'a keyframe of a loaded map leaves the file, and would be a lesser candidate of an answer',
                   'a warning; the answer goes out without it')
def test_a_candidate_that_has_left_the_file_does_not_cost_the_answer(start, maps, monkeypatch):
    """Nobody had looked at it before the message was made: each keyframe near it failed, and put the node in ERROR."""
    rows = [make_keyframe(index, segments=10, dimension=512).description.descriptors for index in range(1, 10)]
    seen = np.vstack([each[number:] for number, each in enumerate(rows)])  # less and less of each
    description = PlaceDescription(seen, np.zeros((len(seen), 4), np.int32), np.ones(len(seen), np.int64))
    PlaceMap.write(maps / 'large.segvlad', (make_keyframe(index, segments=10, dimension=512) for index in range(1, 10)),
                   load_preset('classic').fingerprint(), 512)
    node, answers = start(Localizer, map='large', top_k=9), []
    monkeypatch.setattr(node, '_matches', SimpleNamespace(publish=answers.append))
    with PlaceMap.open(maps / 'large.segvlad', read_only=False) as writer:
        writer.remove([writer.ids()[7]])
    for index in (1, 2, 3):
        query = Keyframe(KeyframeId(0, 'query', index, 10**9 * index), description)
        node.on_worker(lambda query=query: node._answer(query))
        assert [match.match.index for match in answers[-1].matches] == [1, 2, 3, 4, 5, 6, 7, 9]


@pytest.mark.parametrize(('frame', 'said'), [('base_footprint', 'base_footprint'), ('', 'robot'), (None, 'robot')])
def test_answers_name_the_frame_that_their_poses_are_of(start, monkeypatch, frame, said):
    """They named the parameter, also where odometry, or the map_builder, is of another base."""
    node, published = start(Localizer, map='office', base_frame='robot'), []
    for topic in ('_matches', '_loop_closures'):
        monkeypatch.setattr(node, topic, SimpleNamespace(publish=published.append))
    seen = make_keyframe(2, dimension=512, session='query')
    mount = None if frame is None else replace(seen.base_from_camera, frame=frame)
    candidate = Candidate(1, make_keyframe(2, session='office').id, 1.0, 0.0, 4, query_pose_in_match=seen.pose)
    monkeypatch.setattr(node._places, 'recognize', lambda *asked, **how: Recognition(Status.MATCHED, '', (candidate,)))
    node.on_worker(lambda: node._answer(replace(seen, base_from_camera=mount)))
    assert [message.base_frame for message in published] == [said, said]


@pytest.mark.fault('service', 'a request that times out while a map is read',
                   'the map is closed again, the one before stays')
def test_a_map_that_is_not_taken_is_closed_again(start, maps):
    """The worker is busy for longer than a service waits: the map that was opened must not stay locked."""
    node = start(MapBuilder, map='new', service_timeout_s=0.2)
    busy = threading.Event()
    node.worker.submit(lambda: busy.wait(WAIT_S))
    with pytest.raises(SegvladError, match='was not begun'):
        node._load_map(LoadMap.Request(name='hall'), LoadMap.Response())
    before = sorted(maps.iterdir())
    with pytest.raises(SegvladError, match='was not begun'):
        node._reset_map(Trigger.Request(), Trigger.Response())
    assert sorted(maps.iterdir()) == before  # nor does the map stay that was begun for it
    busy.set()
    PlaceMap.open(maps / 'hall.segvlad', read_only=False).close()
    node._load_map(LoadMap.Request(name='hall'), response := LoadMap.Response())
    assert response.keyframes == 2


@pytest.mark.fault('node', 'a map_builder that ends, or takes another map, before any keyframe',
                   'its map goes: it would be in the way of the next start')
def test_a_map_that_was_begun_for_nothing_does_not_stay(start, maps):
    PlaceMap.create(maps / 'empty.segvlad', load_preset('classic').fingerprint(), 512).close()
    node = start(MapBuilder, map='new')
    assert (maps / 'new.segvlad').is_file()
    node._load_map(LoadMap.Request(name='empty'), LoadMap.Response())
    assert not (maps / 'new.segvlad').exists()
    node._reset_map(Trigger.Request(), Trigger.Response())
    assert len(list(maps.iterdir())) == 4
    assert node.trigger_cleanup().name == 'SUCCESS'
    assert {path.stem for path in maps.iterdir()} == {'office', 'hall', 'empty'}  # which others have made


@pytest.mark.fault('service', 'a request while the node is cleaned up', '`success: false` and one line')
def test_a_node_that_is_being_cleaned_up_is_not_configured(start, monkeypatch):
    """It was until the end, which may take seconds: what services reached for was gone."""
    node, seen = start(MapBuilder, map='new'), []
    cleanup = node.cleanup
    monkeypatch.setattr(node, 'cleanup', lambda: (seen.append(node.configured), cleanup()))
    assert node.trigger_cleanup().name == 'SUCCESS'
    assert seen == [False]
    with pytest.raises(SegvladError, match='the node is being stopped'):  # a request that was let in before
        node.on_worker(lambda: None)
