"""What a preset costs on this machine: milliseconds by stage, memory, bytes per keyframe."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from segvlad_ros.evaluation.measure import machine, median, peak_of_process
from segvlad_ros.evaluation.measured import Costs, bytes_per_keyframe
from segvlad_ros.pipeline.place_recognizer import STEP_NS, PlaceRecognizer
from segvlad_ros.pipeline.sections import Preset
from segvlad_ros.types import Frame, SegvladError


def measure_preset(preset: Preset, images: Sequence[np.ndarray], device: str = 'cpu',
                   progress: Callable[[Sequence[np.ndarray]], Iterable[np.ndarray]] = iter) -> dict[str, Any]:
    """Describe each image as a node does, put all into a map, and ask that map for each of them.

    Stages are those that nodes report. Segments are found in one thread, features and keypoints in another, so that a
    whole takes less than its stages together; on a GPU a stage may wait for what the one before it has asked for.

    :param images: (height, width, 3) uint8 RGB each
    :param device: torch device of the deep backends
    :param progress: wraps the iteration over the images
    :return: for JSON; ``..._mb`` of this process at most, loading included: main memory, and what PyTorch took of the
        GPU (None without one)
    :raises SegvladError: the preset cannot be built, or describes none of the images
    """
    places = PlaceRecognizer(preset, device=device)
    costs, described, answered, loading = Costs(), [], [], 0.0

    def work() -> None:
        nonlocal loading
        begin = time.perf_counter()
        places.describer.warm_up()
        places.mapper.make_keyframe(Frame(images[0], 0))
        loading = time.perf_counter() - begin
        keyframes = []
        for number, rgb in enumerate(progress(images), 1):
            begin = time.perf_counter()
            keyframe = places.mapper.make_keyframe(Frame(rgb, number * STEP_NS))
            described.append(time.perf_counter() - begin)
            costs.described(keyframe)
            if keyframe.description.rejected:
                refused.add(keyframe.description.rejected)
            else:
                places.add(keyframe)
                keyframes.append(keyframe)
        for keyframe in keyframes:
            begin = time.perf_counter()
            answer = places.recognize(keyframe, independent=True)
            answered.append(time.perf_counter() - begin)
            costs.recognized(keyframe, answer)

    refused: set[str] = set()
    peak_mb, gpu_peak_mb = peak_of_process(work, device)
    if not answered:
        raise SegvladError(f'none of the images can be described: {min(refused)}')
    return {
        'preset': preset.name, 'fingerprint': preset.fingerprint()['digest'], 'device': device,
        'machine': machine(device), 'images': len(images), 'images_rejected': len(images) - len(answered),
        'image_sizes': sorted({f'{rgb.shape[1]}x{rgb.shape[0]}' for rgb in images}),
        'load_s': round(loading, 2), **_percentiles('describe_ms', described), **_percentiles('answer_ms', answered),
        'stages': {stage: _milliseconds(median(seconds)) for stage, seconds in costs.seconds.items()},
        'stages_p95': {stage: _milliseconds(_p95(seconds)) for stage, seconds in costs.seconds.items()},
        'peak_mb': round(peak_mb, 1), 'gpu_peak_mb': gpu_peak_mb and round(gpu_peak_mb, 1),
        'segments_per_image': float(np.mean(costs.segments)),
        'bytes_per_keyframe': round(bytes_per_keyframe(costs.sample, preset.fingerprint()))}


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {f'{name}_p50': _milliseconds(median(seconds)), f'{name}_p95': _milliseconds(_p95(seconds))}


def _p95(seconds: Sequence[float]) -> float:
    return float(np.percentile(seconds, 95))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
