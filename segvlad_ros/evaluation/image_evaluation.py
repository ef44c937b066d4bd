"""Evaluation on folders of images with a ground-truth file (design.md 7)."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.measured import Costs, Evaluation, Picture, Progress, top_k
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import GivenImages, PlaceTruth, truth_among
from segvlad_ros.io.images import read_image
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import Frame, Keyframe, SegvladError

# Image files have no stamps; the recogniser only needs them to go forward.
_STAMP_STEP_NS = 200_000_000


class ImageEvaluation:
    """Runs the pipeline over image files, as map and queries or as one sequence.

    Images are told apart by the paths that are given: links to one file are different images.

    :param places: what it holds is forgotten
    :param truth: by path of the query, see :func:`segvlad_ros.evaluation.truth.read_truth`
    :param progress: wraps the iteration over a list, with a title
    :param image_bits: of the camera, in files of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    :param vector_of: the vector of an image, for a preset that is given them; None lets the preset describe
    :param mask_of: (path, shape) -> what of an image is used, or None, see :class:`segvlad_ros.io.masks.MaskFiles`
    """

    def __init__(self, places: PlaceRecognizer, truth: dict[Path, PlaceTruth], progress: Progress,
                 image_bits: int = 0, vector_of: Callable[[Path], np.ndarray] | None = None, *,
                 mask_of: Callable[[Path, tuple[int, ...]], np.ndarray | None] | None = None) -> None:
        self._places, self._image_bits, self._vector_of, self._mask_of = places, image_bits, vector_of, mask_of
        self._truth = truth
        self._progress = progress
        self._costs = Costs()
        self._entries: list[Path] = []
        self._outcomes: list[Outcome] = []
        self._pictures: dict[str, Picture] = {}

    def map_and_queries(self, references: Sequence[Path], queries: Sequence[Path],
                        sequence: bool = False) -> Evaluation:
        """Put all references into a map, then ask it about the queries.

        :param sequence: the queries are consecutive: a match then needs the agreement of neighbouring ones, and
            queries without truth are asked too. Otherwise every query is answered for itself
        """
        given, asked = GivenImages(references), GivenImages(queries)
        self._truth = truth_among(self._truth, given, asked)
        if both := self._truth.keys() & set(asked.shared(given)):
            raise SegvladError(f'{min(both)} is a query and a reference, so that it would find itself: give '
                               '--exclude-recent N for one sequence, or separate images')
        self._places.clear('references')
        for path in self._progress(given.paths, 'references'):
            self._add(path, self._describe(path))
        self._places.mapper.new_session('queries')
        chosen = asked.paths if sequence else [path for path in asked.paths if path in self._truth]
        for path in self._progress(chosen, 'queries'):
            self._ask(path, self._describe(path), 0, not sequence)
        return self._evaluation(consecutive=sequence)

    def one_sequence(self, images: Sequence[Path], exclude_frames: int) -> Evaluation:
        """Take the images as a robot would: every one is asked about and then becomes part of the map.

        :param exclude_frames: map images fewer than this many images older than the query are left out
        """
        given = GivenImages(images)
        self._truth = truth_among(self._truth, given, given)
        self._places.clear('sequence')
        for path in self._progress(given.paths, 'images'):
            keyframe = self._describe(path)
            self._ask(path, keyframe, exclude_frames, False)
            self._add(path, keyframe)
        return self._evaluation(consecutive=True)

    def _describe(self, path: Path) -> Keyframe:
        begin = time.perf_counter()
        rgb = read_image(path, self._image_bits)
        seconds = time.perf_counter() - begin
        vector = None if self._vector_of is None else self._vector_of(path)
        mask = None if self._mask_of is None else self._mask_of(path, rgb.shape)
        keyframe = self._places.describe(Frame(rgb, (len(self._costs.segments) + 1) * _STAMP_STEP_NS,
                                               descriptor=vector, mask=mask))
        timings = {'read': seconds, **keyframe.description.timings}
        keyframe = replace(keyframe, description=replace(keyframe.description, timings=timings))
        self._costs.described(keyframe)
        self._pictures[str(path)] = Picture.of(keyframe)
        return keyframe

    def _add(self, path: Path, keyframe: Keyframe) -> None:
        self._places.recognizer.add(keyframe)  # also rejected ones: not finding them is a miss
        self._entries.append(path)

    def _ask(self, path: Path, keyframe: Keyframe, exclude_frames: int, independent: bool) -> None:
        place = self._truth.get(path, PlaceTruth(frozenset()))
        answer = self._places.recognize(keyframe, exclude_frames=exclude_frames, top_k=top_k(len(place.ignored)),
                                        independent=independent)
        self._costs.recognized(keyframe, answer)
        if path in self._truth:
            usable = ~self._places.recognizer.excluded(keyframe, False, exclude_frames)
            self._outcomes.append(Outcome(str(path), answer, place.in_entries(self._entries, usable)))

    def _evaluation(self, consecutive: bool) -> Evaluation:
        return Evaluation(self._outcomes, list(map(str, self._entries)), self._costs,
                          self._places.preset.fingerprint(), self._pictures, consecutive=consecutive)
