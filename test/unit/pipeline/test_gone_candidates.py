"""Candidates that leave the map file while it is searched: every query is answered, and learnt once."""
from dataclasses import replace

import numpy as np
import pytest
from map_samples import make_keyframe

from segvlad_ros.mapping.keyframe_store import KeyframeGone
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.memory import Memory
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.recognition.inquiry import Inquiry
from segvlad_ros.types import PlaceDescription

PLACES = 8


def shown(number):
    return make_keyframe(number, segments=PLACES, dimension=64, posed=False, session='map')


@pytest.fixture
def written(tmp_path):
    """The file of a map."""
    PlaceMap.write(tmp_path / 'a.segvlad', map(shown, range(1, PLACES + 1)), {}, 64)
    return tmp_path / 'a.segvlad'


@pytest.fixture
def recognizer(written):
    classic = load_preset('classic')
    recognizer = Recognizer(replace(classic, geometry=replace(classic.geometry, candidates=1)))
    with PlaceMap.open(written) as place_map:
        recognizer.load(place_map)
    return recognizer


@pytest.fixture
def learnt(monkeypatch):
    """What is learnt of queries, one by one."""
    learnt, learn = [], Memory.learn
    monkeypatch.setattr(Memory, 'learn', lambda memory, *learning: learnt.append(learn(memory, *learning)))
    return learnt


def ask(recognizer):
    """Who is found by a query that shows all of the first place, and less and less of the others."""
    rows = np.vstack([shown(number).description.descriptors[number - 1:] for number in range(1, PLACES + 1)])
    count = len(rows)
    description = PlaceDescription(rows, np.zeros((count, 4), np.int32), np.ones(count, np.int64))
    query = replace(shown(1), id=make_keyframe(1, session='query').id, description=description)
    return [candidate.id for candidate in recognizer.recognize(query, exclude_recent=True).candidates]


def test_a_candidate_that_geometry_was_not_asked_about_is_reported_only_where_it_can_be_read(
        written, recognizer, learnt, caplog):
    gone = recognizer.ids[4]
    with PlaceMap.open(written, read_only=False) as place_map:
        place_map.remove([gone])
    found = ask(recognizer)
    assert [identity.index for identity in found] == [1, 2, 3, 4, 6]
    assert [recognizer.keyframe(recognizer.entry(identity)).id for identity in found] == found
    assert 'keyframe 5 of session' in caplog.text and 'searched no longer' in caplog.text
    assert len(learnt) == 1


def test_a_query_is_learnt_once_also_where_the_double_of_a_lesser_candidate_has_gone(recognizer, learnt, monkeypatch):
    compared, gone = Inquiry.compared, recognizer.ids[-1]

    def read(inquiry, evidence, max_ambiguity):
        if max_ambiguity == 1.0 and gone in recognizer.ids:
            raise KeyframeGone('it is no longer in the map', gone)
        return compared(inquiry, evidence, max_ambiguity)
    monkeypatch.setattr(Inquiry, 'compared', read)
    assert len(ask(recognizer)) == 5 and gone not in recognizer.ids
    assert len(learnt) == 1
