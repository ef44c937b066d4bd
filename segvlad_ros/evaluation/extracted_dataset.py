"""Features and masks that were extracted from a data set: the archives in its folder ``out``."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from segvlad_ros.evaluation.place_datasets import SIDES, PlaceDataset
from segvlad_ros.evaluation.reproduction import ExtractedImage
from segvlad_ros.io.extraction_store import ExtractionStore
from segvlad_ros.io.hdf5_archives import Hdf5Archive
from segvlad_ros.types import SegvladError


class ExtractedDataset:
    """Reads one data set, image by image.

    :param data: folder of the data sets
    :param finetuned: features of the fine-tuned network
    :param masks: whether segments are described, and not the whole image
    :ivar folder: of the archives
    :raises SegvladError: an archive is missing, or holds other images than the data set
    """

    def __init__(self, dataset: PlaceDataset, data: Path, *, finetuned: bool = False, masks: bool = True) -> None:
        self.dataset, self.folder = dataset, dataset.folder(data) / 'out'
        self.names = {side: [path.name for path in paths] for side, paths in zip(SIDES, dataset.images(data))}
        kinds = ('features', 'masks') if masks else ('features',)
        self._paths = {(side, kind): self._found(side, archive_kind(kind, finetuned)) for side in SIDES
                       for kind in kinds}
        for (side, _), path in self._paths.items():
            with _opened(path) as archive:
                missing = [name for name in self.names[side] if not archive.holds(name)]
                if missing:
                    raise SegvladError(f'{path}: does not hold {missing[0]} and {len(missing) - 1} other images of '
                                       f'{dataset.name}: extract them (segvlad reproduce extract)')

    def images(self, side: str, numbers: Iterable[int] | None = None) -> Iterator[ExtractedImage]:
        """References ('r') or queries ('q') in natural order: those with some numbers, or all."""
        names = self.names[side]
        with ExitStack() as stack:
            archives = {what: stack.enter_context(_opened(path))
                        for (of, what), path in self._paths.items() if of == side}
            for name in names if numbers is None else (names[number] for number in numbers):
                masks = archives['masks'].masks(name) if 'masks' in archives else None
                yield ExtractedImage(archives['features'].features(name), masks)

    def mask_counts(self, side: str) -> list[int]:
        """The number of masks of each image."""
        with _opened(self._paths[side, 'masks']) as archive:
            return [len(archive.masks(name)) for name in self.names[side]]

    def digest(self, *more: str) -> str:
        """Of what the references were extracted from, and of more: names what is made of them.

        A file of the authors' counts by its size and time.
        """
        said = [*more]
        for (side, what), path in sorted(self._paths.items()):
            if side == 'r' and path.is_dir():
                said += [what, *map(ExtractionStore(path).made_of, self.names[side])]
            elif side == 'r':
                said += [what, str(path.stat().st_size), str(path.stat().st_mtime_ns)]
        return hashlib.blake2b('\n'.join(said).encode(), digest_size=6).hexdigest()

    def _found(self, side: str, kind: str) -> Path:
        path = extracted_path(self.dataset, self.folder.parents[1], kind, side)
        if path is None:
            names = self.dataset.archives(kind, side)
            raise SegvladError(f'{self.folder}: holds no {" or ".join(names)}, nor a folder {Path(names[0]).stem}: '
                               "extract (segvlad reproduce extract), or place the authors' archives there")
        return path


def extracted_path(dataset: PlaceDataset, data: Path, kind: str, side: str) -> Path | None:
    """The authors' archive of features or masks, else our folder of them, if there is one; see :meth:`archives`."""
    out = dataset.folder(data) / 'out'
    archives = [out / name for name in dataset.archives(kind, side)]
    own = store_folder(dataset, out, kind, side)
    return next((path for path in archives if path.is_file()), own if own.is_dir() else None)


def archive_kind(kind: str, finetuned: bool) -> str:
    """What :meth:`PlaceDataset.archives` calls 'features', of the fine-tuned network or not, or 'masks'."""
    return kind if kind == 'masks' else 'dinoNV' if finetuned else 'dino'


def authors_archive(dataset: PlaceDataset, data: Path, kind: str, finetuned: bool) -> Path | None:
    """An archive of the authors that is there and would be taken; arguments as of :func:`archive_kind`."""
    out = dataset.folder(data) / 'out'
    return next((out / name for side in SIDES for name in dataset.archives(archive_kind(kind, finetuned), side)
                 if (out / name).is_file()), None)


def store_folder(dataset: PlaceDataset, folder: Path, kind: str, side: str) -> Path:
    """Where extraction keeps features or masks; arguments as of :meth:`PlaceDataset.archives`."""
    return folder / Path(dataset.archives(kind, side)[0]).stem


def _opened(path: Path) -> Hdf5Archive | ExtractionStore:
    return ExtractionStore(path) if path.is_dir() else Hdf5Archive(path)
