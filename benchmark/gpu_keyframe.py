"""SAM ViT-H and DINOv2 ViT-g at their real sizes with random weights, one 640x480 keyframe, stage by stage.

Needs a CUDA GPU and writes benchmark/results/; ``--device cpu --small`` tries the measurement itself.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from random_models import SAM_VIT_H, SamSize, random_dinov2, random_sam
from stock import clock, scene

from segvlad_ros.description.describer import Describer
from segvlad_ros.description.projection import SeededProjection
from segvlad_ros.description.segments import segments_from_masks
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.measure import machine, median, peak_memory
from segvlad_ros.io.extras import import_extra
from segvlad_ros.types import CellGrid, FeatureGrid, Masks, SegvladError

SIZE, WORDS, DIMENSION = (640, 480), 32, 1024

FLOORS_TFLOP = {'sam_encoder': 5.96, 'sam_decoder': 3.71, 'dinov2': 3.16}
"""Work of ViT-H at 1024 x 1024, of 32 x 32 points in the stock decoder, and of ViT-g to block 31 at 640 x 480."""


def measure_keyframe(device: str, precision: str, repeats: int, small: bool = False,
                     peak_tflops: float = 790.0) -> dict[str, Any]:
    """Times by stage, of whole keyframes, memory, and how far ``precision`` changes the masks.

    :param small: small networks and few points, to try the measurement itself
    :param peak_tflops: arithmetic peak of the device in the products' precision, for the floors
    """
    torch = import_extra('torch')
    from segvlad_ros.features.dinov2 import Dinov2Extractor
    from segvlad_ros.segmentation.sam import SamSegmenter
    from segvlad_ros.segmentation.sam_grid import SamGridSettings

    wait = torch.cuda.synchronize if device.startswith('cuda') else lambda: None
    settings = SamGridSettings(points_per_side=4 if small else 32, iou_threshold=0.85, stability_threshold=0.85,
                           nms_threshold=0.95)
    rgb = scene(*SIZE)
    build = partial(random_sam, 1, SamSize(prompt=32, side=256) if small else SAM_VIT_H, device=device)
    exact = _segment_once(SamSegmenter(build(), settings=settings), rgb) if precision != 'float32' else None
    segmenter = SamSegmenter(build(), precision=precision, settings=settings)
    width, depth = (64, 33) if small else (1536, 40)
    weights = random_dinov2(1, width, depth, swiglu=True)
    extractor = Dinov2Extractor(weights, 'value', 31, device=device, precision=precision)
    del weights
    centres = np.random.default_rng(0).normal(size=(WORDS, width)).astype(np.float32) * 0.02
    describer = Describer(segmenter, extractor, Vocabulary(centres), SeededProjection(WORDS, width, DIMENSION))
    describer.describe(rgb)  # the first one chooses kernels and takes memory
    wholes = [_milliseconds(partial(describer.describe, rgb), wait) for _ in range(repeats)]
    peak = peak_memory(partial(describer.describe, rgb), device)
    stages, counts = _stages(describer, rgb, repeats, wait)
    report = {
        'machine': machine(device), 'weights': 'seeded random', 'small': small, 'precision': precision,
        'repeats': repeats, 'keyframe_ms': {'p50': round(median(wholes), 2),
                                            'p95': round(float(np.percentile(wholes, 95)), 2)},
        'stages_ms': {name: round(median(values), 2) for name, values in stages.items()}, **counts,
        'peak_mb_above_weights': round(peak, 1) if peak is not None else None,
    }
    if device.startswith('cuda'):
        report['peak_gb'] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    if not small:
        report['floor_ms'] = {name: round(work / peak_tflops * 1e3, 2) for name, work in FLOORS_TFLOP.items()}
    if exact is not None:
        report['agreement_with_float32'] = {name: round(value, 4) for name, value in mask_agreement(
            exact, _segment_once(segmenter, rgb), CellGrid(*SIZE, 14)).items()}
    return report


def mask_agreement(reference: Masks, other: Masks, grid: CellGrid) -> dict[str, float]:
    """How far two sets of masks of one image agree: matched one to one for the largest total IoU, then measured.

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


def _stages(describer: Describer, rgb: np.ndarray, repeats: int,
            wait: Callable[[], None]) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Each stage on its own, one after the other, waiting for the device in between."""
    import cv2

    half = np.ascontiguousarray(cv2.resize(rgb, describer.segment_size))
    grid_masks = describer.segmenter.grid
    stages: dict[str, list[float]] = {name: [] for name in (
        'sam_encoder', 'sam_decoder', 'sam_rest', 'dinov2', 'description')}
    torch = import_extra('torch')
    for _ in range(repeats):
        with torch.inference_mode():
            stages['sam_encoder'].append(_milliseconds(partial(grid_masks.encode, half), wait))
        with clock([], grid_masks.decoder, wait) as spent:
            whole = _milliseconds(partial(describer.segmenter.segment, half), wait)
        stages['sam_decoder'].append(sum(spent) * 1e3)
        stages['sam_rest'].append(whole - stages['sam_decoder'][-1] - stages['sam_encoder'][-1])
        stages['dinov2'].append(_milliseconds(partial(describer.extractor.extract, rgb), wait))
        masks = describer.segmenter.segment(half)
        features = describer.extractor.extract(rgb)
        stages['description'].append(_milliseconds(partial(_describe, describer, masks, features), wait))
    return stages, {'masks': len(masks)}


def _describe(describer: Describer, masks: Masks, features: FeatureGrid) -> None:
    describer.describe_segments(features, segments_from_masks(masks, describer.grid))


def _segment_once(segmenter: Any, rgb: np.ndarray) -> Masks:
    import cv2

    found = segmenter.segment(cv2.resize(rgb, (SIZE[0] // 2, SIZE[1] // 2)))
    return Masks(found.masks.cpu().numpy(), found.quality)


def _milliseconds(function: Callable[[], Any], wait: Callable[[], None]) -> float:
    wait()
    start = time.perf_counter()
    function()
    wait()
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    """Measure both precisions and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--small', action='store_true', help='small networks, which say nothing about speed')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--precision', action='append', choices=('float32', 'bfloat16'), help='default: both')
    parser.add_argument('--peak-tflops', type=float, default=790.0, help='of the GPU in bfloat16 (H200: 790)')
    parser.add_argument('--output', type=Path, help='default: benchmark/results/keyframe_GPU.json, unless --small')
    args = parser.parse_args()
    try:
        reports = [measure_keyframe(args.device, precision, args.repeats, args.small, args.peak_tflops)
                   for precision in args.precision or ('bfloat16', 'float32')]
    except SegvladError as error:
        print(f'gpu_keyframe: {error}', file=sys.stderr)
        return 2
    text = json.dumps(reports, indent=1)
    print(text)
    output = args.output
    if output is None and not args.small:
        name = reports[0]['machine'].get('gpu', 'cpu').replace(' ', '_').lower()
        output = Path(__file__).parent / f'results/keyframe_{name}.json'
    if output:
        output.write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
