"""Whether a candidate is believed: an ordered list of small tests; the first that fails is the answer.

A test is given the evidence and the preset's limits. It returns the status and the reason that it refuses with, or
None to let the candidate pass.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.settings import setting
from segvlad_ros.types import Status

Refusal = tuple[Status, str] | None


@dataclass(frozen=True)
class DecisionSettings:
    """When the best candidate is believed.

    :ivar min_score: score from which a candidate is a match; larger: fewer matches, fewer false ones. With a
        calibration it decides only which candidates support those of the queries after them
    :ivar min_proven_score: likewise, of a candidate that geometry proves; less is not even shown to geometry, with a
        calibration too
    :ivar max_ambiguity: largest score of another place, as a share of the candidate's; larger: look-alike places are
        told apart by less
    :ivar agreement: consecutive keyframes that must agree where geometry does not prove the place; 1 asks for none.
        Without a calibration only
    :ivar agreement_proven: likewise, where geometry proves it; a metric pose that odometry expects needs no other
    :ivar misses: keyframes between those that agree, which find nothing or something else
    :ivar min_probability: calibrated probability from which a candidate is a match; larger: fewer matches, fewer false
        ones. It needs a calibration, and decides in place of the scores; 0: they decide
    """

    min_score: float = setting(low=0.0, high=1.0)
    max_ambiguity: float = setting(low=0.0, high=1.0)
    agreement: int = setting(3, low=1, high=20)
    agreement_proven: int = setting(2, low=1, high=20)
    misses: int = setting(1, low=0, high=10)
    min_proven_score: float = setting(0.1, low=0.0, high=1.0)
    min_probability: float = setting(0.0, low=0.0, high=1.0)


Test = Callable[[Evidence, DecisionSettings], Refusal]


def similar(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Its score is high enough; where geometry proves the place, less is."""
    least = limits.min_proven_score if evidence.proven else limits.min_score
    if evidence.score < least:
        return Status.NO_MATCH_LOW_SCORE, f'below {least:.3f}'
    return None


def probable(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Its calibrated probability is high enough."""
    if not evidence.probability >= limits.min_probability:
        return Status.NO_MATCH_LOW_SCORE, (f'has a probability of {evidence.probability:.2f}, below '
                                           f'{limits.min_probability:.2f}')
    return None


def without_double(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """No other place looks as much like the query."""
    if evidence.double is not None and evidence.ambiguity > limits.max_ambiguity:
        return Status.NO_MATCH_AMBIGUOUS, (
            f'has a double elsewhere in the map, keyframe {evidence.double.index} of session '
            f'{evidence.double.session_id!r}: ambiguity {evidence.ambiguity:.2f}, above {limits.max_ambiguity:.2f}')
    return None


def possible(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Odometry allows it, and so do the places that geometry has proven before."""
    if evidence.support.contradiction:
        return Status.NO_MATCH_TEMPORAL, evidence.support.contradiction
    return None


def seen_from_there(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Geometry does not show that the scene is seen from another place."""
    if evidence.geometry is not None and evidence.geometry.refuted:
        return Status.NO_MATCH_GEOMETRIC, evidence.geometry.reason
    return None


def witnessed(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Where geometry could tell, it has: of the candidate, or of one beside it shortly before. One view along a street
    looks more like the next than a true revisit elsewhere, and odometry allows places some metres away.
    """
    if evidence.provable and not evidence.witnessed:
        return Status.NO_MATCH_GEOMETRIC, f'is not proven, though geometry could tell: {evidence.geometry.reason}'
    return None


def agreed(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """Enough consecutive keyframes agree, as far as that is worth something."""
    needed = limits.agreement
    if evidence.proven:
        needed = min(needed, 1 if evidence.metric and evidence.support.expected else limits.agreement_proven)
    if not evidence.single and evidence.agreement < needed:
        worth = '' if evidence.agreement == evidence.support.agreement else ' that count'
        return Status.NO_MATCH_TEMPORAL, (f'has the agreement of {evidence.agreement} of {needed} consecutive '
                                          f'keyframes{worth}{_unproven(evidence)}')
    return None


def leading(evidence: Evidence, limits: DecisionSettings) -> Refusal:
    """It does more than trail the robot: the best match along a straight road is the youngest keyframe searched."""
    if evidence.trails and not evidence.witnessed:
        return Status.NO_MATCH_TEMPORAL, f'only trails the robot{_unproven(evidence)}'
    return None


SAFETY: tuple[Test, ...] = (without_double, possible, seen_from_there, leading)
"""What a calibrated preset asks for beside the probability."""
CALIBRATED: tuple[Test, ...] = (seen_from_there, probable, witnessed, without_double, possible, leading)
UNCALIBRATED: tuple[Test, ...] = (similar, *SAFETY, agreed)


def decide(evidence: Evidence, limits: DecisionSettings) -> tuple[Status, str]:
    """The answer, by probability where the preset asks for one, else by thresholds, and why in words for people."""
    by_probability = evidence.probability is not None and limits.min_probability > 0
    refused = refusal(evidence, limits, CALIBRATED if by_probability else UNCALIBRATED)
    return refused or (Status.MATCHED, _reasons(evidence))


def refusal(evidence: Evidence, limits: DecisionSettings, tests: Sequence[Test]) -> Refusal:
    """The answer of the first test that a candidate fails, None if it passes all."""
    return next((refused for test in tests if (refused := test(evidence, limits)) is not None), None)


def _unproven(evidence: Evidence) -> str:
    geometry = evidence.geometry
    return f'; geometry: {geometry.reason}' if geometry is not None and not geometry.proven else ''


def _reasons(evidence: Evidence) -> str:
    words = [f'ambiguity {evidence.ambiguity:.2f}']
    if evidence.probability is not None:
        words.insert(0, f'probability {evidence.probability:.2f}')
    if evidence.support.agreement > 1:
        words.append(f'{evidence.support.agreement} consecutive keyframes agree')
    if evidence.proven:
        words.append(evidence.geometry.reason)
    return ', '.join(words)
