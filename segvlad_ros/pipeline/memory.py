"""What a recogniser knows: the map that it searches, and what queries and a back-end have taught it."""
from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.mapping.keyframe_store import KeyframeGone
from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.odometry import OdometryMark, OdometryTracks
from segvlad_ros.mapping.places import Sight
from segvlad_ros.mapping.searched_map import SearchedMap
from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.recognition.hypotheses import Hypotheses
from segvlad_ros.recognition.inquiry import Inquiry, Query, Witnesses
from segvlad_ros.recognition.verifier import Verifier
from segvlad_ros.recognition.voting import FeedbackWeights
from segvlad_ros.types import Keyframe, KeyframeId

if TYPE_CHECKING:
    from segvlad_ros.pipeline.sections import RecognitionSettings
    from segvlad_ros.verification.matchers import Matcher

logger = logging.getLogger(__name__)

# A candidate with less than this share of min_score is chance, and no support for the queries after it.
SUPPORTING_SCORE = 0.75
# Sights of queries kept until their keyframe is added to the map; a localiser may never add it.
_REMEMBERED = 256
# So many removed keyframes are no burden.
_FEW = 64


class Memory:
    """Begins empty. Not thread-safe: who owns it locks.

    :param matcher: pairs keypoints
    :ivar known: the keyframes that queries are compared with
    :ivar tracks: how far the robot has travelled between queries
    :ivar hypotheses: what the queries before the next one were answered
    :ivar witnesses: what geometry says of pairs of keyframes
    :ivar trust: what a back-end thinks of keyframes, as weights of their votes
    """

    def __init__(self, settings: RecognitionSettings, matcher: Matcher) -> None:
        self._settings, self._matcher = settings, matcher
        self.known = KnownKeyframes(SearchedMap(settings.places, settings.odometry), settings.search.exact_segments)
        self.tracks = OdometryTracks()
        self.hypotheses = Hypotheses(self.map, settings.odometry, settings.decision.misses)
        self.witnesses = self._new_witnesses()
        self.trust = FeedbackWeights()
        self._sights: OrderedDict[KeyframeId, list[Sight]] = OrderedDict()

    @property
    def map(self) -> SearchedMap:
        """Where the known keyframes lie."""
        return self.known.searched

    def find(self, keyframe: Keyframe, packed: Packed) -> int:
        """Let the keyframe that was kept last be found, and return its entry."""
        mark = self.tracks.mark(keyframe.id, keyframe.pose)
        return self.known.find(keyframe, packed, mark, self._sights.pop(keyframe.id, ()))

    def lose(self, gone: KeyframeGone) -> None:
        """Search a keyframe no longer that cannot be read any more."""
        logger.warning('%s; it is searched no longer', gone)
        self.known.remove([gone.identity])

    def compact(self) -> dict[int, int] | None:
        """See :meth:`segvlad_ros.pipeline.recognizer.Recognizer.compact`."""
        while True:
            if len(self.map) - self.map.count < max(_FEW, self.map.count // 4):
                return None
            kept = sorted({*self.known.entries, *self.hypotheses.entries})
            try:
                self.known.select(kept)
                break
            except KeyframeGone as gone:  # nothing has been changed yet
                self.lose(gone)
        numbers = {entry: number for number, entry in enumerate(kept)}
        self.hypotheses.renumber(numbers)
        self.trust.renumber(numbers)
        for identity, sights in self._sights.items():
            self._sights[identity] = [replace(sight, entry=numbers[sight.entry]) for sight in sights
                                      if sight.entry in numbers]
        self.witnesses = self._new_witnesses()  # they remember entries as well
        return numbers

    def excluded(self, query: Keyframe, mark: OdometryMark | None, exclude_recent: bool,
                 exclude_frames: int) -> np.ndarray:
        """(entries,) bool, what is not compared with a query."""
        left_out = self.map.removed.copy()
        if exclude_recent:
            limits = self._settings.exclude
            left_out |= self.map.recent(query.id, mark, limits.time_s, limits.distance_m)
        if exclude_frames:
            left_out |= self.map.last_frames(query.id, exclude_frames)
        return left_out

    def learn(self, query: Query, best: Evidence | None, inquiry: Inquiry, matched: bool = False,
              same: Collection[int] = ()) -> None:
        """Remember what the queries after this one, and the map, may know of it.

        :param best: the candidate that was decided about, None without any
        :param same: keyframes elsewhere that prove to show the same scene
        """
        self.trust.decay()
        identity, allowed = query.keyframe.id, best is not None and not best.support.contradiction
        counts = allowed and (best.proven or best.score >= SUPPORTING_SCORE * self._settings.decision.min_score)
        if not counts:
            self.hypotheses.add(identity, query.mark, None)
            return
        motion = inquiry.motion(best)
        self.hypotheses.add(identity, query.mark, best.entry, motion, best.proven)
        if matched or best.proven:
            distance = float(np.linalg.norm(motion.matrix[:3, 3])) if best.metric else float('nan')
            self._sights[identity] = [Sight(best.entry, distance), *map(Sight, same)]
            for entry in same:
                self.map.link(best.entry, Sight(entry))
            if len(self._sights) > _REMEMBERED:
                self._sights.popitem(last=False)

    def feedback(self, query: KeyframeId, match: KeyframeId, accepted: bool) -> None:
        """See :meth:`segvlad_ros.pipeline.recognizer.Recognizer.feedback`."""
        entry, known = self.map.entry(match), self.map.entry(query)
        if entry is None:
            return
        self.trust.learn(query, entry, accepted)
        if not accepted:
            self._sights.pop(query, None)
            self.hypotheses.withdraw(query, entry)
            if known is not None:
                self.map.unlink(known, entry)

    def _new_witnesses(self) -> Witnesses:
        return Witnesses(self.known, self.hypotheses, Verifier(self.known, self._settings.geometry, self._matcher))
