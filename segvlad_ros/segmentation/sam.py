"""Segment Anything: every object of an image, from a grid of points (segvlad-spec.md 4)."""
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.devices import torch_device
from segvlad_ros.io.extras import import_extra
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_grid import GridMasks, SamGridSettings
from segvlad_ros.text import one_line
from segvlad_ros.types import Masks, SegvladError

logger = logging.getLogger(__name__)

MODES = ('grid', 'stock')
PRECISIONS = ('float32', 'bfloat16')


class SamSegmenter:
    """Automatic masks of SAM, best predicted IoU first; they overlap and nest.

    Mode ``stock`` is segment-anything's own generator. Mode ``grid`` finds the same segments, several times faster, and
    leaves them on the device. On a GPU it waits for the device once per batch of points and a few times at the end.

    :param sam: a ``segment_anything.modeling.Sam``, on the device where it is to run; the segmenter takes it over
    :param mode: ``grid`` or ``stock``
    :param precision: of the image encoder; ``bfloat16`` is faster on a GPU and changes a few masks
    :ivar grid: the stages of mode ``grid``, None in mode ``stock``
    """

    def __init__(self, sam: Any, *, mode: str = 'grid', precision: str = 'float32',
                 settings: SamGridSettings | None = None) -> None:
        for name, value, allowed in (('mode', mode, MODES), ('precision', precision, PRECISIONS)):
            if value not in allowed:
                raise SegvladError(f'SAM segmenter: {name} {value!r} is unknown; use one of {", ".join(allowed)}')
        self._torch = import_extra('torch')
        # PyTorch lets convolutions round to TF32 by default, on a GPU; float32 here means float32
        self._torch.backends.cudnn.allow_tf32 = False
        self._settings = settings or SamGridSettings()
        self._sam = sam.eval()
        if precision == 'bfloat16':
            sam.image_encoder = _bfloat16_encoder(sam.image_encoder)
        with self._torch.inference_mode():
            self.grid = GridMasks(self._sam, self._settings) if mode == 'grid' else None
            self._masks = self.grid.generate if self.grid else self._stock_masks()

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, model: str = 'auto', mode: str = 'grid', device: str = 'cpu',
                        precision: str = 'float32', image_size: int | None = None,
                        settings: SamGridSettings | None = None) -> SamSegmenter:
        """Load a checkpoint.

        :param path, model, image_size: see :func:`segvlad_ros.segmentation.sam_checkpoint.load_sam`
        :param device: ``cpu``, ``cuda`` or ``cuda:N``
        :raises SegvladError: where the file or the device cannot be used
        """
        where = torch_device(device)  # before a long load
        sam = load_sam(path, model, image_size)
        torch = import_extra('torch')
        try:
            sam.to(where)
        except RuntimeError as error:  # no memory left
            raise SegvladError(f'SAM cannot be put on device {device!r}: {one_line(error, 160)}') from error
        logger.info('SAM on %s, torch %s', device, torch.__version__)
        return cls(sam, mode=mode, precision=precision, settings=settings)

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`; the masks are a torch tensor on the network's device.

        :raises SegvladError: where the device runs out of memory or the network's answer is not finite
        """
        torch = self._torch
        try:
            with torch.inference_mode():
                masks, quality, embedding = self._masks(np.ascontiguousarray(rgb))
                quality = quality.cpu().numpy()
        except torch.OutOfMemoryError as error:
            if self._sam.device.type == 'cuda':
                torch.cuda.empty_cache()
            raise SegvladError(f'out of memory on {self._sam.device} while segmenting a {rgb.shape[1]}x{rgb.shape[0]} '
                               'image: lower points_per_batch or set precision to bfloat16') from error
        return Masks(masks, quality, embedding)

    def encode(self, rgb: np.ndarray) -> Any:
        """The embedding alone, (C, side, side) float32 on the network's device, in mode ``grid``."""
        with self._torch.inference_mode():
            return self.grid.encode(rgb)

    def _stock_masks(self) -> Any:
        """Stock's generator with records as two tensors."""
        torch, settings = self._torch, self._settings
        generator = import_extra('segment_anything').SamAutomaticMaskGenerator(
            self._sam, points_per_side=settings.points_per_side, points_per_batch=settings.points_per_batch or 64,
            pred_iou_thresh=settings.iou_threshold, stability_score_thresh=settings.stability_threshold,
            box_nms_thresh=settings.nms_threshold)

        def generate(rgb: np.ndarray) -> tuple[Any, Any, None]:
            # the reference drops empty masks, which only a stability threshold of 0 lets through
            records = [record for record in generator.generate(rgb) if record['area'] > 0]
            masks = np.array([record['segmentation'] for record in records], bool).reshape(-1, *rgb.shape[:2])
            quality = torch.tensor([record['predicted_iou'] for record in records], dtype=torch.float32)
            return torch.from_numpy(masks).to(self._sam.device), quality, None

        return generate


def _bfloat16_encoder(encoder: Any) -> Any:
    """The image encoder with its products in bfloat16, and sums, norms and softmax in float32."""
    torch = import_extra('torch')

    class Bfloat16Encoder(torch.nn.Module):
        """Weights of products are kept in bfloat16 alone, which halves the memory."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.img_size = encoder.img_size
            for module in encoder.modules():
                if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                    module.to(torch.bfloat16)

        def forward(self, image: Any) -> Any:
            with torch.autocast(image.device.type, dtype=torch.bfloat16):
                return self.encoder(image).float()

    return Bfloat16Encoder()
