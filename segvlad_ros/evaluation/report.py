"""An evaluation, or a calibration, as numbers, as text and as an HTML page: one file, no scripts."""
from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from segvlad_ros.evaluation.calibration_fit import Bin
from segvlad_ros.evaluation.measured import Evaluation, bytes_per_keyframe
from segvlad_ros.evaluation.metrics import (
    Outcome,
    closure_metrics,
    decision_metrics,
    precision_recall,
    ranking_metrics,
)
from segvlad_ros.types import SegvladError, Status

if TYPE_CHECKING:
    from segvlad_ros.pipeline.presets import Preset

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 1100px; color: #222; }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid #ddd; padding: 6px; vertical-align: top; }
img { width: 220px; display: block; }
.correct { background: #eef8ee; } .wrong { background: #fbecec; }
small { color: #666; }
</style>
</head>
<body>
<h1>$title</h1>
<pre>$numbers</pre>
$body
</body>
</html>
""")

# Every $value below is escaped or made here; nothing of the data reaches the page as markup.
_QUERIES = Template("""<h2>Precision over recall, by score of the best candidate</h2>
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

_SIDE = 300

_DIAGRAM = Template("""<svg xmlns="http://www.w3.org/2000/svg" viewBox="-45 -30 360 375" width="480" role="img"
 aria-label="reliability diagram" font-family="sans-serif" font-size="13">
<rect x="-45" y="-30" width="360" height="375" fill="white"/>
<text x="150" y="-12" text-anchor="middle">$title</text>
<rect width="300" height="300" fill="none" stroke="#999"/>
<line x1="0" y1="300" x2="300" y2="0" stroke="#999" stroke-dasharray="4 4"/>
$ticks
$bins
<text x="150" y="338" text-anchor="middle">predicted probability</text>
<text x="-30" y="150" text-anchor="middle" transform="rotate(-90 -30 150)">share that is true</text>
</svg>
""")

_RELIABILITY = Template("""<h2>Reliability</h2>
$diagram
<p>Every point is a tenth of the queries, sorted by probability; bars are 95 % Clopper-Pearson intervals. All
probabilities come from calibrations that were learned without the query and its neighbours.</p>""")


def summarize(evaluation: Evaluation, preset: Preset) -> dict[str, object]:
    """The numbers of design.md 7, ready for JSON; what cannot be known (no accepted match) is None."""
    costs = evaluation.costs
    stages = {stage: statistics.fmean(seconds) * 1000 for stage, seconds in costs.seconds.items()}
    return {
        'preset': preset.name,
        'fingerprint': evaluation.fingerprint['digest'],
        'images': len(costs.segments),
        'map_keyframes': len(evaluation.keyframes),
        **({'truth': evaluation.truth} if evaluation.truth else {}),
        **({} if evaluation.without_truth is None else {'keyframes_without_truth': evaluation.without_truth}),
        **ranking_metrics(evaluation.outcomes),
        **decision_metrics(evaluation.outcomes),
        'closures': closure_metrics(evaluation.closures),
        'ms_per_image': {**{stage: round(ms, 3) for stage, ms in stages.items()},
                         'total': round(sum(stages.values()), 3)},
        'segments_per_image': statistics.fmean(costs.segments),
        'bytes_per_keyframe': bytes_per_keyframe(costs.sample, evaluation.fingerprint),
    }


def as_text(numbers: dict[str, object]) -> str:
    """The numbers as an aligned table."""
    lines = []
    for name, value in numbers.items():
        if name.endswith('_bounds'):
            continue
        entries = value if isinstance(value, list) else [value]
        lines += [f'{"" if number else name:24} {_shown(name, entry, numbers)}' for number, entry in enumerate(entries)]
    return '\n'.join(lines)


def _shown(name: str, value: object, numbers: dict[str, object]) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} {_number(entry)}' for key, entry in value.items())
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    bounds = numbers.get(f'{name}_bounds')
    interval = f'   (95% interval {bounds[0]:.3f} to {bounds[1]:.3f})' if bounds else ''
    return (f'{value:.3f}' if value < 100 else f'{value:.0f}') + interval


def _number(value: object) -> str:
    """A number with the digits that say something: 0.0031 and 123.4."""
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    return f'{value:.1f}' if abs(value) >= 1 else f'{value:.2g}'


def write_page(path: str | Path, evaluation: Evaluation, numbers: dict[str, object]) -> None:
    """Write the numbers, the precision-recall curve, and every query beside its best candidate and its true place.

    :raises SegvladError: the file cannot be written
    """
    curve = precision_recall(evaluation.outcomes)
    points = ' '.join(f'{recall * 300:.1f},{300 - precision * 300:.1f}'
                      for precision, recall in zip(curve.precision, curve.recall))
    rows = '\n'.join(_row(outcome, evaluation) for outcome in evaluation.outcomes)
    body = _QUERIES.substitute(points=points, rows=rows)
    _write_html(path, f'Recognition with preset {numbers["preset"]}', as_text(numbers), body)


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


def reliability_diagram(bins: Sequence[Bin], title: str) -> str:
    """A reliability diagram as SVG: observed over predicted, with intervals; perfect is the dashed line."""
    ticks = ''.join(f'<text x="{share * _SIDE:.0f}" y="316" text-anchor="middle">{share:g}</text>'
                    f'<text x="-6" y="{_SIDE - share * _SIDE + 4:.0f}" text-anchor="end">{share:g}</text>'
                    for share in (0, 0.5, 1))
    return _DIAGRAM.substitute(title=escape(title), ticks=ticks, bins='\n'.join(map(_point, bins)))


def write_calibration_page(path: str | Path, numbers: dict[str, object], bins: Sequence[Bin]) -> None:
    """Write the numbers and the reliability diagram.

    :raises SegvladError: the file cannot be written
    """
    body = _RELIABILITY.substitute(diagram=reliability_diagram(bins, f'{numbers["queries"]} queries, cross-validated'))
    _write_html(path, f'Calibration of preset {numbers["preset"]}', as_text(numbers), body)


def _point(entry: Bin) -> str:
    x, y = entry.predicted * _SIDE, _SIDE - entry.observed * _SIDE
    low, high = (_SIDE - bound * _SIDE for bound in entry.bounds)
    return (f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="#1764ab"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1764ab"><title>{entry.count} queries</title></circle>')


def _write_html(path: str | Path, title: str, numbers: str, body: str) -> None:
    """Write a page.

    :param title, numbers: text, escaped here
    :param body: markup, in which the caller has escaped what comes from the data
    :raises SegvladError: the file cannot be written
    """
    page = _PAGE.substitute(title=escape(title), numbers=escape(numbers), body=body)
    try:
        Path(path).write_text(page, encoding='utf-8')
    except OSError as error:
        raise SegvladError(f'{path}: the report cannot be written ({error.strerror})') from None
