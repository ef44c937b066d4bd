"""What a map explains: proven, alike enough, and from near enough."""
from dataclasses import replace

import numpy as np
import pytest

from segvlad_ros.mapping.novelty import NoveltySettings, explained
from segvlad_ros.types import Candidate, KeyframeId, Pose, Recognition, SegvladError, Status, Verification

SETTINGS = NoveltySettings(0.4, 0.75, 0.35)
AHEAD = Pose(np.array([0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
BEST = Candidate(3, KeyframeId(0, 'map', 4, 10**9), 0.5, 0.1, 20, verification=Verification.GEOMETRIC,
                 query_pose_in_match=AHEAD)


def answer(*candidates, status=Status.MATCHED):
    return Recognition(status, 'a reason', candidates)


def test_a_proven_match_from_near_explains_a_keyframe():
    assert explained(answer(BEST), SETTINGS) == "keyframe 4 of session 'map' explains it with score 0.500"
    assert explained(answer(replace(BEST, query_pose_in_match=None)), SETTINGS)  # nobody has measured how far


@pytest.mark.parametrize('found', [
    answer(BEST, status=Status.NO_MATCH_TEMPORAL),
    answer(replace(BEST, score=0.39)),
    answer(replace(BEST, verification=Verification.TEMPORAL)),
    answer(replace(BEST, query_pose_in_match=replace(AHEAD, translation=np.array([0.0, -0.8, 0.0])))),
    answer(replace(BEST, query_pose_in_match=replace(AHEAD, quaternion=np.array([0.0, 0.0, 0.2, 0.98])))),
    answer(status=Status.MAP_EMPTY)])
def test_all_else_is_new(found):
    assert explained(found, SETTINGS) == ''


def test_score_0_turns_the_gate_off():
    assert not explained(answer(BEST), NoveltySettings())


@pytest.mark.parametrize('wrong', [{'explained_score': 1.1}, {'explained_within_m': 0.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(SegvladError, match='retention settings'):
        NoveltySettings(**wrong)
