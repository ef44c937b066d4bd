"""From what is known about a candidate to the probability that it shows the query's place.

A logistic regression on standardised features: p = 1 / (1 + exp(-(b + w . (x - centre) / scale))). The numbers are
learned by :mod:`segvlad_ros.evaluation.calibration` and kept in a JSON file beside the preset that they belong to.
"""
from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from segvlad_ros.recognition.statistics import FEATURES, MatchStatistics
from segvlad_ros.types import SegvladError

FORMAT = 'segvlad calibration'
VERSION = 1
_LEARN = 'learn one with "segvlad calibrate"'
_WITHOUT = f'{_LEARN}, or go without (--set calibration=null, or no such line in the preset)'


@dataclass(frozen=True)
class LearnedFrom:
    """One set of queries that a calibration was learned from.

    :ivar queries: with a candidate whose truth is known
    :ivar positives: those whose candidate truly shows the place
    """

    name: str
    queries: int
    positives: int


@dataclass(frozen=True)
class Calibration:
    """P(same place) of a candidate.

    :ivar features: names, in the order of :data:`segvlad_ros.recognition.statistics.FEATURES`
    :ivar centre, scale: (F,) mean and standard deviation of each feature where it was learned
    :ivar lowest, highest: (F,) range of each feature there; values beyond count as its end: nothing is known of them
    :ivar weights: (F,) of the standardised features
    :ivar preset: name of the preset, for people
    :ivar fingerprint: digest of the preset's fingerprint: other descriptors have other scores
    :ivar sets: what it was learned from
    """

    features: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    preset: str
    fingerprint: str
    sets: tuple[LearnedFrom, ...]

    @property
    def queries(self) -> int:
        """Queries that it was learned from."""
        return sum(entry.queries for entry in self.sets)

    @property
    def positives(self) -> int:
        """Queries among them whose candidate truly shows the place."""
        return sum(entry.positives for entry in self.sets)

    def probability(self, statistics: MatchStatistics) -> float:
        """P(same place), never nearer to 0 or 1 than so many queries can show (rule of succession)."""
        return float(self.probabilities(statistics.vector()[None])[0])

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """P(same place) of many candidates.

        :param vectors: (n, F) float64, see :meth:`segvlad_ros.recognition.statistics.MatchStatistics.vector`
        :return: (n,) float64
        """
        known = np.clip(vectors, self.lowest, self.highest)
        logits = self.intercept + (known - np.array(self.centre)) / np.array(self.scale) @ np.array(self.weights)
        least = 1.0 / (self.queries + 2)
        return np.clip(0.5 * (1.0 + np.tanh(0.5 * logits)), least, 1.0 - least)  # tanh does not overflow

    def save(self, path: str | Path) -> None:
        """Write the JSON file.

        :raises SegvladError: the file cannot be written
        """
        text = json.dumps({'format': FORMAT, 'version': VERSION, **asdict(self)}, indent=1, allow_nan=False)
        try:
            Path(path).write_text(text + '\n', encoding='utf-8')
        except OSError as error:
            raise SegvladError(f'{path}: the calibration cannot be written ({error.strerror})') from None


def load_calibration(path: str | Path, fingerprint: str | None = None) -> Calibration:
    """Read a calibration and check that it belongs to a preset.

    :param fingerprint: digest of the preset's fingerprint; None takes the calibration of any preset
    :raises SegvladError: what is wrong, in one line
    """
    try:
        values = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise SegvladError(f'calibration {path}: {error.strerror}; {_WITHOUT}') from None
    except (ValueError, RecursionError):
        raise SegvladError(f'calibration {path}: no JSON file of "segvlad calibrate"; {_LEARN}') from None
    calibration = _read(values, f'calibration {path}')
    if fingerprint is not None and calibration.fingerprint != fingerprint:
        raise SegvladError(f'calibration {path}: was learned with other settings of the image description (preset '
                           f'{calibration.preset!r}, fingerprint {calibration.fingerprint[:12]}) than this preset has '
                           f'({fingerprint[:12]}), so that its probabilities would be wrong; {_WITHOUT}')
    return calibration


def _read(values: object, where: str) -> Calibration:
    if not isinstance(values, dict) or values.get('format') != FORMAT:
        raise SegvladError(f'{where}: no file of "segvlad calibrate"; {_LEARN}')
    if values.get('version') != VERSION:
        raise SegvladError(f'{where}: has version {values.get("version")!r}, this program reads {VERSION}; {_LEARN}')
    names = {field.name for field in fields(Calibration)}
    if values.keys() - {'format', 'version'} != names:
        raise SegvladError(f'{where}: its keys are not {", ".join(sorted(names))}; {_LEARN}')
    if values['features'] != list(FEATURES):
        raise SegvladError(f'{where}: was learned from other features than {", ".join(FEATURES)}; {_LEARN}')
    rows = {name: _numbers(values[name], f'{where}: {name}')
            for name in ('centre', 'scale', 'lowest', 'highest', 'weights')}
    intercept, = _numbers([values['intercept']], f'{where}: intercept', 1)
    if min(rows['scale']) <= 0:
        raise SegvladError(f'{where}: scale has numbers that are not above 0; {_LEARN}')
    if any(low > high for low, high in zip(rows['lowest'], rows['highest'])):
        raise SegvladError(f'{where}: lowest is above highest; {_LEARN}')
    if not all(isinstance(values[name], str) for name in ('preset', 'fingerprint')):
        raise SegvladError(f'{where}: preset and fingerprint must be texts; {_LEARN}')
    return Calibration(features=FEATURES, **rows, intercept=intercept, preset=values['preset'],
                       fingerprint=values['fingerprint'], sets=_sets(values['sets'], where))


def _numbers(values: object, where: str, count: int = len(FEATURES)) -> tuple[float, ...]:
    if not (isinstance(values, list) and len(values) == count and all(map(_is_number, values))):
        raise SegvladError(f'{where} must be {count} finite number{"s" * (count != 1)}; {_LEARN}')
    return tuple(float(value) for value in values)


def _is_number(value: object) -> bool:
    """A finite number that is not beyond all reason; JSON writes integers of any length."""
    return type(value) in (int, float) and -1e30 < value < 1e30 and math.isfinite(value)


def _sets(values: object, where: str) -> tuple[LearnedFrom, ...]:
    keys = [field.name for field in fields(LearnedFrom)]
    good = isinstance(values, list) and all(
        isinstance(entry, dict) and list(entry) == keys and isinstance(entry['name'], str)
        and type(entry['queries']) is int and type(entry['positives']) is int
        and 0 <= entry['positives'] <= entry['queries'] for entry in values)
    if not good or not values:
        raise SegvladError(f'{where}: sets must be a list of {{{", ".join(keys)}}}; {_LEARN}')
    return tuple(LearnedFrom(**entry) for entry in values)
