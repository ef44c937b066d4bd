"""From a described query to an answer: exclude, search, vote, gather evidence, decide."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.keyframe_store import KeyframeGone
from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.mapping.map_format import FORMAT_VERSION, Packed, intact, outline, unpack
from segvlad_ros.mapping.odometry import OdometryMark
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.pipeline.memory import Memory
from segvlad_ros.pipeline.stopwatch import Stopwatch
from segvlad_ros.recognition.decision import decide
from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.recognition.inquiry import Inquiry, Query
from segvlad_ros.recognition.poll import poll
from segvlad_ros.recognition.voting import vote_weights
from segvlad_ros.threads import FairLock, one_blas_thread
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, Recognition, SegvladError, Status
from segvlad_ros.verification.matchers import nearest_matcher

if TYPE_CHECKING:
    from segvlad_ros.mapping.place_map import PlaceMap
    from segvlad_ros.pipeline.sections import RecognitionSettings
    from segvlad_ros.recognition.calibration import Calibration
    from segvlad_ros.verification.matchers import Matcher


class Recognizer:
    """Answers which keyframe of the map a query shows, and why not where it shows none.

    Safe to use from several threads. The same calls in the same order give the same answers.

    :param settings: the sections of a preset that decide
    :param calibration: makes probabilities, which then decide; without it thresholds do
    :param matcher: pairs keypoints; None: by the nearest descriptor
    """

    def __init__(self, settings: RecognitionSettings, calibration: Calibration | None = None,
                 matcher: Matcher | None = None) -> None:
        self._settings = settings
        self._calibration = calibration
        self._matcher = matcher or nearest_matcher(settings.geometry.max_ratio)
        self._lock = FairLock()
        self._memory = Memory(settings, self._matcher)

    @property
    def count(self) -> int:
        """Keyframes in the searched map."""
        return self._map.count

    @property
    def entries(self) -> list[int]:
        """The keyframes of the searched map; removed ones have left theirs."""
        return self._known.entries

    @property
    def places(self) -> np.ndarray:
        """(entries,) int32, the place of every keyframe, removed ones included."""
        return self._map.places

    @property
    def segments(self) -> int:
        """Segments in the searched map."""
        return self._known.index.segments

    @property
    def ids(self) -> list[KeyframeId]:
        """The keyframes of the searched map, in the order of their entries."""
        return self._map.ids

    def keyframe(self, entry: int) -> Keyframe:
        """A candidate's keyframe, without its descriptors; ``optimized`` is up to date.

        :param entry: ``Candidate.entry``
        :raises KeyframeGone: it was removed, or can no longer be read from its map
        """
        return self._known.keyframe(entry)

    def outlines(self) -> Iterator[Keyframe]:
        """All keyframes of the searched map, in the order of their entries, with their poses and nothing else."""
        return self._known.outlines()

    def keyframes(self) -> Iterator[Keyframe]:
        """All keyframes of the searched map, whole, in the order of their entries."""
        return map(self._known.whole, self.entries)

    def identity(self, entry: int) -> KeyframeId:
        """Which keyframe it is, or was."""
        return self._map.identity(entry)

    def entry(self, identity: KeyframeId) -> int | None:
        """The entry of a keyframe; None if it is not in the searched map."""
        return self._map.entry(identity)

    def add(self, keyframe: Keyframe) -> int:
        """Append one keyframe to the searched map.

        :return: its entry number
        :raises SegvladError: it is in the map already, or does not fit it; the map stays as it was
        """
        with self._lock, one_blas_thread():
            return self._memory.find(keyframe, self._known.keep(keyframe))

    def add_stored(self, place_map: PlaceMap, row: int, packed: Packed) -> int:
        """Append one keyframe that is read from its map when it is asked for, even when that map has been closed.

        :param row: its row in that map
        :param packed: what was read there
        :return: its entry number
        :raises SegvladError: as :meth:`add`
        """
        where = f'{place_map.path}: keyframe row {row}'
        if place_map.version != FORMAT_VERSION:
            return self.add(unpack(packed, place_map.dimension, where))
        with intact(where):
            keyframe = outline(packed)
        with self._lock:
            self._known.check_new(keyframe.id)
            self._known.store.append_stored(place_map, row, packed)
            return self._memory.find(keyframe, packed)

    def add_new(self, place_map: PlaceMap, packed: Iterable[tuple[int, Packed]]) -> list[Keyframe]:
        """Append, as :meth:`add_stored` does, what is not in the searched map yet.

        :param packed: keyframes of that map with their rows
        :return: those that were new, with their poses and nothing else
        """
        added = []
        for row, one in packed:
            if self.entry(one.id) is None:
                self.add_stored(place_map, row, one)
                added.append(outline(one))
        return added

    def remove(self, ids: Iterable[KeyframeId]) -> int:
        """Take keyframes out of the searched map, for good; those not in it are passed over. The others keep their
        entries, until :meth:`compact`.

        :return: how many were taken out
        """
        with self._lock:
            return self._known.remove(ids)

    def compact(self) -> dict[int, int] | None:
        """Let go of what is left of removed keyframes, once there are many: entries get other numbers.

        :return: new entries by old ones; None where nothing has changed
        """
        with self._lock, one_blas_thread():
            return self._memory.compact()

    def alike(self, entry: int, others: Iterable[int]) -> list[float]:
        """How much a keyframe of the map looks like others, whatever else is in it: scores in [0, 1]."""
        index = self._known.index
        with self._lock, one_blas_thread():
            similarities = index.compare(index.descriptors(entry), list(others))[0]
            return vote_weights(similarities, self._settings.vote.floor).mean(axis=0).tolist()

    def load(self, place_map: PlaceMap, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Search this map from now on, instead of what was there.

        :param progress: told after each keyframe how many were read, and how many there are
        :return: number of keyframes
        """
        loaded = Recognizer(self._settings, self._calibration, self._matcher)
        try:
            with one_blas_thread():
                for row, packed in place_map.packed(progress):  # a damaged one ends this before anything has changed
                    loaded.add_stored(place_map, row, packed)
        except BaseException:
            loaded.clear()
            raise
        with self._lock:
            self._known.close()
            self._memory = loaded._memory
            return self.count

    def clear(self) -> None:
        """Empty the searched map."""
        with self._lock:
            self._known.close()
            self._memory = Memory(self._settings, self._matcher)

    def reset_short_term(self) -> None:
        """Forget the preceding queries (clock jump, robot carried elsewhere); the map stays."""
        with self._lock:
            self._memory.hypotheses.forget()
            self._memory.tracks.interrupt()

    def feedback(self, query: KeyframeId, match: KeyframeId, accepted: bool) -> None:
        """Take note of what a SLAM back-end made of a loop closure; keyframes it rejects often are down-weighted."""
        with self._lock:
            self._memory.feedback(query, match, accepted)

    def update_poses(self, poses: Mapping[KeyframeId, OptimizedPose]) -> None:
        """Give map keyframes the poses of a SLAM back-end; what odometry says of the ways between them stays."""
        with self._lock:
            self._map.update_poses(poses)

    def excluded(self, query: Keyframe, exclude_recent: bool, exclude_frames: int = 0) -> np.ndarray:
        """What :meth:`recognize` leaves out for a query.

        :return: (entries,) bool
        """
        with self._lock:
            mark = self._memory.tracks.mark(query.id, query.pose)
            return self._memory.excluded(query, mark, exclude_recent, exclude_frames)

    def recognize(self, query: Keyframe, *, exclude_recent: bool, top_k: int = 5, exclude_frames: int = 0,
                  independent: bool = False, ahead: bool = False, sessions: Collection[str] = ()) -> Recognition:
        """Answer one query.

        :param exclude_recent: leave out what the settings call too recent in the query's own session (loop closing);
            False to localise in a finished map
        :param top_k: candidates to report at most
        :param exclude_frames: beside that, leave out keyframes of the query's own session that are fewer than this
            many keyframes older
        :param independent: the query belongs to no sequence: its answer neither asks for the agreement of other
            queries nor counts for theirs
        :param ahead: keyframes of its session before it are still to be added, and it after them: its odometry waits
        :param sessions: search these sessions only; empty: all
        :raises SegvladError: the query has descriptors of another length than the map, or a count is none
        """
        if not isinstance(top_k, Integral) or top_k < 1:
            raise SegvladError(f'top_k is {top_k!r}: give a whole number of candidates, 1 or more')
        if not isinstance(exclude_frames, Integral) or exclude_frames < 0:
            raise SegvladError(f'exclude_frames is {exclude_frames!r}: give a whole number of keyframes, 0 or more')
        with self._lock, one_blas_thread():
            mark = None if independent else self._memory.tracks.mark(query.id, query.pose, ahead)
            while True:
                excluded = self._memory.excluded(query, mark, exclude_recent, exclude_frames)
                if sessions:
                    excluded |= self._map.outside(sessions)
                try:
                    answer = self._refused(query, excluded) or self._answer(
                        self._query(query, mark, independent, excluded), excluded, top_k)
                    break
                except KeyframeGone as gone:  # nothing has been learnt from the query yet
                    self._memory.lose(gone)
            return replace(answer, map_keyframes=self.count,
                           timings={**query.description.timings, **answer.timings})

    def _refused(self, query: Keyframe, excluded: np.ndarray) -> Recognition | None:
        """The answer where nothing can be searched."""
        if query.description.rejected or not len(query.description):
            return Recognition(Status.QUERY_REJECTED, query.description.rejected or 'the image has no segments')
        if not self.segments or self._map.removed.all():
            return Recognition(Status.MAP_EMPTY, 'the map has no keyframes yet')
        if excluded.all():
            return Recognition(Status.MAP_ONLY_RECENT,
                               f'all {self.count} keyframes of the map are too recent or not to be searched')
        return None

    def _query(self, keyframe: Keyframe, mark: OdometryMark | None, independent: bool, excluded: np.ndarray) -> Query:
        rows = keyframe.description.descriptors
        return Query(keyframe, quantizer(rows.shape[1]).rotated(rows), mark, independent,
                     self._map.newest(keyframe.id, excluded))

    def _answer(self, query: Query, excluded: np.ndarray, top_k: int) -> Recognition:
        """Search, vote, gather evidence, decide, learn."""
        clock = Stopwatch()
        votes = poll(self._known, query.rows, excluded, self._memory.trust.weights(len(self._map)),
                     neighbours=self._settings.search.neighbours, floor=self._settings.vote.floor, lap=clock.lap)
        inquiry = Inquiry(query, votes, self._memory.witnesses, self._settings.vote.floor)
        shortlist = inquiry.shortlist(top_k)
        if not shortlist:
            if not query.single:
                self._memory.learn(query, None, inquiry)
            return Recognition(Status.NO_MATCH_LOW_SCORE, 'no segment of the map is similar to any of the image',
                               timings=clock.seconds)
        clock.lap('compare')
        best, others = inquiry.examined(shortlist, self._settings.geometry, self._settings.decision)
        others = others[:top_k - 1]
        for evidence in (best, *others):  # who is answered reads them, and must be able to
            self._known.keyframe(evidence.entry)
        clock.lap('verify')
        best, same = inquiry.compared(best, self._settings.decision.max_ambiguity)
        if self._calibration is not None:
            best = replace(best, probability=self._calibration.probability(best))
        status, reason = decide(best, self._settings.decision)
        clock.lap('decision')
        others = [inquiry.compared(other, 1.0)[0] for other in others]
        candidates = tuple(evidence.candidate(self._map.identity(evidence.entry), about)
                           for evidence, about in ((best, status), *((other, None) for other in others)))
        clock.lap('report')
        if not query.single:  # last: where a keyframe turns out to have gone, the query is asked again
            self._memory.learn(query, best, inquiry, status == Status.MATCHED, same)
        clock.lap('decision')
        return Recognition(status, f'{self._name(best)}: {reason}', candidates, timings=clock.seconds,
                           evidence=best)

    def _name(self, evidence: Evidence) -> str:
        identity = self._map.identity(evidence.entry)
        return f'keyframe {identity.index} of session {identity.session_id!r} with score {evidence.score:.3f}'

    @property
    def _known(self) -> KnownKeyframes:
        return self._memory.known

    @property
    def _map(self) -> SearchedMap:
        return self._memory.map
