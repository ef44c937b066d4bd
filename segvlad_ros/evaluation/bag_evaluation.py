"""Evaluation on a bag with ground-truth poses: of the nodes' own core, no frame dropped, and of what nodes answered."""
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from segvlad_ros.evaluation.frame_check import MeasuredMatch, frames_apart
from segvlad_ros.evaluation.known_map import KnownMap
from segvlad_ros.evaluation.measured import Costs, Evaluation, Picture, Progress, top_k
from segvlad_ros.evaluation.metrics import ClosureError, Outcome
from segvlad_ros.evaluation.true_entries import TrueEntries
from segvlad_ros.evaluation.true_poses import TruePose, TruePoses, check_one_clock
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, truth_of_pose
from segvlad_ros.geometry import PoseHistory, relative
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.stamps import as_time
from segvlad_ros.mapping.odometry import OdometrySettings, OdometryTracks
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import Keyframe, KeyframeId, Pose, Recognition, SegvladError, Status

if TYPE_CHECKING:
    from segvlad_ros.pipeline.sections import ExcludeSettings

logger = logging.getLogger(__name__)


class BagEvaluation:
    """Drives through a bag: every frame goes to the keyframe gate, and every keyframe is asked about.

    Without a map, as mapping and loop closing do together: a keyframe then becomes part of the map, and is a revisit
    when an earlier one outside the exclusion window lies within the true limits. With one, as a localizer does that has
    loaded it: the map stays as it is, unless it follows the bag's keyframes, too. Each camera is asked about by itself,
    as by a localizer of its own, and only with a map.

    :param drives: the frames of one bag, of each camera
    :param truth: of the bag's keyframes; those without are not counted
    :param places: whose gate chooses the keyframes; what it holds is forgotten
    :param limits: where a truth tells no orientation, only those of the distance count
    :param known_map: to localise in
    :param follow: add the bag's keyframes to that map, as a localizer does that follows a map_builder
    :param trusted: the truths of map and bag are in one frame whatever they call it
    :raises SegvladError: truth by another clock than the images, or in another frame than that of the map; several
        cameras where one is asked for
    """

    def __init__(self, drives: Sequence[FrameReader], truth: TruePoses, places: PlaceRecognizer,
                 limits: PoseLimits | None = None, *, known_map: KnownMap | None = None, follow: bool = False,
                 trusted: bool = False) -> None:
        self._drives, self._truth, self._places, self._map = drives, truth, places, known_map
        self._path, self._grows = drives[0].path, follow or known_map is None
        for frames in drives:
            check_one_clock(frames, truth)
        if known_map is not None:
            known_map.check(truth, trusted)
        self._oriented = truth.oriented and (known_map is None or known_map.oriented)
        if len(drives) > 1:
            self._check_several()
        limits = limits or PoseLimits()
        self._limits = limits if self._oriented else limits.by_distance()
        self._true = TrueEntries(self._limits, len(drives) > 1)
        self._costs = Costs()
        self._outcomes: list[Outcome] = []
        self._names: list[str] = []
        self._pictures: dict[str, Picture] = {}
        self._poses: dict[str, Pose] = {}
        self._closures: list[ClosureError] = []
        self._measured: list[MeasuredMatch] = []

    def run(self, progress: Progress) -> Evaluation:
        """Read the bag from its beginning to its end.

        :param progress: wraps an iteration, with a title and the number of items
        :raises SegvladError: damaged bag, or no truth for any keyframe
        """
        for frames in self._drives:
            if self._map is None:
                self._places.clear('bag')
            else:
                self._load_map()
            for frame in progress(frames, 'images', frames.total):
                keyframe = self._places.process(frame)
                if keyframe is not None:
                    self._take(keyframe)
        if not self._outcomes:
            raise SegvladError(f'{self._path}: no keyframe has a pose in {self._truth.name}; '
                               f'{sum(frames.frames for frames in self._drives)} images were read, '
                               f'{len(self._costs.segments)} became keyframes')
        if self._map is not None:
            self._say_what_is_odd()
        return Evaluation(self._outcomes, self._names, self._costs, self._places.preset.fingerprint(), self._pictures,
                          self._closures, len(self._costs.segments) - len(self._outcomes),
                          self._judged_by(), self._poses, consecutive=True)

    def _check_several(self) -> None:
        """See that several cameras can be judged."""
        if self._grows:
            raise SegvladError(f'{self._path}: several cameras are only localised in a finished map (--map or '
                               '--map-bag, without --follow); close loops of one at a time')
        if not self._oriented:
            raise SegvladError(f'{self._path}: positions do not tell which way several cameras look: give poses, or '
                               'evaluate one camera at a time')
        for truth in (self._truth, *self._map.truths):
            if isinstance(truth, TruePoses) and truth.of_camera:
                raise SegvladError(f'{truth.name} is of a camera, and there are several: give poses of the base '
                                   '(--pose-files-of base)')

    def _load_map(self) -> None:
        self._places.mapper.new_session()
        self._names, self._true = [], TrueEntries(self._limits, len(self._drives) > 1)
        for entry, (keyframe, true) in enumerate(self._map.load(self._places)):
            self._names.append(f'map {entry:05d} at {keyframe.id.stamp_ns} ns')
            self._true.add(keyframe, true)
            self._note(self._names[-1], true)
        self._map_unknown = self._true.unknown

    def _note(self, name: str, true: TruePose | None) -> None:
        """Keep a pose for a report."""
        if true is not None:
            self._poses[name] = true.view if true.base is None else true.base

    def _take(self, keyframe: Keyframe) -> None:
        self._costs.described(keyframe)
        name = f'{keyframe.id.camera} {keyframe.id.index:05d} at {keyframe.id.stamp_ns} ns'.lstrip()
        self._pictures[name] = Picture.of(keyframe)
        true = self._truth.of(keyframe)
        self._note(name, true)
        place = None
        if true is not None:
            usable = ~self._places.recognizer.excluded(keyframe, True)
            place = self._true.truth(keyframe, true, usable)
        answer = self._places.recognize(keyframe, exclude_recent=True, top_k=top_k(len(place.ignored) if place else 0))
        self._costs.recognized(keyframe, answer)
        if place is not None:
            self._outcomes.append(Outcome(name, answer, place))
            self._measure(answer, true.base)
        if self._map is not None:
            self._look_at_matches(keyframe, answer, place)
        if self._grows and not keyframe.description.rejected:
            self._places.add(keyframe)
            self._names.append(name)
            self._true.add(keyframe, true)

    def _look_at_matches(self, query: Keyframe, answer: Recognition, place: PlaceTruth | None) -> None:
        """Keep the pictures of what a report shows of a loaded map.

        :raises SegvladError: the match is the query: the map was made of this bag
        """
        best = [candidate.entry for candidate in answer.candidates[:1]]
        for entry in {*best, *(sorted(place.true)[:1] if place else ())}:
            found = self._places.recognizer.keyframe(entry)
            self._pictures.setdefault(self._names[entry], Picture.of(found))
            if (found.id.stamp_ns, found.thumbnail) == (query.id.stamp_ns, query.thumbnail):
                raise SegvladError(f'{self._path}: its image at {as_time(query.id.stamp_ns)} is in the map, '
                                   'which was made of this bag: every image would find itself')

    def _measure(self, answer: Recognition, pose: Pose | None) -> None:
        """Compare the pose of a loop closure with the truth."""
        best = answer.candidates[0] if answer.status == Status.MATCHED else None
        match = None if best is None else self._true.base(best.entry)
        if None not in (match, pose) and best.query_pose_in_match is not None and self._oriented:
            self._closures.append(ClosureError.of(best.query_pose_in_match, relative(match, pose)))
            self._measured.append(MeasuredMatch(match, best.query_pose_in_match, pose))

    def _say_what_is_odd(self) -> None:
        """Warn of truths that are hardly in one frame."""
        if apart := frames_apart(self._measured, self._limits.ignored_distance_m):
            logger.warning('%s: %s', self._path, apart)
        elif not any(outcome.truth.true for outcome in self._outcomes):
            logger.warning('%s: no keyframe was taken within %g m of one of the map, looking the same way: the bag is '
                           'of another place, the two truths are not in one frame, or --pose-files-of is wrong',
                           self._path, self._limits.true_distance_m)

    def _judged_by(self) -> dict[str, object]:
        """What the numbers rest on."""
        whose = 'camera' if self._truth.of_camera else 'base'
        judged: dict[str, object] = {'poses': self._truth.name, 'poses_of': whose, **vars(self._limits)}
        if not self._oriented:
            judged |= {'true_angle_deg': None, 'ignored_angle_deg': None}
        if self._map is not None:
            judged |= {'map_poses': [truth.name for truth in self._map.truths],
                       'map_keyframes_without_truth': self._map_unknown}
        return judged


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
        searched.make_room()
        searched.add(keyframe, mark)
        poses.append(pose)
    return outcomes
