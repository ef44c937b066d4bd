"""From a described query to an answer: exclude, search, vote, decide."""
from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.recognition.covisibility import Covisibility
from segvlad_ros.recognition.decision import ambiguity, decide
from segvlad_ros.recognition.history import SessionHistory
from segvlad_ros.recognition.temporal import TemporalAgreement
from segvlad_ros.recognition.voting import Votes, vote_online
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, Pose, Recognition, SegvladError, Status, Verification

if TYPE_CHECKING:
    from segvlad_ros.mapping.place_map import PlaceMap
    from segvlad_ros.pipeline.presets import RecognitionSettings

# A candidate with less than this share of min_score is chance, and no support for the queries after it.
SUPPORTING_SCORE = 0.75
# From this share of the best score on, a candidate of another session is as good as the best.
EQUAL_SCORE = 0.9
# Candidates that are weighed, however few are asked for: the answer must not depend on how many are reported.
MIN_CANDIDATES = 10
# Accepted matches kept until their query is added to the map; a localiser may never add it.
REMEMBERED_MATCHES = 256


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


class Recognizer:
    """Answers which keyframe of the map a query shows, and why not where it shows none.

    Safe to use from several threads. The same calls in the same order give the same answers.

    :param settings: sections search, vote, decision and exclude of a preset
    :param dimension: length of a segment's descriptor
    """

    def __init__(self, settings: RecognitionSettings, dimension: int) -> None:
        self._settings = settings
        self._dimension = dimension
        self._lock = threading.RLock()
        self._agreement = TemporalAgreement()
        self._forget_map()

    @property
    def count(self) -> int:
        """Keyframes in the searched map."""
        return len(self._entries)

    @property
    def segments(self) -> int:
        """Segments in the searched map."""
        return self._index.segments

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
                                          keyframe.thumbnail))
            self._covisibility.add(keyframe.id, keyframe.pose)
            self._history.add(keyframe.id, keyframe.pose)
            match = self._accepted.pop(keyframe.id, None)
            if match is not None:
                self._covisibility.link(entry, match)
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
        """Forget the preceding queries (clock jump, kidnapped robot); the map stays."""
        with self._lock:
            self._agreement.reset()

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
            begin = time.perf_counter()
            excluded = self.excluded(query, exclude_recent, exclude_frames)
            if sessions:
                excluded |= [entry.id.session_id not in sessions for entry in self._entries]
            answer = self._answer(query, excluded, top_k, independent)
            decision = time.perf_counter() - begin - sum(answer.timings.values())
            timings = {**query.description.timings, **answer.timings, 'decision': decision}
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
        ranked = votes.ranked(max(top_k, MIN_CANDIDATES))
        if not len(ranked):
            if not independent:
                self._agreement.update(query.id.stamp_ns, None)
            return Recognition(Status.NO_MATCH_LOW_SCORE, 'no segment of the map is similar to any of the image',
                               timings=timings)
        candidates = [self._candidate(int(entry), votes) for entry in ranked]
        candidates[0], status, reason = self._judge(query, candidates, independent)
        reported = [replace(candidate, evidence=votes.evidence(candidate.entry)) for candidate in candidates[:top_k]]
        return Recognition(status, reason, tuple(reported), timings=timings)

    def _vote(self, rows: np.ndarray, excluded: np.ndarray) -> tuple[Votes, dict[str, float]]:
        begin = time.perf_counter()
        similarities, owners, segments = self._index.search(
            rows, self._settings.search.neighbours, np.flatnonzero(excluded))
        searched = time.perf_counter()
        votes = vote_online(similarities, owners, self.count, self._settings.vote.floor, segments)
        return votes, {'search': searched - begin, 'vote': time.perf_counter() - searched}

    def _candidate(self, entry: int, votes: Votes) -> Candidate:
        elsewhere = self._covisibility.elsewhere(self._covisibility.neighbourhood(entry))
        return Candidate(entry, self._entries[entry].id, float(votes.scores[entry]),
                         ambiguity(votes.scores, entry, elsewhere), int(votes.matched[entry]))

    def _judge(self, query: Keyframe, candidates: Sequence[Candidate],
               independent: bool) -> tuple[Candidate, Status, str]:
        """Ambiguity, agreement and (to come) geometry of the best candidate."""
        limits = self._settings.decision
        best = candidates[0]
        if independent:
            supporting = 1
        elif best.score < SUPPORTING_SCORE * limits.min_score:
            supporting = self._agreement.update(query.id.stamp_ns, None)
        else:
            supporting = self._agreement.update(query.id.stamp_ns, best.entry, self._where(candidates))
        best = replace(best, supporting_queries=max(1, supporting))
        agreement = 1 if independent else limits.agreement
        status, reason = decide(best, min_score=limits.min_score, max_ambiguity=limits.max_ambiguity,
                                agreement=agreement)
        if 1 < agreement <= best.supporting_queries:
            best = replace(best, verification=Verification.TEMPORAL)
        if status == Status.MATCHED:
            self._accepted[query.id] = best.entry
            if len(self._accepted) > REMEMBERED_MATCHES:  # queries that never became map entries
                del self._accepted[next(iter(self._accepted))]
        return best, status, reason

    def _where(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Entries that show where the query may be: around its best candidate, and around equals in other sessions.

        A map of several runs shows a place several times, and which of them is best is chance.
        """
        best = candidates[0]
        where = self._covisibility.neighbourhood(best.entry)
        for other in candidates[1:]:
            if (other.score >= EQUAL_SCORE * best.score
                    and not self._covisibility.same_session(other.entry, best.entry)):
                where = where | self._covisibility.neighbourhood(other.entry)
        return where

    def _forget_map(self) -> None:
        limits = self._settings.decision
        self._index = SegmentIndex(self._dimension)
        self._covisibility = Covisibility(limits.covisible_keyframes, limits.covisible_distance_m)
        self._history = SessionHistory()
        self._entries: list[MapEntry] = []
        self._accepted: dict[KeyframeId, int] = {}
        self._agreement.reset()
