"""Evaluation on a bag with ground-truth poses: of the nodes' own core, no frame dropped, and of what nodes answered."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.evaluation.measured import Costs, Evaluation, Picture, Progress, top_k
from segvlad_ros.evaluation.metrics import ClosureError, Outcome
from segvlad_ros.evaluation.truth import PoseLimits, TruePoses, truth_of_pose
from segvlad_ros.geometry import PoseHistory, relative
from segvlad_ros.io.bag_frames import read_frames
from segvlad_ros.io.bag_storage import warnings_held_back
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.frame_assembler import InputSettings
from segvlad_ros.io.stamps import spans_apart
from segvlad_ros.mapping.odometry import OdometrySettings, OdometryTracks
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import Keyframe, KeyframeId, Pose, Recognition, SegvladError, Status

if TYPE_CHECKING:
    from segvlad_ros.pipeline.sections import ExcludeSettings


class BagEvaluation:
    """Drives through a bag as mapping and loop closing do together.

    Every frame goes to the keyframe gate; every keyframe is recognised among the earlier ones and then becomes part
    of the map. A keyframe is a revisit when an earlier one outside the exclusion window lies within the true limits.

    :param places: whose gate chooses the keyframes; what it holds is forgotten
    :param truth_topic: true poses of the base, interpolated at the image stamps; keyframes without are not counted
    :param topics: None takes what the bag makes obvious
    :param settings: what messages cannot say of themselves
    :raises SegvladError: no bag, topics that are not there, or truth by another clock than the images
    """

    def __init__(self, path: str | Path, places: PlaceRecognizer, *, truth_topic: str,
                 topics: BagTopics | None = None, settings: InputSettings | None = None,
                 limits: PoseLimits | None = None) -> None:
        self._where = f'{path}: no keyframe has a true pose on {truth_topic}'
        with warnings_held_back():
            self._truth = TruePoses(path, truth_topic)
            self._frames = read_frames(path, topics, settings)
            apart = spans_apart(f'the truth on {truth_topic}', self._truth.stamps,
                                f'the images on {self._frames.topics.image}', self._frames.stamps)
            if apart:
                raise SegvladError(f'{path}: {apart}; let both drivers stamp with one clock')
        self._limits = limits or PoseLimits()
        self._places = places
        self._costs = Costs()
        self._outcomes: list[Outcome] = []
        self._names: list[str] = []
        self._poses: list[Pose | None] = []
        self._pictures: dict[str, Picture] = {}
        self._pose_of: dict[str, Pose] = {}
        self._closures: list[ClosureError] = []

    def run(self, progress: Progress) -> Evaluation:
        """Read the bag from its beginning to its end.

        :param progress: wraps an iteration, with a title and the number of items
        :raises SegvladError: damaged bag, or no truth for any keyframe
        """
        self._places.clear('bag')
        for frame in progress(self._frames, 'images', self._frames.total):
            keyframe = self._places.process(frame)
            if keyframe is not None:
                self._take(keyframe)
        if not self._outcomes:
            raise SegvladError(f'{self._where}; {self._frames.frames} images were read, {len(self._costs.segments)} '
                               'became keyframes')
        return Evaluation(self._outcomes, self._names, self._costs, self._places.preset.fingerprint(), self._pictures,
                          self._closures, len(self._costs.segments) - len(self._outcomes), self._pose_of,
                          consecutive=True)

    def _take(self, keyframe: Keyframe) -> None:
        self._costs.described(keyframe)
        name = f'{keyframe.id.index:05d} at {keyframe.id.stamp_ns} ns'
        self._pictures[name] = Picture.of(keyframe)
        pose = self._truth.at(keyframe.id.stamp_ns)
        place = None
        if pose is not None:
            self._pose_of[name] = pose
            usable = ~self._places.recognizer.excluded(keyframe, True)
            place = truth_of_pose(pose, self._poses, usable, self._limits)
        answer = self._places.recognize(keyframe, exclude_recent=True, top_k=top_k(len(place.ignored) if place else 0))
        self._costs.recognized(keyframe, answer)
        if place is not None:
            self._outcomes.append(Outcome(name, answer, place))
            self._measure(answer, pose)
        if not keyframe.description.rejected:
            self._places.add(keyframe)
            self._names.append(name)
            self._poses.append(pose)

    def _measure(self, answer: Recognition, pose: Pose) -> None:
        """Compare the pose of a loop closure with the truth."""
        best = answer.candidates[0] if answer.status == Status.MATCHED else None
        match = None if best is None else self._poses[best.entry]
        if match is not None and best.query_pose_in_match is not None:
            self._closures.append(ClosureError.of(best.query_pose_in_match, relative(match, pose)))


def judge(keyframes: Sequence[Keyframe], answers: Mapping[KeyframeId, Recognition], truth: TruePoses | PoseHistory,
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
