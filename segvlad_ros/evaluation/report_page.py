"""An evaluation, or a calibration, as a page to read: what it says first, then why, then every query."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.evaluation import charts
from segvlad_ros.evaluation.answers import KINDS, WRONG, kind_of
from segvlad_ros.evaluation.calibration_fit import Bin, expected_calibration_error, reliability
from segvlad_ros.evaluation.gallery import MOST_INSIDE, Album, gallery_of
from segvlad_ros.evaluation.measured import Evaluation
from segvlad_ros.evaluation.metrics import RANKS, precision_recall
from segvlad_ros.evaluation.page import Chart, write_filled
from segvlad_ros.evaluation.report import as_text
from segvlad_ros.settings import flatten

if TYPE_CHECKING:
    from segvlad_ros.pipeline.presets import Preset

LEAST_PROBABILITIES = 20  # fewer say nothing of reliability


def write_report(path: str | Path, evaluation: Evaluation, numbers: dict[str, Any], preset: Preset) -> None:
    """Write an evaluation as one file, or, of more than 500 queries, as a page with a folder of pictures beside it.

    :param path: of the page; the folder is called after it
    :param numbers: of :func:`segvlad_ros.evaluation.report.summarize`
    :raises SegvladError: a file cannot be written, or Jinja2 or matplotlib is missing
    """
    shown = gallery_of(evaluation, Album(Path(path), len(evaluation.outcomes) <= MOST_INSIDE))
    write_filled(path, 'report.html.j2', 'gallery.js', title=f'Recognition with preset {preset.name}',
                 kicker=f'segvlad report: {numbers["queries"]} queries, {numbers["map_keyframes"]} map keyframes',
                 verdict=sentence(numbers), key_figures=_key_figures(numbers), text=as_text(numbers),
                 charts=list(_charts(evaluation, numbers)), gallery=shown,
                 fingerprint=numbers['fingerprint'], configuration=_rows(flatten(preset)), note='')


def write_calibration_page(path: str | Path, numbers: dict[str, Any], bins: Sequence[Bin]) -> None:
    """Write the numbers and the reliability diagram.

    :raises SegvladError: the file cannot be written, or Jinja2 or matplotlib is missing
    """
    caption = ('Every point is a tenth of the queries, sorted by probability; bars are 95 % Clopper-Pearson intervals. '
               'All probabilities come from calibrations that were learned without the query and its neighbours.')
    said = (f'Probabilities are off by {100 * numbers["ece"]:.1f} percentage points on average (95\u00a0% interval '
            f'{100 * numbers["ece_bounds"][0]:.1f} to {100 * numbers["ece_bounds"][1]:.1f}).')
    write_filled(path, 'numbers.html.j2', title=f'Calibration of preset {numbers["preset"]}', verdict=said,
                 kicker=f'segvlad calibration: {numbers["queries"]} queries, cross-validated',
                 charts=[_reliability(bins, caption)], text=as_text(numbers), fingerprint=numbers['fingerprint'],
                 configuration=())


def sentence(numbers: dict[str, Any]) -> str:
    """The verdict on an evaluation in one sentence."""
    places, accepted = numbers['queries_with_place'], numbers['accepted']
    correct = round(accepted * (numbers['precision'] or 0))
    if correct:
        places = round(correct / numbers['recall'])  # without those whose match counts neither way
    if not places:
        found = f'None of the {numbers["queries"]} queries has a true place in the map'
    else:
        found = f'{correct} of {places} known places were recognised ({100 * correct / places:.0f}\u00a0%)'
    wrong = accepted - correct
    if not accepted:
        return f'{found}; no match was made.'
    if not wrong:
        return f'{found}; ' + ('the one match is right.' if accepted == 1 else f'all {accepted} matches are right.')
    return f'{found}; {wrong} of {accepted} matches {"is" if wrong == 1 else "are"} wrong.'


def _key_figures(numbers: dict[str, Any]) -> list[dict[str, str]]:
    figures = [_figure(label, numbers[name], numbers.get(f'{name}_bounds')) for label, name in (
        ('precision', 'precision'), ('recall', 'recall'), ('recall@1', 'recall@1'), ('recall@5', 'recall@5'),
        ('average precision', 'average_precision'))]
    ms = numbers['ms_per_image']['total']
    figures.append({'name': 'time an image', 'value': f'{ms:.0f} ms' if ms < 1000 else f'{ms / 1000:.2f} s',
                    'note': 'mean'})
    if numbers['bytes_per_keyframe']:
        figures.append({'name': 'map size', 'value': f'{numbers["bytes_per_keyframe"] / 1e3:.1f} kB',
                        'note': 'a keyframe'})
    return figures


def _figure(name: str, value: float | None, bounds: Sequence[float] | None) -> dict[str, str]:
    return {'name': name, 'value': '–' if value is None else f'{value:.3f}',
            'note': f'{bounds[0]:.3f} to {bounds[1]:.3f}' if bounds else ''}


def _charts(evaluation: Evaluation, numbers: dict[str, Any]) -> Iterator[Chart]:
    """Those that the data are there for."""
    outcomes = evaluation.outcomes
    ranks = [outcome.rank for outcome in outcomes if outcome.truth.true]
    if ranks:
        yield recall_chart_of(ranks, max(RANKS))
        yield Chart('curve', 'Precision over recall', 'precision over recall for all thresholds of the score',
                    charts.precision_recall_chart(precision_recall(outcomes), numbers),
                    'The curve goes by the score of the best candidate alone. The operating point, with 95 % '
                    'intervals, is what was decided; other tests decide too, so that it may lie off the curve.')
    yield from _probabilities(evaluation)
    if evaluation.costs.seconds:
        yield Chart('time', 'Time by stage', 'mean milliseconds of each stage',
                    charts.time_chart(evaluation.costs.seconds),
                    'Bars are means, ticks 95th percentiles; a stage counts where it ran.', wide=True)
    if evaluation.closures:
        yield Chart('errors', 'Errors of the closures', 'share of closures over their error',
                    charts.errors_chart(evaluation.closures),
                    f'Relative poses of {len(evaluation.closures)} metric closures against the truth: share with at '
                    'most this error. Dashed: median and 95th percentile.', wide=True)
    if evaluation.poses:
        yield _trajectory(evaluation)
    if evaluation.keyframes:
        yield _similarity(evaluation)


def recall_chart_of(ranks: Sequence[int | None], most: int) -> Chart:
    """See :func:`segvlad_ros.evaluation.charts.recall_chart`."""
    return Chart('recall', 'Recall at k', 'share of queries with a true place among the first k candidates',
                 charts.recall_chart(ranks, most),
                 f'Share of the {len(ranks)} queries with a true place that have one among the first k candidates, '
                 'whatever was decided. The band is the 95 % Clopper-Pearson interval.')


def _probabilities(evaluation: Evaluation) -> Iterator[Chart]:
    """The reliability of the probabilities that were told, where a calibration told them."""
    firsts = [(outcome.recognition.candidates[0], outcome.truth) for outcome in evaluation.outcomes
              if outcome.recognition.candidates]
    told = np.array([(first.probability, first.entry in truth.true) for first, truth in firsts
                     if first.entry not in truth.ignored]).reshape(-1, 2)
    told = told[~np.isnan(told[:, 0])]
    if len(told) >= LEAST_PROBABILITIES:
        probabilities, labels = told[:, 0], told[:, 1].astype(bool)
        error = expected_calibration_error(probabilities, labels)
        yield _reliability(reliability(probabilities, labels),
                           f'What the calibration of the preset said of {len(told)} best candidates, in tenths sorted '
                           f'by probability, with 95 % Clopper-Pearson intervals; mean distance {error:.3f}.')


def _reliability(bins: Sequence[Bin], caption: str) -> Chart:
    return Chart('reliability', 'Reliability', 'share of true candidates over predicted probability',
                 charts.reliability_chart(bins), caption)


def _similarity(evaluation: Evaluation) -> Chart:
    scores = [(number, candidate.entry, candidate.score) for number, outcome in enumerate(evaluation.outcomes)
              for candidate in outcome.recognition.candidates]
    true = [(number, entry) for number, outcome in enumerate(evaluation.outcomes) for entry in outcome.truth.true]
    shape = len(evaluation.outcomes), len(evaluation.keyframes)
    most = max((len(outcome.recognition.candidates) for outcome in evaluation.outcomes), default=0)
    return Chart('similarity', 'Similarity', 'scores of the candidates of each query', charts.similarity_chart(
        np.array(scores, np.float64).reshape(-1, 3), shape, np.array(true, np.int64).reshape(-1, 2)),
        f'Blue: score of a map entry for a query, the stronger the higher. Only the candidates that were returned are '
        f'known (at most {most} a query); the others are empty, not 0. Green: true places.', wide=True)


def _trajectory(evaluation: Evaluation) -> Chart:
    poses = evaluation.poses
    where: dict[str, list[np.ndarray]] = {}
    false = []
    for outcome in evaluation.outcomes:
        pose, said = poses[outcome.query].translation[:2], kind_of(outcome)
        where.setdefault(said.key, []).append(pose)
        if said is WRONG:
            match = poses[evaluation.keyframes[outcome.recognition.candidates[0].entry]]
            false.append(np.array([pose, match.translation[:2]]))
    way = np.array([pose.translation[:2] for pose in poses.values()])
    frame = next(iter(poses.values())).frame
    return Chart('trajectory', 'Trajectory', 'where queries of each outcome were asked, from above',
                 charts.trajectory_chart(way, {key: np.array(at) for key, at in where.items()}, false, frame),
                 'True poses from above, coloured by outcome. Lines lead from a wrong match to the place it named.',
                 wide=True, legend=[entry for entry in KINDS if entry.key in where])


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, '–' if value is None else str(value)) for name, value in values.items()]
