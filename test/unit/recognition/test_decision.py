"""The ordered tests of the decision: each refuses for its own reason, and the first that fails is the answer."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segvlad_ros.recognition.decision import CALIBRATED, UNCALIBRATED, DecisionSettings, decide
from segvlad_ros.recognition.evidence import FEATURES, Evidence
from segvlad_ros.recognition.hypotheses import Support
from segvlad_ros.types import KeyframeId, Pose, Status
from segvlad_ros.verification.verify import Geometry

LIMITS = DecisionSettings(min_score=0.3, min_proven_score=0.2, max_ambiguity=0.8)
BY_PROBABILITY = replace(LIMITS, min_probability=0.5)
PROVEN = Geometry('verified', '40 of 50 correspondences agree on one pnp model', pairs=np.zeros((40, 2), np.int64))
STAND = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), 'base_link')
METRIC = replace(PROVEN, scale_source='depth', query_pose_in_match=STAND)
UNPROVEN = Geometry('too_few_inliers', '5 of 20 correspondences agree')
TOO_FAR = Geometry('too_far', 'the same scene, but seen from 4.0 m away')
DOUBLE = {'double': KeyframeId(0, 'a', 3, 3), 'ambiguity': 0.9}


def evidence(score=0.5, agreement=3, support=None, **known):
    return Evidence(7, score, support=support or Support(agreement), **known)


def contradicted(**known):
    return evidence(support=Support(3, contradiction='by odometry it is far', expected=False), **known)


@pytest.mark.parametrize(('candidate', 'status', 'words'), [
    (evidence(), Status.MATCHED, '3 consecutive keyframes agree'),
    (evidence(score=0.29), Status.NO_MATCH_LOW_SCORE, 'below 0.300'),
    (evidence(score=0.29, geometry=PROVEN), Status.MATCHED, '40 of 50'),
    (evidence(score=0.19, geometry=PROVEN), Status.NO_MATCH_LOW_SCORE, 'below 0.200'),
    (evidence(**DOUBLE), Status.NO_MATCH_AMBIGUOUS, "keyframe 3 of session 'a': ambiguity 0.90, above 0.80"),
    (evidence(double=DOUBLE['double'], ambiguity=0.7), Status.MATCHED, 'ambiguity 0.70'),
    (evidence(ambiguity=0.9), Status.MATCHED, ''),  # geometry or odometry has excused the double
    (contradicted(), Status.NO_MATCH_TEMPORAL, 'by odometry it is far'),
    (contradicted(geometry=METRIC), Status.NO_MATCH_TEMPORAL, 'by odometry it is far'),
    (evidence(geometry=TOO_FAR), Status.NO_MATCH_GEOMETRIC, 'seen from 4.0 m away'),
    (evidence(trails=True), Status.NO_MATCH_TEMPORAL, 'only trails the robot'),
    (evidence(trails=True, geometry=PROVEN), Status.MATCHED, ''),
    (evidence(agreement=2), Status.NO_MATCH_TEMPORAL, '2 of 3 consecutive'),
    (evidence(agreement=2, geometry=PROVEN), Status.MATCHED, ''),
    (evidence(agreement=1, geometry=PROVEN), Status.NO_MATCH_TEMPORAL, '1 of 2'),
    (evidence(support=Support(1, expected=True), geometry=METRIC), Status.MATCHED, ''),
    (evidence(support=Support(1, expected=True), geometry=replace(METRIC, query_pose_in_match=None)),
     Status.NO_MATCH_TEMPORAL, '1 of 2'),  # depth, but nothing says how the cameras are mounted: no pose to expect
    (evidence(agreement=1, single=True), Status.MATCHED, ''),
    (evidence(agreement=9, geometry=UNPROVEN, provability=0.9), Status.NO_MATCH_TEMPORAL, '1 of 3'),
    (evidence(agreement=9, geometry=UNPROVEN, provability=0.1), Status.MATCHED, '9 consecutive'),
    (evidence(support=Support(3, anchored=True), geometry=UNPROVEN, provability=0.9), Status.MATCHED, ''),
    (evidence(score=0.1, agreement=1, **DOUBLE), Status.NO_MATCH_LOW_SCORE, 'below'),
    (contradicted(geometry=TOO_FAR, **DOUBLE), Status.NO_MATCH_AMBIGUOUS, 'double'),
])
def test_without_a_calibration_the_first_test_that_fails_is_the_answer(candidate, status, words):
    answer, reason = decide(candidate, LIMITS)
    assert answer == status
    assert words in reason
    assert '\n' not in reason
    assert decide(replace(candidate, probability=0.0), LIMITS)[0] == status  # nobody asks for it


@pytest.mark.parametrize(('candidate', 'status', 'words'), [
    (evidence(probability=0.9, score=0.01, agreement=1), Status.MATCHED, 'probability 0.90'),
    (evidence(probability=0.07, geometry=UNPROVEN), Status.NO_MATCH_LOW_SCORE, 'probability of 0.07, below 0.50'),
    (evidence(probability=float('nan')), Status.NO_MATCH_LOW_SCORE, 'probability of nan'),
    (evidence(probability=0.99, **DOUBLE), Status.NO_MATCH_AMBIGUOUS, 'double'),
    (contradicted(probability=0.99), Status.NO_MATCH_TEMPORAL, 'by odometry'),
    (evidence(probability=0.99, geometry=TOO_FAR), Status.NO_MATCH_GEOMETRIC, '4.0 m'),
    (evidence(probability=0.99, trails=True), Status.NO_MATCH_TEMPORAL, 'trails'),
    (evidence(probability=0.9, geometry=UNPROVEN, provability=0.9), Status.NO_MATCH_GEOMETRIC, '5 of 20'),
    (evidence(probability=0.9, geometry=UNPROVEN, provability=0.9, single=True), Status.NO_MATCH_GEOMETRIC, 'could'),
    (evidence(probability=0.9, geometry=UNPROVEN, provability=0.1), Status.MATCHED, ''),
    (evidence(probability=0.9, geometry=UNPROVEN, provability=0.9, support=Support(2, anchored=True)), Status.MATCHED,
     ''),
    (evidence(probability=0.9, geometry=UNPROVEN, provability=0.9, support=Support(2, expected=True)),
     Status.NO_MATCH_GEOMETRIC, 'could'),
    (evidence(probability=0.9, geometry=PROVEN, provability=0.9), Status.MATCHED, ''),
])
def test_with_a_calibration_probability_decides_and_what_safety_asks_for(candidate, status, words):
    answer, reason = decide(candidate, BY_PROBABILITY)
    assert (answer, words in reason) == (status, True)


def test_the_tests_are_a_list_that_can_be_read():
    assert [test.__name__ for test in UNCALIBRATED] == [
        'similar', 'without_double', 'possible', 'seen_from_there', 'leading', 'agreed']
    assert [test.__name__ for test in CALIBRATED] == [
        'seen_from_there', 'probable', 'witnessed', 'without_double', 'possible', 'leading']
    assert all(test.__doc__ for test in (*UNCALIBRATED, *CALIBRATED))


def test_agreement_is_worth_something_only_with_an_anchor():
    chain = evidence(agreement=8, geometry=UNPROVEN, provability=0.9)
    assert chain.agreement == 1
    assert replace(chain, support=Support(8, anchored=True)).agreement == 8
    assert replace(chain, provability=0.2).agreement == 8
    assert replace(chain, provability=0.2, trails=True).agreement == 1
    assert replace(chain, geometry=PROVEN).agreement == 8


def test_the_features_of_a_calibration_are_finite_and_named():
    vectors = [evidence(score=0.0).vector(), contradicted(geometry=METRIC).vector()]
    assert np.isfinite(vectors).all()
    assert len(FEATURES) == len(vectors[0]) and FEATURES[0] == 'proven'
    assert [vector[FEATURES.index('expected')] for vector in vectors] == [0.0, -1.0]
    assert [vector[0] for vector in vectors] == [0.0, 1.0]
