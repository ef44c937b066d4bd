"""SAM's automatic masks by ONNX Runtime and NumPy, for robots without PyTorch: the stages of mode ``grid``.

The networks are three files: the image encoder, the points of the prompt grid (predicted IoU first), and the masks of
those points whose predicted IoU passes. ``segvlad export sam`` writes them.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from segvlad_ros.io.model_files import open_session
from segvlad_ros.segmentation.sam_checkpoint import PIXEL_MEAN, PIXEL_STD
from segvlad_ros.segmentation.sam_grid import STABILITY_OFFSET, SamGridSettings
from segvlad_ros.types import Masks, SegvladError

PARTS = ('points', 'masks')
"""What the names of the second and third file have before their ending: ``NAME.points.onnx``."""

_BATCH = 16


def files_of(path: Path) -> tuple[Path, Path, Path]:
    """All files of a SAM in ONNX.

    :param path: of the encoder, ``NAME.onnx``
    """
    return (path, *(path.with_name(f'{path.stem}.{part}.onnx') for part in PARTS))


class OnnxSamSegmenter:
    """The masks of :class:`segvlad_ros.segmentation.sam.SamSegmenter` in mode ``grid``, up to rounding.

    :param path: of the encoder; the other files stand beside it
    :param device: see :func:`segvlad_ros.io.devices.runtime_providers`
    :param image_size: what the side of the input has to be, pixels; None takes what the files are for
    :raises SegvladError: a file is missing, damaged, or of another SAM than the encoder
    """

    def __init__(self, path: Path, *, device: str = 'cpu', image_size: int | None = None,
                 settings: SamGridSettings | None = None) -> None:
        missing = [file for file in files_of(path) if not file.is_file()]
        if missing:
            raise SegvladError(f'{missing[0]} does not exist: "segvlad export sam" writes it beside {path.name}')
        self._encoder, self._points, self._masks = (open_session(file, device) for file in files_of(path))
        self._settings = settings or SamGridSettings()
        self._side = self._encoder.get_inputs()[0].shape[-1]
        wanted, given = self._points.get_inputs()[0].shape, self._encoder.get_outputs()[0].shape
        if not isinstance(self._side, int) or list(wanted) != list(given):
            raise SegvladError(f'{path} makes embeddings of {given}, {files_of(path)[1].name} takes {wanted}: write '
                               'all files anew with "segvlad export sam"')
        if image_size not in (None, self._side):
            raise SegvladError(f'{path} is for images of {self._side} pixels, image_size is {image_size}: write it '
                               'anew with "segvlad export sam --set segmenter.image_size=..."')
        self._grid = _point_grid(self._settings.points_per_side)

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`.

        :raises SegvladError: the network's answer is not finite
        """
        embedding = self.encode(rgb)[None]
        if not np.isfinite(embedding).all():
            raise SegvladError('the SAM image encoder gave values that are not finite')
        height, width = rgb.shape[:2]
        scaled = self._scaled(height, width)
        points = (self._grid * scaled[::-1]).astype(np.float32)
        found = [self._measured(batch, (height, width), scaled) for batch in self._decoded(embedding, points)]
        masks, quality = (np.concatenate(parts) for parts in zip(*found))
        kept = suppressed(boxes_of(masks), quality, self._settings.nms_threshold)
        kept = kept[masks[kept].any(axis=(1, 2))]
        return Masks(masks[kept], quality[kept], embedding[0])

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """The image embedding, (C, side, side) float32; the image is scaled and padded as stock does it."""
        height, width = self._scaled(*rgb.shape[:2])
        scaled = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        image = np.zeros((1, 3, self._side, self._side), np.float32)
        image[0, :, :height, :width] = ((scaled - PIXEL_MEAN) / PIXEL_STD).transpose(2, 0, 1)
        return self._encoder.run(None, {self._encoder.get_inputs()[0].name: image})[0][0]

    def _decoded(self, embedding: np.ndarray, points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Low-resolution logits (S, l, l) and predicted IoU (S,) of the masks that pass it, batch by batch."""
        size = self._settings.points_per_batch or _BATCH
        for start in range(0, len(points), size):
            batch = {'embedding': embedding, 'points': points[start:start + size]}
            quality, embeddings, tokens = self._points.run(None, batch)
            passed = (quality > self._settings.iou_threshold) | (self._settings.iou_threshold == 0)
            some = passed.any(axis=1)
            logits, = self._masks.run(None, {'tokens': tokens[some], 'embeddings': embeddings[some]})
            yield logits[passed[some]], quality[passed]

    def _measured(self, batch: tuple[np.ndarray, np.ndarray], size: tuple[int, int],
                  scaled: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The stable masks of one batch, at the size of the image, and their predicted IoU."""
        logits, quality = batch
        rows, columns = (_resampling(logits.shape[1], self._side, scaled[axis], size[axis]) for axis in (0, 1))
        logits = rows @ (logits @ columns.T)
        inner, outer = ((logits > offset).sum(axis=(1, 2)) for offset in (STABILITY_OFFSET, -STABILITY_OFFSET))
        stable = inner >= self._settings.stability_threshold * outer
        return logits[stable] > 0, quality[stable]

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image within the network's input."""
        scale = self._side / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)


def suppressed(boxes: np.ndarray, quality: np.ndarray, threshold: float) -> np.ndarray:
    """Numbers of the boxes that stay, best first: of two that overlap by more than the threshold (IoU) the better one.

    :param boxes: (n, 4) float32, x0, y0, x1, y1
    """
    order = np.argsort(-quality, kind='stable')
    corners, areas = boxes[order], np.prod(boxes[order, 2:] - boxes[order, :2], axis=1)
    stays = np.ones(len(order), bool)
    for better in range(len(order)):
        if stays[better]:
            low = np.maximum(corners[better, :2], corners[better + 1:, :2])
            high = np.minimum(corners[better, 2:], corners[better + 1:, 2:])
            shared = np.prod(np.maximum(high - low, 0), axis=1)
            # not divided: two boxes without area share nothing
            stays[better + 1:] &= shared <= threshold * (areas[better] + areas[better + 1:] - shared)
    return order[stays]


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """(n, 4) float32 of x0, y0, x1, y1, corners inclusive, as stock measures them; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for axis, occupied in enumerate((masks.any(axis=1), masks.any(axis=2))):
        some, last = occupied.any(axis=1), occupied.shape[1] - 1
        boxes[:, axis] = occupied.argmax(axis=1)
        boxes[:, axis + 2] = (last - occupied[:, ::-1].argmax(axis=1)) * some
    return boxes


def _point_grid(side: int) -> np.ndarray:
    """(side^2, 2), x and y as shares of the image, row by row."""
    at = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


@lru_cache(maxsize=16)
def _resampling(low: int, side: int, cropped: int, out: int) -> np.ndarray:
    """Both bilinear steps of stock along one axis, and the crop between them, as one matrix (out, low) float32."""
    return (_bilinear(cropped, out) @ _bilinear(low, side)[:cropped]).astype(np.float32)


def _bilinear(size: int, out: int) -> np.ndarray:
    """(out, size), as PyTorch interpolates without ``align_corners``."""
    position = np.maximum((np.arange(out) + 0.5) * size / out - 0.5, 0)
    before = np.minimum(position.astype(np.int64), size - 1)
    weights = np.zeros((out, size))
    np.add.at(weights, (np.arange(out), before), 1 - (position - before))
    np.add.at(weights, (np.arange(out), np.minimum(before + 1, size - 1)), position - before)
    return weights
