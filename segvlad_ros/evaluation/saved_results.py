"""Results in the files of the research code: either reads what the other has saved.

Of an experiment on segments a folder ``<experiment>_<dataset>_<time>`` holds pickles: the squared distances and numbers
of the nearest map segments (NumPy), and the descriptors of both sides (torch). Of whole images it holds a list of the
descriptors of each side. The research code does not save which segment is of which image; we do, beside it.
"""
from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.experiments import EXPERIMENTS, FINETUNED, PaperExperiment
from segvlad_ros.evaluation.extracted_dataset import ExtractedDataset
from segvlad_ros.evaluation.paper_evaluation import Searched
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.evaluation.reproduction import Retrieved, SegmentRows, nearest_segments
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.unpickling import CONTAINERS, NUMPY, load_pickle
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

_SEGMENT_IMAGES = 'segment_images.npz'


class _Pickler(pickle._Pickler):
    """Calls what NumPy 2 has renamed by the name that every NumPy knows: the research code runs on Python 3.8."""

    def save_global(self, obj: object, name: str | None = None) -> None:
        if getattr(obj, '__module__', None) == 'numpy._core.multiarray':
            self.write(pickle.GLOBAL + f'numpy.core.multiarray\n{obj.__name__}\n'.encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def results_folder(dataset: PlaceDataset, data: Path) -> Path:
    """Where results of a data set are saved, a folder for each."""
    return dataset.folder(data) / 'out' / 'results' / 'global'


def check_saving(row: PaperExperiment) -> None:
    """Find out before long work that results cannot be saved.

    :raises SegvladError: torch is not installed, in whose tensors those of segments are
    """
    if row.order is not None:
        import_extra('torch')


@dataclass(frozen=True)
class ResultFiles:
    """The files of one experiment on one data set.

    :ivar words: name of the vocabulary
    """

    folder: Path
    dataset: PlaceDataset
    row: PaperExperiment
    words: str

    @classmethod
    def new(cls, data: Path, dataset: PlaceDataset, row: PaperExperiment, words: str) -> ResultFiles:
        """Where the research code would save results now."""
        name = 'anyloc' if row.order is None else f'{row.name}_{dataset.name}_{datetime.now():%d%m%Y_%H%M%S}'
        return cls(results_folder(dataset, data) / name, dataset, row, words)

    @classmethod
    def found(cls, folder: Path, dataset: PlaceDataset) -> ResultFiles:
        """Those that a folder holds.

        :raises SegvladError: none, or of several experiments or vocabularies
        """
        started = f'{dataset.name}_matches_sims_domain_'
        found = []
        for row in EXPERIMENTS.values():
            if row.order is None:
                whole = cls(folder, dataset, row, '')
                found += [whole] if whole._descriptors(1).is_file() else []
            else:
                found += [cls(folder, dataset, row, path.name[len(started):-len(row.results) - 2])
                          for path in folder.glob(f'{started}*__{row.results}')]
        if len(found) != 1:
            raise SegvladError(f'{folder}: holds results of {len(found)} experiments on {dataset.name}, where it takes '
                               f'one: a file {started}VOCABULARY__RESULTS.pkl as --save-results writes it')
        return found[0]

    def write(self, searched: Searched) -> None:
        """Save what was searched and found.

        :raises SegvladError: torch is not installed, or the folder cannot be written
        """
        tables = [searched.references.rows, searched.queries.rows]
        if self.row.order is None:
            files = {self._descriptors(side): [*table] for side, table in enumerate(tables, 1)}
        else:
            torch = import_extra('torch')
            files = {self._matches: {'sims': 2 - searched.retrieved.similarities,
                                     'matches': searched.retrieved.segments},
                     **{self._descriptors(side): torch.from_numpy(table) for side, table in enumerate(tables, 1)}}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, value in files.items():
                with whole_file(path) as temporary, temporary.open('wb') as file:
                    _Pickler(file, protocol=4).dump(value)
            if self.row.order is not None:
                with whole_file(self.folder / _SEGMENT_IMAGES) as temporary, temporary.open('wb') as file:
                    np.savez(file, references=searched.references.images, queries=searched.queries.images)
        except OSError as error:
            raise SegvladError(f'{self.folder}: results cannot be saved ({error.strerror})') from None

    def read(self, data: Path) -> tuple[Retrieved, tuple[np.ndarray, np.ndarray]]:
        """What was found, and the number of the image of each segment, of the map and of the queries.

        :param data: folder of the data sets, where masks are counted if the research code saved the results
        :raises SegvladError: damaged, or of other images than the data set has
        """
        if self.row.order is None:
            references, queries = (SegmentRows.of(np.reshape(row, (1, -1)) for row in self._whole_images(side))
                                   for side in (1, 2))
            retrieved, images = nearest_segments(references, queries), (references.images, queries.images)
        else:
            retrieved, images = self._retrieved(), self._segment_images(data)
        if len(retrieved.segments) != len(images[1]) or retrieved.segments.max(initial=-1) >= len(images[0]):
            raise SegvladError(f'{self._matches}: of other masks than {self.dataset.name} has: {len(images[1])} '
                               f'segments of queries and {len(images[0])} of references')
        for side, numbers, paths in zip(('references', 'queries'), images, self.dataset.images(data)):
            if numbers.max(initial=-1) >= len(paths):
                raise SegvladError(f'{self.folder}: {numbers.max() + 1} {side} or more, {self.dataset.name} has '
                                   f'{len(paths)}')
        return retrieved, images

    @property
    def _matches(self) -> Path:
        return self.folder / f'{self.dataset.name}_matches_sims_domain_{self.words}__{self.row.results}'

    def _descriptors(self, side: int) -> Path:
        words = '' if self.row.order is None else f'_domain_{self.words}__'
        return self.folder / f'{self.dataset.name}_segFtVLAD{side}{words}{self.row.results}'

    def _whole_images(self, side: int) -> list[np.ndarray]:
        path = self._descriptors(side)
        rows = load_pickle(path, NUMPY)
        if not isinstance(rows, list) or len({np.shape(row) for row in rows}) != 1:
            raise SegvladError(f'{path}: is not a list of descriptors of one length')
        return rows

    def _retrieved(self) -> Retrieved:
        held = load_pickle(self._matches, NUMPY | CONTAINERS)
        distances, matches = (held.get('sims'), held.get('matches')) if isinstance(held, dict) else (None, None)
        if not (isinstance(distances, np.ndarray) and isinstance(matches, np.ndarray) and matches.dtype.kind in 'iu'
                and distances.dtype.kind == 'f' and distances.shape == matches.shape and matches.ndim == 2):
            raise SegvladError(f"{self._matches}: holds no tables 'sims' and 'matches' of one shape")
        found = ~(matches == -1).any(axis=0)  # what faiss fills up with where the map has fewer segments
        if matches[:, found].min(initial=0) < 0:
            raise SegvladError(f'{self._matches}: names segments below 0')
        return Retrieved(2 - distances[:, found], matches[:, found])

    def _segment_images(self, data: Path) -> tuple[np.ndarray, np.ndarray]:
        """As saved, else as the masks count them."""
        path = self.folder / _SEGMENT_IMAGES
        if not path.is_file():
            extracted = ExtractedDataset(self.dataset, data, finetuned=self.words.endswith(FINETUNED))
            return tuple(np.repeat(np.arange(len(counts)), counts) for counts in map(extracted.mask_counts, 'rq'))
        try:
            with np.load(path, allow_pickle=False) as saved:
                return saved['references'], saved['queries']
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise SegvladError(f'{path}: damaged ({one_line(error, 80)}): save the results anew') from None
