"""Learns P(same place) from answers whose truth is known, and measures how far such probabilities can be trusted."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.evaluation.metrics import Outcome, clopper_pearson
from segvlad_ros.recognition.calibration import Calibration, LearnedFrom
from segvlad_ros.recognition.decision import SAFETY, DecisionSettings, refusal
from segvlad_ros.recognition.evidence import FEATURES
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.pipeline.presets import Preset

# Fewer of either kind than these say too little.
MIN_OF_A_KIND = 30
# Strength of the prior that a standardised feature says nothing: variance 1 / PENALTY of its weight. Chosen on the
# real sets of 0.3, 1, 3 and 10: weaker is too sure of places left out, stronger is unsure where it learns from few.
PENALTY = 3.0
BINS = 10
FOLDS = 5
# Consecutive queries see the same place: so many in a row are left out, or drawn by the bootstrap, together.
BLOCK = 10
DRAWS = 1000


@dataclass(frozen=True)
class Samples:
    """Best candidates whose truth is known, of one set of queries in their order.

    :ivar vectors: (n, F) float64 features
    :ivar labels: (n,) bool, whether the candidate truly shows the query's place
    :ivar open: (n,) bool, what only the probability decides about: no other test refuses it; None: all of them
    """

    name: str
    vectors: np.ndarray
    labels: np.ndarray
    open: np.ndarray | None = None

    def undecided(self) -> Samples:
        """Those that only the probability decides about."""
        return self if self.open is None else self.part(self.open)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: np.ndarray) -> Samples:
        """Some of them.

        :param chosen: (n,) bool, or indices
        """
        return Samples(self.name, self.vectors[chosen], self.labels[chosen],
                       None if self.open is None else self.open[chosen])


@dataclass(frozen=True)
class Bin:
    """Queries of similar probability in a reliability diagram.

    :ivar predicted: their mean probability
    :ivar observed: share of them that is true
    :ivar bounds: 95 % Clopper-Pearson interval of it
    """

    count: int
    predicted: float
    observed: float
    bounds: tuple[float, float]


def samples_of(name: str, outcomes: Sequence[Outcome], limits: DecisionSettings) -> Samples:
    """What an evaluation says about the best candidates, believed or not.

    Left out are queries without a candidate, and those whose candidate counts neither way.

    :param limits: of the preset
    """
    known = [outcome for outcome in outcomes if outcome.recognition.evidence is not None
             and outcome.recognition.candidates[0].entry not in outcome.truth.ignored]
    vectors = np.array([outcome.recognition.evidence.vector() for outcome in known]).reshape(-1, len(FEATURES))
    labels = np.array([outcome.recognition.candidates[0].entry in outcome.truth.true for outcome in known], bool)
    undecided = np.array([refusal(outcome.recognition.evidence, limits, SAFETY) is None for outcome in known], bool)
    return Samples(name, vectors, labels, undecided)


def check_enough(sets: Sequence[Samples]) -> None:
    """Refuse to learn from too little.

    :raises SegvladError: saying what there is and what is needed
    """
    count, true = sum(map(len, sets)), sum(int(samples.labels.sum()) for samples in sets)
    if min(true, count - true) < MIN_OF_A_KIND:
        raise SegvladError(f'{count} queries have a best candidate whose truth is known, {true} of them true and '
                           f'{count - true} false; a calibration needs {MIN_OF_A_KIND} of either: add bags or image '
                           'sets with more revisits, or with more places that are seen only once')


def fit_calibration(sets: Sequence[Samples], preset: Preset) -> Calibration:
    """The share of the proven candidates that is true, and a logistic regression for the others.

    Learned from what only the probability decides about, for a look-alike place that odometry rules out says nothing of
    the others; from all where that leaves too few of either kind. Every set weighs as much as any other, however many
    queries it has. Neither class is given more weight: a probability can only be right for the base rate of the data,
    and where true places are rarer it is too high. A Gaussian prior on the weights (but not the intercept) keeps them
    finite where the classes are separable, and with the data makes the covariance of the weights (Laplace's
    approximation).

    :param preset: that the statistics were made with
    :raises SegvladError: too few samples of either kind, see :func:`check_enough`
    """
    check_enough(sets)
    return _fit(sets, preset)


def _fit(sets: Sequence[Samples], preset: Preset) -> Calibration:
    names = [(samples.name, len(samples), int(samples.labels.sum())) for samples in sets]
    undecided = [samples.undecided() for samples in sets]
    true, count = sum(int(samples.labels.sum()) for samples in undecided), sum(map(len, undecided))
    sets = undecided if min(true, count - true) >= MIN_OF_A_KIND else sets
    proven = np.concatenate([samples.labels[samples.vectors[:, 0] > 0] for samples in sets])
    others = [samples.part(samples.vectors[:, 0] == 0) for samples in sets]
    vectors = np.concatenate([samples.vectors[:, 1:] for samples in others])
    labels = np.concatenate([samples.labels for samples in others])
    sizes = np.array([len(samples) for samples in others])
    importance = len(labels) / max(np.count_nonzero(sizes), 1) / np.repeat(sizes, sizes)
    spread = vectors if len(vectors) else np.zeros((1, len(FEATURES) - 1))  # all are proven: of others nothing is known
    centre, scale = spread.mean(axis=0), spread.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)  # a feature that never changes says nothing
    weights, covariance = _regress(np.column_stack([(vectors - centre) / scale, np.ones(len(vectors))]), labels,
                                   importance)
    return Calibration(
        FEATURES, (float(proven.sum()) + 1) / (len(proven) + 2),  # rule of succession
        *(tuple(values.tolist()) for values in (centre, scale, spread.min(axis=0), spread.max(axis=0), weights[:-1])),
        intercept=float(weights[-1]), covariance=tuple(map(tuple, covariance.tolist())), preset=preset.name,
        evidence_digest=preset.evidence_digest(), sets=tuple(LearnedFrom(*each) for each in names))


def _regress(rows: np.ndarray, labels: np.ndarray, importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the columns, of which the last is the intercept's, and their covariance.

    Where all labels are of one kind nothing would hold the intercept back: the weights stay 0, and it says the share of
    the true ones by the rule of succession. That is as unsure as so few ask for; the covariance, which makes unsure
    what is unlike the rows, is the least that such rows allow (p (1 - p) <= 1/4 of each; D. Boehning, Annals of the
    Institute of Statistical Mathematics 1992).
    """
    from scipy.optimize import minimize

    signs = np.where(labels, 1.0, -1.0)
    penalty = np.append(np.full(rows.shape[1] - 1, PENALTY), 0.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (rows @ weights)
        slope = -signs * importance * 0.5 * (1.0 - np.tanh(0.5 * margins))
        value = (importance * np.logaddexp(0.0, -margins)).sum() + 0.5 * (penalty * weights ** 2).sum()
        return float(value), rows.T @ slope + penalty * weights

    if labels.any() and not labels.all():
        weights = minimize(loss, np.zeros(rows.shape[1]), jac=True, method='L-BFGS-B',
                           options={'maxiter': 1000, 'ftol': 1e-12, 'gtol': 1e-8}).x
        certainty = importance * 0.25 / np.cosh(0.5 * rows @ weights) ** 2
    else:
        weights = np.zeros(rows.shape[1])
        weights[-1] = np.log((labels.sum() + 1) / ((~labels).sum() + 1))
        certainty = importance * 0.25
    return weights, np.linalg.inv((rows * certainty[:, None]).T @ rows + np.diag(penalty + 1e-6))


def cross_validated(sets: Sequence[Samples], preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """What calibrations say about queries that they were not learned from.

    Runs of consecutive queries are left out together, for neighbouring queries are nearly the same.

    :return: (n,) probabilities and (n,) labels, set by set in order
    :raises SegvladError: too few samples of either kind, see :func:`check_enough`
    """
    check_enough(sets)
    probabilities = [np.zeros(len(samples)) for samples in sets]
    folds = _folds(sets)
    for fold in range(FOLDS):
        held = [numbers == fold for numbers in folds]
        calibration = _fit([samples.part(~out) for samples, out in zip(sets, held)], preset)
        for samples, out, values in zip(sets, held, probabilities):
            values[out] = calibration.probabilities(samples.vectors[out])
    return np.concatenate(probabilities), np.concatenate([samples.labels for samples in sets])


def _folds(sets: Sequence[Samples]) -> list[np.ndarray]:
    """(n,) int of each set: in which fold each query is left out.

    Blocks are counted through all sets: counted in each by itself, those of short sets would all be of the first fold.
    """
    folds, first = [], 0
    for samples in sets:
        folds.append((first + np.arange(len(samples)) // BLOCK) % FOLDS)
        first += -(-len(samples) // BLOCK)
    return folds


def trust(probabilities: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, object]:
    """How good probabilities are, ready for JSON.

    ``brier_skill`` is 1 - Brier score / Brier score of always saying the base rate of these very queries; None where
    all are of one kind. The interval of ``ece`` is a 95 % bootstrap over runs of neighbouring queries.

    :param probabilities: (n,) float64 in (0, 1)
    :param labels: (n,) bool
    """
    base = float(labels.mean())
    brier = float(((probabilities - labels) ** 2).mean())
    return {
        'queries': len(labels), 'positives': int(labels.sum()), 'base_rate': base, 'brier': brier,
        'brier_skill': 1.0 - brier / (base * (1.0 - base)) if 0 < base < 1 else None,
        'log_loss': float(-np.log(np.where(labels, probabilities, 1.0 - probabilities)).mean()),
        'ece': expected_calibration_error(probabilities, labels),
        'ece_bounds': _bootstrap(probabilities, labels, np.random.default_rng(seed)),
    }


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the queries of |mean probability - share of true ones| of their bin.

    Bins hold equal counts of queries, sorted by probability. With few queries it is above 0 by chance even for perfect
    probabilities.
    """
    order = np.argsort(probabilities, kind='stable')
    excess = np.add.reduceat((probabilities - labels)[order], _starts(len(order)))
    return float(np.abs(excess).sum()) / len(labels)


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[Bin]:
    """The bins of :func:`expected_calibration_error`, from the lowest probability."""
    parts = np.split(np.argsort(probabilities, kind='stable'), _starts(len(labels))[1:])
    return [Bin(len(part), float(probabilities[part].mean()), float(labels[part].mean()),
                tuple(clopper_pearson(int(labels[part].sum()), len(part)))) for part in parts]


def _starts(count: int) -> np.ndarray:
    """Where bins of equal counts begin."""
    bins = min(BINS, count)
    return np.arange(bins) * count // bins


def _bootstrap(probabilities: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> list[float]:
    blocks = np.array_split(np.arange(len(labels)), -(-len(labels) // BLOCK))
    errors = []
    for _ in range(DRAWS):
        drawn = np.concatenate([blocks[number] for number in generator.integers(0, len(blocks), len(blocks))])
        errors.append(expected_calibration_error(probabilities[drawn], labels[drawn]))
    return [float(bound) for bound in np.quantile(errors, [0.025, 0.975])]
