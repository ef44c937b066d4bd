"""Features and masks of all images of a data set, going on where it was stopped.

Three steps: images are read and compared with what is there (:func:`extract`), an :class:`ExtractionWorker` makes what
is missing, and its bytes are written, by one process only. An engine is what hands images to workers: here to one
worker of this process (:class:`LocalEngine`), or to many on a cluster
(:class:`~segvlad_ros.evaluation.cluster_engine.ClusterEngine`).
"""
from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from segvlad_ros.description.arrays import to_numpy
from segvlad_ros.description.describer import resized
from segvlad_ros.evaluation.occupancy import Occupancy, WaitingTimes
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.io.extraction_store import ExtractionStore, packed_features, packed_masks
from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.pipeline.builders import build_extractor, build_segmenter
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.threads import map_ahead
from segvlad_ros.types import Masks, SegvladError

IN_HAND = 4
"""Images that a worker has in hand: one at each network, one that is decoded, one that is packed."""

PRESET_SECTIONS = {'features': 'features', 'masks': 'segmenter'}
"""All that is read of a preset, by what it makes; sizes are those of the data set."""

_READERS, _READ_AHEAD = 4, 16


@dataclass(frozen=True)
class ExtractionRecipe:
    """All that decides what is made of an image; a worker may be sent it.

    :ivar sizes: by 'features' and 'masks', whichever are wanted: width and height that an image is brought to, pixels
    :ivar settings: likewise a digest of all else that changes what is made
    :ivar device: torch device of the deep backends
    """

    preset: Preset
    sizes: Mapping[str, tuple[int, int]]
    settings: Mapping[str, str]
    device: str

    @classmethod
    def of(cls, preset: Preset, dataset: PlaceDataset, kinds: Iterable[str], device: str) -> ExtractionRecipe:
        """What a preset makes of the images of a data set.

        :param kinds: 'features', 'masks' or both
        :raises SegvladError: weights are missing
        """
        sizes = {'features': dataset.size, 'masks': dataset.mask_size}
        return cls(preset, {kind: sizes[kind] for kind in kinds},
                   {kind: preset.section_digest(PRESET_SECTIONS[kind]) for kind in kinds}, device)

    def check(self) -> None:
        """See that this machine makes the same of an image as the one that the recipe is from.

        :raises SegvladError: it has other weights, or none, or another version of this package
        """
        for kind, settings in self.settings.items():
            if self.preset.section_digest(PRESET_SECTIONS[kind]) != settings:
                raise SegvladError(f'{socket.gethostname()} has other weights or another version of segvlad_ros: it '
                                   f'would make other {kind}')

    def digest(self, kind: str, content: bytes) -> str:
        """Of all that features or masks of an image are made of."""
        return hashlib.blake2b(f'{self.settings[kind]} {self.sizes[kind]} '.encode() + content,
                               digest_size=16).hexdigest()


class MissingParts(NamedTuple):
    """An image, and what of it is not there.

    :ivar stores: by kind, where it belongs
    :ivar content: the bytes of the file; none where nothing is missing
    :ivar digests: by kind that is missing
    """

    path: Path
    stores: Mapping[str, ExtractionStore]
    content: bytes
    digests: dict[str, str]


class ExtractionEngine(Protocol):
    """What hands images to workers; a context, which ends the workers."""

    def made(self, images: Iterator[MissingParts]) -> Iterator[tuple[MissingParts, dict[str, bytes]]]:
        """Every image with what :meth:`ExtractionWorker.made` makes of it, in any order."""

    def waiting_times(self) -> WaitingTimes:
        """Of all workers together, so far."""


class ExtractionWorker:
    """Networks in memory, and the way from the bytes of an image to the bytes of what is kept.

    :meth:`made` is called from :data:`IN_HAND` threads: each network has one image at a time, while others are decoded,
    and packed. Both kinds are made of one decoded image.

    :raises SegvladError: weights or packages are missing
    """

    def __init__(self, recipe: ExtractionRecipe) -> None:
        makers: dict[str, Callable[[ExtractionRecipe], Callable[[np.ndarray], Callable[[str], bytes]]]] = {
            'features': _feature_maker, 'masks': _mask_maker}
        self._sizes = recipe.sizes
        self._make = {kind: makers[kind](recipe) for kind in recipe.sizes}
        self._turns = {kind: threading.Lock() for kind in recipe.sizes}
        self._occupancy = Occupancy()

    def made(self, name: str, content: bytes, digests: Mapping[str, str]) -> dict[str, bytes]:
        """Files of an :class:`ExtractionStore`, by kind.

        :param name: of the image, for people
        :param digests: by kind that is wanted, kept with it
        :raises SegvladError: it is no image
        """
        if not digests:
            return {}
        with self._occupancy:
            try:
                rgb = decode_compressed(content, upright=True)
            except SegvladError as error:
                raise SegvladError(f'{name}: {error}') from None
            images = {kind: resized(rgb, self._sizes[kind]) for kind in digests}
            packs = {}
            for kind, image in images.items():
                with self._occupancy.turn(self._turns[kind]):
                    packs[kind] = self._make[kind](image)
            return {kind: pack(digests[kind]) for kind, pack in packs.items()}

    def waiting_times(self) -> WaitingTimes:
        """So far."""
        return self._occupancy.times()


def _feature_maker(recipe: ExtractionRecipe) -> Callable[[np.ndarray], Callable[[str], bytes]]:
    extractor = build_extractor(recipe.preset.features, recipe.device, recipe.sizes['features'])

    def make(rgb: np.ndarray) -> Callable[[str], bytes]:
        grid = extractor.extract(rgb)
        return partial(packed_features, replace(grid, features=to_numpy(grid.features), cell=extractor.cell))
    return make


def _mask_maker(recipe: ExtractionRecipe) -> Callable[[np.ndarray], Callable[[str], bytes]]:
    segmenter = build_segmenter(recipe.preset.segmenter, recipe.device)

    def make(rgb: np.ndarray) -> Callable[[str], bytes]:
        found = segmenter.segment(rgb)
        return partial(packed_masks, Masks(to_numpy(found.masks), found.quality))
    return make


class LocalEngine:
    """One worker in this process; see :class:`ExtractionEngine`."""

    def __init__(self, recipe: ExtractionRecipe) -> None:
        self._worker = ExtractionWorker(recipe)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        """Threads live as long as :meth:`made`."""

    def made(self, images: Iterator[MissingParts]) -> Iterator[tuple[MissingParts, dict[str, bytes]]]:
        """In order."""
        def make(image: MissingParts) -> tuple[MissingParts, dict[str, bytes]]:
            return image, self._worker.made(str(image.path), image.content, image.digests)
        with ThreadPoolExecutor(IN_HAND, 'extraction') as pool:
            yield from map_ahead(pool, make, images, IN_HAND + 1)

    def waiting_times(self) -> WaitingTimes:
        """So far."""
        return self._worker.waiting_times()


def extract(images: Iterable[tuple[Path, Mapping[str, ExtractionStore]]], recipe: ExtractionRecipe,
            engine: ExtractionEngine) -> Iterator[tuple[Mapping[str, ExtractionStore], set[str]]]:
    """Make what is not there of every image, and write it; yields for each its stores and the kinds that were made.

    :param images: each with the stores of its features and masks, by kind
    :raises SegvladError: an image cannot be read, or is none; what was made before is kept
    """
    with ThreadPoolExecutor(_READERS, 'reading') as pool:
        read = map_ahead(pool, partial(_missing_parts, recipe), images, _READ_AHEAD)
        for image, made in engine.made(read):
            for kind, packed in made.items():
                image.stores[kind].add(image.path.name, packed)
            yield image.stores, set(made)


def _missing_parts(recipe: ExtractionRecipe, image: tuple[Path, Mapping[str, ExtractionStore]]) -> MissingParts:
    path, stores = image
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    digests = {kind: recipe.digest(kind, content) for kind in recipe.sizes}
    missing = {kind: digest for kind, digest in digests.items() if stores[kind].made_of(path.name) != digest}
    return MissingParts(path, stores, content if missing else b'', missing)
