"""One query under examination: which keyframes it may show, and the evidence for and against each."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from segvlad_ros.geometry import to_matrix
from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.mapping.odometry import Motion, OdometryMark
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.recognition.hypotheses import Hypotheses, Support, place_motion
from segvlad_ros.recognition.verifier import Verifier
from segvlad_ros.recognition.voting import Likeness, Votes
from segvlad_ros.types import Keyframe
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.verify import Geometry
from segvlad_ros.verification.view import View

# Keyframes that are compared with the query segment by segment to find the best, however many are to be reported: the
# answer must not depend on that. With 10 of them hololens_office is found less often without odometry (.737 for .757);
# with 20 a view far down a street of nothing but look-alikes (seed 101) is believed for what lies at its far end.
SHORTLIST = 15
# Places elsewhere that are compared segment by segment, to find the strongest double among them.
_DOUBLES = 3
# Doubles of a proven candidate that geometry compares with the query, beside those that are known to lie apart: a map
# that was driven many times without asking shows one scene many times.
_COMPARED = 2


@dataclass(frozen=True)
class Query:
    """A keyframe that is asked about.

    :ivar rows: (M, d) float32, its descriptors as the index has them
    :ivar mark: where it lies on its odometry, None where that is not known or not asked
    :ivar single: it belongs to no sequence
    :ivar newest: the youngest keyframe of its own session that was searched; None if there is none
    """

    keyframe: Keyframe
    rows: np.ndarray
    mark: OdometryMark | None = None
    single: bool = False
    newest: int | None = None


@dataclass(frozen=True)
class Witnesses:
    """Who is asked about a query."""

    known: KnownKeyframes
    hypotheses: Hypotheses
    verifier: Verifier


class Inquiry:
    """Gathers evidence about the candidates of one query.

    :param floor: cosine at which a vote begins to weigh
    """

    def __init__(self, query: Query, votes: Votes, witnesses: Witnesses, floor: float) -> None:
        self._query, self._votes, self._floor = query, votes, floor
        self._known, self._map = witnesses.known, witnesses.known.searched
        self._hypotheses, self._verifier = witnesses.hypotheses, witnesses.verifier
        self._view = View.of(query.keyframe)
        self._place_weights = cache(votes.weights)
        self._likenesses: dict[int, Likeness] = {}
        self._scores: dict[int, float] = {}
        self._geometries: dict[int, Geometry | None] = {}

    def shortlist(self, count: int) -> list[Evidence]:
        """The keyframes that are most like the query, by score; those beyond the shortlist only fill up a report."""
        ranked = self._votes.ranked_keyframes(self._map.places, max(count, SHORTLIST)).tolist()
        self._compare(ranked)
        return [evidence for part in (ranked[:SHORTLIST], ranked[SHORTLIST:])
                for evidence in sorted(map(self._alike, part), key=lambda evidence: -evidence.score)]

    def examined(self, shortlist: list[Evidence], geometry: VerificationSettings,
                 decision: DecisionSettings) -> tuple[Evidence, list[Evidence]]:
        """The candidate to believe, if any, and the others: the first one that geometry proves and odometry allows,
        else the best that odometry allows, else the best.
        """
        tried: list[Evidence] = []
        for number, evidence in enumerate(shortlist):
            asked = number < geometry.candidates and evidence.score >= decision.min_proven_score
            tried.append(self.verified(evidence) if asked else self.weighed(evidence))
            if tried[-1].proven and not tried[-1].support.contradiction:
                break
            if number + 1 >= max(geometry.candidates, 1):
                break
        allowed = [evidence for evidence in tried if not evidence.support.contradiction]
        best = next((evidence for evidence in allowed if evidence.proven), (allowed or tried)[0])
        rest = [evidence for evidence in (*tried, *shortlist[len(tried):]) if evidence is not best]
        return best, rest

    def verified(self, evidence: Evidence) -> Evidence:
        """The evidence with what geometry and odometry say."""
        geometry = self._geometry(evidence.entry)
        provability = 0.0 if geometry is None else self._verifier.provability(self._view, evidence.entry)
        return self.weighed(replace(evidence, geometry=geometry, provability=provability))

    def weighed(self, evidence: Evidence) -> Evidence:
        """The evidence with what odometry says."""
        newest = self._query.newest
        support = self._support(evidence.entry, self.motion(evidence), evidence.proven)
        trails = (newest is not None and not self._query.single and not support.expected and support.advancing
                  and self._map.near(newest, evidence.entry))
        return replace(evidence, support=support, single=self._query.single, trails=trails)

    def motion(self, evidence: Evidence) -> Motion:
        """How the query lies to a candidate."""
        pose = evidence.geometry.query_pose_in_match if evidence.metric else None
        return place_motion() if pose is None else place_motion(
            to_matrix(pose), float(np.sqrt(np.trace(pose.covariance[:3, :3]))))

    def compared(self, evidence: Evidence, max_ambiguity: float) -> tuple[Evidence, list[int]]:
        """The evidence with its strongest double, and the keyframes elsewhere that prove to show the same scene.

        A double of a proven candidate stands only if it may be the place as well: where odometry rules it out, or
        geometry that could prove it does not, it is none; where geometry proves it too, it is another visit, unless the
        two are known to lie apart, as true twins do.

        :param max_ambiguity: doubles below it are not looked into
        """
        same: list[int] = []
        compared = 0
        elsewhere = self._beyond(evidence.entry, self._votes.ranked_places())
        background = self._votes.scores[elsewhere]
        z = (evidence.score - background.mean()) / max(float(background.std()), 1e-3) if len(elsewhere) > 1 else 0.0
        evidence = replace(evidence, log_z=math.log1p(max(float(z), 0.0)))
        while len(elsewhere):
            double = max(self._votes.best_keyframes[elsewhere[:_DOUBLES]].tolist(), key=self.score)
            ambiguity = self.score(double) / evidence.score
            if ambiguity <= min(max_ambiguity, evidence.ambiguity):
                return evidence, same
            if not evidence.proven or ambiguity <= max_ambiguity or self._stands(evidence, double):
                return replace(evidence, double=self._map.identity(double),
                               ambiguity=max(ambiguity, evidence.ambiguity)), same
            geometry = self._geometry(double)
            if geometry is not None and geometry.proven and not self._apart(evidence, double):
                same.append(double)
            else:  # excused, and still reported
                evidence = replace(evidence, ambiguity=max(ambiguity, evidence.ambiguity))
            elsewhere = self._beyond(double, elsewhere)
            compared += 1
            if compared >= _COMPARED:
                elsewhere = self._rivals(evidence, elsewhere)
        return evidence, same

    def score(self, entry: int) -> float:
        """Mean weight of the query's segments for a keyframe and for its place, less what a back-end doubts."""
        if entry not in self._scores:
            own = self._likeness(entry).weights
            place = np.maximum(self._place_weights(int(self._map.places[entry])), own)
            self._scores[entry] = float(self._votes.keyframe_weights[entry] * (own.mean() + place.mean()) / 2)
        return self._scores[entry]

    def _alike(self, entry: int) -> Evidence:
        return Evidence(entry, self.score(entry), self._likeness(entry), single=self._query.single)

    def _stands(self, evidence: Evidence, double: int) -> bool:
        """Whether a double of a proven candidate may be the query's place."""
        if self._support(double, place_motion(), False).contradiction:
            return False
        geometry = self._geometry(double)
        return geometry is None or (geometry.proven and self._apart(evidence, double))

    def _apart(self, evidence: Evidence, double: int) -> bool:
        return bool(self._map.known_apart(evidence.entry, [double])[0])

    def _beyond(self, entry: int, places: np.ndarray) -> np.ndarray:
        """Those of some places that do not lie around a keyframe's."""
        return places[~self._map.around(entry)[self._votes.best_keyframes[places]]]

    def _rivals(self, evidence: Evidence, places: np.ndarray) -> np.ndarray:
        """Those of some places that may stand as doubles of a proven candidate, whatever geometry says of others."""
        best_keyframes = self._votes.best_keyframes[places]
        blind = [not self._known.store.has_keypoints(entry) for entry in best_keyframes.tolist()]
        return places[np.array(blind, bool) | self._map.known_apart(evidence.entry, best_keyframes)]

    def _support(self, entry: int, motion: Motion, proven: bool) -> Support:
        if self._query.single:
            return Support()
        return self._hypotheses.weigh(self._query.mark, entry, motion, proven)

    def _geometry(self, entry: int) -> Geometry | None:
        if entry not in self._geometries:
            self._geometries[entry] = self._verifier.verify(self._view, entry, self._likeness(entry).matched())
        return self._geometries[entry]

    def _likeness(self, entry: int) -> Likeness:
        if entry not in self._likenesses:
            self._compare([entry])
        return self._likenesses[entry]

    def _compare(self, entries: list[int]) -> None:
        tables = self._known.index.compare(self._query.rows, entries)
        for entry, similarities, segments in zip(entries, *(table.T for table in tables)):
            self._likenesses[entry] = Likeness.of(similarities, segments, self._floor)
