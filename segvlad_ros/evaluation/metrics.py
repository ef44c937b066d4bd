"""Ranking and decision metrics, with their uncertainty."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.geometry import distance, rotation_angle
from segvlad_ros.types import Candidate, Pose, Recognition, Status

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Outcome:
    """One query, its answer and the truth about it.

    :ivar query: the query's name for reports
    :ivar truth: in entries of the searched map
    """

    query: str
    recognition: Recognition
    truth: PlaceTruth

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates that count, best first."""
        return [candidate for candidate in self.recognition.candidates if candidate.entry not in self.truth.ignored]

    @property
    def rank(self) -> int | None:
        """Rank of the first true candidate, from 1; None if none was found."""
        return next((rank for rank, candidate in enumerate(self.ranked, 1) if candidate.entry in self.truth.true),
                    None)

    @property
    def accepted(self) -> bool | None:
        """Whether the match that was made is true; None if none was made or if it counts neither way."""
        if self.recognition.status != Status.MATCHED:
            return None
        entry = self.recognition.candidates[0].entry
        return None if entry in self.truth.ignored else entry in self.truth.true


@dataclass(frozen=True)
class ClosureError:
    """How far the relative pose of a loop closure is from the truth.

    :ivar sigma_m: standard deviation of the translation that the closure claims, all axes together
    """

    translation_m: float
    rotation_rad: float
    sigma_m: float

    @classmethod
    def of(cls, claimed: Pose, true: Pose) -> ClosureError:
        """The error of a pose with covariance."""
        return cls(distance(claimed, true), rotation_angle(claimed, true),
                   float(np.sqrt(np.trace(claimed.covariance[:3, :3]))))


@dataclass(frozen=True)
class Curve:
    """Precision and recall over all thresholds of the best candidate's score, from the highest."""

    thresholds: list[float] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)


def ranking_metrics(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """How well candidates are ranked, whatever is decided about them.

    Recall counts the queries that have a true place; precision counts all queries with a candidate, so that one
    without a true place counts against it. Ignored references are left out of the ranking. Bounds are 95%
    Clopper-Pearson intervals.
    """
    ranks = [outcome.rank for outcome in outcomes if outcome.truth.true]
    metrics: dict[str, object] = {'queries': len(outcomes), 'queries_with_place': len(ranks)}
    for limit in RANKS:
        hits = sum(rank is not None and rank <= limit for rank in ranks)
        metrics[f'recall@{limit}'] = hits / len(ranks) if ranks else None
        metrics[f'recall@{limit}_bounds'] = clopper_pearson(hits, len(ranks))
    curve = precision_recall(outcomes)
    steps = np.diff([0.0, *curve.recall])
    perfect = [recall for precision, recall in zip(curve.precision, curve.recall) if precision == 1.0]
    metrics['average_precision'] = float(steps @ curve.precision) if ranks else None
    metrics['recall@100precision'] = max(perfect, default=0.0) if ranks else None
    return metrics


def precision_recall(outcomes: Sequence[Outcome]) -> Curve:
    """The curve over thresholds of the score; queries of equal score enter together."""
    positives = sum(bool(outcome.truth.true) for outcome in outcomes)
    scored = sorted(((outcome.ranked[0].score, outcome.rank == 1) for outcome in outcomes if outcome.ranked),
                    key=lambda item: -item[0])
    curve = Curve()
    correct = 0
    for count, (score, hit) in enumerate(scored, 1):
        correct += hit
        if count == len(scored) or scored[count][0] != score:
            curve.thresholds.append(score)
            curve.precision.append(correct / count)
            curve.recall.append(correct / positives if positives else 0.0)
    return curve


def decision_metrics(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """How good the accepted matches are; bounds are 95% Clopper-Pearson intervals.

    A match with an ignored reference counts as ``ignored``: neither as accepted nor as found, nor among the queries
    that ask for a match.
    """
    accepted = [outcome.accepted for outcome in outcomes if outcome.accepted is not None]
    neither = [outcome.recognition.status == Status.MATCHED and outcome.accepted is None for outcome in outcomes]
    positives = sum(bool(outcome.truth.true) and not ignored for outcome, ignored in zip(outcomes, neither))
    correct = sum(accepted)
    statuses = Counter(outcome.recognition.status.name for outcome in outcomes)
    return {
        'accepted': len(accepted),
        'ignored': sum(neither),
        'precision': correct / len(accepted) if accepted else None,
        'precision_bounds': clopper_pearson(correct, len(accepted)),
        'recall': correct / positives if positives else None,
        'recall_bounds': clopper_pearson(correct, positives),
        'statuses': {status.name: statuses[status.name] for status in Status if statuses[status.name]},
    }


def closure_metrics(errors: Sequence[ClosureError]) -> dict[str, float | int | None]:
    """What the poses of metric closures are worth; None of all but the count where there are none.

    ``beyond_3_sigma`` is the share whose translation is further off than three of the standard deviations it claims.
    """
    columns = {'translation_error_m': [error.translation_m for error in errors],
               'rotation_error_deg': [np.degrees(error.rotation_rad) for error in errors]}
    numbers: dict[str, float | int | None] = {'count': len(errors)}
    for name, values in columns.items():
        for percent in (50, 95):
            numbers[f'{name}_p{percent}'] = float(np.percentile(values, percent)) if errors else None
    beyond = [error.translation_m > 3 * error.sigma_m for error in errors]
    numbers['beyond_3_sigma'] = float(np.mean(beyond)) if errors else None
    return numbers


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> list[float] | None:
    """Exact binomial interval of a rate (Clopper and Pearson, Biometrika 1934); None without trials.

    :return: lower and upper bound
    """
    from scipy.stats import beta

    if not trials:
        return None
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return [low, high]
