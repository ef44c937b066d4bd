"""The data sets of the paper, and folders of one's own: where their images lie, how they are read, where to get them.

The folders are those of the research code: ``DATA/<name>/<references>`` and ``DATA/<name>/<queries>``.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation import dataset_truth
from segvlad_ros.evaluation.dataset_truth import Rule
from segvlad_ros.io.images import list_images
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
    :ivar full_size_masks: whether it is segmented at ``size`` and not at half of it
    """

    name: str
    references: str
    queries: str
    domain: str
    truth: Rule
    needs: str
    source: str
    recall: str = ''
    size: tuple[int, int] = (640, 480)
    full_size_masks: bool = False

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

    def true_references(self, data: Path) -> list[np.ndarray]:
        """For every query the numbers of the references that show its place; none where it has no true place."""
        return self.truth(self.folder(data), *self.images(data))


ANYLOC = 'https://github.com/AnyLoc/AnyLoc/issues/34'
DATASETS = {dataset.name: dataset for dataset in (
    PlaceDataset('baidu', 'training_images_undistort', 'query_images_undistort', 'indoor',
                 dataset_truth.camera_centres, 'training_gt/*.camera, query_gt/*.camera', ANYLOC,
                 'PreT, map vocabulary: 80.4 / 94.0'),
    PlaceDataset('17places', 'ref', 'query', 'indoor', dataset_truth.neighbouring_frames, '', ANYLOC,
                 'PreT: 95.3 / 98.0'),
    PlaceDataset('InsideOut', 'ref_images', 'query_images', 'urban', dataset_truth.inside_out,
                 'gps_db_correct.pkl, gps_q_new.pkl', 'its authors', 'FineT, map vocabulary: 7.2 / 17.2'),
    PlaceDataset('SFXL', 'database', 'queries', 'urban', dataset_truth.utm_names, '',
                 'https://github.com/gmberton/CosPlace', 'FineT, map vocabulary: 95.6 / 98.2', (512, 512)),
    PlaceDataset('mslsSF', 'database', 'query', 'urban', dataset_truth.san_francisco, 'msls_val_*.npy, here or in '
                 'msls_npy_files beside the data set', 'https://www.mapillary.com/dataset/places',
                 'FineT, domain vocabulary: 93.4 / 97.1'),
    PlaceDataset('mslsCPH', 'database', 'query', 'urban', dataset_truth.copenhagen, 'msls_val_*.npy, here or in '
                 'msls_npy_files beside the data set', 'https://www.mapillary.com/dataset/places',
                 'FineT, domain vocabulary: 91.8 / 96.4'),
    PlaceDataset('pitts', 'pitts30k/images/test/database', 'pitts30k/images/test/queries', 'urban',
                 dataset_truth.pittsburgh, 'pitts30k/images/test/database.npy and queries.npy', ANYLOC,
                 'FineT, map vocabulary: 93.1 / 96.8'),
    PlaceDataset('AmsterTime', 'new', 'old', 'urban', dataset_truth.same_number, '',
                 'https://github.com/seyrankhademi/AmsterTime', 'FineT, map vocabulary: 60.2 / 78.2', (256, 256), True),
    PlaceDataset('VPAir', 'reference_views', 'queries', 'aerial', dataset_truth.vpair, 'vpair_gt.npy', ANYLOC,
                 'PreT, domain vocabulary: 69.8 / 83.7', (800, 600)),
)}


def place_dataset(name: str, data: Path) -> PlaceDataset:
    """One of :data:`DATASETS`, else a folder of one's own with ``references`` and ``queries``.

    :param data: folder of the data sets
    :raises SegvladError: neither
    """
    if name in DATASETS:
        return DATASETS[name]
    own = PlaceDataset(name, 'references', 'queries', '', dataset_truth.own_folder,
                       'truth.csv, or @east@north@ in the names', '')
    if not (own.folder(data) / own.references).is_dir():
        raise SegvladError(f'no data set {name!r}: choose one of {", ".join(DATASETS)}, or make a folder '
                           f'{own.folder(data)} with the folders references and queries')
    return own
