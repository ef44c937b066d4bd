"""The gallery of a report as data: queries, their candidates and the segments that voted; every picture once."""
from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from segvlad_ros.evaluation.answers import KINDS, OutcomeKind, kind_of, short_names
from segvlad_ros.evaluation.match_picture import MOST_PAIRS, image_size, shown_pairs
from segvlad_ros.evaluation.measured import Evaluation, Picture
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.pictures import distinct_colours
from segvlad_ros.types import Candidate, SegmentMatch, SegvladError, Verification

MOST_INSIDE = 500  # queries; the pictures of more lie in a folder beside the page
SHOWN = 5  # candidates of a query
_UNITS = 1000  # of an image's side, in which boxes are told


class Album:
    """Pictures by number, each stored once, inside the page or in a folder beside it.

    :param page: the file of the page
    :param inside: whether the page holds the pictures itself
    :ivar sources: of the pictures, as the page finds them
    :ivar folder: that holds them; None inside the page
    """

    def __init__(self, page: Path, inside: bool) -> None:
        self.folder = None if inside else page.with_name(f'{page.stem}_pictures')
        self.sources: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str, jpeg: Callable[[], bytes]) -> int:
        """The number of a picture; -1 where there is none.

        :param name: tells it from others
        :param jpeg: makes its bytes, b'' if there is none; called once
        :raises SegvladError: it cannot be written
        """
        if name not in self._numbers:
            content = jpeg()
            self._numbers[name] = len(self.sources) if content else -1
            if content:
                self.sources.append(self._stored(content))
        return self._numbers[name]

    def _stored(self, jpeg: bytes) -> str:
        if self.folder is None:
            return f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'
        path = self.folder / f'{len(self.sources):06d}.jpg'
        try:
            self.folder.mkdir(exist_ok=True)
            path.write_bytes(jpeg)
        except OSError as error:
            raise SegvladError(f'{path}: the picture cannot be written ({error.strerror})') from None
        return f'{quote(os.fsencode(self.folder.name))}/{path.name}'


def gallery_of(evaluation: Evaluation, album: Album) -> dict[str, object]:
    """What the page's script reads, ready for JSON.

    :raises SegvladError: a picture cannot be written
    """
    queries = [outcome.query for outcome in evaluation.outcomes]
    names = dict(zip([*queries, *evaluation.keyframes], short_names([*queries, *evaluation.keyframes])))
    rows = [Entry(evaluation, outcome, album, names).row() for outcome in evaluation.outcomes]
    return gallery(rows, KINDS, album)


def gallery(rows: Sequence[dict[str, object]], kinds: Sequence[OutcomeKind], album: Album) -> dict[str, object]:
    """What the page's script reads of any rows.

    :param rows: see :meth:`Entry.row`
    :param kinds: all that the rows may have, in the order in which they are shown
    """
    present = {row['outcome'] for row in rows}
    return {'queries': rows, 'pictures': album.sources,
            'colours': [['#{:02x}{:02x}{:02x}'.format(*colour) for colour in distinct_colours(pairs)]
                        for pairs in range(MOST_PAIRS + 1)],
            'kinds': [vars(entry) for entry in kinds if entry.key in present]}


class Entry:
    """One query of an evaluation."""

    def __init__(self, evaluation: Evaluation, outcome: Outcome, album: Album, names: dict[str, str]) -> None:
        self._evaluation, self._outcome, self._names = evaluation, outcome, names
        self._number: Callable[[str], int] = lambda name: album.number(
            name, lambda: evaluation.pictures[name].thumbnail)

    def row(self) -> dict[str, object]:
        """Names, numbers of pictures, words, and the boxes of segments in thousandths of their image."""
        outcome, answer = self._outcome, self._outcome.recognition
        first = answer.candidates[0] if answer.candidates else None
        row = {'name': self._names[outcome.query], 'picture': self._number(outcome.query),
               'outcome': kind_of(outcome).key, 'status': answer.status.name, 'reason': answer.reason,
               'candidates': [self._candidate(candidate) for candidate in answer.candidates[:SHOWN]],
               'facts': [] if first is None else _facts(first), 'pairs': [] if first is None else self._pairs(first)}
        if outcome.truth.true:
            row['true'] = self._shown(self._evaluation.keyframes[self._nearest_true()])
        return row

    def _shown(self, name: str) -> dict[str, object]:
        return {'name': self._names[name], 'picture': self._number(name)}

    def _candidate(self, candidate: Candidate) -> dict[str, object]:
        truth = self._outcome.truth
        judged = 'true' if candidate.entry in truth.true else 'ignored' if candidate.entry in truth.ignored else 'false'
        return {**self._shown(self._evaluation.keyframes[candidate.entry]), 'score': round(candidate.score, 4),
                'truth': judged}

    def _nearest_true(self) -> int:
        """The true place that ranks best, else the middle one of them."""
        rank, true = self._outcome.rank, sorted(self._outcome.truth.true)
        return true[len(true) // 2] if rank is None else self._outcome.ranked[rank - 1].entry

    def _pairs(self, first: Candidate) -> list[list[list[int]]]:
        pictures = self._evaluation.pictures
        sides = pictures[self._outcome.query], pictures[self._evaluation.keyframes[first.entry]]
        return segment_pairs(first.evidence, sides)


def segment_pairs(evidence: Sequence[SegmentMatch], sides: tuple[Picture, Picture]) -> list[list[list[int]]]:
    """The boxes of the pairs worth showing: query's and match's x, y, width, height in thousandths of their image."""
    boxes = tuple(_fractions(picture) for picture in sides)
    pairs = shown_pairs(evidence, boxes, (1.0, 1.0))
    return [[np.rint(boxes[0][pair.query_segment] * _UNITS).astype(int).tolist(),
             np.rint(boxes[1][pair.match_segment] * _UNITS).astype(int).tolist()] for pair in pairs]


def _fractions(picture: Picture) -> np.ndarray:
    """(M, 4) float64, boxes as fractions of the image, cut at its borders."""
    from PIL import Image

    boxes = np.asarray(picture.boxes, np.float64).reshape(-1, 4)
    thumbnail = None
    if picture.thumbnail:
        with Image.open(io.BytesIO(picture.thumbnail)) as image:
            thumbnail = image.size
    width, height = image_size(boxes, picture.camera_model, thumbnail)
    corners = np.clip(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) / (width, height, width, height), 0, 1)
    return np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


def _facts(first: Candidate) -> list[list[str]]:
    """What is known of the first candidate: names and values."""
    facts = [['score', f'{first.score:.3f}'], ['ambiguity', f'{first.ambiguity:.2f}']]
    if not math.isnan(first.probability):
        facts.append(['probability', f'{first.probability:.3f}'])
    facts.append(['segments that voted', str(first.matched_segments)])
    if first.verification != Verification.UNVERIFIED or first.inliers:
        facts.append(['verification', first.verification.name.lower()])
        facts.append(['inliers', str(first.inliers)])
    if first.supporting_queries > 1:
        facts.append(['queries that agree', str(first.supporting_queries)])
    return facts
