"""What MobileSAM makes of an image, kept on disk: a network looks at each image once, however many settings are tried.

All masks are kept that thresholds may choose; thresholds and gaps then cost what they cost without a network.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from classic_ablation import digest

from segvlad_ros.description.describer import Describer
from segvlad_ros.io.extras import import_extra
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.description_sections import SamSettings
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.segmentation.completion import CompletedSegmenter, filler
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_grid import STABILITY_OFFSET, GridMasks, SamGridSettings
from segvlad_ros.segmentation.sam_onnx import boxes_of, suppressed
from segvlad_ros.types import Masks

LOWEST_IOU, LOWEST_STABILITY = 0.5, 0.7


class KeptNetwork:
    """SAM's answers to images; the embedding is kept in 16 bits a value.

    :param settings: thresholds aside, what the answers hang on; one folder is for one of them
    :param folder: where they are kept from run to run
    """

    def __init__(self, settings: SamSettings, folder: Path) -> None:
        self._settings, self._folder, self._grid = settings, folder, None
        folder.mkdir(parents=True, exist_ok=True)

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """The embedding of an image, (C, side, side) float32."""
        path = self._file(rgb, '.npy')
        if not path.is_file():
            self._encoded(rgb)
        return np.load(path).astype(np.float32)

    def candidates(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, h, w) bool masks of all points before any suppression; their predicted IoU and stability, (n,) each."""
        path = self._file(rgb, '.npz')
        if not path.is_file():
            masks, quality, stability = (np.concatenate(parts) for parts in zip(*self._decoded(rgb)))
            unfinished = path.with_suffix('.unfinished')
            with unfinished.open('wb') as file:
                np.savez_compressed(file, masks=np.packbits(masks), shape=masks.shape, quality=quality,
                                    stability=stability)
            unfinished.rename(path)
        with np.load(path) as found:
            shape = tuple(found['shape'])
            masks = np.unpackbits(found['masks'], count=int(np.prod(shape))).reshape(shape).astype(bool)
            return masks, found['quality'], found['stability']

    def _file(self, rgb: np.ndarray, suffix: str) -> Path:
        return self._folder / f'{digest(rgb).hex()}{suffix}'

    def _encoded(self, rgb: np.ndarray) -> Any:
        """The embedding as the network has it; it is kept, too."""
        if self._grid is None:
            settings = self._settings
            self._grid = GridMasks(
                load_sam(settings.weights, settings.model, settings.image_size),
                SamGridSettings(points_per_side=settings.points_per_side, iou_threshold=LOWEST_IOU))
        with import_extra('torch').inference_mode():
            embedding = self._grid.encode(rgb)
        np.save(self._file(rgb, '.npy'), embedding.numpy().astype(np.float16))
        return embedding

    def _decoded(self, rgb: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Masks, predicted IoU and stability, batch by batch."""
        embedding = self._encoded(rgb)
        with import_extra('torch').inference_mode():
            frame = self._grid._frame_of(rgb.shape[:2])
            for logits, quality, _ in self._grid._decode(embedding, frame.prompts):
                yield _measured(frame.rows @ (logits[:, :frame.rows.shape[1]] @ frame.columns), quality)


def _measured(logits: Any, quality: Any) -> tuple[np.ndarray, ...]:
    """Masks, predicted IoU and stability of what is stable enough to be kept."""
    logits = logits.numpy()
    inner, outer = ((logits > offset).sum(axis=(1, 2)) for offset in (STABILITY_OFFSET, -STABILITY_OFFSET))
    stability = inner / np.maximum(outer, 1)
    stable = stability >= LOWEST_STABILITY
    return logits[stable] > 0, quality.numpy()[stable], stability[stable]


class KeptSegmenter:
    """The masks of a network that pass the thresholds of settings, suppressed as the stock generator does it."""

    def __init__(self, network: KeptNetwork, settings: SamGridSettings) -> None:
        self._network, self._settings = network, settings

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        masks, quality, stability = self._network.candidates(rgb)
        passed = (quality > self._settings.iou_threshold) & (stability >= self._settings.stability_threshold)
        masks, quality = masks[passed], quality[passed]
        kept = suppressed(boxes_of(masks), quality, self._settings.nms_threshold)
        kept = kept[masks[kept].any(axis=(1, 2))]
        return Masks(masks[kept], quality[kept], self._network.encode(rgb))


def build_kept(preset: Preset, folder: Path) -> Describer:
    """The describer of a preset; one that cuts by SAM takes what the network said before, if it did.

    :param folder: see :class:`KeptNetwork`
    """
    describer, settings = build_describer(preset), preset.segmenter
    if isinstance(settings, SamSettings):
        masks = KeptSegmenter(KeptNetwork(settings, folder), settings)
        describer.segmenter = masks if settings.gaps == 'leave' else CompletedSegmenter(masks, filler(settings.gaps))
    return describer
