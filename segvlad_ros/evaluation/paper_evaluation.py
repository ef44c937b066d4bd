"""One experiment of the paper on one data set, from what was extracted: words, PCA, descriptors, search, vote, recall.

Each step takes what lies where the research code has it, else what was made before of the same features and masks, else
makes it and keeps it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segvlad_ros.description.projection import Projection, load_projection
from segvlad_ros.description.vocabulary import fit_vocabulary, load_vocabulary
from segvlad_ros.evaluation.experiments import AUTHORS_WORDS, FINETUNED, PaperExperiment
from segvlad_ros.evaluation.extracted_dataset import ExtractedDataset
from segvlad_ros.evaluation.measured import Progress
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.evaluation.reproduction import (
    NEIGHBOURS,
    PCA_DIMENSION,
    Descriptors,
    Retrieved,
    SegmentRows,
    fit_pca,
    nearest_images,
    nearest_segments,
    ranked_images,
    recall,
    vocabulary_cells,
    vocabulary_images,
)
from segvlad_ros.io.paths import check_writable_folder
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class PaperResult:
    """What an experiment came to.

    :ivar ranked: (Q, RANKS) int64 images that were found for each query, best first, -1 for none
    :ivar truth: for each query the numbers of the references that show its place
    :ivar map_segments, query_segments: number of all
    """

    ranked: np.ndarray
    truth: Sequence[np.ndarray]
    map_segments: int
    query_segments: int

    @property
    def recall(self) -> np.ndarray:
        """(RANKS,) float64, see :func:`~segvlad_ros.evaluation.reproduction.recall`."""
        return recall(self.ranked, self.truth)


@dataclass(frozen=True)
class Searched:
    """The segments of both sides, and which of the map are nearest.

    :ivar words, pca: files that they were described with
    """

    references: SegmentRows
    queries: SegmentRows
    retrieved: Retrieved
    words: Path
    pca: Path | None


def result_of(row: PaperExperiment, retrieved: Retrieved, images: tuple[np.ndarray, np.ndarray],
              truth: Sequence[np.ndarray], rule: str = 'weighted') -> PaperResult:
    """Let the segments vote; a whole image is its own vote.

    :param images: the number of the image of each segment, of the map and of the queries
    :param rule: see :func:`~segvlad_ros.evaluation.reference_voting.vote_reference`
    """
    if row.order is None:
        ranked = nearest_images(retrieved, images[0])
    else:
        ranked = ranked_images(retrieved, *images, len(truth), rule)
    return PaperResult(ranked, truth, *map(len, images))


@dataclass(frozen=True)
class PaperEvaluation:
    """A data set, and how it is described.

    :ivar data: folder of the data sets
    :ivar progress: shows how far an iteration is
    :ivar vocabulary: of :data:`~segvlad_ros.evaluation.experiments.VOCABULARIES`
    :ivar finetuned: features, and words, of the fine-tuned network
    :ivar centres: file of words, or folder of folders of them; None: ``vocabulary`` in the folder of the data sets
    :ivar words: of a vocabulary that is made here
    :ivar pca_dimension: of a PCA that is fitted here
    """

    dataset: PlaceDataset
    data: Path
    progress: Progress
    vocabulary: str = 'domain'
    finetuned: bool = False
    centres: Path | None = None
    words: int = 32
    pca_dimension: int = PCA_DIMENSION

    def search(self, row: PaperExperiment, neighbours: int = NEIGHBOURS) -> Searched:
        """Describe both sides and search.

        :param neighbours: map segments that are found for each of a query
        """
        extracted, descriptors = self._extracted(row), self._descriptors(row)
        pca = self.fit_pca(row) if row.pca else None
        projection = None if pca is None else load_projection(pca)
        if projection is not None and projection.input_dimension != descriptors.dimension:
            raise SegvladError(f'{pca}: is for descriptors of {projection.input_dimension} values, these have '
                               f'{descriptors.dimension}: it was made with other words or features; move it away, and '
                               'one is fitted')

        def rows_of(side: str, title: str) -> SegmentRows:
            return SegmentRows.of(descriptors.of(image, projection) for image in self.progress(
                extracted.images(side), title, len(extracted.names[side])))
        references, queries = rows_of('r', 'references'), rows_of('q', 'queries')
        return Searched(references, queries, nearest_segments(references, queries, neighbours), self._words_file, pca)

    def fit_vocabulary(self) -> Path:
        """Words of the data set's own references, made unless they are there."""
        path = self._own_words
        if not path.is_file():
            check_writable_folder(path.parent, 'the words')
            extracted = self._extracted(None)
            count = len(extracted.names['r'])
            chosen = vocabulary_images(count)
            cells = np.concatenate([vocabulary_cells(image, count) for image in self.progress(
                extracted.images('r', chosen), 'vocabulary', len(chosen))])
            path.parent.mkdir(parents=True, exist_ok=True)
            fit_vocabulary(cells, self.words).save(path)
        return path

    @cached_property
    def _words_file(self) -> Path:
        """Where the words are; those of the data set itself are made where they are not given."""
        return self.given_words() or self.fit_vocabulary()

    def given_words(self) -> Path | None:
        """Where the words are; None where they are to be made of the data set itself.

        :raises SegvladError: they are not there, or the data set is of no domain
        """
        where = self.centres or self.data / 'vocabulary'
        if where.is_file():
            return where
        if self.centres and not where.is_dir():
            raise SegvladError(f'--centres {where}: no such file or folder')
        authors = where / self.words_name / 'c_centers.pt'
        if authors.is_file():
            return authors
        if self.vocabulary == 'map':
            return None
        if not self.dataset.domain:
            raise SegvladError(f'{self.dataset.name} is of no domain of the paper: give the words as --centres FILE, '
                               'or take --vocabulary map')
        raise SegvladError(f"{authors}: not there: copy the folders of the authors' {AUTHORS_WORDS} to {where}, "
                           'or take --vocabulary map')

    def fit_pca(self, row: PaperExperiment) -> Path:
        """A whitened PCA that lies beside the archives, else one of the references' segments, which is kept there.

        :raises SegvladError: the experiment has none
        """
        if not row.pca:
            raise SegvladError(f'{row.name} has no PCA')
        extracted, descriptors = self._extracted(row), self._descriptors(row)
        given = extracted.folder / row.pca_file(self.dataset.name, self.vocabulary, self.finetuned)
        own = given.with_suffix(f'.{extracted.digest(descriptors.vocabulary_digest, str(self.pca_dimension))}.npz')
        for path in (given, given.with_suffix('.npz'), own):
            if path.is_file():
                return path
        check_writable_folder(own.parent, 'the PCA')
        self._fit_pca(extracted, descriptors).save(own)
        return own

    def _fit_pca(self, extracted: ExtractedDataset, descriptors: Descriptors) -> Projection:
        counts = extracted.mask_counts('r')
        tables = (descriptors.of(image) for image in self.progress(extracted.images('r'), 'PCA', len(counts)))
        return fit_pca(tables, counts, self.pca_dimension)

    def _descriptors(self, row: PaperExperiment) -> Descriptors:
        return Descriptors(self.dataset.size, load_vocabulary(self._words_file), row.order)

    def _extracted(self, row: PaperExperiment | None) -> ExtractedDataset:
        """With masks, where segments are described."""
        return self._features if row is None or row.order is None else self._features_and_masks

    @cached_property
    def _features(self) -> ExtractedDataset:
        return ExtractedDataset(self.dataset, self.data, finetuned=self.finetuned, masks=False)

    @cached_property
    def _features_and_masks(self) -> ExtractedDataset:
        return ExtractedDataset(self.dataset, self.data, finetuned=self.finetuned)

    @cached_property
    def _own_words(self) -> Path:
        """The file of words of a data set's own references: features that were extracted anew have other words."""
        return (self.data / 'vocabulary' / self._ended(self.dataset.name)
                / f'c_centers.{self._extracted(None).digest(str(self.words))}.npz')

    @property
    def words_name(self) -> str:
        """What the research code would call the words."""
        return self._ended(self.dataset.domain or 'given' if self.vocabulary == 'domain' else self.dataset.name)

    def _ended(self, name: str) -> str:
        return name + (FINETUNED if self.finetuned else '')
