"""Masks that say what of an image counts: 0 covers, anything else is used, as OpenCV, ORB-SLAM and COLMAP have it."""
from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.io.image_codec import MAX_PIXELS, same_view
from segvlad_ros.io.image_file import read_usable
from segvlad_ros.io.images import decode_file
from segvlad_ros.io.paths import mirrored
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)


def read_mask(path: Path) -> np.ndarray:
    """A mask file, (h, w) bool, True where the image is used.

    :raises SegvladError: unreadable, it covers everything, or leaves open what it covers
    """
    usable = _read(path)
    if not usable.any():
        raise SegvladError(f'{path}: a mask that covers everything: 0 covers, anything else (255) is used')
    return usable


def _read(path: Path) -> np.ndarray:
    return decode_file(path, partial(read_usable, max_pixels=MAX_PIXELS, upright=True))


def fitted(usable: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A mask at the size of its image; a smaller or larger one of the same view is resized, by nearest neighbour.

    :param shape: of the image, height first
    :param name: of the mask, for the refusal
    :raises SegvladError: it has another shape, and so is of another image
    """
    height, width = shape[:2]
    if usable.shape == (height, width):
        return usable
    if not same_view(usable.shape, shape):
        raise SegvladError(f'{name} has {usable.shape[1]} x {usable.shape[0]} pixels, the image {width} x {height}: a '
                           'mask has the size of the image, or that of the whole image made smaller or larger')
    return cv2.resize(usable.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


class MaskFiles:
    """Masks of image files: one for all of them, or a folder with one of each.

    In a folder, that of ``monday/ref/7.jpg`` is ``monday/ref/7.png``, else ``ref/7.png``, else ``7.png``; each may be
    called ``7.jpg.png`` as COLMAP has it. An image without one is used whole.

    :param images: that masks will be asked for
    :raises SegvladError: there is no such file or folder, the one mask cannot be used, or no file of the folder is that
        of an image, or two are of one, or one of two
    """

    def __init__(self, path: Path, images: Iterable[Path]) -> None:
        self._path = path
        self._is_folder = path.is_dir()
        self._usable = None if self._is_folder else read_mask(path)
        if self._is_folder:
            images = list(dict.fromkeys(images))
            folders = {folder for image in images for folder in mirrored(path, image)}
            self._of_stem = {folder: _by_stem(folder) for folder in folders if folder.is_dir()}
            self._check(images)

    def _check(self, images: list[Path]) -> None:
        """A folder of masks that are called otherwise would cover nothing, or in another image, without a word."""
        files = {image: self._file_of(image) for image in images}
        first: dict[Path, Path] = {}
        for image, file in files.items():
            other = first.setdefault(file, image)
            if file is not None and other.resolve() != image.resolve():
                remedy = "put it into a folder there that is called as its image's" if other.name == image.name else \
                    f'call it {other.name}.png or {image.name}.png'
                raise SegvladError(f'{file} would be the mask of {other} and of {image}: {remedy}')
        without = [*files.values()].count(None)
        if without == len(images):
            raise SegvladError(f'{self._path}: has no mask for any of the {len(images)} images'
                               + ''.join(f'; that of {image.name} is called {image.stem}.png or {image.name}.png'
                                         for image in images[:1]))
        if without:
            logger.warning('%s: has no mask for %d of %d images, they are used whole', self._path, without, len(images))

    def _file_of(self, image: Path) -> Path | None:
        for folder in mirrored(self._path, image):
            of_stem = self._of_stem.get(folder, {})
            files = [file for stem in {image.stem, image.name} for file in of_stem.get(stem, ())]
            if len(files) > 1:
                names = sorted(file.name for file in files)
                raise SegvladError(f'{folder}: {names[0]} and {names[1]} are both the mask of {image.name}; keep one')
            if files:
                return files[0]
        return None

    def of(self, image: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """The mask of an image of this shape, None without one.

        :raises SegvladError: it cannot be read, or is that of another image
        """
        if not self._is_folder:
            return fitted(self._usable, shape, f'mask {self._path}')
        path = self._file_of(image)
        return None if path is None else fitted(_read(path), shape, f'mask {path}')


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """The PNG files of a folder by their names without the ending, which may be written ``.PNG``."""
    found: dict[str, list[Path]] = defaultdict(list)
    try:
        for file in folder.iterdir():
            if file.suffix.lower() == '.png' and file.is_file():
                found[file.stem].append(file)
    except OSError as error:
        raise SegvladError(f'{folder}: cannot be read ({error.strerror})') from None
    return found
