"""Segments for what another segmenter leaves uncovered: SAM finds objects, and few of them on a bare wall."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.segmentation import Segmenter
from segvlad_ros.segmentation.classic import GraphSegmenter, PatchSegmenter
from segvlad_ros.types import Masks

GAPS = ('leave', 'patches', 'graph')
"""What may be done with them: nothing, or segments of one of the kinds of :func:`filler`."""

MIN_SHARE = 1 / 768
"""Of the image's pixels that a gap must have to become a segment: 100 at 320 x 240."""


def filler(kind: str) -> Segmenter:
    """What fills gaps.

    :param kind: ``patches``, 6 x 8 of them, or ``graph``, as in the preset ``classic``
    """
    return PatchSegmenter(6, 8) if kind == 'patches' else GraphSegmenter(100.0, 0.8, 100, 200)


class CompletedSegmenter:
    """The masks of one segmenter, then those of another, cut to where the first has none.

    :param segmenter: its masks stay as they are
    :param filler: its masks are numpy arrays
    """

    def __init__(self, segmenter: Segmenter, filler: Segmenter) -> None:
        self.segmenter, self.filler = segmenter, filler

    def segment(self, rgb: np.ndarray) -> Masks:
        """See :class:`segvlad_ros.segmentation.Segmenter`."""
        found = self.segmenter.segment(rgb)
        bare = ~_numpy(found.masks.any(0))
        if bare.sum() < MIN_SHARE * bare.size:
            return found
        filling = self.filler.segment(rgb)
        masks = filling.masks & bare
        large = masks.sum(axis=(1, 2)) >= MIN_SHARE * bare.size
        return replace(found, masks=_joined(found.masks, masks[large]),
                       quality=np.concatenate([found.quality, filling.quality[large]]))


def _numpy(mask: Any) -> np.ndarray:
    return mask if isinstance(mask, np.ndarray) else mask.cpu().numpy()


def _joined(masks: Any, more: np.ndarray) -> Any:
    """Both, as the kind of array that the first is, where it is."""
    if isinstance(masks, np.ndarray):
        return np.concatenate([masks, more])
    torch = import_extra('torch')
    return torch.cat([masks, torch.from_numpy(more).to(masks.device)])
