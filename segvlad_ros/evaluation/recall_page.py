"""A ranking without decisions as a page and as a result file: what ``segvlad reproduce`` measures."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.evaluation.answers import OutcomeKind, short_names, write_answers
from segvlad_ros.evaluation.gallery import MOST_INSIDE, Album, gallery
from segvlad_ros.evaluation.metrics import clopper_pearson
from segvlad_ros.evaluation.page import write_filled
from segvlad_ros.evaluation.report import as_text
from segvlad_ros.evaluation.report_page import recall_chart_of
from segvlad_ros.io.images import read_image
from segvlad_ros.pipeline.mapper import thumbnail
from segvlad_ros.types import SegvladError

FOUND = OutcomeKind('correct', 'found', 'a true reference came first')
LATER = OutcomeKind('refused', 'found later', 'a true reference came, but not first')
LOST = OutcomeKind('missed', 'not found', 'no true reference came among the first')
PLACELESS = OutcomeKind('new', 'no place', 'no reference shows its place')
MOST_SHOWN = 1000  # queries of a gallery: their images are read once more
SHOWN = 3  # references of each


@dataclass(frozen=True)
class Ranking:
    """The references that came first for each query, and which of them are true.

    :ivar ranked: (Q, k) int64, numbers of references, -1 for none
    :ivar truth: for each query the numbers of the references that show its place
    :ivar references, queries: their image files, by number; those that cannot be read have no picture
    """

    ranked: np.ndarray
    truth: Sequence[np.ndarray]
    references: Sequence[Path]
    queries: Sequence[Path]

    @property
    def ranks(self) -> list[int | None]:
        """Of the first true reference of each query, from 1; None where none came."""
        hits = [np.flatnonzero(np.isin(row, true) & (row >= 0)) for row, true in zip(self.ranked, self.truth)]
        return [int(hit[0]) + 1 if len(hit) else None for hit in hits]

    def of_places(self) -> list[int | None]:
        """The ranks of the queries that have a place."""
        return [rank for rank, true in zip(self.ranks, self.truth) if len(true)]

    def numbers(self) -> dict[str, object]:
        """Recall with 95 % Clopper-Pearson intervals, ready for JSON."""
        ranks = self.of_places()
        found = {limit: sum(rank is not None and rank <= limit for rank in ranks)
                 for limit in range(1, self.ranked.shape[1] + 1)}
        return {'queries': len(self.truth), 'queries_with_place': len(ranks), **{
            key: value for limit, hits in found.items() for key, value in (
                (f'recall@{limit}', hits / len(ranks) if ranks else None),
                (f'recall@{limit}_bounds', clopper_pearson(hits, len(ranks))))}}


def write_ranking(path: str | Path, ranking: Ranking, result: dict[str, Any]) -> None:
    """Write a result file for ``segvlad evaluate compare``: the queries' ranks, without decisions.

    :param result: what else is known: data set, experiment
    :raises SegvladError: the file cannot be written
    """
    names = short_names([str(path.absolute()) for path in ranking.queries])
    rows = [{'query': name, 'outcome': None, 'place': len(true) > 0, 'rank': rank, 'score': None}
            for name, true, rank in zip(names, ranking.truth, ranking.ranks)]
    write_answers(path, {**result, **ranking.numbers(), 'consecutive': False, 'answers': rows})


def write_recall_page(path: str | Path, ranking: Ranking, result: dict[str, Any], fingerprint: str = '') -> None:
    """Write recall at k, a gallery and the configuration; the pictures as :func:`report_page.write_report` does.

    :param result: what else is known, by name: data set, experiment, vocabulary ..., and ``paper``, its recall
    :raises SegvladError: a file cannot be written, or Jinja2 or matplotlib is missing
    """
    numbers, ranks = ranking.numbers(), ranking.of_places()
    chosen = np.unique(np.linspace(0, len(ranking.truth) - 1, min(len(ranking.truth), MOST_SHOWN)).astype(int))
    pictures = _Pictures(Album(Path(path), len(chosen) <= MOST_INSIDE), ranking)
    title = ', '.join(str(result[key]) for key in ('dataset', 'experiment') if key in result)
    write_filled(path, 'report.html.j2', 'gallery.js', title=title or 'Recall', fingerprint=fingerprint,
                 kicker=f'segvlad reproduce: {len(ranking.queries)} queries, {len(ranking.references)} references',
                 verdict=sentence(numbers, str(result.get('paper') or '')), text=as_text(numbers),
                 key_figures=[{'name': f'recall@{k}', 'value': f'{numbers[f"recall@{k}"]:.3f}',
                               'note': '{:.3f} to {:.3f}'.format(*numbers[f'recall@{k}_bounds'])}
                              for k in range(1, ranking.ranked.shape[1] + 1) if ranks],
                 charts=[recall_chart_of(ranks, ranking.ranked.shape[1])] if ranks else [],
                 gallery=gallery([pictures.row(number) for number in chosen], (FOUND, LATER, LOST, PLACELESS),
                                 pictures.album),
                 note='' if len(chosen) == len(ranking.truth) else
                 f'{len(chosen)} of the {len(ranking.truth)} queries, evenly spaced.',
                 configuration=[(name, str(value)) for name, value in result.items()])


def sentence(numbers: dict[str, Any], paper: str) -> str:
    """The verdict on a ranking in one sentence."""
    if not numbers['queries_with_place']:
        return 'None of the queries has a true reference.'
    said = (f'The first reference is right for {100 * numbers["recall@1"]:.1f}\u00a0% of '
            f'{numbers["queries_with_place"]} queries')
    return f'{said}; the paper says {paper} (recall@1 / @5 in %).' if paper else f'{said}.'


class _Pictures:
    """Rows of the gallery, their pictures made of the image files."""

    def __init__(self, album: Album, ranking: Ranking) -> None:
        self.album, self._ranking, self._ranks = album, ranking, ranking.ranks
        self._names = short_names([str(path.absolute()) for path in (*ranking.queries, *ranking.references)])

    def row(self, number: int) -> dict[str, object]:
        """As :class:`segvlad_ros.evaluation.gallery.Entry` makes them, without segments and decisions."""
        true = self._ranking.truth[number]
        rank = self._ranks[number]
        kind = PLACELESS if not len(true) else LOST if rank is None else FOUND if rank == 1 else LATER
        first = [int(reference) for reference in self._ranking.ranked[number][:SHOWN] if reference >= 0]
        row = {**self._shown(self._ranking.queries[number], number), 'outcome': kind.key, 'status': kind.meaning,
               'reason': '' if rank is None else f'rank {rank}', 'facts': [], 'pairs': [],
               'candidates': [{**self._reference(reference), 'score': None,
                               'truth': 'true' if reference in true else 'false'} for reference in first]}
        there = true[(true >= 0) & (true < len(self._ranking.references))]  # 17places has true places beyond the last
        if len(there):
            row['true'] = self._reference(int(there[len(there) // 2] if rank is None
                                              else self._ranking.ranked[number][rank - 1]))
        return row

    def _reference(self, number: int) -> dict[str, object]:
        return self._shown(self._ranking.references[number], len(self._ranking.queries) + number)

    def _shown(self, path: Path, number: int) -> dict[str, object]:
        return {'name': self._names[number], 'picture': self.album.number(str(number), lambda: _thumbnail(path))}


def _thumbnail(path: Path) -> bytes:
    try:
        return thumbnail(read_image(path))
    except SegvladError:
        return b''
