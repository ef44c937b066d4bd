"""From what is known about a candidate to the probability that it shows the query's place.

What geometry has proven has the share of proven candidates that are true. For all others it is a logistic regression on
standardised features, m = b + w . (x - centre) / scale, moderated by how well the weights are known: with the variance
v of m, p = 1 / (1 + exp(-m / sqrt(1 + pi v / 8))) (D. MacKay, Neural Computation 1992). So a camera unlike all those
that it was learned from makes it unsure. The numbers are learned by :mod:`segvlad_ros.evaluation.calibration_fit` and
kept in a JSON file beside the preset that they belong to.
"""
from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.recognition.evidence import FEATURES, Evidence
from segvlad_ros.types import SegvladError

FORMAT = 'segvlad calibration'
VERSION = 2
_KEYS = {'evidence_digest': 'fingerprint'}  # attributes that have another name in the file
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

    :ivar features: names, in the order of :data:`segvlad_ros.recognition.evidence.FEATURES`
    :ivar proven: P(same place) of what geometry has proven; the first feature says whether it has
    :ivar centre, scale: (F - 1,) mean and standard deviation of each other feature where it was learned
    :ivar lowest, highest: (F - 1,) range of each feature there; values beyond count as its end, and as unsure
    :ivar weights: (F - 1,) of the standardised features
    :ivar covariance: (F, F) of the weights and the intercept
    :ivar preset: name of the preset, for people
    :ivar evidence_digest: of what changes the preset's evidence: other descriptors have other scores
    :ivar sets: what it was learned from
    """

    features: tuple[str, ...]
    proven: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    covariance: tuple[tuple[float, ...], ...]
    preset: str
    evidence_digest: str
    sets: tuple[LearnedFrom, ...]

    @property
    def queries(self) -> int:
        """Queries that it was learned from."""
        return sum(entry.queries for entry in self.sets)

    @property
    def positives(self) -> int:
        """Queries among them whose candidate truly shows the place."""
        return sum(entry.positives for entry in self.sets)

    def probability(self, evidence: Evidence) -> float:
        """P(same place), never nearer to 0 or 1 than so many queries can show (rule of succession)."""
        return float(self.probabilities(evidence.vector()[None])[0])

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) float64, P(same place) of the (n, F) :meth:`~segvlad_ros.recognition.evidence.Evidence.vector` of n."""
        rows = vectors[:, 1:]
        standard = (np.array([np.clip(rows, self.lowest, self.highest), rows]) - self.centre) / self.scale
        inside, anywhere = (np.column_stack([part, np.ones(len(rows))]) for part in standard)
        logits = inside @ np.append(self.weights, self.intercept)
        variance = np.einsum('ni,ij,nj->n', anywhere, np.array(self.covariance), anywhere)
        unproven = 0.5 * (1.0 + np.tanh(0.5 * logits / np.sqrt(1.0 + np.pi / 8 * variance)))  # tanh does not overflow
        least = 1.0 / (self.queries + 2)
        return np.clip(np.where(vectors[:, 0] > 0, self.proven, unproven), least, 1.0 - least)

    def save(self, path: str | Path) -> None:
        """Write the JSON file; one that cannot be written raises SegvladError."""
        values = {_KEYS.get(name, name): value for name, value in asdict(self).items()}
        text = json.dumps({'format': FORMAT, 'version': VERSION, **values}, indent=1, allow_nan=False)
        try:
            with whole_file(path) as temporary:
                temporary.write_text(text + '\n', encoding='utf-8')
        except OSError as error:
            raise SegvladError(f'{path}: the calibration cannot be written ({error.strerror})') from None


def load_calibration(path: str | Path, evidence_digest: str | None = None) -> Calibration:
    """Read a calibration and check that it belongs to a preset.

    :param evidence_digest: of the preset that will use it; None takes the calibration of any preset
    :raises SegvladError: what is wrong, in one line
    """
    try:
        values = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise SegvladError(f'calibration {path}: {error.strerror}; {_WITHOUT}') from None
    except (ValueError, RecursionError):
        raise SegvladError(f'calibration {path}: no JSON file of "segvlad calibrate"; {_LEARN}') from None
    calibration = _read(values, f'calibration {path}')
    if evidence_digest is not None and calibration.evidence_digest != evidence_digest:
        raise SegvladError(f'calibration {path}: was learned with other settings of the image description, or with '
                           f'another matcher (preset {calibration.preset!r}, fingerprint '
                           f'{calibration.evidence_digest[:12]}) than this preset has ({evidence_digest[:12]}), so '
                           f'that its probabilities would be wrong; {_WITHOUT}')
    return calibration


def _read(values: object, where: str) -> Calibration:
    def require(good: bool, otherwise: str) -> None:
        if not good:
            raise SegvladError(f'{where}: {otherwise}; {_LEARN}')

    require(isinstance(values, dict) and values.get('format') == FORMAT, 'no file of "segvlad calibrate"')
    version, names = values.get('version'), {_KEYS.get(field.name, field.name) for field in fields(Calibration)}
    require(version == VERSION, f'has version {version!r}, this program reads {VERSION}')
    require(values.keys() - {'format', 'version'} == names, f'its keys are not {", ".join(sorted(names))}')
    require(values['features'] == list(FEATURES), f'was learned from other features than {", ".join(FEATURES)}')
    rows = {name: _numbers(values[name], f'{where}: {name}')
            for name in ('centre', 'scale', 'lowest', 'highest', 'weights')}
    intercept, proven = (_numbers([values[name]], f'{where}: {name}', 1)[0] for name in ('intercept', 'proven'))
    table = values['covariance']
    covariance = tuple(_numbers(row, f'{where}: covariance', len(FEATURES))
                       for row in (table if isinstance(table, list) and len(table) == len(FEATURES) else [None]))
    require(0 <= proven <= 1, 'proven is not a probability')
    require(min(rows['scale']) > 0, 'scale has numbers that are not above 0')
    require(all(low <= high for low, high in zip(rows['lowest'], rows['highest'])), 'lowest is above highest')
    require(all(isinstance(values[name], str) for name in ('preset', 'fingerprint')),
            'preset and fingerprint must be texts')
    return Calibration(features=FEATURES, proven=proven, **rows, intercept=intercept, covariance=covariance,
                       preset=values['preset'], evidence_digest=values['fingerprint'],
                       sets=_sets(values['sets'], where))


def _numbers(values: object, where: str, count: int = len(FEATURES) - 1) -> tuple[float, ...]:
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
