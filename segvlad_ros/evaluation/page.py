"""An evaluation as one HTML page with pictures."""
from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from string import Template

from segvlad_ros.evaluation.html import write_report
from segvlad_ros.evaluation.metrics import Outcome, precision_recall
from segvlad_ros.evaluation.report import as_text
from segvlad_ros.evaluation.run import Evaluation
from segvlad_ros.types import Status

# Every $value below is escaped or made here; nothing of the data reaches the page as markup.
_BODY = Template("""<h2>Precision over recall, by score of the best candidate</h2>
<svg viewBox="-40 -10 360 350" width="480" role="img" aria-label="precision over recall">
<rect width="300" height="300" fill="none" stroke="#999"/>
<polyline points="$points" fill="none" stroke="#1764ab" stroke-width="2"/>
<text x="150" y="330" text-anchor="middle" font-size="14">recall</text>
<text x="-12" y="150" text-anchor="middle" font-size="14" transform="rotate(-90 -12 150)">precision</text>
</svg>
<h2>Queries</h2>
<table>
$rows
</table>""")


def write_page(path: str | Path, evaluation: Evaluation, numbers: dict[str, object]) -> None:
    """Write the numbers, the precision-recall curve, and every query beside its best candidate and its true place.

    :raises SegvladError: the file cannot be written
    """
    curve = precision_recall(evaluation.outcomes)
    points = ' '.join(f'{recall * 300:.1f},{300 - precision * 300:.1f}'
                      for precision, recall in zip(curve.precision, curve.recall))
    body = _BODY.substitute(points=points, rows='\n'.join(_row(outcome, evaluation) for outcome in evaluation.outcomes))
    write_report(path, f'Recognition with preset {numbers["preset"]}', as_text(numbers), body)


def _row(outcome: Outcome, evaluation: Evaluation) -> str:
    answer = outcome.recognition
    verdict = _verdict(outcome)
    best = evaluation.keyframes[answer.candidates[0].entry] if answer.candidates else ''
    true = evaluation.keyframes[min(outcome.truth.true)] if outcome.truth.true else ''
    cells = ''.join(_picture(title, name, evaluation.pictures.get(name, b''))
                    for title, name in (('query', outcome.query), ('best', best), ('true', true)))
    return (f'<tr class="{verdict.split()[0]}"><td><b>{verdict}</b><br>{answer.status.name}<br>'
            f'<small>{escape(answer.reason)}</small></td>{cells}</tr>')


def _verdict(outcome: Outcome) -> str:
    if outcome.accepted is not None:
        return 'correct' if outcome.accepted else 'wrong'
    if outcome.recognition.status == Status.MATCHED:
        return 'ignored'
    return 'missed' if outcome.truth.true else 'new place, no match'


def _picture(title: str, name: str, jpeg: bytes) -> str:
    """A cell with its picture in it, so that the page is one file."""
    image = f'<img alt="{title}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">' if jpeg else ''
    return f'<td>{image}<small>{title}: {escape(Path(name).name) or "none"}</small></td>'
