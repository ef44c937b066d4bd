"""Evaluations as large as one likes, without images and networks: all kinds of outcomes, poses, closures, odd names."""
from __future__ import annotations

import math

import cv2
import numpy as np

from segvlad_ros.evaluation.measured import Costs, Evaluation, Picture
from segvlad_ros.evaluation.metrics import ClosureError, Outcome
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.types import (
    Candidate,
    Keyframe,
    KeyframeId,
    PlaceDescription,
    Pose,
    Recognition,
    SegmentMatch,
    Status,
    Verification,
)

ODD = '<img src=x onerror="alert(1)">&\'</script><b>'
WIDE, TALL = 640, 480  # of the camera's image
BOXES = np.array([[40, 60, 200, 160], [400, 280, 160, 120], [280, 40, 90, 90], [20, 300, 160, 180]], np.int32)
_STAGES = {'features': 0.005, 'segments': 0.09, 'search': 0.02, 'verify': 0.01}


def made_evaluation(count: int, seed: int = 0, thumbnail: tuple[int, int] = (320, 240)) -> Evaluation:
    """A drive of so many queries along a map of as many keyframes.

    :param thumbnail: width and height, pixels
    """
    generator = np.random.default_rng(seed)
    keyframes = [f'map/{number:05d} {ODD}' for number in range(count)]
    pictures, poses, outcomes, costs = {}, {}, [], Costs()
    for number in range(count):
        angle = 2 * math.pi * number / count
        for name, radius in ((keyframes[number], 10.0), (f'query/{number:05d} {ODD}', 10.3)):
            place = PlaceDescription(np.zeros((len(BOXES), 4), np.float32), BOXES, np.ones(len(BOXES), np.int64),
                                     timings=_timings(generator))
            keyframe = Keyframe(KeyframeId(0, 'made', len(pictures) + 1, 0), place,
                                thumbnail=_picture(number, generator, thumbnail))
            costs.described(keyframe)
            pictures[name] = Picture.of(keyframe)
            where = np.array([radius * math.cos(angle), radius * math.sin(2 * angle) / 2, 0.0])
            poses[name] = Pose(where, np.array([0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)]), 'map')
        outcomes.append(_outcome(number, count, generator))
    closures = [ClosureError(*map(float, generator.gamma(2, (0.05, 0.01))), sigma_m=0.1) for _ in range(count // 2)]
    return Evaluation(outcomes, keyframes, costs, {'digest': 'made'}, pictures, closures, poses=poses, consecutive=True)


def _outcome(number: int, count: int, generator: np.random.Generator) -> Outcome:
    name, true = f'query/{number:05d} {ODD}', frozenset({number})
    kind = number % 9
    if kind == 6:
        return Outcome(name, Recognition(Status.QUERY_REJECTED, f'dark image {ODD}'), PlaceTruth(true))
    right = kind in (0, 1, 2, 4)
    entries = [number if right else (number + count // 2) % count, (number + 1) % count, (number + 2) % count]
    score = float(generator.uniform(0.4, 0.9) if right else generator.uniform(0.1, 0.5))
    status = Status.MATCHED if kind in (0, 1, 2, 3, 7) else Status.NO_MATCH_AMBIGUOUS
    evidence = tuple(SegmentMatch(segment, segment, 0.9 - segment / 10) for segment in range(len(BOXES)))
    candidates = tuple(
        Candidate(entry, KeyframeId(0, 'made', entry + 1, 0), score * 0.8 ** rank, 0.5, 4, evidence=evidence,
                  probability=math.nan if rank else 0.2 + score * 0.8, inliers=40, verification=Verification.GEOMETRIC)
        for rank, entry in enumerate(entries))
    truth = PlaceTruth(frozenset()) if kind == 5 else PlaceTruth(true, frozenset({entries[0]} if kind == 7 else ()))
    return Outcome(name, Recognition(status, f'score {score:.2f} {ODD}', candidates), truth)


def _timings(generator: np.random.Generator) -> dict[str, float]:
    return {stage: mean * generator.gamma(4, 0.25) for stage, mean in _STAGES.items()}


def _picture(number: int, generator: np.random.Generator, size: tuple[int, int]) -> bytes:
    coarse = np.random.default_rng(number).integers(0, 255, (9, 12, 3), np.uint8)
    image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return encode_jpeg(np.clip(image + generator.integers(-8, 9, image.shape), 0, 255).astype(np.uint8), quality=80)
