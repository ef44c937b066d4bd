"""Fetching published files: resumed where a connection was cut, whole and verified before they have their name."""
from __future__ import annotations

import http.client
import logging
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from segvlad_ros.io.weights import CHUNK, PINS, PublishedFile, verify
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Times that a cut connection is taken up again before giving up."""

Progress = Callable[[int, 'int | None'], None]

_TIMEOUT_S = 30.0
_INTERRUPTIONS = (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError)


def fetch(entry: PublishedFile, folder: Path, *, url: str | None = None,
          progress: Progress = lambda done, total: None) -> Path:
    """Download one file into a folder, unless it is there already.

    What has arrived is kept in ``NAME.part`` and continued by the next call.

    :param url: a mirror to take instead of the published address
    :param progress: called with the bytes that are there and the bytes in all (None if the server does not say)
    :return: the verified file
    :raises SegvladError: where the server, the connection, the disk or the file is at fault
    """
    address = url or entry.url
    if not _is_web_address(address):
        raise SegvladError(f'{address} is not a web address: give one that begins with https://')
    target = folder / entry.file
    if target.exists():
        logger.info('%s is there already: %s', target, verify(target, entry))
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'{entry.file}.part'
    _download(address, part, entry, progress)
    try:
        logger.info('%s: %s', target, verify(part, entry, folder / PINS))
    except SegvladError:
        part.unlink()
        raise
    take_place(part, target)
    return target


def _is_web_address(address: str) -> bool:
    try:
        return address.isascii() and urllib.parse.urlsplit(address).scheme in ('http', 'https')
    except ValueError:
        return False


def _download(address: str, part: Path, entry: PublishedFile, progress: Progress) -> None:
    """Bring ``part`` to its full length."""
    for _ in range(ATTEMPTS):
        try:
            if _continue(address, part, entry, progress):
                return
            reason: object = 'the server closed the connection early'
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.exists():
                part.unlink()  # longer than the file that is served now
                reason = error
                continue
            raise SegvladError(f'{address} cannot be fetched: {error.code} {error.reason}') from error
        except _INTERRUPTIONS as error:
            reason = getattr(error, 'reason', None) or error
        logger.warning('%s was interrupted (%s)', address, reason)
    raise SegvladError(f'{address} could not be fetched ({reason}); {_size(part)} bytes are kept in {part}: '
                       'run the command again to continue')


def _continue(address: str, part: Path, entry: PublishedFile, progress: Progress) -> bool:
    """One connection. :return: whether the file is whole."""
    have = _size(part)
    if entry.size is not None and have >= entry.size:
        return True
    request = urllib.request.Request(address, headers={'User-Agent': 'segvlad', 'Accept-Encoding': 'identity'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        if response.headers.get_content_type() == 'text/html':
            raise SegvladError(f'{address} answers with a web page, not the file; check the address or give --url')
        resumed = have > 0 and response.headers.get('Content-Range', '').startswith(f'bytes {have}-')
        have = have if resumed else 0
        length = response.headers.get('Content-Length', '')
        total = have + int(length) if length.isdigit() else entry.size
        _check_total(address, part, entry, total, have)
        with open(part, 'ab' if resumed else 'wb') as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
    return total is None or have >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_total(address: str, part: Path, entry: PublishedFile, total: int | None, have: int) -> None:
    """Refuse the wrong length, and a disk that cannot hold it, before anything is written."""
    if entry.size is not None and total != entry.size:
        raise SegvladError(f'{address} offers {total} bytes, {entry.name} has {entry.size}: another file, not fetched')
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise SegvladError(f'{part.parent} has {free} bytes free, {total - have} are needed; give another --folder')
