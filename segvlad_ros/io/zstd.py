"""Zstandard, from whichever package the installed rosbags brings along (Python has its own from 3.14 on)."""
from __future__ import annotations

import contextlib
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from segvlad_ros.types import SegvladError

MAGIC = b'\x28\xb5\x2f\xfd'


@lru_cache(maxsize=1)
def _library():
    """A module with ``open`` and with ``ZstdError``."""
    for name in ('compression.zstd', 'backports.zstd', 'zstandard'):
        with contextlib.suppress(ImportError):
            return __import__(name, fromlist=['open'])
    raise SegvladError('zstd data cannot be read: no zstd package is installed; pip install backports.zstd')


def decompress(data: bytes) -> bytes:
    """One or several frames.

    :raises SegvladError: damaged or cut off
    """
    zstd = _library()
    try:
        if zstd.__name__ == 'zstandard':
            return zstd.ZstdDecompressor().decompressobj().decompress(data)  # the one that needs no size in the frame
        return zstd.decompress(data)
    except (zstd.ZstdError, MemoryError) as error:
        raise SegvladError(f'damaged zstd data ({error})') from None


def unpacked(path: Path) -> Path:
    """A file packed with zstd, unpacked into a temporary folder that is removed when the process ends.

    :return: a file named as the packed one, without ``.zst`` or ``.zstd``; the same for the same file
    :raises SegvladError: damaged, cut off, or no room for it
    """
    status = path.stat()
    folder = _unpacked(path.absolute(), status.st_size, status.st_mtime_ns)
    return Path(folder.name) / path.stem


@lru_cache(maxsize=64)
def _unpacked(path: Path, size: int, changed_ns: int) -> tempfile.TemporaryDirectory:
    zstd = _library()
    folder = tempfile.TemporaryDirectory(prefix='segvlad_bag_')
    try:
        with zstd.open(path, 'rb') as packed, (Path(folder.name) / path.stem).open('wb') as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (zstd.ZstdError, EOFError) as error:
        folder.cleanup()
        raise SegvladError(f'{path}: is damaged or cut off ({error or "zstd data ends in the middle"}); copy it anew, '
                           f'or save its beginning: zstd -dc {path.name} > {path.stem}, and give that file') from None
    except OSError as error:
        folder.cleanup()
        raise SegvladError(f'{path}: cannot be unpacked into {folder.name} ({error.strerror}); unpack it yourself: '
                           f'zstd -d {path.name}, and give {path.stem}') from None
    return folder
