"""SAM's automatic masks at the size that SegVLAD needs: the segments of the stock generator, without its detours.

Stock draws every mask at 1024 x 1024, filters afterwards, encodes the survivors as run lengths on the CPU and decodes
them again. Here the predicted IoU filters first, one linear map takes the low-resolution logits to the output size, and
masks never leave the device (segvlad-spec.md 4; performance-anchors.md 5, a to h). All this rounds in another order
than stock. The few masks of the result with a pixel so near to the threshold that rounding decides it are drawn again,
the stock way.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.segmentation.sam_decoder import PointDecoder
from segvlad_ros.settings import setting
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class SamGridSettings:
    """Settings of the automatic masks; the defaults are those of the stock generator.

    :ivar points_per_side: the prompt grid is this number squared
    :ivar points_per_batch: points decoded together, which bounds the memory; None: 128 on a GPU, 16 on a CPU
    :ivar iou_threshold: lowest predicted IoU that is kept, exclusive
    :ivar stability_threshold: lowest share of a mask's pixels that survive a stricter threshold, inclusive
    :ivar nms_threshold: of two masks whose boxes overlap more (IoU), only the better one stays
    """

    points_per_side: int = setting(32, low=1, high=256)
    points_per_batch: int | None = setting(None, low=1, high=4096)
    iou_threshold: float = setting(0.88, low=0, high=1)
    stability_threshold: float = setting(0.95, low=0, high=1)
    nms_threshold: float = setting(0.7, low=0, high=1)

    def __post_init__(self) -> None:
        for entry in fields(SamGridSettings):
            value, low, high = getattr(self, entry.name), entry.metadata['low'], entry.metadata['high']
            if value is not None and not low <= value <= high:
                raise SegvladError(f'SAM segmenter: {entry.name} is {value}; set it from {low} to {high}')


STABILITY_OFFSET = 1.0
"""Half the distance between the two logit thresholds of the stability score."""

ROUNDING = 1e-5
"""Logits nearer to the threshold than this share of the mask's largest may fall to either side. Against stock, the
largest difference of a mask has been 1e-6 (median) to 4e-6 of that, at decoder widths of 64 and 256."""

_STOCK_BATCH = 64
_ALIKE_FROM = 8  # in smaller batches the stock decoder's own matrix products sum in another order (MKL)


@dataclass(frozen=True)
class _Frame:
    """What depends on the image's size alone.

    :ivar rows: (h, used rows) float32, from low-resolution rows to output rows
    :ivar columns: (low-resolution columns, w) float32, likewise
    :ivar points: (P, 2) float64, x and y, pixels of the network's input
    :ivar prompts: (P, T, C) float32, the embedded points
    :ivar scaled: height and width of the image within the network's input
    """

    size: tuple[int, int]
    rows: Any
    columns: Any
    points: Any
    prompts: Any
    scaled: tuple[int, int]


@dataclass(frozen=True)
class _Found:
    """Masks of one batch of points, at the output size.

    :ivar masks: (n, h, w) bool
    :ivar boxes: (n, 4) float32
    :ivar quality: (n,) float32, predicted IoU
    :ivar origin: (n,) int64, 3 times the point's number plus the mask's among those of its point
    :ivar doubtful: (n,) bool, some pixel hangs on rounding
    """

    masks: Any
    boxes: Any
    quality: Any
    origin: Any
    doubtful: Any


class GridMasks:
    """The grid mode of :class:`segvlad_ros.segmentation.sam.SamSegmenter`.

    :param sam: a ``segment_anything.modeling.Sam`` in evaluation mode, on its final device
    """

    def __init__(self, sam: Any, settings: SamGridSettings) -> None:
        self._torch = import_extra('torch')
        self._suppress_boxes = import_extra('torchvision.ops').batched_nms
        transforms = import_extra('segment_anything.utils.transforms')
        self._transform = transforms.ResizeLongestSide(sam.image_encoder.img_size)
        self._point_grid = import_extra('segment_anything.utils.amg').build_point_grid(settings.points_per_side)
        self._sam = sam
        self._settings = settings
        self._batch = settings.points_per_batch or (128 if sam.device.type == 'cuda' else 16)
        self.decoder = PointDecoder(sam)
        self._frame: _Frame | None = None

    def generate(self, rgb: np.ndarray) -> tuple[Any, Any, Any]:
        """Segment one image.

        :param rgb: (h, w, 3) uint8
        :return: masks (M, h, w) bool on the device; predicted IoU (M,) float32, descending; the embedding
        """
        frame = self._frame
        if frame is None or frame.size != rgb.shape[:2]:
            frame = self._frame = self._frame_of(rgb.shape[:2])
        embedding = self.encode(rgb)
        finite = embedding.isfinite().all()
        batches = [self._measure(frame, *batch) for batch in self._decode(embedding, frame.prompts)]
        found = _Found(*(self._torch.cat([getattr(batch, field.name) for batch in batches])
                         for field in fields(_Found)))
        masks, quality = self._suppress(frame, embedding, found)
        if not finite:
            raise SegvladError('the SAM image encoder gave values that are not finite; set precision to float32')
        return masks, quality, embedding

    def encode(self, rgb: np.ndarray) -> Any:
        """The image embedding, (C, side, side) float32; the image is scaled and padded as stock does it."""
        scaled = self._torch.from_numpy(self._transform.apply_image(rgb))
        if self._sam.device.type == 'cuda':
            scaled = scaled.pin_memory()
        scaled = scaled.to(self._sam.device, non_blocking=True).permute(2, 0, 1)
        return self._sam.image_encoder(self._sam.preprocess(scaled)[None])[0]

    def _decode(self, embedding: Any, prompts: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Low-resolution logits (S, 256, 256), predicted IoU and origin of the masks that pass it, batch by batch."""
        image = self.decoder.prepare(embedding)
        for number, batch in enumerate(prompts.split(self._batch)):
            quality, embeddings, tokens = self.decoder.decode(image, batch)
            if self._settings.iou_threshold > 0:
                kept = quality > self._settings.iou_threshold
            else:
                kept = self._torch.ones_like(quality, dtype=self._torch.bool)
            points = kept.any(1).nonzero()[:, 0]
            origin = kept.flatten().nonzero()[:, 0] + number * self._batch * kept.shape[1]
            kept = kept[points]
            yield self.decoder.logits(tokens[points], embeddings[points])[kept], quality[points][kept], origin

    def _measure(self, frame: _Frame, logits: Any, quality: Any, origin: Any) -> _Found:
        """The stable masks of one batch."""
        rounding = ROUNDING * logits.flatten(1).abs().amax(1)
        logits = frame.rows @ (logits[:, :frame.rows.shape[1]] @ frame.columns)
        threshold = self._sam.mask_threshold
        stability = _count(logits > threshold + STABILITY_OFFSET) / _count(logits > threshold - STABILITY_OFFSET)
        masks = logits > threshold
        doubtful = logits.sub_(threshold).abs_().flatten(1).amin(1) < rounding
        if self._settings.stability_threshold > 0:
            stable = (stability >= self._settings.stability_threshold).nonzero()[:, 0]
            masks, quality, origin, doubtful = (values[stable] for values in (masks, quality, origin, doubtful))
        return _Found(masks, _boxes(self._torch, masks), quality, origin, doubtful)

    def _suppress(self, frame: _Frame, embedding: Any, found: _Found) -> tuple[Any, Any]:
        """Drop the worse of two masks with nearly the same box, settle doubtful ones, drop empty ones; best first."""
        kept = self._suppress_boxes(found.boxes, found.quality, self._torch.zeros_like(found.quality),
                                    self._settings.nms_threshold)
        masks, quality = found.masks[kept], found.quality[kept]
        doubtful = found.doubtful[kept].nonzero()[:, 0]
        if len(doubtful):
            masks[doubtful] = self._redraw(frame, embedding, found.origin[kept][doubtful])
        some = masks.flatten(1).any(1)
        return masks[some], quality[some]

    def _redraw(self, frame: _Frame, embedding: Any, origin: Any) -> Any:
        """Masks by segment-anything's own decoder and resampling: on a CPU, to the bit what the stock generator has.

        :param origin: (n,) as in :class:`_Found`
        :return: (n, h, w) bool
        """
        torch, sam = self._torch, self._sam
        count = sam.mask_decoder.num_mask_tokens - 1
        points, place = (origin // count).unique(return_inverse=True)
        points = torch.cat([points, points[-1:].expand(-len(points) % _ALIKE_FROM)])
        drawn = torch.empty((len(origin), *frame.size), dtype=torch.bool, device=origin.device)
        for number, batch in enumerate(frame.points[points].split(_STOCK_BATCH)):
            labels = torch.ones((len(batch), 1), dtype=torch.int, device=batch.device)
            sparse, dense = sam.prompt_encoder(points=(batch[:, None], labels), boxes=None, masks=None)
            logits, _ = sam.mask_decoder(
                image_embeddings=embedding[None], image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=True)
            here = (place // _STOCK_BATCH == number).nonzero()[:, 0]
            wanted = logits[place[here] % _STOCK_BATCH, origin[here] % count]
            drawn[here] = sam.postprocess_masks(wanted[:, None], frame.scaled, frame.size)[:, 0] > sam.mask_threshold
        return drawn

    def _frame_of(self, size: tuple[int, int]) -> _Frame:
        side = self._sam.image_encoder.img_size
        low = 4 * self.decoder.side
        scaled = self._transform.get_preprocess_shape(*size, side)
        rows, columns = (self._resampling(low, side, scaled[axis], size[axis]) for axis in (0, 1))
        used = int(rows.any(0).nonzero().max()) + 1
        points = self._transform.apply_coords(self._point_grid * np.array(size)[::-1], size)
        points = self._torch.as_tensor(points, device=self._sam.device)
        return _Frame(tuple(size), rows[:, :used].contiguous(), columns.T.contiguous(), points,
                      self.decoder.embed_points(points), scaled)

    def _resampling(self, low: int, side: int, cropped: int, out: int) -> Any:
        """Both bilinear steps of stock along one axis, and the crop between them, as one matrix (out, low).

        PyTorch's own interpolation of the unit vectors gives its very weights, float rounding included.
        """
        interpolate = self._torch.nn.functional.interpolate
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
