"""Query by query: what became of each, in words and as rows of a result file that another one is compared with."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.evaluation.measured import Evaluation
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import SegvladError, Status


@dataclass(frozen=True)
class OutcomeKind:
    """What became of a query.

    :ivar key: as result files, and the colours of a report, name it
    """

    key: str
    label: str
    meaning: str


CORRECT = OutcomeKind('correct', 'correct', 'matched with its true place')
WRONG = OutcomeKind('wrong', 'wrong', 'matched with another place')
REFUSED = OutcomeKind('refused', 'refused', 'its true place came first, but was not believed')
MISSED = OutcomeKind('missed', 'missed', 'has a true place in the map, which did not come first; no match was made')
BORDERLINE = OutcomeKind('borderline', 'borderline', 'matched with a place that counts neither way')
NEW = OutcomeKind('new', 'new place', 'has no true place in the map, and no match was made')
UNUSABLE = OutcomeKind('unusable', 'unusable', 'the image cannot be recognised at all, the reason says why')
KINDS = (CORRECT, WRONG, REFUSED, MISSED, BORDERLINE, NEW, UNUSABLE)


def kind_of(outcome: Outcome) -> OutcomeKind:
    """What became of one query."""
    status = outcome.recognition.status
    if status == Status.MATCHED:
        return {True: CORRECT, False: WRONG, None: BORDERLINE}[outcome.accepted]
    if status == Status.QUERY_REJECTED:
        return UNUSABLE
    if not outcome.truth.true:
        return NEW
    return REFUSED if outcome.rank == 1 else MISSED


def short_names(names: Sequence[str]) -> list[str]:
    """The names of image files without the folder that all of them are in, so that they are the same elsewhere."""
    if not names or not all(map(os.path.isabs, names)):
        return list(names)
    folder = os.path.commonpath([os.path.dirname(name) for name in names])
    return [os.path.relpath(name, folder) for name in names]


def answer_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """One row a query, ready for JSON: see docs/evaluation.md."""
    names = short_names([outcome.query for outcome in evaluation.outcomes])
    return [_row(name, outcome) for name, outcome in zip(names, evaluation.outcomes)]


def _row(name: str, outcome: Outcome) -> dict[str, object]:
    answer, ranked = outcome.recognition, outcome.ranked
    probability = answer.candidates[0].probability if answer.candidates else math.nan
    return {'query': name, 'outcome': kind_of(outcome).key, 'status': answer.status.name, 'reason': answer.reason,
            'place': bool(outcome.truth.true), 'rank': outcome.rank, 'score': ranked[0].score if ranked else None,
            'probability': None if math.isnan(probability) else probability}


def write_result(path: str | Path, evaluation: Evaluation, numbers: dict[str, object]) -> None:
    """Write the numbers and the answer to each query, for :mod:`segvlad_ros.evaluation.comparison`.

    :param numbers: of the evaluation, ready for JSON
    :raises SegvladError: the file cannot be written
    """
    write_answers(path, {**numbers, 'consecutive': evaluation.consecutive, 'answers': answer_rows(evaluation)})


def write_answers(path: str | Path, result: dict[str, object]) -> None:
    """Write a result file.

    :param result: numbers of any names, ``consecutive`` and ``answers``, see docs/evaluation.md
    :raises SegvladError: the file cannot be written
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise SegvladError(f'{path}: the result cannot be written ({error.strerror})') from None
