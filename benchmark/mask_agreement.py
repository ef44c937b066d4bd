"""How far two sets of masks of one image agree (performance-anchors.md 5)."""
from __future__ import annotations

import numpy as np

from segvlad_ros.description.segments import segments_from_masks
from segvlad_ros.types import CellGrid, Masks


def compare(reference: Masks, other: Masks, grid: CellGrid) -> dict[str, float]:
    """Match masks one to one for the largest total IoU, then measure.

    :return: ``mean_iou`` of the matched pairs; ``matched_at_0.9``, the share of reference masks matched at IoU 0.9 or
        better; ``count_difference``, other minus reference; ``grid_hamming``, the share of cells that differ between
        matched masks
    """
    from scipy.optimize import linear_sum_assignment

    first, second = (np.asarray(masks.masks, bool).reshape(len(masks), -1).astype(np.float32)
                     for masks in (reference, other))
    both = first @ second.T
    iou = both / np.maximum(first.sum(1)[:, None] + second.sum(1) - both, 1)
    rows, columns = linear_sum_assignment(-iou)
    cells = [np.asarray(segments_from_masks(masks, grid).incidence) for masks in (reference, other)]
    return {
        'mean_iou': float(iou[rows, columns].mean()) if len(rows) else float('nan'),
        'matched_at_0.9': float((iou[rows, columns] >= 0.9).sum() / max(1, len(reference))),
        'count_difference': len(other) - len(reference),
        'grid_hamming': float((cells[0][rows] != cells[1][columns]).mean()) if len(rows) else float('nan'),
    }
