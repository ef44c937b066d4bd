"""The segmenters and feature extractors that a preset can name: their settings, and how they are built."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.io.weights import entry_of
from segvlad_ros.settings import setting
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.features import FeatureExtractor
    from segvlad_ros.segmentation import Segmenter


@dataclass(frozen=True)
class FelzenszwalbSettings:
    """See :class:`segvlad_ros.segmentation.felzenszwalb.FelzenszwalbSegmenter`."""

    kind: str
    scale: float = setting(low=1.0)
    sigma: float = setting(low=0.0, high=10.0)
    min_size: int = setting(low=1)
    max_segments: int = setting(low=1, high=1000)


@dataclass(frozen=True)
class PatchSettings:
    """See :class:`segvlad_ros.segmentation.patches.PatchSegmenter`; 4 x 4 is the paper's (Table 6)."""

    kind: str
    rows: int = setting(4, low=1, high=32)
    cols: int = setting(4, low=1, high=32)


@dataclass(frozen=True)
class RootSiftSettings:
    """See :class:`segvlad_ros.features.root_sift.RootSiftExtractor`."""

    kind: str
    cell: int = setting(low=4, high=128)
    bin_sizes: tuple[int, ...] = setting(low=4, high=64)
    min_gradient: float = setting(low=0.0)


@dataclass(frozen=True)
class SamSettings:
    """See :class:`segvlad_ros.segmentation.sam.SamSegmenter`; the defaults are the stock masks (segvlad-spec.md 4)."""

    kind: str
    model: str = setting(choices=('vit_h', 'vit_l', 'vit_b', 'auto'))
    weights: Path | None = None
    mode: str = setting('grid', choices=('grid', 'stock'))
    precision: str = setting('float32', choices=('float32', 'bfloat16'))
    points_per_side: int = setting(32, low=1, high=256)
    points_per_batch: int | None = setting(None, low=1, high=4096)
    iou_threshold: float = setting(0.88, low=0.0, high=1.0)
    stability_threshold: float = setting(0.95, low=0.0, high=1.0)
    nms_threshold: float = setting(0.7, low=0.0, high=1.0)


@dataclass(frozen=True)
class Dinov2Settings:
    """See :class:`segvlad_ros.features.dinov2.Dinov2Extractor`."""

    kind: str
    model: str = setting(choices=('vits14', 'vitb14', 'vitl14', 'vitg14', 'auto'))
    weights: Path | None = None
    block: int = setting(31, low=0, high=39)
    facet: str = setting('value', choices=('query', 'key', 'value', 'token', 'patches'))
    precision: str = setting('float32', choices=('float32', 'bfloat16'))


def build_segmenter(settings: FelzenszwalbSettings | PatchSettings | SamSettings, device: str) -> Segmenter:
    """The segmenter that a preset names, its weights loaded."""
    if isinstance(settings, FelzenszwalbSettings):
        from segvlad_ros.segmentation.felzenszwalb import FelzenszwalbSegmenter

        return FelzenszwalbSegmenter(settings.scale, settings.sigma, settings.min_size, settings.max_segments)
    if isinstance(settings, PatchSettings):
        from segvlad_ros.segmentation.patches import PatchSegmenter

        return PatchSegmenter(settings.rows, settings.cols)
    from segvlad_ros.segmentation import sam, sam_grid

    masks = sam_grid.SamGridSettings(settings.points_per_side, settings.points_per_batch, settings.iou_threshold,
                                 settings.stability_threshold, settings.nms_threshold)
    return sam.SamSegmenter.from_checkpoint(
        existing_file(settings.weights, 'segmenter.weights'), model=settings.model, mode=settings.mode, device=device,
        precision=settings.precision, settings=masks)


def build_extractor(settings: RootSiftSettings | Dinov2Settings, device: str) -> FeatureExtractor:
    """The feature extractor that a preset names, its weights loaded."""
    if isinstance(settings, RootSiftSettings):
        from segvlad_ros.features.root_sift import RootSiftExtractor

        return RootSiftExtractor(settings.cell, settings.bin_sizes, settings.min_gradient)
    from segvlad_ros.features.dinov2 import Dinov2Extractor

    return Dinov2Extractor.from_checkpoint(
        existing_file(settings.weights, 'features.weights'), None if settings.model == 'auto' else settings.model,
        facet=settings.facet, block=settings.block, device=device, precision=settings.precision)


def existing_file(path: Path | None, name: str) -> Path:
    """The path if there is a file.

    :param name: what it is in the preset
    :raises SegvladError: with the command that brings the file, if there is one
    """
    if path is None:
        raise SegvladError(f'the preset leaves {name} to you: set it to your file, e.g. --set {name}=FILE')
    if path.is_file():
        return path
    entry = entry_of(path)
    bring = f'get it with "segvlad weights fetch {entry.name}"' if entry else f'set {name} to an existing file'
    raise SegvladError(f'{name} {path} does not exist: {bring}')
