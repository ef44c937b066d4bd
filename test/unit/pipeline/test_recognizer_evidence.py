"""The recogniser on made scores, made scenes and made odometry: what proves, what refutes, and what is remembered."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.linalg import hadamard

from segvlad_ros.geometry import compose, distance, from_matrix, identity, relative, rotation_angle, to_matrix
from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.pipeline.sections import ExcludeSettings, RecognitionSettings, SearchSettings, VoteSettings
from segvlad_ros.recognition import verifier
from segvlad_ros.recognition.calibration import Calibration, LearnedFrom
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.recognition.evidence import FEATURES
from segvlad_ros.types import CameraModel, Keyframe, KeyframeId, Keypoints, PlaceDescription, Pose, Status, Verification
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.verify import verify_pairs
from segvlad_ros.verification.view import Correspondences

SETTINGS = RecognitionSettings(
    SearchSettings(), VoteSettings(floor=1e-6), PlaceSettings(near_keyframes=2, near_distance_m=1.0),
    DecisionSettings(min_score=0.4, max_ambiguity=0.8, agreement=3, agreement_proven=2, misses=0,
                     min_proven_score=0.2),
    VerificationSettings(candidates=3), OdometrySettings(), ExcludeSettings())
ENTRIES = 10
SPACING_M = 3.0
SIZE = 640, 480
CAMERA = CameraModel(*SIZE, np.array([[465.0, 0, 319.5], [0, 465.0, 239.5], [0, 0, 1]]), np.zeros(5))
MOUNT = from_matrix(np.array([[0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1.0]]), 'base_link')
CODER = quantizer(16)
BASIS = CODER.unrotated(hadamard(16) / 4)
"""Unit rows of which the codes stand for the same directions."""
SEGMENTS = 4
BOXES = np.tile(np.array([0, 0, *SIZE], np.int32), (SEGMENTS, 1))


def pose(x=0.0, y=0.0, degrees=0.0, frame='odom'):
    half = np.radians(degrees) / 2
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, np.sin(half), np.cos(half)]), frame)


STAND = pose(0.3, -0.1, 5)  # where the robot stands when it comes again, as the map's keyframe sees it


def seen(place, stand, deep):
    """The keypoints of a made place: points with looks of their own, ahead of its origin, seen from beside it."""
    rng = np.random.default_rng(place)
    x = rng.uniform(1.2, 2.6, 800)
    points = np.stack([x, rng.uniform(-0.8, 0.8, 800) * x, 1.0 + rng.uniform(-0.5, 0.5, 800) * x], 1)
    looks = rng.integers(0, 120, (800, 128)).astype(np.uint8)
    origin = to_matrix(compose(stand, MOUNT))
    inside = (points - origin[:3, 3]) @ origin[:3, :3]
    pixels = cv2.projectPoints(inside, np.zeros(3), np.zeros(3), CAMERA.matrix, None)[0][:, 0]
    kept = (inside[:, 2] > 0.3) & (pixels >= 0).all(1) & (pixels < SIZE).all(1)
    depths = inside[kept, 2] if deep else np.full(kept.sum(), np.nan)
    return Keypoints(pixels[kept].astype(np.float32), looks[kept], depths.astype(np.float32))


def keyframe(index, session, looks, *, place=None, stand=None, at=None, deep=True, camera=CAMERA):
    """A keyframe that shows a place (None: without keypoints), by odometry at a pose (None: without odometry)."""
    keypoints = None if place is None else seen(place, stand or identity(), deep)
    description = PlaceDescription(np.tile(looks.astype(np.float32), (SEGMENTS, 1)), BOXES,
                                   np.ones(SEGMENTS, np.int64), keypoints=keypoints)
    stamp = index * 10**9 + (10**12 if session == 'query' else 0)
    return Keyframe(KeyframeId(0, session, index, stamp), description, pose=at, camera_model=camera,
                    base_from_camera=MOUNT)


def look(entry):
    """What all segments of a map entry look like: nothing like those of any other, and as a map stores it."""
    return BASIS[entry]


def like(scores, rest=ENTRIES):
    """Segments of which these entries get these scores: cosines, at a vote's floor that only keeps rounding out.

    :param rest: where what they have in common with no entry points to
    """
    looks = np.zeros(len(BASIS))
    looks[list(scores)] = np.array(list(scores.values())) / CODER.length
    looks[rest] = np.sqrt(1 - looks @ looks)
    return looks @ BASIS


def spot(entry):
    """Odometry of a map entry: a straight drive."""
    return pose(SPACING_M * entry)


def stood(entry, frame='odom2'):
    """Odometry of a robot that stands beside an entry: from another origin, turned, and without any drift."""
    return replace(compose(pose(100.0, 50.0, 70.0), compose(spot(entry), STAND)), frame=frame)


def map_of(places=range(ENTRIES), settings=SETTINGS, calibration=None, **options):
    recognizer = Recognizer(settings, calibration)
    for entry, place in enumerate(places):
        recognizer.add(keyframe(entry + 1, 'map', look(entry), **{'place': place, 'at': spot(entry), **options}))
    return recognizer


def ask(recognizer, index, scores, *, independent=False, session='query', **options):
    query = keyframe(index, session, like(scores), **{'stand': STAND, **options})
    return recognizer.recognize(query, exclude_recent=False, independent=independent, top_k=5)


def status_and_support(answers):
    return [(answer.status, answer.candidates[0].supporting_queries) for answer in answers]


def test_a_proven_candidate_is_preferred_to_a_better_one():
    answer = ask(map_of(), 1, {3: 0.7, 7: 0.5, 1: 0.45}, place=7)
    assert [candidate.entry for candidate in answer.candidates] == [7, 3, 1]
    assert [candidate.verification for candidate in answer.candidates] == [
        Verification.GEOMETRIC, Verification.REJECTED, Verification.UNVERIFIED]
    best = answer.candidates[0]
    truth = relative(pose(), STAND)
    assert best.scale_source == 'depth'
    assert distance(best.query_pose_in_match, truth) < 0.02
    assert rotation_angle(best.query_pose_in_match, truth) < np.radians(0.5)
    assert ask(map_of(), 1, {3: 0.7, 7: 0.5, 1: 0.45}).candidates[0].entry == 3


@pytest.mark.fault('topic', 'keypoints of another kind than those of the map', 'the answer goes without geometry')
def test_keypoints_of_another_kind_prove_nothing():
    recognizer, query = map_of(), keyframe(1, 'query', like({2: 0.8}), place=2, stand=STAND)
    points = query.description.keypoints
    other = replace(points, descriptors=np.pad(points.descriptors, ((0, 0), (0, 6))))
    query = replace(query, description=replace(query.description, keypoints=other))
    answer = recognizer.recognize(query, exclude_recent=False)
    assert (answer.candidates[0].entry, answer.candidates[0].inliers) == (2, 0)
    assert answer.candidates[0].verification != Verification.GEOMETRIC


def test_pairs_are_those_of_the_matcher_whatever_is_searched(tmp_path):
    """A map that is loaded and an emptied one, too."""
    asked = []

    def blind(query, match, segments):
        asked.append(len(segments))
        return Correspondences(np.zeros(0, np.int64), np.zeros(0, np.int64))

    recognizer = Recognizer(SETTINGS, matcher=blind)
    with PlaceMap.create(tmp_path / 'a.segvlad', {}, len(BASIS)) as place_map:
        place_map.append(keyframe(1, 'map', look(0), place=0))
        recognizer.load(place_map)
    for _ in range(2):
        assert ask(recognizer, 1, {0: 0.7}, place=0).candidates[0].verification == Verification.REJECTED
        assert asked == [SEGMENTS]
        asked.clear()
        recognizer.clear()
        recognizer.add(keyframe(1, 'map', look(0), place=0))


def test_only_so_many_candidates_are_compared():
    answer = ask(map_of(), 1, {1: 0.55, 3: 0.5, 5: 0.45, 7: 0.42}, place=7)
    assert answer.candidates[0].entry == 1
    assert [candidate.verification for candidate in answer.candidates] == [
        Verification.REJECTED] * 3 + [Verification.UNVERIFIED]
    off = replace(SETTINGS, geometry=VerificationSettings(candidates=0))
    answer = ask(map_of(settings=off), 1, {7: 0.7}, place=7)
    assert answer.candidates[0].verification == Verification.UNVERIFIED
    assert answer.candidates[0].inliers == 0


def test_a_candidate_with_a_very_low_score_is_not_compared():
    answer = ask(map_of(), 1, {7: 0.19}, place=7)
    assert (answer.status, answer.candidates[0].verification) == (Status.NO_MATCH_LOW_SCORE, Verification.UNVERIFIED)
    proven = ask(map_of(), 1, {7: 0.21}, place=7, independent=True)
    assert (proven.status, proven.candidates[0].verification) == (Status.MATCHED, Verification.GEOMETRIC)


@pytest.mark.parametrize(('stand', 'words'), [
    (pose(-2.4), '2.4 m away'),
    (pose(0.95, -1.645, 60), 'turned')])
def test_the_same_scene_from_another_place_than_the_preset_allows_is_no_match(stand, words):
    near = replace(SETTINGS, geometry=VerificationSettings(max_distance_m=2.0, max_angle_rad=np.radians(57)))
    assert ask(map_of(), 1, {7: 0.7}, place=7, stand=stand, independent=True).status == Status.MATCHED
    answer = ask(map_of(settings=near), 1, {7: 0.7}, place=7, stand=stand)
    assert answer.status == Status.NO_MATCH_GEOMETRIC
    assert words in answer.reason
    best = answer.candidates[0]
    assert (best.verification, best.query_pose_in_match, best.scale_source) == (Verification.REJECTED, None, '')
    assert best.inliers >= 12


def test_agreement_of_three_two_or_one_by_what_is_known():
    def drive(recognizer, **options):
        return status_and_support(ask(recognizer, index, {entry: 0.6}, place=entry if options else None,
                                      **{'at': stood(entry), **options})
                                  for index, entry in enumerate((2, 3, 4), 1))
    waiting, matched = Status.NO_MATCH_TEMPORAL, Status.MATCHED
    assert drive(map_of()) == [(waiting, 1), (waiting, 2), (matched, 3)]
    two = [(waiting, 1), (matched, 2), (matched, 3)]
    assert drive(map_of(deep=False, at=None), deep=False) == two
    assert drive(map_of(deep=False, camera=None), deep=False, camera=None) == two
    assert drive(map_of(), deep=True) == two


def test_a_metric_pose_that_odometry_expects_is_enough():
    recognizer = map_of()
    here = compose(spot(9), pose(0.5))  # at the end of the way that it came, in the map's own session

    def again(index, entry, **options):
        return ask(recognizer, index, {entry: 0.6}, session='map', place=entry, at=here, **options)
    answer = again(11, 9, stand=pose(0.5))
    assert status_and_support([answer]) == [(Status.MATCHED, 1)]
    assert answer.evidence.support.expected is True
    assert status_and_support([again(12, 9, stand=pose(0.5), deep=False, camera=None)]) == [(Status.MATCHED, 2)]
    recognizer.reset_short_term()
    assert status_and_support([again(13, 9, stand=pose(0.5))]) == [(Status.NO_MATCH_TEMPORAL, 1)]


def test_without_a_mount_there_is_no_pose():
    recognizer = map_of()
    query = replace(keyframe(1, 'query', like({7: 0.6}), place=7, stand=STAND), base_from_camera=None)
    answer = recognizer.recognize(query, exclude_recent=False, independent=True)
    best = answer.candidates[0]
    assert (best.verification, best.query_pose_in_match, best.scale_source) == (Verification.GEOMETRIC, None, '')
    assert not answer.evidence.metric


def recognised(entry=2, **options):
    """A recognizer that has accepted a match."""
    recognizer = map_of(**options)
    for index in (1, 2):
        answer = ask(recognizer, index, {entry: 0.6}, place=entry, at=stood(entry))
    assert answer.status == Status.MATCHED
    return recognizer


def test_odometry_rules_a_place_out_and_says_so():
    answer = ask(recognised(), 3, {8: 0.7}, at=stood(3))
    assert answer.status == Status.NO_MATCH_TEMPORAL
    assert 'by odometry the robot is' in answer.reason
    assert f'{5 * SPACING_M - STAND.translation[0]:.1f} m and 5 degrees' in answer.reason
    assert answer.evidence.support.expected is False
    assert answer.candidates[0].supporting_queries == 1


def test_keyframes_that_join_after_a_query_ahead_of_them_keep_their_odometry():
    """A localizer that starts after its map_builder answers the newest keyframe first, and fetches those before it."""
    drive = [keyframe(index, 'drive', look(index), at=spot(index)) for index in range(1, 6)]
    recognizer = Recognizer(SETTINGS)
    recognizer.recognize(drive[3], exclude_recent=True, ahead=True)
    for each in drive[:4]:
        recognizer.add(each)
    minutes_later = replace(drive[4], id=replace(drive[4].id, stamp_ns=600 * 10**9))
    near = SPACING_M * np.array([4, 3, 2, 1]) < SETTINGS.exclude.distance_m
    assert recognizer.excluded(minutes_later, True).tolist() == near.tolist() and near.any()


def test_a_twin_scene_that_odometry_rules_out_is_no_match():
    places = [*range(8), 3, 9]  # entry 8 looks like entry 3 to the last point
    answer = ask(recognised(places=places), 3, {8: 0.7}, place=3, at=stood(3))
    assert answer.status == Status.NO_MATCH_TEMPORAL
    assert 'by odometry' in answer.reason
    assert answer.candidates[0].verification == Verification.GEOMETRIC  # asked, proven, and still refused


def test_a_possible_place_is_preferred_to_an_impossible_one():
    answer = ask(recognised(), 3, {8: 0.7, 3: 0.5}, at=stood(3))
    assert [candidate.entry for candidate in answer.candidates] == [3, 8]


def test_what_odometry_rules_out_supports_nobody():
    recognizer = recognised()
    for index in (3, 4, 5):
        answer = ask(recognizer, index, {8: 0.7}, at=stood(3))
        assert (answer.status, answer.candidates[0].supporting_queries) == (Status.NO_MATCH_TEMPORAL, 1)


def test_two_look_alikes_are_ambiguous_unless_odometry_rules_one_out():
    scores = {3: 0.7, 8: 0.65}
    answer = ask(map_of(), 1, scores)
    assert answer.status == Status.NO_MATCH_AMBIGUOUS
    assert 'keyframe 9' in answer.reason
    assert answer.candidates[0].ambiguity == pytest.approx(0.65 / 0.7, abs=1e-3)
    unproven = ask(recognised(), 3, scores, at=stood(3))
    assert unproven.status == Status.NO_MATCH_AMBIGUOUS  # odometry excuses the double of a proven candidate only
    for third in ({}, {6: 0.25}):  # one that looks less like the query brings no doubt back
        answer = ask(recognised(places=[*range(8), 3, 9]), 3, scores | third, place=3, at=stood(3))
        assert answer.status == Status.MATCHED
        assert answer.candidates[0].entry == 3
        assert answer.candidates[0].ambiguity == pytest.approx(0.65 / 0.7, abs=1e-3)  # it is still reported


def test_two_look_alikes_are_ambiguous_unless_geometry_rules_one_out():
    scores = {3: 0.7, 8: 0.65}
    assert ask(map_of(), 1, scores, place=3, independent=True).status == Status.MATCHED
    twins = map_of([*range(8), 3, 9])
    assert ask(twins, 1, scores, place=3, independent=True).status == Status.NO_MATCH_AMBIGUOUS


def test_visits_that_nobody_has_joined_cost_a_few_comparisons_and_hide_no_twin(monkeypatch):
    """A map of many laps that was driven without asking: one scene, a hundred times, each a place of its own."""
    compared = []
    monkeypatch.setattr(verifier, 'verify_pairs', lambda *args: compared.append(1) or verify_pairs(*args))

    def visited(twin):
        recognizer = map_of(settings=replace(SETTINGS, search=SearchSettings(neighbours=500)))
        for number in range(100):
            view = keyframe(1, f'visit {number}', like({3: 0.9}, ENTRIES + 1), place=3,
                                stand=STAND)
            if number == 90 and twin:
                recognizer.add(keyframe(20, 'map', like({3: 0.88}, ENTRIES + 1), place=3,
                                        at=spot(12)))
            recognizer.add(view)
        compared.clear()
        return ask(recognizer, 1, {3: 0.7}, place=3, independent=True)
    assert visited(twin=False).status == Status.MATCHED
    assert 1 < len(compared) < 10
    assert visited(twin=True).status == Status.NO_MATCH_AMBIGUOUS


def remaining_weight(recognizer):
    """What is left of the score of entry 2."""
    best, other = ask(recognizer, 1, {2: 0.6, 5: 0.3}, independent=True).candidates
    assert (best.entry, other.score) == (2, pytest.approx(0.3, abs=1e-5))
    return best.score / 0.6


def test_rejected_loop_closures_down_weight_a_keyframe_and_accepted_ones_restore_it():
    recognizer, shares = map_of(), []
    for number, accepted in enumerate((False, False, True, True, True), 1):
        recognizer.feedback(KeyframeId(0, 'query', number, 0), recognizer.ids[2], accepted)
        shares.append(remaining_weight(recognizer))
    assert shares == pytest.approx([0.8, 0.64, 0.8, 1, 1])


def test_a_back_end_that_repeats_itself_is_heard_once_and_its_last_word_counts():
    recognizer, shares = map_of(), []
    query, match = KeyframeId(0, 'query', 1, 0), recognizer.ids[2]
    for accepted in (False, False, False, True, True, False):
        recognizer.feedback(query, match, accepted)
        shares.append(remaining_weight(recognizer))
    assert shares == pytest.approx([0.8, 0.8, 0.8, 1, 1, 0.8])
    recognizer.feedback(query, KeyframeId(0, 'elsewhere', 99, 0), False)  # of another map
    assert remaining_weight(recognizer) == pytest.approx(0.8)


def test_a_keyframe_is_never_down_weighted_to_nothing_and_recovers():
    recognizer = map_of()
    for number in range(20):
        recognizer.feedback(KeyframeId(0, 'query', number, 0), recognizer.ids[2], False)
    least = remaining_weight(recognizer)
    assert least == pytest.approx(0.5)
    for index in range(1, 1500):
        ask(recognizer, index, {5: 0.3})
    assert least < remaining_weight(recognizer) <= 1.0


def test_a_rejected_loop_closure_no_longer_says_where_the_robot_is():
    recognizer = recognised()
    assert 'by odometry' in ask(recognizer, 3, {8: 0.7}, at=stood(3)).reason
    for seconds in (1001, 1002):
        recognizer.feedback(KeyframeId(0, 'query', seconds - 1000, seconds * 10**9), recognizer.ids[2], False)
    answer = ask(recognizer, 4, {8: 0.7}, at=stood(3))
    assert 'by odometry' not in answer.reason
    assert answer.evidence.support.expected is None


def test_a_rejected_loop_closure_no_longer_joins_two_places():
    """A double of the match's place, seen again in the session that the match joined to it."""
    def answer(rejected):
        recognizer = map_of(deep=False, at=None, camera=None)
        for index in (11, 12):
            again = keyframe(index, 'map', like({2: 0.7}), place=2, stand=STAND, deep=False, camera=None)
            found = recognizer.recognize(again, exclude_recent=False)
            recognizer.add(replace(again, description=replace(again.description, descriptors=np.tile(
                like({2: 0.9}, ENTRIES + 1).astype(np.float32), (SEGMENTS, 1)))))
        assert found.status == Status.MATCHED
        if rejected:
            for entry in (10, 11):
                recognizer.feedback(recognizer.ids[entry], recognizer.ids[2], False)
        return ask(recognizer, 1, {2: 0.7}, independent=True)
    assert answer(rejected=False).candidates[0].ambiguity == 0
    assert answer(rejected=False).status == Status.MATCHED
    assert answer(rejected=True).candidates[0].ambiguity > 0.7


def test_independent_queries_leave_no_trace():
    def drive(disturbed):
        recognizer, found = map_of(), []
        for index, entry in enumerate((2, 3, 4), 1):
            if disturbed:
                alone = ask(recognizer, index, {8: 0.7}, place=8, at=stood(8), independent=True)
                assert (alone.status, alone.candidates[0].supporting_queries) == (Status.MATCHED, 1)
                ask(recognizer, index, {}, independent=True)
            found.append(ask(recognizer, index, {entry: 0.6, 8: 0.55}, at=stood(entry)))
        return repr([replace(each, timings={}) for each in found])
    assert drive(disturbed=True) == drive(disturbed=False)


def test_nothing_similar_has_no_candidate_and_breaks_agreement():
    recognizer = map_of()
    ask(recognizer, 1, {2: 0.6})
    nothing = ask(recognizer, 2, {})
    assert (nothing.status, nothing.candidates, nothing.evidence) == (Status.NO_MATCH_LOW_SCORE, (), None)
    assert ask(recognizer, 3, {2: 0.6}).candidates[0].supporting_queries == 1


def test_the_same_calls_give_the_same_answers():
    def run():
        recognizer = map_of([*range(8), 3, 9])
        return repr([replace(ask(recognizer, index, scores, place=place, at=stood(place)), timings={})
                     for index, (place, scores) in enumerate([
                         (2, {2: 0.6, 5: 0.5}), (3, {3: 0.6, 8: 0.6}), (4, {4: 0.3, 9: 0.6}), (9, {9: 0.6})], 1)])
    assert run() == run()


def test_a_calibration_makes_a_probability_that_a_preset_may_ask_for():
    count = len(FEATURES) - 1
    calibration = Calibration(FEATURES, 0.9, (0.0,) * count, (1.0,) * count, (-9.0,) * count, (9.0,) * count,
                              (0.0,) * count, -2.0, ((0.0,) * (count + 1),) * (count + 1), 'made', '',
                              (LearnedFrom('made', 1000, 500),))

    def answer(least, place):
        settings = replace(SETTINGS, decision=replace(SETTINGS.decision, min_probability=least))
        recognizer = map_of(settings=settings, calibration=calibration, at=None)
        answer = ask(recognizer, 1, {3: 0.6}, place=place, independent=True)
        return answer.status, answer.candidates[0].probability
    proven, unproven = 0.9, 1 / (1 + np.exp(2))
    assert answer(0.0, 3) == (Status.MATCHED, pytest.approx(proven))
    assert answer(0.5, 3) == (Status.MATCHED, pytest.approx(proven))
    assert answer(0.0, None) == (Status.MATCHED, pytest.approx(unproven))
    assert answer(0.5, None) == (Status.NO_MATCH_LOW_SCORE, pytest.approx(unproven))
    assert np.isnan(ask(map_of(), 1, {3: 0.6}, place=3).candidates[0].probability)


def test_reset_short_term_forgets_agreement_and_where_the_robot_was():
    recognizer = recognised()
    recognizer.reset_short_term()
    answer = ask(recognizer, 3, {8: 0.7}, place=8, at=stood(3))
    assert (answer.status, answer.candidates[0].supporting_queries) == (Status.NO_MATCH_TEMPORAL, 1)
    assert answer.evidence.support.expected is None
    assert 'by odometry' not in answer.reason
    answer = ask(recognizer, 4, {8: 0.7}, place=8, at=stood(3))
    assert (answer.status, answer.candidates[0].supporting_queries) == (Status.MATCHED, 2)
