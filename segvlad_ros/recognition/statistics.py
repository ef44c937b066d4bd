"""What tells a true match from a false one, as numbers: the features of the calibration."""
from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from segvlad_ros.recognition.geometry import Geometry
from segvlad_ros.recognition.voting import Votes

# Best entries whose place is compared with the candidate's.
_BEST = 5


@dataclass(frozen=True)
class MatchStatistics:
    """The features of one candidate.

    :ivar score: vote score, in [0, 1]
    :ivar ambiguity: best score elsewhere in the map by this score, at most 2
    :ivar matched_share: query segments that voted for it, in [0, 1]
    :ivar log_z: ln(1 + z), z the score's distance from the mean score of the other entries in their standard deviations
    :ivar spread: how far the voting segments lie apart in the image: root mean square distance of their centres from
        their mean, as a share of the image's diagonal
    :ivar coherence: share of the best entries that show the candidate's place
    :ivar agreement: ln of the consecutive queries that agree
    :ivar proven: 1 with a geometric model, else 0
    :ivar log_inliers: ln(1 + inliers) of geometry, verified or not
    :ivar expected: 1 where odometry expects the query there, -1 where it contradicts, 0 where it says nothing
    """

    score: float
    ambiguity: float
    matched_share: float
    log_z: float
    spread: float
    coherence: float
    agreement: float
    proven: float
    log_inliers: float
    expected: float

    def vector(self) -> np.ndarray:
        """(F,) float64 in the order of :data:`FEATURES`."""
        return np.array([getattr(self, name) for name in FEATURES], np.float64)


FEATURES = tuple(field.name for field in fields(MatchStatistics))


def match_statistics(votes: Votes, entry: int, *, ambiguity: float, where: np.ndarray, usable: np.ndarray,
                     boxes: np.ndarray, agreement: int, geometry: Geometry | None,
                     possible: bool | None) -> MatchStatistics:
    """The features of one candidate.

    :param where: (entries,) bool, its covisible neighbourhood
    :param usable: (entries,) bool, what was searched
    :param boxes: (M, 4) segments of the query, pixels
    :param agreement: consecutive queries that agree
    :param possible: whether odometry allows it, None where it says nothing
    """
    others = votes.scores[usable & ~where]
    z = (votes.scores[entry] - others.mean()) / max(float(others.std()), 1e-3) if len(others) > 1 else 0.0
    voting = np.array([pair.query_segment for pair in votes.evidence(entry)], np.int64)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    diagonal = float(np.linalg.norm((boxes[:, :2] + boxes[:, 2:]).max(axis=0))) if len(boxes) else 1.0
    return MatchStatistics(
        score=float(votes.scores[entry]), ambiguity=min(ambiguity, 2.0), matched_share=len(voting) / max(len(boxes), 1),
        log_z=math.log1p(max(float(z), 0.0)),
        spread=float(np.sqrt(centres[voting].var(axis=0).sum()) / max(diagonal, 1.0)) if len(voting) else 0.0,
        coherence=float(where[votes.ranked(_BEST)].mean()), agreement=math.log(max(agreement, 1)),
        proven=float(geometry is not None and geometry.verified),
        log_inliers=math.log1p(0 if geometry is None else geometry.inliers),
        expected=0.0 if possible is None else 1.0 if possible else -1.0)
