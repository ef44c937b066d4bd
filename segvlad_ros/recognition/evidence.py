"""All that is known about one candidate, gathered once, before anything is decided."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.recognition.hypotheses import Support
from segvlad_ros.recognition.voting import Likeness
from segvlad_ros.types import Candidate, KeyframeId, SegmentMatch, Status, Verification
from segvlad_ros.verification.verify import Geometry


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against one candidate.

    :ivar entry: the map keyframe
    :ivar score: mean over the query's segments of their best weight for the keyframe and for its place, in [0, 1]
    :ivar likeness: how the query's segments compare with the keyframe's, None where they were not compared
    :ivar double: the keyframe of another place that looks most like the query and may be its place as well, None if
        there is none
    :ivar ambiguity: best score of another place by this one's, 0 without any
    :ivar log_z: ln(1 + z), z the score's distance from the mean score of the places elsewhere in their standard
        deviations
    :ivar single: the query belongs to no sequence: nothing is known of agreement and odometry
    :ivar support: what odometry and the queries before say
    :ivar trails: it lies where the robot has just been, at the edge of what is left out of the search
    :ivar geometry: None where it was not asked
    :ivar provability: how likely geometry would have proven a true pair of such images, in [0, 1]
    :ivar probability: calibrated P(same place), None without a calibration
    """

    entry: int
    score: float
    likeness: Likeness | None = None
    double: KeyframeId | None = None
    ambiguity: float = 0.0
    log_z: float = 0.0
    single: bool = False
    support: Support = field(default_factory=Support)
    trails: bool = False
    geometry: Geometry | None = None
    provability: float = 0.0
    probability: float | None = None

    @property
    def pairs(self) -> tuple[SegmentMatch, ...]:
        """The segment pairs that make the score, the most similar first."""
        return () if self.likeness is None else self.likeness.pairs()

    @property
    def matched_share(self) -> float:
        """Query segments that voted for it, in [0, 1]."""
        return 0.0 if self.likeness is None else float(np.mean(self.likeness.weights > 0))

    @property
    def proven(self) -> bool:
        """Whether geometry has proven it."""
        return self.geometry is not None and self.geometry.proven

    @property
    def metric(self) -> bool:
        """Whether geometry has measured where the query lies; depth is not enough where a camera's mount is unknown."""
        return self.proven and self.geometry.query_pose_in_match is not None

    @property
    def provable(self) -> bool:
        """Whether it says something that geometry has not proven it."""
        return self.geometry is not None and self.provability >= 0.5

    @property
    def witnessed(self) -> bool:
        """Whether geometry has proven it, or one shortly before that agrees with it."""
        return self.proven or self.support.anchored

    @property
    def agreement(self) -> int:
        """Consecutive queries that agree, where that is worth something: one of them is proven, or geometry cannot tell
        and they do more than trail the robot. Look-alike views in a row agree with each other, too.
        """
        worth = self.witnessed or not (self.provable or self.trails)
        return self.support.agreement if worth else 1

    def candidate(self, identity: KeyframeId, status: Status | None = None) -> Candidate:
        """What is reported of it; ``status`` is that of the answer, if the answer is about it."""
        geometry, pairs, verification = self.geometry, self.pairs, Verification.UNVERIFIED
        if self.proven:
            verification = Verification.GEOMETRIC
        elif status == Status.MATCHED and self.support.agreement > 1:
            verification = Verification.TEMPORAL
        elif geometry is not None and (geometry.refuted or self.provable):
            verification = Verification.REJECTED
        pose = geometry.query_pose_in_match if self.metric else None
        return Candidate(
            self.entry, identity, self.score, self.ambiguity, len(pairs),
            math.nan if self.probability is None else self.probability, self.support.agreement, verification,
            0 if geometry is None else geometry.inliers, pose, geometry.scale_source if pose is not None else '',
            pairs)

    def vector(self) -> np.ndarray:
        """(F,) float64 in the order of :data:`FEATURES`: what a calibration learns from."""
        return np.array([measure(self) for measure in _MEASURES.values()], np.float64)


_MEASURES = {
    'proven': lambda evidence: float(evidence.proven),
    'log_score': lambda evidence: math.log(max(evidence.score, 0.01)),
    'matched_share': lambda evidence: evidence.matched_share,
    'log_z': lambda evidence: evidence.log_z,
    'provability': lambda evidence: evidence.provability,
    'agreement': lambda evidence: math.log(evidence.agreement),
    'anchored': lambda evidence: float(evidence.support.anchored),
    'expected': lambda evidence: {None: 0.0, True: 1.0, False: -1.0}[evidence.support.expected],
}
FEATURES = tuple(_MEASURES)
