"""Two results on the same queries: what differs, and whether chance explains it (paired bootstrap)."""
from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.evaluation.answers import BORDERLINE, CORRECT, KINDS, WRONG
from segvlad_ros.evaluation.calibration_fit import BLOCK
from segvlad_ros.types import SegvladError

DRAWS = 2000
# Fewer runs of queries than these say nothing about how a difference varies.
LEAST_BLOCKS = 10
_FIELDS = {'query': str, 'outcome': (str, type(None)), 'place': bool, 'rank': (int, type(None)),
           'score': (int, float, type(None))}


@dataclass(frozen=True)
class Result:
    """What a result file says, see :func:`segvlad_ros.evaluation.answers.write_result`.

    :ivar names: of the queries, in order
    :ivar consecutive: neighbouring queries see the same place
    :ivar decided: matches were made; else there are ranks only, and no scores
    :ivar place: (n,) bool, has a true place
    :ivar first: (n,) bool, the first candidate is true
    :ivar scores: (n,) float64 of the first candidate, NaN without one
    :ivar accepted, correct, neither: (n,) bool, matched and counts; and is true; matched and counts neither way
    """

    names: list[str]
    consecutive: bool
    decided: bool
    place: np.ndarray
    first: np.ndarray
    scores: np.ndarray
    accepted: np.ndarray
    correct: np.ndarray
    neither: np.ndarray


@dataclass(frozen=True)
class Difference:
    """One number of two results.

    :ivar first, second: None where there is nothing to divide by
    :ivar bounds: 95 % interval of second - first; None where it cannot be told
    """

    metric: str
    first: float | None
    second: float | None
    bounds: tuple[float, float] | None

    @property
    def change(self) -> float | None:
        """Second - first."""
        return None if self.first is None or self.second is None else self.second - self.first

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.bounds is not None and not self.bounds[0] <= 0 <= self.bounds[1]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {'metric': self.metric, 'first': self.first, 'second': self.second, 'change': self.change,
                'bounds': self.bounds, 'distinguishable': self.distinguishable}


def read_result(path: str | Path) -> Result:
    """Read what ``segvlad evaluate ... --output FILE.json`` wrote.

    :raises SegvladError: no such file, or another one
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    except (ValueError, RecursionError) as error:
        raise SegvladError(f'{path}: not a JSON file ({error})') from None
    rows = content.get('answers') if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise SegvladError(f'{path}: holds no answers to queries; write it with "segvlad evaluate images|bag ... '
                           f'--output {path}"')
    for number, row in enumerate(rows, 1):
        if not _is_answer(row):
            raise SegvladError(f'{path}: answer {number} is not as "segvlad evaluate ... --output" writes it')

    def column(test: Any) -> np.ndarray:
        return np.array([test(row) for row in rows], bool)
    return Result([row['query'] for row in rows], content.get('consecutive') is True,
                  all(row['outcome'] for row in rows),
                  column(lambda row: row['place']), column(lambda row: row['rank'] == 1),
                  np.array([row['score'] for row in rows], np.float64),
                  column(lambda row: row['outcome'] in (CORRECT.key, WRONG.key)),
                  column(lambda row: row['outcome'] == CORRECT.key),
                  column(lambda row: row['outcome'] == BORDERLINE.key))


def _is_answer(row: object) -> bool:
    return (isinstance(row, dict) and all(key in row and isinstance(row[key], kind) for key, kind in _FIELDS.items())
            and row['outcome'] in {None, *(entry.key for entry in KINDS)} and _is_finite(row['score']))


def _is_finite(score: float | None) -> bool:
    try:
        return score is None or math.isfinite(score)
    except OverflowError:  # JSON has integers of any size
        return False


def compare(first: Result, second: Result, seed: int = 0) -> list[Difference]:
    """The metrics of design.md 7 of two results, with intervals of their differences.

    Both are computed from the same draws of queries, so that what is hard for both does not count as chance. Of a
    drive, runs of neighbouring queries are drawn together, for they see the same place (circular block bootstrap,
    Politis and Romano 1992).

    :raises SegvladError: of other queries, or judged by another truth
    """
    check_paired(first, second)
    count, length = len(first.names), BLOCK if first.consecutive else 1
    both = (_Metrics(first), _Metrics(second))
    values = [metrics.of(np.ones((1, count)))[0] for metrics in both]
    if count < LEAST_BLOCKS * length:
        bounds = [None] * len(METRICS)
    else:
        draws = [both[1].of(weights) - both[0].of(weights)
                 for weights in _draws(count, length, np.random.default_rng(seed))]
        bounds = [_interval(column) for column in np.concatenate(draws).T]
    names = METRICS if first.decided and second.decided else METRICS[:1]
    return [Difference(name, _known(one), _known(other), interval)
            for name, one, other, interval in zip(names, *values, bounds)]


def check_paired(first: Result, second: Result) -> None:
    """Refuse what cannot be compared query by query.

    :raises SegvladError: saying what differs
    """
    if first.names != second.names:
        apart = len(set(first.names) ^ set(second.names))
        said = f'{apart} are in one of them only' if apart else 'their order differs'
        raise SegvladError(f'the two results are not of the same queries: {len(first.names)} and {len(second.names)}, '
                           f'{said}; evaluate both on the same images, or on the same bag')
    if other := int((first.place != second.place).sum()):
        raise SegvladError(f'the two results differ in the truth of {other} queries: evaluate both with the same '
                           'ground truth, limits and exclusion window')


METRICS = ('recall@1', 'precision', 'recall', 'average_precision')


class _Metrics:
    """Of one result, for many weights of its queries at once: what metrics.py says of queries, each counted w times."""

    def __init__(self, result: Result) -> None:
        self._result = result
        scored = np.flatnonzero(~np.isnan(result.scores))
        self._order = scored[np.argsort(-result.scores[scored], kind='stable')]
        falling = result.scores[self._order]
        self._ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) if len(falling) else np.array([], int)

    def of(self, weights: np.ndarray) -> np.ndarray:
        """(draws, 4) float64 in the order of :data:`METRICS`, NaN where there is nothing to divide by.

        :param weights: (draws, n), how often each query counts
        """
        told = self._result
        with np.errstate(invalid='ignore', divide='ignore'):
            correct, places = weights @ told.correct, weights @ told.place
            return np.column_stack([weights @ (told.first & told.place) / places,
                                    correct / (weights @ told.accepted),
                                    correct / (weights @ (told.place & ~told.neither)),
                                    self._average_precision(weights, places)])

    def _average_precision(self, weights: np.ndarray, places: np.ndarray) -> np.ndarray:
        found = np.cumsum(weights[:, self._order], axis=1)[:, self._ends]
        hits = np.cumsum(weights[:, self._order] * self._result.first[self._order], axis=1)[:, self._ends]
        precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
        steps = np.diff(hits, axis=1, prepend=0.0)
        return (steps * precision).sum(axis=1) / places


def _draws(count: int, length: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each query is drawn, in circular runs of so many: (100, count) float64 at a time, DRAWS in all."""
    for _ in range(DRAWS // 100):
        starts = generator.integers(0, count, (100, -(-count // length)))
        drawn = (starts[:, :, None] + np.arange(length)).reshape(100, -1)[:, :count] % count
        yield np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)


def _interval(differences: np.ndarray) -> tuple[float, float] | None:
    known = differences[~np.isnan(differences)]
    if len(known) < DRAWS // 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def as_table(differences: Sequence[Difference]) -> str:
    """The comparison as aligned text."""
    lines = [f'{"":20}{"first":>8}{"second":>9}{"change":>9}   95 % interval']
    for each in differences:
        numbers = ''.join('-'.rjust(width) if value is None else f'{value:{sign}{width}.3f}' for value, width, sign in (
            (each.first, 8, ''), (each.second, 9, ''), (each.change, 9, '+')))
        if each.change is None:
            said = 'nothing to divide by'
        elif each.bounds is None:
            said = 'too few queries to tell'
        else:
            said = (f'{each.bounds[0]:+.3f} to {each.bounds[1]:+.3f}   '
                    + ('distinguishable' if each.distinguishable else 'not distinguishable'))
        lines.append(f'{each.metric:20}{numbers}   {said}')
    return '\n'.join(lines)
