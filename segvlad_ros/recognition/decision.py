"""From the scores of the map's keyframes to a status with its reason."""
from __future__ import annotations

import numpy as np

from segvlad_ros.types import Candidate, Status


def ambiguity(scores: np.ndarray, entry: int, elsewhere: np.ndarray) -> float:
    """Best score elsewhere in the map, as a share of the entry's own score.

    Near 1 the place has a double (perceptual aliasing); above 1 the double is the better one.

    :param scores: (entries,) vote scores
    :param elsewhere: (entries,) bool, see :class:`segvlad_ros.recognition.covisibility.Covisibility`
    """
    doubles = scores[elsewhere]
    return float(doubles.max() / scores[entry]) if len(doubles) else 0.0


def decide(best: Candidate, *, min_score: float, max_ambiguity: float, agreement: int) -> tuple[Status, str]:
    """Whether the best candidate is believed.

    The tests are made in the order score, ambiguity, agreement; the first that fails is the answer.

    :param min_score: lowest score of a match
    :param max_ambiguity: highest ambiguity of a match
    :param agreement: consecutive queries that have to agree
    :return: status, and one line for people
    """
    name = describe_keyframe(best)
    if best.score < min_score:
        return Status.NO_MATCH_LOW_SCORE, f'best is {name} with score {best.score:.3f}, below {min_score:.3f}'
    if best.ambiguity > max_ambiguity:
        return Status.NO_MATCH_AMBIGUOUS, (
            f'{name} with score {best.score:.3f} has a double elsewhere in the map: '
            f'ambiguity {best.ambiguity:.2f}, above {max_ambiguity:.2f}')
    if best.supporting_queries < agreement:
        return Status.NO_MATCH_TEMPORAL, (
            f'{name} with score {best.score:.3f} has the agreement of {best.supporting_queries} of {agreement} '
            'consecutive keyframes')
    agreed = f', {best.supporting_queries} consecutive keyframes agree' if agreement > 1 else ''
    return Status.MATCHED, f'{name} with score {best.score:.3f}, ambiguity {best.ambiguity:.2f}{agreed}'


def describe_keyframe(candidate: Candidate) -> str:
    """A candidate's keyframe as people call it."""
    return f'keyframe {candidate.id.index} of session {candidate.id.session_id!r}'
