"""Batches of P places with K images each, a function of the seed alone: a step can be made again at any time.

As in the research code a batch holds places of one city, which are the hardest to tell apart, and where one city ends
those of the next.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.images import read_image
from segvlad_ros.training.gsv_cities import StreetPlace
from segvlad_ros.training.training_settings import TrainingSettings
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def batch_plan(places: Sequence[StreetPlace], settings: TrainingSettings, epoch: int) -> list[list[int]]:
    """Which places each batch of an epoch shows: all of them once, shuffled within their city.

    One that is left over alone waits for another epoch: there is nothing that it could be told apart from.
    """
    generator, order = np.random.default_rng((settings.seed, epoch)), []
    for _, city in groupby(range(len(places)), lambda number: places[number].folder):
        order += generator.permutation([*city]).tolist()
    batches = [order[first:first + settings.places] for first in range(0, len(order), settings.places)]
    return [batch for batch in batches if len(batch) > 1]


def load_batches(places: Sequence[StreetPlace], plan: Sequence[Sequence[int]], settings: TrainingSettings, epoch: int,
                 workers: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images, (P*K, side, side, 3) uint8 RGB, and the number of the place of each, (P*K,) int64, batch by batch.

    :param workers: processes that read ahead; 0 for none
    :raises SegvladError: an image cannot be read
    """
    torch = import_extra('torch')
    # not forked: OpenCV's threads do not survive that
    loader = torch.utils.data.DataLoader(
        PlaceImages(places, settings, epoch), batch_sampler=plan, collate_fn=_joined, num_workers=workers,
        multiprocessing_context='spawn' if workers else None)
    for batch in loader:
        if isinstance(batch, str):
            raise SegvladError(batch)
        yield batch


class PlaceImages:
    """K augmented images of each place, drawn anew in each epoch; what ``torch`` calls a map-style data set."""

    def __init__(self, places: Sequence[StreetPlace], settings: TrainingSettings, epoch: int) -> None:
        self._places, self._settings, self._epoch = places, settings, epoch

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray] | str:
        """(K, side, side, 3) uint8 and (K,) int64; or what is wrong, since an exception of a worker is a traceback."""
        place, settings = self._places[number], self._settings
        generator = np.random.default_rng((settings.seed, self._epoch, number))
        chosen = generator.choice(len(place.images), settings.images, replace=False)
        try:
            images = [image_of_side(place.folder / place.images[index], settings.side) for index in chosen]
        except SegvladError as error:
            return str(error)
        images = _augmented(images, settings.augmentations, int(generator.integers(1 << 62)))
        return np.stack([np.asarray(image) for image in images]), np.full(settings.images, number)


def image_of_side(path: Path, side: int) -> Image:
    """An image file brought to side x side pixels, bilinear, smoothed where it shrinks."""
    from PIL import Image

    return Image.fromarray(read_image(path)).resize((side, side), Image.Resampling.BILINEAR)


def _augmented(images: list[Image], operations: int, seed: int) -> list[Image]:
    """RandAugment (Cubuk et al., 2020), which draws from torch's generator of the process."""
    torch, transforms = import_extra('torch'), import_extra('torchvision.transforms')
    augment = transforms.RandAugment(operations, interpolation=transforms.InterpolationMode.BILINEAR)
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return [augment(image) for image in images]


def _joined(items: list[tuple[np.ndarray, np.ndarray] | str]) -> tuple[torch.Tensor, torch.Tensor] | str:
    torch = import_extra('torch')
    for item in items:
        if isinstance(item, str):
            return item
    images, numbers = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*items))
    return images, numbers
