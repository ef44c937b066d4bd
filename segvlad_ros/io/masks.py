"""Masks that say what of an image counts: 0 covers, anything else is used, as OpenCV, ORB-SLAM and COLMAP have it."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.io.image_codec import MAX_PIXELS, same_view
from segvlad_ros.io.image_file import read_usable
from segvlad_ros.io.images import decode_file
from segvlad_ros.types import SegvladError


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

    In a folder, that of ``7.jpg`` is ``7.png``, or ``7.jpg.png`` as COLMAP has it. An image without one is used whole.

    :raises SegvladError: there is no such file or folder, or the one mask cannot be used
    """

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._path = path
        self._usable = None if path.is_dir() else read_mask(path)

    def of(self, image: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """The mask of an image of this shape, None without one.

        :raises SegvladError: it cannot be read, or is that of another image
        """
        if self._folder is None:
            return fitted(self._usable, shape, f'mask {self._path}')
        names = f'{image.stem}.png', f'{image.name}.png'
        path = next((self._folder / name for name in names if (self._folder / name).is_file()), None)
        return None if path is None else fitted(_read(path), shape, f'mask {path}')
