"""The truth about what running nodes said."""
from __future__ import annotations

import numpy as np

from segvlad_ros.evaluation.bag_evaluation import judge
from segvlad_ros.geometry import PoseHistory
from segvlad_ros.pipeline.sections import ExcludeSettings
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, PlaceDescription, Pose, Recognition, Status

SECOND = 10**9
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def keyframe(number, x):
    description = PlaceDescription(np.ones((1, 1), np.float32), np.zeros((1, 4), np.int32), np.ones(1, np.int64))
    return Keyframe(KeyframeId(0, 's', number + 1, (number + 1) * 10 * SECOND), description,
                    pose=Pose(np.array([10.0 * number, 0, 0]), UPRIGHT, 'odom'))


def matched(entry):
    return Recognition(Status.MATCHED, '', (Candidate(entry, KeyframeId(0, 's', entry + 1, 0), 0.5, 0.2, 1),))


def test_answers_are_judged_by_true_poses_outside_the_exclusion_window():
    places = [0.0, 20.0, 40.0, 0.5, 20.4, 80.0]  # the fourth and fifth keyframe are revisits
    keyframes = [keyframe(number, x) for number, x in enumerate(places)]
    truth = PoseHistory()
    for item, x in zip(keyframes, places):
        truth.add(item.id.stamp_ns, Pose(np.array([x, 0, 0]), UPRIGHT, 'map'))
    answers = {item.id: Recognition(Status.MAP_EMPTY, '') for item in keyframes[:3]}
    answers |= {keyframes[3].id: matched(0), keyframes[4].id: matched(2), keyframes[5].id: matched(1)}
    outcomes = judge(keyframes, answers, truth, ExcludeSettings(time_s=5.0, distance_m=5.0))
    assert [sorted(outcome.truth.true) for outcome in outcomes] == [[], [], [], [0], [1], []]
    assert [outcome.accepted for outcome in outcomes] == [None, None, None, True, False, False]
    recent = judge(keyframes, answers, truth, ExcludeSettings(time_s=35.0, distance_m=5.0))
    assert not recent[3].truth.true  # seen 30 s before


def test_queries_without_answer_or_truth_do_not_count():
    keyframes = [keyframe(number, 0.0) for number in range(3)]
    truth = PoseHistory()
    truth.add(keyframes[1].id.stamp_ns, Pose(np.zeros(3), UPRIGHT, 'map'))
    answers = {item.id: matched(0) for item in keyframes[:2]}
    outcomes = judge(keyframes, answers, truth, ExcludeSettings())
    assert [outcome.query for outcome in outcomes] == ['00002']
