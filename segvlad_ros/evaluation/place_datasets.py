"""The data sets of the paper, and folders of one's own: where their images lie, how they are read, where to get them.

The folders are those of the research code: ``DATA/<name>/<references>`` and ``DATA/<name>/<queries>``.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation import dataset_truth
from segvlad_ros.evaluation.dataset_truth import Rule
from segvlad_ros.io.images import list_images
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

SIDES = ('r', 'q')
"""References and queries, as file names of the research code call them."""


@dataclass(frozen=True)
class PlaceDataset:
    """One data set.

    :ivar references, queries: folders of images, below the data set's own
    :ivar domain: the shipped vocabulary of its kind of place
    :ivar size: width and height that features are taken at, pixels
    :ivar truth: which references are true for each query
    :ivar needs: what the truth is read from, for people
    :ivar recall: recall@1 and @5 in per cent, best SegVLAD variant of the paper, and which that is
    :ivar source: where to ask for it
    :ivar licence: as its owners' page says, for people; '' where none is stated there
    :ivar full_size_masks: whether it is segmented at ``size`` and not at half of it
    :ivar other_archives: by kind and side, names that the authors' archives have beside :meth:`archives`
    """

    name: str
    references: str
    queries: str
    domain: str
    truth: Rule
    needs: str
    source: str
    licence: str = ''
    recall: str = ''
    size: tuple[int, int] = (640, 480)
    full_size_masks: bool = False
    other_archives: Mapping[str, str] = field(default_factory=dict)

    @property
    def mask_size(self) -> tuple[int, int]:
        """Width and height that are segmented, pixels."""
        width, height = self.size
        return self.size if self.full_size_masks else (width // 2, height // 2)

    def folder(self, data: Path) -> Path:
        """Of this data set."""
        return data / self.name

    def images(self, data: Path) -> tuple[list[Path], list[Path]]:
        """References and queries in natural order, which numbers them.

        :raises SegvladError: a folder is missing or empty: what was expected where
        """
        found = []
        for side in (self.references, self.queries):
            folder = self.folder(data) / side
            if not folder.is_dir():
                raise SegvladError(f'{folder}: no such folder; {self.name} has its references in {self.references} and '
                                   f'its queries in {self.queries} (segvlad reproduce list)')
            found.append(list_images(folder))
        return found[0], found[1]

    def archives(self, kind: str, side: str) -> list[str]:
        """Names that a file of features or masks may have.

        :param kind: 'dino', 'dinoNV' (of the fine-tuned network) or 'masks'
        :param side: of :data:`SIDES`
        """
        width = (self.mask_size if kind == 'masks' else self.size)[0]
        other = self.other_archives.get(f'{side}_{kind}')
        return [f'{self.name}_{side}_{kind}_{width}.h5', *([other] if other else [])]

    def true_references(self, data: Path) -> list[np.ndarray]:
        """For every query the numbers of the references that show its place; none where it has no true place.

        :raises SegvladError: files are missing, or are not as the data set publishes them
        """
        references, queries = self.images(data)
        try:
            return self.truth(self.folder(data), references, queries)
        except (IndexError, TypeError, ValueError) as error:  # tables of other shapes, or of other values
            raise SegvladError(f'{self.folder(data)}: the ground truth is not as it is published, get it again '
                               f'({said_by(error, 100)})') from None


ANYLOC = 'https://github.com/AnyLoc/AnyLoc/issues/34'
BOX = 'https://universityofadelaide.box.com/s/199q2lpvy3psm5qgfagvh25r9c51ey6b'
MSLS = {'needs': 'msls_val_*.npy of https://github.com/AnyLoc/Revisit-Anything, dataloaders/msls_npy_files, here or in '
                 'msls_npy_files beside the data set',
        'source': 'https://www.mapillary.com/dataset/places: its validation set, images of one city',
        'licence': 'accepted when registering'}
DATASETS = {dataset.name: dataset for dataset in (
    PlaceDataset('baidu', 'training_images_undistort', 'query_images_undistort', 'indoor',
                 dataset_truth.camera_centres, 'training_gt/*.camera, query_gt/*.camera', ANYLOC,
                 recall='PreT, map vocabulary: 80.4 / 94.0'),
    PlaceDataset('17places', 'ref', 'query', 'indoor', dataset_truth.neighbouring_frames, '',
                 f'{BOX}: 17places_only_dataset.zip (61 MB), or 17places_full.zip (10.3 GB) with features and masks',
                 recall='PreT: 95.3 / 98.0'),
    PlaceDataset('InsideOut', 'ref_images', 'query_images', 'urban', dataset_truth.inside_out,
                 'gps_db_correct.pkl, gps_q_new.pkl', 'the authors of Revisit Anything',
                 recall='FineT, map vocabulary: 7.2 / 17.2'),
    PlaceDataset('SFXL', 'database', 'queries', 'urban', dataset_truth.utm_names, '',
                 'https://github.com/gmberton/CosPlace: its form; the validation set',
                 recall='FineT, map vocabulary: 95.6 / 98.2', size=(512, 512)),
    PlaceDataset('mslsSF', 'database', 'query', 'urban', dataset_truth.san_francisco, **MSLS,
                 recall='FineT, domain vocabulary: 93.4 / 97.1'),
    PlaceDataset('mslsCPH', 'database', 'query', 'urban', dataset_truth.copenhagen, **MSLS,
                 recall='FineT, domain vocabulary: 91.8 / 96.4'),
    PlaceDataset('pitts', 'pitts30k/images/test/database', 'pitts30k/images/test/queries', 'urban',
                 dataset_truth.pittsburgh, 'pitts30k/images/test/database.npy and queries.npy', ANYLOC,
                 recall='FineT, map vocabulary: 93.1 / 96.8', other_archives={
                     f'{side}_{kind}': f'pitts30k_{side}_{ending}.h5' for side in SIDES
                     for kind, ending in (('dino', 'dino_640'), ('masks', 'masks'))}),
    PlaceDataset('AmsterTime', 'new', 'old', 'urban', dataset_truth.same_number, '',
                 'https://doi.org/10.4121/19580806', recall='FineT, map vocabulary: 60.2 / 78.2', size=(256, 256),
                 full_size_masks=True,
                 other_archives={'r_masks': 'AmsterTime_new_masks.h5', 'q_masks': 'AmsterTime_old_masks.h5'}),
    PlaceDataset('VPAir', 'reference_views', 'queries', 'aerial', dataset_truth.vpair, 'vpair_gt.npy',
                 f'{ANYLOC}, or the form of https://github.com/AerVisLoc/vpair',
                 'academic use only, commercial use is prohibited', 'PreT, domain vocabulary: 69.8 / 83.7', (800, 600)),
)}


def place_dataset(name: str, data: Path, size: tuple[int, int] | None = None) -> PlaceDataset:
    """One of :data:`DATASETS`, else a folder of one's own with ``references`` and ``queries``.

    :param data: folder of the data sets
    :param size: of a folder of one's own, else as the data set has it
    :raises SegvladError: neither
    """
    if name in DATASETS:
        if size is not None and size != DATASETS[name].size:
            raise SegvladError(f'{name} is evaluated at {DATASETS[name].size[0]}x{DATASETS[name].size[1]} pixels')
        return DATASETS[name]
    if name != Path(name).name:  # as with the slash that a shell appends: files are called after it
        raise SegvladError(f'data set {name!r}: give the name of the folder alone, and where it lies as --data')
    own = PlaceDataset(name, 'references', 'queries', '', dataset_truth.own_folder,
                       'truth.csv, or @east@north@ in the names', '', size=size or (640, 480))
    if not (own.folder(data) / own.references).is_dir():
        raise SegvladError(f'no data set {name!r}: choose one of {", ".join(DATASETS)}, or make a folder '
                           f'{own.folder(data)} with the folders references and queries')
    return own
