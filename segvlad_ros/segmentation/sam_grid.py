"""SAM's automatic masks at the size that SegVLAD needs: the segments of the stock generator, without its detours.

Stock draws every mask at 1024 x 1024, filters afterwards, encodes the survivors as run lengths on the CPU and decodes
them again. Here the predicted IoU filters first, one linear map takes the low-resolution logits to the output size, and
masks never leave the device (segvlad-spec.md 4; performance-anchors.md 5, a to h).
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_deep
from segvlad_ros.segmentation.sam_decoder import PointDecoder
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class SamSettings:
    """Settings of the automatic masks; the defaults are those of the stock generator.

    :ivar points_per_side: the prompt grid is this number squared
    :ivar points_per_batch: points decoded together, which bounds the memory; None: 128 on a GPU, 16 on a CPU
    :ivar iou_threshold: lowest predicted IoU that is kept, exclusive
    :ivar stability_threshold: lowest share of a mask's pixels that survive a stricter threshold, inclusive
    :ivar nms_threshold: of two masks whose boxes overlap more (IoU), only the better one stays
    """

    points_per_side: int = 32
    points_per_batch: int | None = None
    iou_threshold: float = 0.88
    stability_threshold: float = 0.95
    nms_threshold: float = 0.7

    def __post_init__(self) -> None:
        for name, low, high in (('points_per_side', 1, 256), ('points_per_batch', 1, 4096),
                                ('iou_threshold', 0, 1), ('stability_threshold', 0, 1), ('nms_threshold', 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SegvladError(f'SAM segmenter: {name} is {value}; set it from {low} to {high}')


STABILITY_OFFSET = 1.0
"""Half the distance between the two logit thresholds of the stability score."""


@dataclass(frozen=True)
class _Frame:
    """What depends on the image's size alone.

    :ivar rows: (h, used rows) float32, from low-resolution rows to output rows
    :ivar columns: (low-resolution columns, w) float32, likewise
    :ivar prompts: (P, T, C) float32, the embedded points
    """

    size: tuple[int, int]
    rows: Any
    columns: Any
    prompts: Any


class GridMasks:
    """The grid mode of :class:`segvlad_ros.segmentation.sam.SamSegmenter`.

    :param sam: a ``segment_anything.modeling.Sam`` in evaluation mode, on its final device
    """

    def __init__(self, sam: Any, settings: SamSettings) -> None:
        self._torch = import_deep('torch')
        self._suppress_boxes = import_deep('torchvision.ops').batched_nms
        self._transform = import_deep('segment_anything.utils.transforms').ResizeLongestSide(sam.image_encoder.img_size)
        self._point_grid = import_deep('segment_anything.utils.amg').build_point_grid(settings.points_per_side)
        self._sam = sam
        self._settings = settings
        self._batch = settings.points_per_batch or (128 if sam.device.type == 'cuda' else 16)
        self.decoder = PointDecoder(sam)
        self._frame: _Frame | None = None

    def generate(self, rgb: np.ndarray) -> tuple[Any, Any]:
        """Segment one image.

        :param rgb: (h, w, 3) uint8
        :return: masks (M, h, w) bool on the device; predicted IoU (M,) float32, descending
        """
        frame = self._frame
        if frame is None or frame.size != rgb.shape[:2]:
            frame = self._frame = self._frame_of(rgb.shape[:2])
        embedding = self.encode(rgb)
        finite = embedding.isfinite().all()
        found = [self._measure(frame, logits, quality) for logits, quality in self._decode(embedding, frame.prompts)]
        masks, boxes, quality = (self._torch.cat(parts) for parts in zip(*found, strict=True))
        masks, quality = self._suppress(masks, boxes, quality)
        if not finite:
            raise SegvladError('the SAM image encoder gave values that are not finite; set precision to float32')
        return masks, quality

    def encode(self, rgb: np.ndarray) -> Any:
        """The image embedding, (C, side, side) float32; the image is scaled and padded as stock does it."""
        scaled = self._torch.from_numpy(self._transform.apply_image(rgb))
        if self._sam.device.type == 'cuda':
            scaled = scaled.pin_memory()
        scaled = scaled.to(self._sam.device, non_blocking=True).permute(2, 0, 1)
        return self._sam.image_encoder(self._sam.preprocess(scaled)[None])[0]

    def _decode(self, embedding: Any, prompts: Any) -> Iterator[tuple[Any, Any]]:
        """Low-resolution logits (S, 256, 256) and predicted IoU (S,) of the masks that pass it, batch by batch."""
        image = self.decoder.prepare(embedding)
        for batch in prompts.split(self._batch):
            quality, embeddings, tokens = self.decoder.decode(image, batch)
            if self._settings.iou_threshold > 0:
                kept = quality > self._settings.iou_threshold
            else:
                kept = self._torch.ones_like(quality, dtype=self._torch.bool)
            points = kept.any(1).nonzero()[:, 0]
            kept = kept[points]
            yield self.decoder.logits(tokens[points], embeddings[points])[kept], quality[points][kept]

    def _measure(self, frame: _Frame, logits: Any, quality: Any) -> tuple[Any, Any, Any]:
        """Masks, boxes and predicted IoU of the stable masks of one batch, at the output size."""
        logits = frame.rows @ (logits[:, :frame.rows.shape[1]] @ frame.columns)
        threshold = self._sam.mask_threshold
        stability = (_count(logits > threshold + STABILITY_OFFSET)
                     / _count(logits > threshold - STABILITY_OFFSET))
        masks = logits > threshold
        if self._settings.stability_threshold > 0:
            stable = (stability >= self._settings.stability_threshold).nonzero()[:, 0]
            masks, quality = masks[stable], quality[stable]
        return masks, _boxes(self._torch, masks), quality

    def _suppress(self, masks: Any, boxes: Any, quality: Any) -> tuple[Any, Any]:
        """Drop the worse of two masks with nearly the same box, then empty masks; best first."""
        kept = self._suppress_boxes(boxes, quality, self._torch.zeros_like(quality), self._settings.nms_threshold)
        masks, quality = masks[kept], quality[kept]
        some = masks.flatten(1).any(1)
        return masks[some], quality[some]

    def _frame_of(self, size: tuple[int, int]) -> _Frame:
        side = self._sam.image_encoder.img_size
        low = 4 * self.decoder.side
        scaled = self._transform.get_preprocess_shape(*size, side)
        rows, columns = (self._resampling(low, side, scaled[axis], size[axis]) for axis in (0, 1))
        used = int(rows.any(0).nonzero().max()) + 1
        points = self._transform.apply_coords(self._point_grid * np.array(size)[::-1], size)
        prompts = self.decoder.embed_points(self._torch.as_tensor(points, device=self._sam.device))
        return _Frame(tuple(size), rows[:, :used].contiguous(), columns.T.contiguous(), prompts)

    def _resampling(self, low: int, side: int, cropped: int, out: int) -> Any:
        """Both bilinear steps of stock along one axis, and the crop between them, as one matrix (out, low).

        PyTorch's own interpolation of the unit vectors gives its very weights, float rounding included.
        """
        interpolate = import_deep('torch.nn.functional').interpolate
        unit = self._torch.eye(low, device=self._sam.device)[None]
        large = interpolate(unit, size=side, mode='linear', align_corners=False)[..., :cropped]
        return interpolate(large, size=out, mode='linear', align_corners=False)[0].T


def _count(masks: Any) -> Any:
    """Set pixels of each mask (n, h, w), float32 (exact up to 2^24 pixels)."""
    return masks.flatten(1).float().sum(1)


def _boxes(torch: Any, masks: Any) -> Any:
    """(n, 4) float32 of x0, y0, x1, y1, corners inclusive, as stock measures them; zeros for an empty mask."""
    height, width = masks.shape[1:]
    rows, columns = masks.any(2).to(torch.uint8), masks.any(1).to(torch.uint8)
    corners = torch.stack([columns.argmax(1), rows.argmax(1), width - 1 - columns.flip(1).argmax(1),
                           height - 1 - rows.flip(1).argmax(1)], dim=1)
    return (corners * rows.amax(1, keepdim=True)).float()
