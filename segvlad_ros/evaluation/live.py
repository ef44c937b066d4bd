"""The truth about answers that running nodes gave."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import PoseLimits, TruePoses, truth_of_pose
from segvlad_ros.geometry import PoseHistory
from segvlad_ros.mapping.odometry import OdometrySettings, OdometryTracks
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.types import Keyframe, KeyframeId, Recognition

if TYPE_CHECKING:
    from segvlad_ros.pipeline.sections import ExcludeSettings


def judge(keyframes: Sequence[Keyframe], answers: Mapping[KeyframeId, Recognition], truth: PoseHistory | TruePoses,
          exclude: ExcludeSettings, limits: PoseLimits | None = None) -> list[Outcome]:
    """What each answer was worth, as an evaluation on the bag would say it.

    :param keyframes: in order; position is entry of the searched map
    :param answers: by query; queries without an answer, or without a true pose, do not count
    :param truth: true poses of the base
    :param exclude: the localizer's exclusion window
    """
    searched, tracks = SearchedMap(PlaceSettings(), OdometrySettings()), OdometryTracks()
    poses, outcomes = [], []
    for keyframe in keyframes:
        pose, mark = truth.at(keyframe.id.stamp_ns), tracks.mark(keyframe.id, keyframe.pose)
        answer = answers.get(keyframe.id)
        if pose is not None and answer is not None:
            recent = searched.recent(keyframe.id, mark, exclude.time_s, exclude.distance_m)
            place = truth_of_pose(pose, poses, ~recent, limits or PoseLimits())
            outcomes.append(Outcome(f'{keyframe.id.index:05d}', answer, place))
        searched.add(keyframe, mark)
        poses.append(pose)
    return outcomes
