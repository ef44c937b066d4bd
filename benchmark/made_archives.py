"""Features and masks as the research code writes them (segvlad-spec.md 1), for those who try what reads them."""
from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.types import FeatureGrid, Masks


class MadeArchive:
    """A new HDF5 file, open; a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = import_extra('h5py').File(path, 'w')

    def __enter__(self) -> MadeArchive:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add_features(self, name: str, grid: FeatureGrid) -> None:
        """Write the features of an image."""
        table = np.asarray(grid.features, np.float32).T.reshape(1, -1, grid.rows, grid.cols)
        self._file.create_group(name).create_dataset('ift_dino', data=table, chunks=True)

    def add_masks(self, name: str, masks: Masks) -> None:
        """Write the masks of an image, as if each had been asked for at the centre of its box."""
        group = self._file.create_group(name).create_group('masks')
        for number, (mask, quality) in enumerate(zip(masks.masks, masks.quality)):
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            box = [columns[0], rows[0], columns[-1] - columns[0], rows[-1] - rows[0]] if len(rows) else [0, 0, 0, 0]
            for key, value in {
                    'segmentation': np.asarray(mask, bool), 'area': int(np.count_nonzero(mask)), 'bbox': box,
                    'predicted_iou': float(quality),
                    'point_coords': [[float(box[0] + box[2] / 2), float(box[1] + box[3] / 2)]],
                    'stability_score': float('nan'), 'crop_box': [0, 0, mask.shape[1], mask.shape[0]]}.items():
                group.create_dataset(f'{number}/{key}', data=value)
