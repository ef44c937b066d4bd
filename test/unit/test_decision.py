"""Covisibility, ambiguity, agreement, exclusion: from scores to a believed answer."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.pipeline.recognition_settings import DecisionSettings
from segvlad_ros.recognition.covisibility import Covisibility
from segvlad_ros.recognition.decision import Doubts, decide, strongest_double
from segvlad_ros.recognition.geometry import Geometry
from segvlad_ros.recognition.history import SessionHistory
from segvlad_ros.recognition.odometry import OdometryPaths
from segvlad_ros.recognition.temporal import Sighting, TemporalAgreement, place_motion
from segvlad_ros.types import Candidate, KeyframeId, Pose, Status

SECOND = 1_000_000_000


def identity(index, session='a', robot=0, seconds=None):
    return KeyframeId(robot, session, index, (index if seconds is None else seconds) * SECOND)


def at(x, y=0.0):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')


def members(mask):
    return np.flatnonzero(mask).tolist()


def test_neighbourhood_in_sequence_stays_in_the_session():
    covisibility = Covisibility(2, 1.0)
    for session in 'ab':
        for index in range(1, 6):
            covisibility.add(identity(index, session), None)
    assert members(covisibility.neighbourhood(1)) == [0, 1, 2, 3]
    assert members(covisibility.neighbourhood(5)) == [5, 6, 7]


def test_same_session_name_of_another_robot_is_another_session():
    covisibility = Covisibility(2, 1.0)
    covisibility.add(identity(1, robot=0), at(0))
    covisibility.add(identity(2, robot=1), at(0))
    assert members(covisibility.neighbourhood(0)) == [0]


def test_neighbourhood_in_space_joins_two_visits_of_one_session():
    covisibility = Covisibility(1, 1.0)
    for index, x in enumerate([0, 5, 10, 15, 10.5, 5.2], 1):
        covisibility.add(identity(index), at(x))
    assert members(covisibility.neighbourhood(1)) == [0, 1, 2, 5]
    assert members(covisibility.neighbourhood(4)) == [2, 3, 4, 5]


def test_unknown_poses_are_near_in_sequence_only():
    covisibility = Covisibility(1, 100.0)
    for index in range(1, 5):
        covisibility.add(identity(index), at(0) if index % 2 else None)
    assert members(covisibility.neighbourhood(0)) == [0, 1, 2]
    assert members(covisibility.neighbourhood(3)) == [2, 3]


def test_link_joins_the_visits_of_a_place_within_the_radius():
    covisibility = Covisibility(2, 1.0)
    for index in range(1, 21):
        covisibility.add(identity(index), None)
    covisibility.link(14, 4)
    assert members(covisibility.neighbourhood(4)) == [2, 3, 4, 5, 6, 12, 13, 14, 15, 16]
    assert members(covisibility.neighbourhood(3)) == [1, 2, 3, 4, 5, 13, 14, 15]  # one step to the link, one beyond
    assert members(covisibility.neighbourhood(16)) == [4, 14, 15, 16, 17, 18]
    assert members(covisibility.neighbourhood(9)) == [7, 8, 9, 10, 11]


def test_neighbourhood_holds_over_many_entries():
    covisibility = Covisibility(1, 1.0)
    for index in range(1, 501):
        assert covisibility.add(identity(index), at(2.0 * index)) == index - 1
    assert members(covisibility.neighbourhood(300)) == [299, 300, 301]


def test_elsewhere_are_the_sessions_that_know_the_place():
    covisibility = Covisibility(1, 1.0)
    for session in 'abc':
        for index in range(1, 5):
            covisibility.add(identity(index, session), None)
    covisibility.link(4, 0)
    assert members(covisibility.elsewhere(covisibility.neighbourhood(0))) == [2, 3, 6, 7]  # not session c
    assert members(covisibility.elsewhere(covisibility.neighbourhood(8))) == [10, 11]


def test_the_strongest_double_is_the_best_score_elsewhere():
    scores = np.array([0.1, 0.4, 0.5, 0.2, 0.25])
    assert strongest_double(scores, np.array([True, False, False, True, True])) == 4
    assert strongest_double(scores, np.zeros(5, bool)) is None
    assert strongest_double(np.zeros(5), np.ones(5, bool)) is None


LIMITS = DecisionSettings(min_score=0.3, min_verified_score=0.2, min_probability=0.5, max_ambiguity=0.8)
PROVEN = Geometry('verified', '40 of 50 correspondences agree on one pnp model', pairs=np.zeros((40, 2), np.int64))
UNPROVEN = Geometry('too_few_inliers', '5 of 20 correspondences agree')
TOO_FAR = Geometry('too_far', 'the same scene, but seen from 4.0 m away')


def candidate(score=0.5, supporting=3, probability=0.9):
    return Candidate(7, identity(8), score, 0.9, 10, probability=probability, supporting_queries=supporting)


@pytest.mark.parametrize(('best', 'doubts', 'status', 'words'), [
    (candidate(), Doubts(needed=3), Status.MATCHED, "keyframe 8 of session 'a'"),
    (candidate(probability=float('nan')), Doubts(needed=3), Status.MATCHED, ''),
    (candidate(score=0.29), Doubts(), Status.NO_MATCH_LOW_SCORE, '0.290, below 0.300'),
    (candidate(score=0.29), Doubts(geometry=PROVEN), Status.MATCHED, '40 of 50'),
    (candidate(score=0.19), Doubts(geometry=PROVEN), Status.NO_MATCH_LOW_SCORE, 'below 0.200'),
    (candidate(probability=0.4), Doubts(), Status.NO_MATCH_LOW_SCORE, 'probability of 0.40, below 0.50'),
    (candidate(), Doubts(double=identity(3)), Status.NO_MATCH_AMBIGUOUS, 'keyframe 3: ambiguity 0.90, above 0.80'),
    (candidate(), Doubts(contradiction='by odometry it is far'), Status.NO_MATCH_TEMPORAL, 'by odometry it is far'),
    (candidate(), Doubts(geometry=TOO_FAR), Status.NO_MATCH_GEOMETRIC, 'seen from 4.0 m away'),
    (candidate(supporting=2), Doubts(needed=3), Status.NO_MATCH_TEMPORAL, '2 of 3 consecutive'),
    (candidate(supporting=2), Doubts(needed=3, geometry=UNPROVEN), Status.NO_MATCH_TEMPORAL, 'geometry: 5 of 20'),
    (candidate(score=0.1), Doubts(double=identity(3), needed=9), Status.NO_MATCH_LOW_SCORE, 'score'),
    (candidate(), Doubts(double=identity(3), contradiction='x', geometry=TOO_FAR), Status.NO_MATCH_AMBIGUOUS, 'double'),
])
def test_the_first_test_that_fails_is_the_answer_and_is_explained(best, doubts, status, words):
    answer, reason = decide(best, LIMITS, doubts)
    assert answer == status
    assert words in reason
    assert '\n' not in reason


NO_ODOMETRY = OdometryPaths(0.01, 0.05)


def sighting(index, entry, radius=1, size=50):
    return Sighting(identity(index), identity(entry + 1, 'map'), entry, place_motion(),
                    np.abs(np.arange(size) - entry) <= radius)


def feed(agreement, entries):
    """Runs of agreement for a list of candidates, one a second."""
    return [agreement.update(identity(index), None if entry is None else sighting(index, entry))
            for index, entry in enumerate(entries, 1)]


def test_agreement_counts_covisible_candidates_in_either_direction():
    assert feed(TemporalAgreement(NO_ODOMETRY), [10, 11, 12, 12, 13]) == [1, 2, 3, 4, 5]
    assert feed(TemporalAgreement(NO_ODOMETRY), [13, 12, 11]) == [1, 2, 3]


def test_agreement_breaks_where_the_candidate_jumps_or_is_missing():
    assert feed(TemporalAgreement(NO_ODOMETRY), [10, 11, 30, 31, 10]) == [1, 2, 1, 2, 1]
    assert feed(TemporalAgreement(NO_ODOMETRY), [10, None, 11]) == [1, 0, 1]


def test_a_run_survives_as_many_misses_as_it_may():
    assert feed(TemporalAgreement(NO_ODOMETRY, 1), [10, 11, None, 12, 30, 13]) == [1, 2, 0, 3, 1, 4]
    assert feed(TemporalAgreement(NO_ODOMETRY, 1), [10, 11, None, None, 12]) == [1, 2, 0, 0, 1]


def test_what_disagrees_begins_a_run_of_its_own():
    assert feed(TemporalAgreement(NO_ODOMETRY, 1), [10, 11, 30, 31, 32]) == [1, 2, 1, 2, 3]


def test_agreement_is_forgotten_after_a_clock_jump_or_reset():
    agreement = TemporalAgreement(NO_ODOMETRY)
    runs = [agreement.update(identity(index, seconds=second), sighting(index, 3))
            for index, second in enumerate((10, 11, 5, 6), 1)]
    assert runs == [1, 2, 1, 2]
    agreement.reset()
    assert agreement.update(identity(9), sighting(9, 3)) == 1


def history_of(places, session='a'):
    history = SessionHistory()
    for index, (seconds, pose) in enumerate(places, 1):
        history.add(identity(index, session, seconds=seconds), pose)
    return history


def test_recent_is_young_in_time():
    history = history_of([(0, None), (10, None), (20, None)])
    assert members(history.recent(identity(4, seconds=25), None, 10.0, 5.0)) == [2]
    assert members(history.recent(identity(4, seconds=25), None, 15.1, 5.0)) == [1, 2]


def test_what_is_not_older_than_the_query_is_recent_even_without_a_window():
    history = history_of([(0, None), (10, None), (20, None)])
    assert members(history.recent(identity(2, seconds=10), None, 0.0, 0.0)) == [1, 2]


def test_recent_is_near_in_travelled_distance_not_in_space():
    there_and_back = [(0, at(0)), (100, at(10)), (200, at(20)), (300, at(10))]
    history = history_of(there_and_back)
    # 10 m of travel since the last entry, 20 m since the turn, although it stands on the first one
    assert members(history.recent(identity(5, seconds=400), at(0), 1.0, 15.0)) == [3]
    assert members(history.recent(identity(5, seconds=400), at(0), 1.0, 25.0)) == [2, 3]


def test_standing_still_for_long_is_no_revisit():
    history = history_of([(0, at(0)), (1, at(1))])
    assert members(history.recent(identity(3, seconds=1000), at(1), 30.0, 5.0)) == [0, 1]


def test_another_session_is_never_recent():
    history = history_of([(0, at(0)), (1, at(1))])
    assert not history.recent(identity(3, 'b', seconds=1), at(1), 30.0, 5.0).any()
    assert not history.last_frames(identity(3, 'b'), 10).any()


def test_last_frames_counts_keyframes():
    history = history_of([(0, None)] * 10)
    assert members(history.last_frames(identity(11), 3)) == [8, 9]
    assert members(history.last_frames(identity(11), 1)) == []
