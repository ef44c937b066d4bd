"""The judge on made votes, made scenes and made odometry: what proves, what refutes, and what is remembered."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from segvlad_ros.io.geometry import compose, distance, from_matrix, identity, relative, rotation_angle, to_matrix
from segvlad_ros.pipeline.judge import REJECTED_SHARE, Judge
from segvlad_ros.pipeline.recognition_settings import (
    DecisionSettings,
    ExcludeSettings,
    GeometrySettings,
    OdometrySettings,
    RecognitionSettings,
    SearchSettings,
    VoteSettings,
)
from segvlad_ros.recognition.calibration import Calibration, LearnedFrom
from segvlad_ros.recognition.statistics import FEATURES
from segvlad_ros.recognition.voting import vote_online
from segvlad_ros.types import CameraModel, Keyframe, KeyframeId, Keypoints, PlaceDescription, Pose, Status, Verification

SETTINGS = RecognitionSettings(
    SearchSettings(), VoteSettings(),
    DecisionSettings(min_score=0.4, max_ambiguity=0.8, agreement=3, agreement_verified=2, misses=0,
                     min_verified_score=0.2, covisible_keyframes=2, covisible_distance_m=1.0),
    GeometrySettings(candidates=3), OdometrySettings(), ExcludeSettings())
ENTRIES = 10
SPACING_M = 3.0
SIZE = 640, 480
CAMERA = CameraModel(*SIZE, np.array([[465.0, 0, 319.5], [0, 465.0, 239.5], [0, 0, 1]]), np.zeros(5))
MOUNT = from_matrix(np.array([[0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1.0]]), 'base_link')
SEGMENTS = 4
BOXES = np.tile(np.array([0, 0, *SIZE], np.int32), (SEGMENTS, 1))


def pose(x=0.0, y=0.0, degrees=0.0, frame='odom'):
    half = np.radians(degrees) / 2
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, np.sin(half), np.cos(half)]), frame)


STAND = pose(0.3, -0.1, 5)  # where the robot stands when it comes again, as the map's keyframe sees it


def seen(place, stand, deep):
    """The keypoints of a made place: points with looks of their own, ahead of its origin, seen from beside it."""
    rng = np.random.default_rng(place)
    x = rng.uniform(1.2, 2.6, 400)
    points = np.stack([x, rng.uniform(-0.8, 0.8, 400) * x, 1.0 + rng.uniform(-0.5, 0.5, 400) * x], 1)
    looks = rng.integers(0, 120, (400, 128)).astype(np.uint8)
    origin = to_matrix(compose(stand, MOUNT))
    inside = (points - origin[:3, 3]) @ origin[:3, :3]
    pixels = cv2.projectPoints(inside, np.zeros(3), np.zeros(3), CAMERA.matrix, None)[0][:, 0]
    kept = (inside[:, 2] > 0.3) & (pixels >= 0).all(1) & (pixels < SIZE).all(1)
    depths = inside[kept, 2] if deep else np.full(kept.sum(), np.nan)
    return Keypoints(pixels[kept].astype(np.float32), looks[kept], depths.astype(np.float32))


def keyframe(index, session, *, place=None, stand=None, at=None, deep=True, camera=CAMERA):
    """A keyframe that shows a place (None: without keypoints), by odometry at a pose (None: without odometry)."""
    keypoints = None if place is None else seen(place, stand or identity(), deep)
    description = PlaceDescription(np.zeros((SEGMENTS, 2), np.float32), BOXES, np.ones(SEGMENTS, np.int64),
                                   keypoints=keypoints)
    stamp = index * 10**9 + (10**12 if session == 'query' else 0)
    return Keyframe(KeyframeId(0, session, index, stamp), description, pose=at, camera_model=camera,
                    base_from_camera=MOUNT)


def spot(entry):
    """Odometry of a map entry: a straight drive."""
    return pose(SPACING_M * entry)


def stood(entry, frame='odom2'):
    """Odometry of a robot that stands beside an entry: from another origin, turned, and without any drift."""
    return replace(compose(pose(100.0, 50.0, 70.0), compose(spot(entry), STAND)), frame=frame)


def judge_of(places=range(ENTRIES), settings=SETTINGS, **options):
    judge = Judge(settings)
    for entry, place in enumerate(places):
        judge.add(keyframe(entry + 1, 'map', **{'place': place, 'at': spot(entry), **options}))
    return judge


def votes_for(scores):
    """Votes that give entries these scores."""
    row = np.zeros((SEGMENTS, ENTRIES), np.float32)
    row[:, list(scores)] = list(scores.values())
    owners = np.tile(np.arange(ENTRIES), (SEGMENTS, 1))
    return vote_online(row, owners, ENTRIES, 0.0, np.tile(np.arange(SEGMENTS, dtype=np.int32)[:, None], ENTRIES))


def ask(judge, index, scores, *, independent=False, session='query', **options):
    query = keyframe(index, session, **{'stand': STAND, **options})
    return judge.judge(query, votes_for(scores), np.ones(ENTRIES, bool), 5, independent)


def status_and_support(verdicts):
    return [(verdict.status, verdict.candidates[0].supporting_queries) for verdict in verdicts]


def test_a_proven_candidate_is_preferred_to_a_better_one():
    verdict = ask(judge_of(), 1, {3: 0.7, 7: 0.5, 1: 0.45}, place=7)
    assert [candidate.entry for candidate in verdict.candidates] == [7, 3, 1]
    assert [candidate.verification for candidate in verdict.candidates] == [
        Verification.GEOMETRIC, Verification.REJECTED, Verification.UNVERIFIED]
    best = verdict.candidates[0]
    truth = relative(pose(), STAND)
    assert best.scale_source == 'depth'
    assert distance(best.query_pose_in_match, truth) < 0.02
    assert rotation_angle(best.query_pose_in_match, truth) < np.radians(0.5)
    assert ask(judge_of(), 1, {3: 0.7, 7: 0.5, 1: 0.45}).candidates[0].entry == 3


def test_only_so_many_candidates_are_compared():
    verdict = ask(judge_of(), 1, {1: 0.7, 3: 0.65, 5: 0.6, 7: 0.5}, place=7)
    assert verdict.candidates[0].entry == 1
    assert [candidate.verification for candidate in verdict.candidates] == [
        Verification.REJECTED] * 3 + [Verification.UNVERIFIED]
    off = replace(SETTINGS, geometry=GeometrySettings(candidates=0))
    verdict = ask(judge_of(settings=off), 1, {7: 0.7}, place=7)
    assert verdict.candidates[0].verification == Verification.UNVERIFIED
    assert verdict.candidates[0].inliers == 0


def test_a_candidate_with_a_very_low_score_is_not_compared():
    verdict = ask(judge_of(), 1, {7: 0.19}, place=7)
    assert (verdict.status, verdict.candidates[0].verification) == (Status.NO_MATCH_LOW_SCORE, Verification.UNVERIFIED)
    proven = ask(judge_of(), 1, {7: 0.21}, place=7, independent=True)
    assert (proven.status, proven.candidates[0].verification) == (Status.MATCHED, Verification.GEOMETRIC)


@pytest.mark.parametrize(('stand', 'words'), [
    (pose(-2.4), '2.4 m away'),
    (pose(0.95, -1.645, 60), 'turned')])
def test_the_same_scene_from_another_place_is_no_match(stand, words):
    verdict = ask(judge_of(), 1, {7: 0.7}, place=7, stand=stand)
    assert verdict.status == Status.NO_MATCH_GEOMETRIC
    assert words in verdict.reason
    best = verdict.candidates[0]
    assert (best.verification, best.query_pose_in_match, best.scale_source) == (Verification.REJECTED, None, '')
    assert best.inliers >= 12


def test_agreement_of_three_two_or_one_by_what_is_known():
    def drive(judge, **options):
        return status_and_support(ask(judge, index, {entry: 0.6}, place=entry if options else None,
                                      **{'at': stood(entry), **options})
                                  for index, entry in enumerate((2, 3, 4), 1))
    waiting, matched = Status.NO_MATCH_TEMPORAL, Status.MATCHED
    assert drive(judge_of()) == [(waiting, 1), (waiting, 2), (matched, 3)]
    two = [(waiting, 1), (matched, 2), (matched, 3)]
    assert drive(judge_of(deep=False, at=None), deep=False) == two
    assert drive(judge_of(deep=False, camera=None), deep=False, camera=None) == two
    assert drive(judge_of(), deep=True) == two


def test_a_metric_pose_that_odometry_expects_is_enough():
    judge = judge_of()
    here = compose(spot(9), pose(0.5))  # at the end of the way that it came, in the map's own session

    def again(index, entry, **options):
        return ask(judge, index, {entry: 0.6}, session='map', place=entry, at=here, **options)
    verdict = again(11, 9, stand=pose(0.5))
    assert status_and_support([verdict]) == [(Status.MATCHED, 1)]
    assert verdict.statistics.expected == 1
    assert status_and_support([again(12, 9, stand=pose(0.5), deep=False, camera=None)]) == [(Status.MATCHED, 2)]
    judge.reset_short_term()
    assert status_and_support([again(13, 9, stand=pose(0.5))]) == [(Status.NO_MATCH_TEMPORAL, 1)]


def test_without_a_mount_there_is_no_pose():
    judge = judge_of()
    query = replace(keyframe(1, 'query', place=7, stand=STAND), base_from_camera=None)
    best = judge.judge(query, votes_for({7: 0.6}), np.ones(ENTRIES, bool), 5, True).candidates[0]
    assert (best.verification, best.query_pose_in_match, best.scale_source) == (Verification.GEOMETRIC, None, '')


def recognised(entry=2, **options):
    """A judge that has accepted a match."""
    judge = judge_of(**options)
    for index in (1, 2):
        verdict = ask(judge, index, {entry: 0.6}, place=entry, at=stood(entry))
    assert verdict.status == Status.MATCHED
    return judge


def test_odometry_rules_a_place_out_and_says_so():
    verdict = ask(recognised(), 3, {8: 0.7}, at=stood(3))
    assert verdict.status == Status.NO_MATCH_TEMPORAL
    assert 'by odometry the robot is' in verdict.reason
    assert f'{5 * SPACING_M - STAND.translation[0]:.1f} m and 5 degrees' in verdict.reason
    assert verdict.statistics.expected == -1
    assert verdict.candidates[0].supporting_queries == 1


def test_a_twin_scene_that_odometry_rules_out_is_no_match():
    places = [*range(8), 3, 9]  # entry 8 looks like entry 3 to the last point
    verdict = ask(recognised(places=places), 3, {8: 0.7}, place=3, at=stood(3))
    assert verdict.status == Status.NO_MATCH_TEMPORAL
    assert 'by odometry' in verdict.reason
    assert verdict.candidates[0].query_pose_in_match is None


def test_a_possible_place_is_preferred_to_an_impossible_one():
    verdict = ask(recognised(), 3, {8: 0.7, 3: 0.5}, at=stood(3))
    assert [candidate.entry for candidate in verdict.candidates] == [3, 8]


def test_what_odometry_rules_out_supports_nobody():
    judge = recognised()
    for index in (3, 4, 5):
        verdict = ask(judge, index, {8: 0.7}, at=stood(3))
        assert (verdict.status, verdict.candidates[0].supporting_queries) == (Status.NO_MATCH_TEMPORAL, 1)


def test_two_look_alikes_are_ambiguous_unless_odometry_rules_one_out():
    scores = {3: 0.7, 8: 0.65}
    verdict = ask(judge_of(), 1, scores)
    assert verdict.status == Status.NO_MATCH_AMBIGUOUS
    assert 'keyframe 9' in verdict.reason
    assert verdict.candidates[0].ambiguity == pytest.approx(0.65 / 0.7, abs=1e-3)
    unproven = ask(recognised(), 3, scores, at=stood(3))
    assert unproven.status == Status.NO_MATCH_AMBIGUOUS  # odometry excuses the double of a proven candidate only
    verdict = ask(recognised(places=[*range(8), 3, 9]), 3, scores, place=3, at=stood(3))
    assert verdict.status == Status.MATCHED
    assert verdict.candidates[0].entry == 3
    assert verdict.candidates[0].ambiguity == pytest.approx(0.65 / 0.7, abs=1e-3)  # it is still reported


def test_two_look_alikes_are_ambiguous_unless_geometry_rules_one_out():
    scores = {3: 0.7, 8: 0.65}
    assert ask(judge_of(), 1, scores, place=3, independent=True).status == Status.MATCHED
    twins = judge_of([*range(8), 3, 9])
    assert ask(twins, 1, scores, place=3, independent=True).status == Status.NO_MATCH_AMBIGUOUS


def test_rejected_loop_closures_lower_a_keyframe_and_accepted_ones_restore_it():
    judge, votes = judge_of(), votes_for({2: 0.6, 5: 0.5})
    match = keyframe(3, 'map').id

    def lowered():
        scores = judge.lowered(votes).scores
        assert scores[5] == votes.scores[5]
        return scores[2] / votes.scores[2]
    assert judge.lowered(votes) is votes
    shares = []
    for number, accepted in enumerate((False, False, True, True, True), 1):
        judge.feedback(keyframe(number, 'query').id, match, accepted)
        shares.append(lowered())
    once = REJECTED_SHARE
    assert shares == pytest.approx([once, once**2, once, 1, 1])


def test_a_back_end_that_repeats_itself_is_heard_once_and_its_last_word_counts():
    judge, votes = judge_of(), votes_for({2: 0.6, 5: 0.5})
    query, match = keyframe(1, 'query').id, keyframe(3, 'map').id
    shares = []
    for accepted in (False, False, False, True, True, False):
        judge.feedback(query, match, accepted)
        shares.append(judge.lowered(votes).scores[2] / votes.scores[2])
    once = REJECTED_SHARE
    assert shares == pytest.approx([once, once, once, 1, 1, once])
    assert votes.scores[2] == pytest.approx(0.6)
    judge.feedback(query, keyframe(99, 'elsewhere').id, False)  # of another map
    assert judge.lowered(votes).scores[2] / votes.scores[2] == pytest.approx(once)


def test_a_rejected_loop_closure_no_longer_says_where_the_robot_is():
    judge = recognised()
    assert 'by odometry' in ask(judge, 3, {8: 0.7}, at=stood(3)).reason
    judge.feedback(keyframe(2, 'query').id, keyframe(3, 'map').id, False)
    verdict = ask(judge, 4, {8: 0.7}, at=stood(3))
    assert 'by odometry' not in verdict.reason
    assert verdict.statistics.expected == 0


def test_a_rejected_loop_closure_no_longer_joins_two_places():
    """A double of the match's place, seen again in the session that the match joined to it."""
    def verdict(rejected):
        judge = judge_of(deep=False, at=None, camera=None)
        queries = [keyframe(index, 'map', place=2, stand=STAND, deep=False, camera=None) for index in (11, 12)]
        votes = votes_for({2: 0.7})
        found = [judge.judge(query, votes, np.ones(ENTRIES, bool), 5, False) for query in queries]
        assert found[-1].status == Status.MATCHED
        for query in queries:
            judge.add(query)
        if rejected:
            judge.feedback(queries[1].id, keyframe(3, 'map').id, False)
        row = np.zeros((SEGMENTS, 12), np.float32)
        row[:, [2, 11]] = 0.7, 0.65
        again = vote_online(row, np.tile(np.arange(12), (SEGMENTS, 1)), 12, 0.0, np.zeros((SEGMENTS, 12), np.int32))
        return judge.judge(keyframe(1, 'query'), again, np.ones(12, bool), 5, True)
    assert verdict(rejected=False).candidates[0].ambiguity == 0
    assert verdict(rejected=False).status == Status.MATCHED
    assert verdict(rejected=True).status == Status.NO_MATCH_AMBIGUOUS


def test_independent_queries_leave_no_trace():
    def drive(disturbed):
        judge, found = judge_of(), []
        for index, entry in enumerate((2, 3, 4), 1):
            if disturbed:
                alone = ask(judge, index, {8: 0.7}, place=8, at=stood(8), independent=True)
                assert (alone.status, alone.candidates[0].supporting_queries) == (Status.MATCHED, 1)
                ask(judge, index, {}, independent=True)
            found.append(ask(judge, index, {entry: 0.6, 8: 0.55}, at=stood(entry)))
        return repr(found)
    assert drive(disturbed=True) == drive(disturbed=False)


def test_nothing_similar_has_no_candidate_and_breaks_agreement():
    judge = judge_of()
    ask(judge, 1, {2: 0.6})
    nothing = ask(judge, 2, {})
    assert (nothing.status, nothing.candidates, nothing.statistics) == (Status.NO_MATCH_LOW_SCORE, (), None)
    assert ask(judge, 3, {2: 0.6}).candidates[0].supporting_queries == 1


def test_the_same_calls_give_the_same_verdicts():
    def run():
        judge = judge_of([*range(8), 3, 9])
        return repr([ask(judge, index, scores, place=place, at=stood(place)) for index, (place, scores) in enumerate(
            [(2, {2: 0.6, 5: 0.5}), (3, {3: 0.6, 8: 0.6}), (4, {4: 0.3, 9: 0.6}), (9, {9: 0.6})], 1)])
    assert run() == run()


def test_a_calibration_makes_a_probability_that_a_preset_may_ask_for():
    count = len(FEATURES)
    weights = tuple(4.0 * (name == 'proven') for name in FEATURES)
    calibration = Calibration(FEATURES, (0.0,) * count, (1.0,) * count, (-9.0,) * count, (9.0,) * count, weights, -2.0,
                              'made', '', (LearnedFrom('made', 1000, 500),))

    def answer(least, place):
        settings = replace(SETTINGS, decision=replace(SETTINGS.decision, min_probability=least))
        judge = Judge(settings, calibration)
        for entry in range(ENTRIES):
            judge.add(keyframe(entry + 1, 'map', place=entry))
        verdict = ask(judge, 1, {3: 0.6}, place=place, independent=True)
        return verdict.status, verdict.candidates[0].probability
    proven, unproven = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    assert answer(0.0, 3) == (Status.MATCHED, pytest.approx(proven))
    assert answer(0.5, 3) == (Status.MATCHED, pytest.approx(proven))
    assert answer(0.0, None) == (Status.MATCHED, pytest.approx(unproven))
    assert answer(0.5, None) == (Status.NO_MATCH_LOW_SCORE, pytest.approx(unproven))
    assert np.isnan(ask(judge_of(), 1, {3: 0.6}, place=3).candidates[0].probability)


def test_reset_short_term_forgets_agreement_and_where_the_robot_was():
    judge = recognised()
    judge.reset_short_term()
    verdict = ask(judge, 3, {8: 0.7}, place=8, at=stood(3))
    assert (verdict.status, verdict.candidates[0].supporting_queries) == (Status.NO_MATCH_TEMPORAL, 1)
    assert verdict.statistics.expected == 0
    assert 'by odometry' not in verdict.reason
    verdict = ask(judge, 4, {8: 0.7}, place=8, at=stood(3))
    assert (verdict.status, verdict.candidates[0].supporting_queries) == (Status.MATCHED, 2)
