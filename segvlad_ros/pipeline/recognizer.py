"""From a described query to an answer: exclude, search, vote, decide."""
from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.pipeline.judge import Judge
from segvlad_ros.recognition.history import SessionHistory
from segvlad_ros.recognition.voting import Votes, vote_online
from segvlad_ros.types import CameraModel, Keyframe, KeyframeId, Pose, Recognition, SegvladError, Status

if TYPE_CHECKING:
    from segvlad_ros.mapping.place_map import PlaceMap
    from segvlad_ros.pipeline.recognition_settings import RecognitionSettings
    from segvlad_ros.recognition.calibration import Calibration


@dataclass(frozen=True)
class MapEntry:
    """What the recogniser keeps of a map keyframe beside its segments.

    :ivar pose: base pose in its session's frame, or None
    :ivar boxes: (M, 4) int32, segments as in :class:`segvlad_ros.types.PlaceDescription`
    :ivar thumbnail: JPEG bytes, b'' if none
    """

    id: KeyframeId
    pose: Pose | None
    boxes: np.ndarray
    thumbnail: bytes
    camera_model: CameraModel | None = None


class Recognizer:
    """Answers which keyframe of the map a query shows, and why not where it shows none.

    Safe to use from several threads. The same calls in the same order give the same answers.

    :param settings: the sections of a preset that decide
    :param dimension: length of a segment's descriptor
    :param calibration: makes probabilities; without it they are NaN
    """

    def __init__(self, settings: RecognitionSettings, dimension: int, calibration: Calibration | None = None) -> None:
        self._settings = settings
        self._dimension = dimension
        self._calibration = calibration
        self._lock = threading.RLock()
        self._forget_map()

    @property
    def count(self) -> int:
        """Keyframes in the searched map."""
        return len(self._entries)

    @property
    def segments(self) -> int:
        """Segments in the searched map."""
        return self._index.segments

    @property
    def ids(self) -> list[KeyframeId]:
        """The keyframes of the searched map, by entry."""
        return [entry.id for entry in self._entries]

    def keyframe(self, entry: int) -> MapEntry:
        """What is known about a candidate's keyframe.

        :param entry: ``Candidate.entry``
        """
        return self._entries[entry]

    def add(self, keyframe: Keyframe) -> int:
        """Append one keyframe to the searched map.

        :return: its entry number
        """
        rows = keyframe.description.descriptors
        if rows.shape[1] != self._dimension:
            raise SegvladError(f'keyframe {keyframe.id.index} has descriptors of {rows.shape[1]} values, the map of '
                               f'{self._dimension}: describe it with the preset of the map')
        with self._lock:
            entry = self._index.add(rows)
            self._entries.append(MapEntry(keyframe.id, keyframe.pose, keyframe.description.boxes,
                                          keyframe.thumbnail, keyframe.camera_model))
            self._history.add(keyframe.id, keyframe.pose)
            self._judge.add(keyframe)
            return entry

    def load(self, place_map: PlaceMap) -> int:
        """Search this map from now on, instead of what was there.

        :return: number of keyframes
        """
        with self._lock:
            self._forget_map()
            for keyframe in place_map.keyframes():
                self.add(keyframe)
            return self.count

    def clear(self) -> None:
        """Empty the searched map."""
        with self._lock:
            self._forget_map()

    def reset_short_term(self) -> None:
        """Forget the preceding queries (clock jump, robot carried elsewhere); the map stays."""
        with self._lock:
            self._judge.reset_short_term()

    def feedback(self, query: KeyframeId, match: KeyframeId, accepted: bool) -> None:
        """Take note of what a SLAM back-end made of a loop closure; keyframes it rejects often are lowered."""
        with self._lock:
            self._judge.feedback(query, match, accepted)

    def update_poses(self, poses: Mapping[KeyframeId, Pose]) -> None:
        """Give map keyframes the poses of a SLAM back-end; what odometry says of the ways between them stays."""
        with self._lock:
            self._entries = [replace(entry, pose=poses[entry.id]) if entry.id in poses else entry
                             for entry in self._entries]

    def excluded(self, query: Keyframe, exclude_recent: bool, exclude_frames: int = 0) -> np.ndarray:
        """What :meth:`recognize` leaves out for a query.

        :return: (entries,) bool
        """
        with self._lock:
            recent = np.zeros(self.count, bool)
            if exclude_recent:
                limits = self._settings.exclude
                recent |= self._history.recent(query.id, query.pose, limits.time_s, limits.distance_m)
            if exclude_frames:
                recent |= self._history.last_frames(query.id, exclude_frames)
            return recent

    def recognize(self, query: Keyframe, *, exclude_recent: bool, top_k: int = 5, exclude_frames: int = 0,
                  independent: bool = False, sessions: Collection[str] = ()) -> Recognition:
        """Answer one query.

        :param exclude_recent: leave out what the settings call too recent in the query's own session (loop closing);
            False to localise in a finished map
        :param top_k: candidates to report at most
        :param exclude_frames: beside that, leave out keyframes of the query's own session that are fewer than this
            many keyframes older
        :param independent: the query belongs to no sequence: its answer neither asks for the agreement of other
            queries nor counts for theirs
        :param sessions: search these sessions only; empty: all
        """
        with self._lock:
            excluded = self.excluded(query, exclude_recent, exclude_frames)
            if sessions:
                excluded |= [entry.id.session_id not in sessions for entry in self._entries]
            answer = self._answer(query, excluded, top_k, independent)
            timings = {**query.description.timings, **answer.timings}
            return replace(answer, timings=timings, map_keyframes=self.count)

    def _answer(self, query: Keyframe, excluded: np.ndarray, top_k: int, independent: bool) -> Recognition:
        rows = query.description.descriptors
        if query.description.rejected or not len(rows):
            return Recognition(Status.QUERY_REJECTED, query.description.rejected or 'the image has no segments')
        if not self._index.segments:
            return Recognition(Status.MAP_EMPTY, 'the map has no keyframes yet')
        if excluded.all():
            return Recognition(Status.MAP_ONLY_RECENT,
                               f'all {self.count} keyframes of the map are too recent or not to be searched')
        votes, timings = self._vote(rows, excluded)
        begin = time.perf_counter()
        verdict = self._judge.judge(query, votes, ~excluded, top_k, independent)
        timings['decision'] = time.perf_counter() - begin
        reported = tuple(replace(candidate, evidence=votes.evidence(candidate.entry))
                         for candidate in verdict.candidates[:top_k])
        return Recognition(verdict.status, verdict.reason, reported, timings=timings, statistics=verdict.statistics)

    def _vote(self, rows: np.ndarray, excluded: np.ndarray) -> tuple[Votes, dict[str, float]]:
        begin = time.perf_counter()
        similarities, owners, segments = self._index.search(
            rows, self._settings.search.neighbours, np.flatnonzero(excluded))
        searched = time.perf_counter()
        votes = self._judge.lowered(
            vote_online(similarities, owners, self.count, self._settings.vote.floor, segments))
        return votes, {'search': searched - begin, 'vote': time.perf_counter() - searched}

    def _forget_map(self) -> None:
        self._index = SegmentIndex(self._dimension)
        self._history = SessionHistory()
        self._entries: list[MapEntry] = []
        self._judge = Judge(self._settings, self._calibration)
