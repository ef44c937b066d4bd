"""From what speaks for and against a candidate to a status with its reason."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segvlad_ros.recognition.geometry import Geometry
from segvlad_ros.types import Candidate, KeyframeId, Status

# A candidate with less than this share of min_score is chance, and no support for the queries after it.
SUPPORTING_SCORE = 0.75


class Limits(Protocol):
    """The numbers of a preset's section ``decision`` that are asked for here."""

    min_score: float
    min_verified_score: float
    min_probability: float
    max_ambiguity: float


@dataclass(frozen=True)
class Doubts:
    """What speaks against a candidate.

    :ivar double: another place that looks as much like the query, and that nothing rules out
    :ivar contradiction: why odometry does not allow it, '' where it does
    :ivar needed: consecutive queries that have to agree
    :ivar geometry: what geometric verification said, None where it was not made
    """

    double: KeyframeId | None = None
    contradiction: str = ''
    needed: int = 1
    geometry: Geometry | None = None


def strongest_double(scores: np.ndarray, elsewhere: np.ndarray) -> int | None:
    """The entry with the best score elsewhere in the map, if any has one.

    :param scores: (entries,) vote scores
    :param elsewhere: (entries,) bool, see :class:`segvlad_ros.recognition.covisibility.Covisibility`
    """
    doubles = np.where(elsewhere, scores, 0.0)
    entry = int(doubles.argmax()) if len(doubles) else 0
    return entry if len(doubles) and doubles[entry] > 0 else None


def decide(best: Candidate, limits: Limits, doubts: Doubts) -> tuple[Status, str]:
    """Whether the best candidate is believed.

    The tests are made in the order score, ambiguity, probability, time, geometry; the first that fails is the answer.
    Where geometry proves the place, a lower score is enough.

    :return: status, and one line for people
    """
    name, geometry = describe_keyframe(best), doubts.geometry
    verified = geometry is not None and geometry.verified
    least = limits.min_verified_score if verified else limits.min_score
    if best.score < least:
        return Status.NO_MATCH_LOW_SCORE, f'best is {name} with score {best.score:.3f}, below {least:.3f}'
    if doubts.double is not None:
        return Status.NO_MATCH_AMBIGUOUS, (
            f'{name} with score {best.score:.3f} has a double elsewhere in the map, keyframe {doubts.double.index}: '
            f'ambiguity {best.ambiguity:.2f}, above {limits.max_ambiguity:.2f}')
    if best.probability < limits.min_probability:
        return Status.NO_MATCH_LOW_SCORE, (
            f'{name} with score {best.score:.3f} has a probability of {best.probability:.2f}, below '
            f'{limits.min_probability:.2f}')
    if doubts.contradiction:
        return Status.NO_MATCH_TEMPORAL, f'{name} with score {best.score:.3f}: {doubts.contradiction}'
    if geometry is not None and geometry.refuted:
        return Status.NO_MATCH_GEOMETRIC, f'{name} with score {best.score:.3f}: {geometry.reason}'
    if best.supporting_queries < doubts.needed:
        unproven = f'; geometry: {geometry.reason}' if geometry is not None and not verified else ''
        return Status.NO_MATCH_TEMPORAL, (
            f'{name} with score {best.score:.3f} has the agreement of {best.supporting_queries} of {doubts.needed} '
            f'consecutive keyframes{unproven}')
    return Status.MATCHED, f'{name} with score {best.score:.3f}, ambiguity {best.ambiguity:.2f}{_support(best, doubts)}'


def _support(best: Candidate, doubts: Doubts) -> str:
    agreed = f', {best.supporting_queries} consecutive keyframes agree' if best.supporting_queries > 1 else ''
    geometry = doubts.geometry
    return agreed + (f', {geometry.reason}' if geometry is not None and geometry.verified else '')


def describe_keyframe(candidate: Candidate) -> str:
    """A candidate's keyframe as people call it."""
    return f'keyframe {candidate.id.index} of session {candidate.id.session_id!r}'
