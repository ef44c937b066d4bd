"""Features and masks of all images of a data set, going on where it was stopped."""
from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segvlad_ros.description.arrays import to_numpy
from segvlad_ros.description.describer import resized
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.io.extraction_store import ExtractionStore
from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.pipeline.presets import Preset, build_extractor, build_segmenter
from segvlad_ros.types import Masks, SegvladError

_AHEAD = 4  # images that are read and decoded while the network has one in hand


class ImageWork(NamedTuple):
    """One kind of thing that is made of every image.

    :ivar size: width and height that the image is brought to, pixels
    :ivar settings: digest of all else that changes what is made
    :ivar make: (store, name, (height, width, 3) uint8 RGB, digest): makes it and keeps it under that digest
    """

    size: tuple[int, int]
    settings: str
    make: Callable[[ExtractionStore, str, np.ndarray, str], None]


def image_work(what: str, preset: Preset, dataset: PlaceDataset, device: str) -> ImageWork:
    """Features or masks as a preset makes them, at the size of a data set; the network is loaded here.

    :param what: 'features' or 'masks'
    :param device: torch device of the deep backends
    """
    if what == 'features':
        extractor = build_extractor(preset.features, device)

        def features(store: ExtractionStore, name: str, rgb: np.ndarray, digest: str) -> None:
            grid = extractor.extract(rgb)
            store.add_features(name, replace(grid, features=to_numpy(grid.features)), digest)
        return ImageWork(dataset.size, preset.section_digest('features'), features)
    segmenter = build_segmenter(preset.segmenter, device)

    def masks(store: ExtractionStore, name: str, rgb: np.ndarray, digest: str) -> None:
        found = segmenter.segment(rgb)
        store.add_masks(name, Masks(to_numpy(found.masks), found.quality), digest)
    return ImageWork(dataset.mask_size, preset.section_digest('segmenter'), masks)


def extract(images: Sequence[Path], work: ImageWork, store: ExtractionStore) -> Iterator[bool]:
    """Do the work on every image, in order; yields for each whether it had to be done.

    Images are read, compared with what is there, and decoded in a thread ahead of the work.
    """
    with ThreadPoolExecutor(1, 'images') as pool:
        ahead: deque[tuple[Path, Future]] = deque()
        left = iter(images)
        try:
            while True:
                while len(ahead) < _AHEAD and (path := next(left, None)) is not None:
                    ahead.append((path, pool.submit(_prepared, path, work, store)))
                if not ahead:
                    return
                path, future = ahead.popleft()
                prepared = future.result()
                if prepared is not None:
                    work.make(store, path.name, *prepared)
                yield prepared is not None
        finally:
            for _, future in ahead:
                future.cancel()


def _prepared(path: Path, work: ImageWork, store: ExtractionStore) -> tuple[np.ndarray, str] | None:
    """The image at its size and the digest of what is made of it; None if that is there already."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    digest = hashlib.blake2b(f'{work.settings} {work.size} '.encode() + content, digest_size=16).hexdigest()
    if store.made_of(path.name) == digest:
        return None
    try:
        return resized(decode_compressed(content, upright=True), work.size), digest
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}') from None
