"""Image files: one image, a folder of them, or a text file that lists them."""
from __future__ import annotations

import logging
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

SUFFIXES = {'.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.bmp', '.dib', '.tif', '.tiff', '.ppm', '.pgm', '.pbm',
            '.pnm'}
# Of images in formats that are not read: a folder that holds some is not all that its owner takes it for.
_UNREAD_SUFFIXES = {'.avif', '.dng', '.exr', '.gif', '.hdr', '.heic', '.heif', '.jp2', '.jxl', '.pfm', '.raw'}
MAX_FILE_BYTES = 500_000_000


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which numbers count as numbers: ``out2`` before ``out10`` (segvlad-spec.md 1)."""
    parts = re.split(r'(\d+)', name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_image(path: str | Path, bits: int = 0) -> np.ndarray:
    """Read an image file, upright as its EXIF orientation says.

    :param bits: of the camera, in files of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    :returns: (h, w, 3) uint8 RGB
    :raises SegvladError: naming the file, when it is missing, no image or damaged
    """
    return decode_file(path, partial(decode_compressed, upright=True, bits=bits))


def decode_file(path: str | Path, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """What a decoder makes of an image file.

    :raises SegvladError: naming the file, when it is missing, far too large, or refused by the decoder
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise SegvladError(f'{path}: cannot be read (a folder, a pipe or a device, no file)')
        if status.st_size > MAX_FILE_BYTES:
            raise SegvladError(f'{path}: larger than {MAX_FILE_BYTES // 1_000_000} MB, no image that can be used')
        data = Path(path).read_bytes()
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    try:
        return decode(data)
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}') from None


def _listed(path: Path) -> list[Path]:
    data = path.read_bytes()
    try:
        images = [path.parent / line.strip() for line in data.decode('utf-8-sig').splitlines() if line.strip()]
        missing = next((image for image in images if not image.is_file()), None)
    except (OSError, ValueError):  # no text, or a line that no file system takes for a path
        raise SegvladError(f'{path}: neither a folder of images nor a text file with one image path a line') from None
    if missing is not None:
        raise SegvladError(f"{path}: lists {missing}, which is no file; paths are relative to the list's folder")
    return images


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if not path.name.startswith('.') and path.is_file()]
    unread = [suffix for path in files if (suffix := path.suffix.lower()) in _UNREAD_SUFFIXES]
    if unread:
        logger.warning('%s: %d images (%s) are left out, their format is not read; make PNG of them', folder,
                       len(unread), ', '.join(sorted(set(unread))))
    return sorted((path for path in files if path.suffix.lower() in SUFFIXES), key=lambda path: natural_key(path.name))


def list_images(source: str | Path) -> list[Path]:
    """The images of a folder in natural order, or those that a text file lists, in its order.

    :param source: folder (its own files, not those of folders inside, nor hidden ones such as the ``._`` files of
        macOS), or text file with one path a line, relative to the folder of the text file; empty lines are skipped
    :raises SegvladError: nothing there, or a listed file is missing
    """
    source = Path(source)
    try:
        if source.is_dir():
            images = _in_folder(source)
        elif source.is_file():
            images = _listed(source)
        else:
            raise SegvladError(f'{source}: no such folder or list of images')
    except OSError as error:
        raise SegvladError(f'{source}: cannot be read ({error.strerror})') from None
    if not images:
        raise SegvladError(f'{source}: holds no images ({", ".join(sorted(SUFFIXES))})')
    return images
