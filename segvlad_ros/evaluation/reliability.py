"""How far probabilities can be trusted, as text, as a diagram and as one HTML page."""
from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from segvlad_ros.evaluation.calibration import Bin
from segvlad_ros.evaluation.html import write_report

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

_BODY = Template("""<h2>Reliability</h2>
$diagram
<p>Every point is a tenth of the queries, sorted by probability; bars are 95 % Clopper-Pearson intervals. All
probabilities come from calibrations that were learned without the query and its neighbours.</p>""")


def as_text(numbers: dict[str, object]) -> str:
    """The numbers of ``segvlad calibrate`` as an aligned table."""
    lines = []
    for name, value in numbers.items():
        if name == 'ece_bounds':
            continue
        shown = [f'{value:.3f}' if isinstance(value, float) else str(value)]
        if name == 'ece':
            low, high = numbers['ece_bounds']
            shown = [f'{value:.3f}   (95% interval {low:.3f} to {high:.3f})']
        elif name == 'sets':
            shown = [f'{entry["name"]}: {entry["queries"]} queries, {entry["positives"]} of them true'
                     for entry in value]
        elif name == 'weights':
            shown = [', '.join(f'{feature} {weight:+.2f}' for feature, weight in value.items())]
        lines += [f'{name if first else "":22} {text}' for first, text in zip([True] + [False] * len(shown), shown)]
    return '\n'.join(lines)


def diagram(bins: Sequence[Bin], title: str) -> str:
    """A reliability diagram as SVG: observed over predicted, with intervals; perfect is the dashed line."""
    ticks = ''.join(f'<text x="{share * _SIDE:.0f}" y="316" text-anchor="middle">{share:g}</text>'
                    f'<text x="-6" y="{_SIDE - share * _SIDE + 4:.0f}" text-anchor="end">{share:g}</text>'
                    for share in (0, 0.5, 1))
    return _DIAGRAM.substitute(title=escape(title), ticks=ticks, bins='\n'.join(map(_point, bins)))


def write_page(path: str | Path, numbers: dict[str, object], bins: Sequence[Bin]) -> None:
    """Write the numbers and the reliability diagram.

    :raises SegvladError: the file cannot be written
    """
    body = _BODY.substitute(diagram=diagram(bins, f'{numbers["queries"]} queries, cross-validated'))
    write_report(path, f'Calibration of preset {numbers["preset"]}', as_text(numbers), body)


def _point(entry: Bin) -> str:
    x, y = entry.predicted * _SIDE, _SIDE - entry.observed * _SIDE
    low, high = (_SIDE - bound * _SIDE for bound in entry.bounds)
    return (f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="#1764ab"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1764ab"><title>{entry.count} queries</title></circle>')
