"""The charts of a report as SVG, drawn by matplotlib: in colours of the page, which may be light or dark."""
from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.evaluation.answers import KINDS
from segvlad_ros.evaluation.calibration_fit import Bin
from segvlad_ros.evaluation.metrics import ClosureError, Curve, clopper_pearson
from segvlad_ros.io.extras import import_base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib knows no variables of CSS: it draws in colours that nobody would choose, which are then exchanged.
INK, MUTED, GRID, ACCENT, CARD = (f'#01010{number}' for number in range(1, 6))
TONES = {entry.key: f'#0102{number:02x}' for number, entry in enumerate(KINDS, 1)}
_VARIABLES = {INK: 'ink', MUTED: 'muted', GRID: 'line', ACCENT: 'accent', CARD: 'card',
              **{colour: key for key, colour in TONES.items()}}
_ON_WHITE = {INK: '#1c2530', MUTED: '#5c6773', GRID: '#dde2e8', ACCENT: '#1764ab', CARD: '#ffffff'}

_STYLE = {
    'svg.fonttype': 'none', 'svg.hashsalt': 'segvlad', 'font.family': 'sans-serif', 'font.size': 9, 'text.color': INK,
    'axes.edgecolor': MUTED, 'axes.labelcolor': INK, 'xtick.color': MUTED, 'ytick.color': MUTED, 'axes.grid': True,
    'grid.color': GRID, 'grid.linewidth': 0.7, 'axes.axisbelow': True, 'axes.spines.top': False,
    'axes.spines.right': False, 'axes.facecolor': 'none', 'figure.facecolor': 'none', 'savefig.facecolor': 'none',
    'legend.frameon': False, 'lines.linewidth': 1.8, 'lines.solid_capstyle': 'round', 'axes.titlesize': 9,
}
SIZE = (4.2, 3.1)  # inches: as wide as a phone, so that letters stay legible there
WIDE = (5.4, 3.7)
MOST_PIXELS = 600  # of a side of the similarity matrix
_ACCENT_RGB, _TRUE_RGB = (46, 125, 215), (16, 160, 120)  # pixels have no variables: seen on white and on black


def _drawn(name: str, draw: Callable[[Axes], None], size: tuple[float, float] = SIZE) -> str:
    """One pair of axes as SVG markup for a page.

    :param name: makes the ids in it unique in the page
    """
    return _svg(name, lambda figure: draw(figure.subplots()), size)


def _svg(name: str, draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    text = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>', '', _raw(draw, size), flags=re.DOTALL)
    head, body = text[text.index('<svg'):].split('>', 1)  # without a size, so that the page gives it one
    text = re.sub(r' (width|height)="[^"]*"', '', head) + '>' + body
    text = re.sub(r'(\bid="|url\(#|href="#)', rf'\g<1>{name}-', text)
    return re.sub('|'.join(_VARIABLES), lambda found: f'var(--{_VARIABLES[found[0]]})', text)


def _raw(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    matplotlib, figures = import_base('matplotlib', 'reports'), import_base('matplotlib.figure', 'reports')
    with matplotlib.rc_context(_STYLE), io.StringIO() as file:
        figure = figures.Figure(figsize=size, layout='constrained')
        draw(figure)
        figure.savefig(file, format='svg', metadata={'Date': None, 'Creator': None})
        return file.getvalue()


def _shares(axes: Axes, x: str, y: str) -> None:
    """Both axes are shares from 0 to 1."""
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, xlabel=x, ylabel=y)


def recall_chart(ranks: Sequence[int | None], most: int) -> str:
    """Share of the queries that have a true candidate among the first k, with 95 % Clopper-Pearson intervals.

    :param ranks: of the first true candidate, from 1, of each query with a true place; None: not found
    :param most: the last k
    """
    limits = np.arange(1, most + 1)
    hits = [sum(rank is not None and rank <= limit for rank in ranks) for limit in limits]
    shares = np.array(hits) / len(ranks)
    bounds = np.array([clopper_pearson(hit, len(ranks)) for hit in hits])

    def draw(axes: Axes) -> None:
        axes.fill_between(limits, *bounds.T, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(limits, shares, color=ACCENT, marker='o', markersize=4)
        axes.annotate(f'{shares[0]:.3f}', (1, shares[0]), (6, -13), textcoords='offset points')
        axes.set(xlabel='candidates looked at, k', ylabel='recall@k', xticks=limits, ylim=(0, 1.03))
    return _drawn('recall', draw)


def precision_recall_chart(curve: Curve, decided: Mapping[str, Any]) -> str:
    """Precision over recall of all thresholds of the score, and what the preset really decided.

    :param decided: numbers of :func:`~segvlad_ros.evaluation.metrics.decision_metrics`
    """
    def draw(axes: Axes) -> None:
        axes.plot(curve.recall, curve.precision, color=ACCENT)
        if decided['precision'] is not None and decided['recall'] is not None:
            at = decided['recall'], decided['precision']
            (left, right), (low, high) = decided['recall_bounds'], decided['precision_bounds']
            axes.plot([left, right], [at[1]] * 2, color=INK, linewidth=1)
            axes.plot([at[0]] * 2, [low, high], color=INK, linewidth=1)
            axes.plot(*at, 'o', color=INK, markersize=6)
            axes.plot(0.05, 0.06, 'o', color=INK, markersize=6)
            axes.annotate('operating point', (0.05, 0.06), (8, 0), textcoords='offset points', va='center')
        _shares(axes, 'recall', 'precision')
    return _drawn('curve', draw)


def reliability_chart(bins: Sequence[Bin]) -> str:
    """Observed over predicted shares, with intervals; perfect is the dashed line."""
    return _drawn('reliability', _reliability(bins))


def reliability_picture(bins: Sequence[Bin], title: str) -> str:
    """The same as a file of its own, on white."""
    def draw(figure: Figure) -> None:
        figure.set_facecolor(CARD)
        axes = figure.subplots()
        _reliability(bins)(axes)
        axes.set_title(title)
    with_face = _raw(draw, SIZE)
    return re.sub('|'.join(_ON_WHITE), lambda found: _ON_WHITE[found[0]], with_face)


def _reliability(bins: Sequence[Bin]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        for entry in bins:
            axes.plot([entry.predicted] * 2, entry.bounds, color=ACCENT, linewidth=1)
        axes.plot([entry.predicted for entry in bins], [entry.observed for entry in bins], 'o', color=ACCENT,
                  markersize=5, gid='bins')
        _shares(axes, 'predicted probability', 'share that is true')
    return draw


def similarity_chart(scores: np.ndarray, shape: tuple[int, int], true: np.ndarray) -> str:
    """Scores of candidates, queries downwards, map entries to the right; what is not a candidate stays empty.

    :param scores: (n, 3) float64, query, entry, score in [0, 1]
    :param shape: queries and entries
    :param true: (m, 2), query and entry of all true pairs
    """
    sides = tuple(min(side, MOST_PIXELS) for side in shape)

    def cells(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, cols = (pairs[:, axis].astype(np.int64) * sides[axis] // shape[axis] for axis in (0, 1))
        return rows, cols
    truth, found = np.zeros(sides), np.zeros(sides)
    truth[cells(true)] = 0.35
    np.maximum.at(found, cells(scores), 0.15 + 0.85 * scores[:, 2] / max(scores[:, 2].max(initial=0), 1e-9))

    def draw(axes: Axes) -> None:
        for alpha, colour in ((truth, _TRUE_RGB), (found, _ACCENT_RGB)):
            layer = np.dstack([np.full((*sides, 3), colour, np.uint8), (alpha * 255).astype(np.uint8)])
            axes.imshow(layer, interpolation='none', aspect='auto', extent=(0, shape[1], shape[0], 0))
        axes.grid(False)
        axes.set(xlabel='map entry', ylabel='query')
    return _drawn('similarity', draw, WIDE)


def trajectory_chart(way: np.ndarray, queries: Mapping[str, np.ndarray], false: Sequence[np.ndarray],
                     frame: str) -> str:
    """Where queries of which outcome were asked, seen from above.

    :param way: (n, 2) float64 metres, x and y of all known poses in the order they were driven; NaN breaks the line
    :param queries: (m, 2) by key of their outcome
    :param false: (2, 2) each, from the query of a wrong match to where it claims to be
    :param frame: of all of these; '' if unknown
    """
    def draw(axes: Axes) -> None:
        axes.plot(*way.T, color=GRID, linewidth=2.5, zorder=1)
        for pair in false:
            axes.plot(*pair.T, color=TONES['wrong'], linewidth=0.8, zorder=2)
        for entry in KINDS:
            if entry.key in queries:
                axes.plot(*queries[entry.key].T, 'o', color=TONES[entry.key], markersize=4,
                          zorder=4 if entry.key == 'wrong' else 3)
        axes.set_aspect('equal', adjustable='datalim')
        of = f' of {frame}' if frame else ''
        axes.set(xlabel=f'x{of}, m', ylabel=f'y{of}, m')
    return _drawn('trajectory', draw, WIDE)


def errors_chart(errors: Sequence[ClosureError]) -> str:
    """Share of the closures whose error is at most so large: of the translation, and of the rotation."""
    columns = (('translation error, m', [error.translation_m for error in errors]),
               ('rotation error, degrees', [np.degrees(error.rotation_rad) for error in errors]))

    def draw(figure: Figure) -> None:
        for axes, (label, values) in zip(figure.subplots(1, 2, sharey=True), columns):
            axes.step([0, *sorted(values)], np.arange(len(values) + 1) / len(values), where='post', color=ACCENT)
            for percent in (50, 95):
                at = np.percentile(values, percent)
                axes.plot([at, at], [0, percent / 100], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
                axes.annotate(f'{at:.2g}', (at, percent / 100), (3, -10), textcoords='offset points')
            axes.set(xlabel=label, ylim=(0, 1.03), xlim=(0, None))
        figure.axes[0].set_ylabel('share of closures')
    return _svg('errors', draw, WIDE)


def time_chart(seconds: Mapping[str, Sequence[float]]) -> str:
    """Milliseconds an image by stage: the mean as a bar, the 95th percentile as a mark."""
    stages = list(seconds)[::-1]
    means = [1e3 * float(np.mean(seconds[stage])) for stage in stages]
    late = [1e3 * float(np.percentile(seconds[stage], 95)) for stage in stages]
    names = [f'{stage}   {mean:.1f}' if mean >= 1 else f'{stage}   {mean:.2g}' for stage, mean in zip(stages, means)]

    def draw(axes: Axes) -> None:
        axes.barh(names, means, color=ACCENT, height=0.62)
        axes.plot(late, names, '|', color=INK, markersize=7)
        axes.grid(axis='y', visible=False)
        axes.tick_params(axis='y', length=0, labelcolor=INK)
        axes.set(xlabel='milliseconds an image', xlim=(0, 1.05 * max(*means, *late)))
        axes.spines['left'].set_visible(False)
    return _drawn('time', draw, WIDE)
