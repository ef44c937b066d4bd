"""From votes to a verdict: ambiguity, odometry, geometry, agreement over time, probability (design.md 6)."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.io.geometry import to_matrix
from segvlad_ros.recognition.covisibility import Covisibility
from segvlad_ros.recognition.decision import SUPPORTING_SCORE, Doubts, decide, strongest_double
from segvlad_ros.recognition.geometry import Geometry
from segvlad_ros.recognition.odometry import Motion, OdometryPaths
from segvlad_ros.recognition.statistics import MatchStatistics, match_statistics
from segvlad_ros.recognition.temporal import Sighting, TemporalAgreement, place_motion
from segvlad_ros.recognition.verifier import Verifier
from segvlad_ros.recognition.view import View
from segvlad_ros.recognition.voting import Votes
from segvlad_ros.recognition.whereabouts import Whereabouts, explain
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, Status, Verification

if TYPE_CHECKING:
    from segvlad_ros.pipeline.recognition_settings import RecognitionSettings
    from segvlad_ros.recognition.calibration import Calibration

# From this share of the best score on, a candidate of another session is as good as the best.
EQUAL_SCORE = 0.9
# Candidates that are weighed, however few are asked for: the answer must not depend on how many are reported.
MIN_CANDIDATES = 10
# Accepted matches kept until their query is added to the map; a localiser may never add it.
REMEMBERED_MATCHES = 256
# What is left of a keyframe's score after each of its loop closures that the SLAM back-end rejected.
REJECTED_SHARE = 0.8


@dataclass(frozen=True)
class Verdict:
    """What the judge believes.

    :ivar candidates: the believed one first, the others by score
    :ivar statistics: of the first candidate, None without one
    """

    status: Status
    reason: str
    candidates: tuple[Candidate, ...] = ()
    statistics: MatchStatistics | None = None


@dataclass
class _Case:
    """One candidate under examination."""

    candidate: Candidate
    where: np.ndarray
    geometry: Geometry | None = None
    possible: bool | None = None
    motion: Motion = field(default_factory=place_motion)


class Judge:
    """Weighs the candidates of every query, and remembers what it needs of the queries before.

    :param settings: sections decision, geometry and odometry of a preset
    :param calibration: turns statistics into a probability; None: it stays NaN
    """

    def __init__(self, settings: RecognitionSettings, calibration: Calibration | None = None) -> None:
        self._settings = settings
        self._calibration = calibration
        limits, odometry = settings.decision, settings.odometry
        self._covisibility = Covisibility(limits.covisible_keyframes, limits.covisible_distance_m)
        self._paths = OdometryPaths(np.radians(odometry.heading_drift_deg_per_m), odometry.position_drift)
        self._whereabouts = Whereabouts(self._paths)
        self._agreement = TemporalAgreement(self._paths, limits.misses)
        self._verifier = Verifier(self._paths)
        self._ids: list[KeyframeId] = []
        self._accepted: dict[KeyframeId, int] = {}
        self._verdicts: dict[tuple[KeyframeId, KeyframeId], bool] = {}
        self._rejections: dict[int, int] = {}

    def add(self, keyframe: Keyframe) -> None:
        """Append one map entry."""
        entry = self._covisibility.add(keyframe.id, keyframe.pose)
        self._ids.append(keyframe.id)
        self._paths.add(keyframe.id, keyframe.pose)
        self._verifier.add(keyframe)
        match = self._accepted.pop(keyframe.id, None)
        if match is not None:
            self._covisibility.link(entry, match)

    def reset_short_term(self) -> None:
        """Forget the queries so far: the robot may be anywhere, and odometry does not say how it came there."""
        self._agreement.reset()
        self._whereabouts.forget()
        self._paths.interrupt()

    def lowered(self, votes: Votes) -> Votes:
        """The votes, with less weight for keyframes whose loop closures a back-end has rejected."""
        if not self._rejections:
            return votes
        scores = votes.scores.copy()
        for entry, times in self._rejections.items():
            scores[entry] *= REJECTED_SHARE ** times
        return replace(votes, scores=scores)

    def feedback(self, query: KeyframeId, match: KeyframeId, accepted: bool) -> None:
        """Take note of what a back-end made of a loop closure; its last word on a pair counts."""
        if match not in self._ids:
            return
        entry = self._ids.index(match)
        self._verdicts[query, match] = accepted
        verdicts = [last for (_, other), last in self._verdicts.items() if other == match]
        self._rejections[entry] = max(0, verdicts.count(False) - verdicts.count(True))
        if not accepted:
            self._accepted.pop(query, None)
            self._whereabouts.withdraw(query, match)
            if query in self._ids:
                self._covisibility.unlink(self._ids.index(query), entry)

    def judge(self, query: Keyframe, votes: Votes, usable: np.ndarray, count: int, independent: bool) -> Verdict:
        """Decide.

        :param usable: (entries,) bool, what was searched
        :param count: candidates wanted at least
        :param independent: the query belongs to no sequence
        """
        if not independent:
            self._paths.add(query.id, query.pose)
        cases = [self._case(query.id, int(entry), votes, independent)
                 for entry in votes.ranked(max(count, MIN_CANDIDATES))]
        if not cases:
            if not independent:
                self._agreement.update(query.id, None)
            return Verdict(Status.NO_MATCH_LOW_SCORE, 'no segment of the map is similar to any of the image')
        best = self._examine(query, cases, votes)
        sighting = self._sighting(query.id, best, cases)
        supporting = 1 if independent else max(1, self._agreement.update(query.id, sighting))
        doubts = self._doubts(query, best, votes, supporting, independent)
        statistics = match_statistics(
            votes, best.candidate.entry, ambiguity=best.candidate.ambiguity, where=best.where, usable=usable,
            boxes=query.description.boxes, agreement=supporting, geometry=best.geometry, possible=best.possible)
        probability = float('nan') if self._calibration is None else self._calibration.probability(statistics)
        best.candidate = replace(best.candidate, supporting_queries=supporting, probability=probability)
        status, reason = decide(best.candidate, self._settings.decision, doubts)
        if status == Status.MATCHED and not independent:
            self._accept(query.id, best, sighting)
        others = [case for case in cases if case is not best]
        return Verdict(status, reason, tuple(_reported(case, doubts if case is best else None)
                                             for case in (best, *others)), statistics)

    def _case(self, query: KeyframeId, entry: int, votes: Votes, independent: bool) -> _Case:
        where = self._covisibility.neighbourhood(entry)
        double = strongest_double(votes.scores, self._covisibility.elsewhere(where))
        score = float(votes.scores[entry])
        candidate = Candidate(entry, self._ids[entry], score,
                              0.0 if double is None else float(votes.scores[double]) / score, int(votes.matched[entry]))
        case = _Case(candidate, where)
        if not independent:
            case.possible = self._whereabouts.possible(query, candidate.id, case.motion)
        return case

    def _examine(self, query: Keyframe, cases: list[_Case], votes: Votes) -> _Case:
        """The candidate to believe, if any: the first one that geometry proves, else the best that can be.

        Where odometry rules out all that are worth the name, the best one is the one to be explained.
        """
        limits = self._settings
        tried = [case for case in cases
                 if case.possible is not False and case.candidate.score >= limits.decision.min_verified_score]
        view = View.of(query) if tried and limits.geometry.candidates else None
        for case in tried[:limits.geometry.candidates]:
            self._verify(query.id, view, case, votes)
            if case.geometry is not None and case.geometry.verified and case.possible is not False:
                return case
        return next((case for case in tried if case.possible is not False), cases[0])

    def _verify(self, query: KeyframeId, view: View | None, case: _Case, votes: Votes) -> None:
        entry = case.candidate.entry
        case.geometry = self._verifier.verify(view, entry, votes.evidence(entry))
        pose = None if case.geometry is None else case.geometry.query_pose_in_match
        if pose is not None:
            case.motion = place_motion(to_matrix(pose), float(np.sqrt(np.trace(pose.covariance[:3, :3]))))
            if case.possible is not None:
                case.possible = self._whereabouts.possible(query, case.candidate.id, case.motion)

    def _sighting(self, query: KeyframeId, best: _Case, cases: list[_Case]) -> Sighting | None:
        """The best candidate where it counts for the queries after it."""
        verified = best.geometry is not None and best.geometry.verified
        least = SUPPORTING_SCORE * self._settings.decision.min_score
        if best.possible is False or not (verified or best.candidate.score >= least):
            return None
        return Sighting(query, best.candidate.id, best.candidate.entry, best.motion, self._where(best, cases))

    def _where(self, best: _Case, cases: list[_Case]) -> np.ndarray:
        """Entries that show where the query may be: around its best candidate, and around equals in other sessions.

        A map of several runs shows a place several times, and which of them is best is chance.
        """
        where = best.where
        for other in cases:
            if (other.candidate.score >= EQUAL_SCORE * best.candidate.score
                    and not self._covisibility.same_session(other.candidate.entry, best.candidate.entry)):
                where = where | other.where
        return where

    def _doubts(self, query: Keyframe, best: _Case, votes: Votes, supporting: int, independent: bool) -> Doubts:
        """All that speaks against the best candidate."""
        limits, geometry = self._settings.decision, best.geometry
        verified = geometry is not None and geometry.verified
        contradiction = ''
        if best.possible is False:
            contradiction = explain(self._whereabouts.expected(query.id, best.candidate.id), best.motion)
        double = None
        if best.candidate.ambiguity > limits.max_ambiguity:
            elsewhere = self._covisibility.elsewhere(best.where)
            double = self._standing_double(query, strongest_double(votes.scores, elsewhere), votes, verified,
                                           independent)
        needed = limits.agreement
        if verified:
            sure = best.possible and geometry.scale_source
            needed = min(needed, 1 if sure else limits.agreement_verified)
        return Doubts(double, contradiction, 1 if independent else needed, geometry)

    def _standing_double(self, query: Keyframe, entry: int | None, votes: Votes, verified: bool,
                         independent: bool) -> KeyframeId | None:
        """The double of a candidate, unless odometry or geometry rules it out; that counts for a proven candidate only.

        One that is not proven, and less like the query than another place, is believed by nobody.
        """
        if entry is None:
            return None
        identity = self._ids[entry]
        if verified:
            if not independent and self._whereabouts.possible(query.id, identity, place_motion()) is False:
                return None
            geometry = self._verifier.verify(View.of(query), entry, votes.evidence(entry))
            if geometry is not None and not geometry.verified:
                return None
        return identity

    def _accept(self, query: KeyframeId, best: _Case, sighting: Sighting | None) -> None:
        self._accepted[query] = best.candidate.entry
        if len(self._accepted) > REMEMBERED_MATCHES:  # queries that never became map entries
            del self._accepted[next(iter(self._accepted))]
        if sighting is not None:
            self._whereabouts.accept(sighting)


def _reported(case: _Case, doubts: Doubts | None) -> Candidate:
    """The candidate with what geometry and time found out about it."""
    candidate, geometry = case.candidate, case.geometry
    if geometry is not None and geometry.verified:
        return replace(candidate, verification=Verification.GEOMETRIC, inliers=geometry.inliers,
                       query_pose_in_match=geometry.query_pose_in_match,
                       scale_source=geometry.scale_source if geometry.query_pose_in_match is not None else '')
    if doubts is not None and 1 < doubts.needed <= candidate.supporting_queries:
        return replace(candidate, verification=Verification.TEMPORAL)
    if geometry is not None:
        return replace(candidate, verification=Verification.REJECTED, inliers=geometry.inliers)
    return candidate
