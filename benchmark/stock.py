"""Our stages against stock segment-anything, all DINOv2 blocks and the reference's literal procedures."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import literal
import numpy as np
from comparisons import Comparison, alternate
from random_models import SamSize, random_dinov2, random_sam

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.projection import PcaProjection
from segvlad_ros.description.segments import neighbours, segments_from_masks
from segvlad_ros.description.vlad import merge_neighbours, project_segment_vlad
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.measure import peak_memory
from segvlad_ros.evaluation.reference_voting import vote_reference
from segvlad_ros.io.extras import import_extra
from segvlad_ros.types import CellGrid, Masks, SegvladError

WORDS, WIDTH, DIMENSION, CELL, SIZE = 32, 1536, 1024, 14, (640, 480)

Clock = Callable[[], float]
_CALLS = 10


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A seeded picture of overlapping rectangles and discs with texture, (height, width, 3) uint8."""
    import cv2

    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(60):
        colour = rng.integers(0, 256, 3).tolist()
        x, y, side = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(width // 40, width // 4))
        if rng.random() < 0.5:
            cv2.rectangle(image, (x, y), (x + side, y + side // 2), colour, -1)
        else:
            cv2.circle(image, (x, y), side // 2, colour, -1)
    noise = rng.normal(0, 12, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compare_sam(points_per_side: int, repeats: int, device: str = 'cpu',
                now: Clock = time.perf_counter) -> list[Comparison]:
    """Grid against stock masks on one network: whole, and without encoder and decoder.

    The decoder has its published width, the encoder is small: on a CPU the published ones take minutes.
    """
    torch = import_extra('torch')
    from segvlad_ros.segmentation.sam import SamSegmenter
    from segvlad_ros.segmentation.sam_grid import GridMasks, SamGridSettings

    sam = random_sam(1, SamSize(), device=device)
    settings = SamGridSettings(points_per_side=points_per_side, iou_threshold=0.85, stability_threshold=0.85,
                           nms_threshold=0.95)
    image = scene(SIZE[0] // 2, SIZE[1] // 2)
    stock = SamSegmenter(sam, mode='stock', settings=settings)
    grid = GridMasks(sam, settings)
    wait = torch.cuda.synchronize if device.startswith('cuda') else lambda: None

    def ours() -> Any:
        with torch.inference_mode():
            return grid.generate(image)

    def theirs() -> Masks:
        return stock.segment(image)

    found, expected = len(ours()[0]), len(theirs())
    if found != expected:
        raise SegvladError(f'grid found {found} masks and stock {expected}: the comparison would not be one')
    whole = alternate(ours, theirs, repeats, wait, now)
    parts = [sam.image_encoder, sam.prompt_encoder, sam.mask_decoder]
    rests: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, rest in ((ours, rests[0]), (theirs, rests[1])):
            with clock(parts, grid.decoder, wait, now) as inside:
                start = now()
                function()
                wait()
                rest.append((now() - start - sum(inside)) * 1e3)
    details = {'device': device, 'points': points_per_side ** 2, 'masks': found}
    memory = [peak_memory(function, device) for function in (ours, theirs)]
    cuda = device.startswith('cuda')
    return [Comparison('automatic masks after the decoder', 'SamAutomaticMaskGenerator', *rests, 0 if cuda else 5,
                       details=details),
            Comparison('automatic masks, whole', 'SamAutomaticMaskGenerator', *whole, 3 if cuda else 1.2, *memory,
                       details)]


def compare_dinov2(repeats: int, device: str = 'cpu', now: Clock = time.perf_counter, width: int = 384) -> Comparison:
    """The value facet of block 31 against all 40 blocks of the same network, which is what the reference runs."""
    torch = import_extra('torch')
    from segvlad_ros.features.dinov2 import Dinov2Extractor

    weights = random_dinov2(1, width, 40, swiglu=True)
    image = scene(*SIZE)
    facet = Dinov2Extractor(weights, 'value', 31, device=device)
    everything = Dinov2Extractor(weights, 'patches', device=device)
    wait = torch.cuda.synchronize if device.startswith('cuda') else lambda: None
    ours, theirs = partial(facet.extract, image), partial(everything.extract, image)
    times = alternate(ours, theirs, 3 * repeats, wait, now)
    return Comparison('DINOv2 value of block 31', 'all 40 blocks', *times, 1.2, peak_memory(ours, device),
                      peak_memory(theirs, device), {'device': device, 'width': width})


def compare_description(repeats: int, now: Clock = time.perf_counter, segments: int = 130) -> Comparison:
    """From masks to projected unit rows, against the literal procedure."""
    rng = np.random.default_rng(0)
    grid = CellGrid(*SIZE, CELL)
    masks = _blobs(rng, segments, SIZE[0] // 2, SIZE[1] // 2)
    features = rng.normal(size=(grid.cells, WIDTH)).astype(np.float32)
    centres = rng.normal(size=(WORDS, WIDTH)).astype(np.float32) * 0.02
    mean = rng.normal(size=WORDS * WIDTH).astype(np.float32) * 1e-3
    components = rng.normal(size=(DIMENSION, WORDS * WIDTH)).astype(np.float32) * (WORDS * WIDTH) ** -0.5
    scale = rng.uniform(1, 3, DIMENSION).astype(np.float32)
    projection, vocabulary = PcaProjection(mean, components, scale), Vocabulary(centres)
    found = Masks(masks, np.ones(segments, np.float32))

    def ours() -> np.ndarray:
        seen = segments_from_masks(found, grid)
        merged = merge_neighbours(seen.incidence, neighbours(seen.centroids, 3))
        return unit_rows(project_segment_vlad(features, merged, vocabulary, projection))

    def theirs() -> np.ndarray:
        return literal.describe(masks, features, centres, (mean, components, scale), size=SIZE, cell=CELL, order=3)

    error = float(np.abs(ours() - theirs()).max())
    if error > 1e-4:
        raise SegvladError(f'the two descriptions differ by {error}: the comparison would not be one')
    times = alternate(ours, theirs, 3 * repeats, clock=now)
    return Comparison('description, masks to projected rows', 'segvlad-spec.md 5 to 8 word for word',
                      *times, 10, peak_memory(ours), peak_memory(theirs),
                      {'segments': segments, 'features': WIDTH, 'largest_difference': error})


def compare_vote(repeats: int, now: Clock = time.perf_counter, queries: int = 20, segments: int = 130) -> Comparison:
    """The reference's weighted vote, against its literal loop; times of one query."""
    rng = np.random.default_rng(0)
    rows = queries * segments
    similarities = np.sort(rng.random((rows, 50)).astype(np.float32), axis=1)[:, ::-1].copy()
    images = rng.integers(0, 1000, (rows, 50))
    query = np.repeat(np.arange(queries), segments)
    slices = [slice(number * segments, (number + 1) * segments) for number in range(queries)]
    ours = partial(vote_reference, similarities, images, query)
    theirs = partial(literal.vote, similarities, images, slices, 5)
    if ours().tolist() != theirs():
        raise SegvladError('the two votes differ: the comparison would not be one')

    def ours_often() -> None:  # ours is so short that a single call after the other's is mostly cache misses
        for _ in range(_CALLS):
            ours()

    times = alternate(ours_often, theirs, 3 * repeats, clock=now)
    return Comparison('vote of one query', 'segvlad-spec.md 10.1 word for word',
                      [taken / queries / _CALLS for taken in times[0]], [taken / queries for taken in times[1]], 50,
                      peak_memory(ours), peak_memory(theirs),
                      {'segments': segments, 'neighbours': 50, 'queries': queries})


@contextmanager
def clock(modules: list[Any], decoder: Any, wait: Callable[[], None],
          now: Clock = time.perf_counter) -> Iterator[list[float]]:
    """Collect the seconds spent in the encoder and the decoder: stock's are modules, ours three methods."""
    spent: list[float] = []
    started: list[float] = []

    def begin(*_: Any) -> None:
        wait()
        started.append(now())

    def end(*_: Any) -> None:
        wait()
        spent.append(now() - started.pop())

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            begin()
            result = method(*args)
            end()
            return result
        return call

    hooks = [hook for module in modules
             for hook in (module.register_forward_pre_hook(begin), module.register_forward_hook(end))]
    names = ('prepare', 'decode', 'logits')
    for name in names:
        setattr(decoder, name, timed(getattr(decoder, name)))
    try:
        yield spent
    finally:
        for name in names:
            delattr(decoder, name)
        for hook in hooks:
            hook.remove()


def _blobs(rng: np.random.Generator, count: int, width: int, height: int) -> np.ndarray:
    """Elliptic masks of many sizes, (count, height, width) bool."""
    y, x = np.mgrid[:height, :width]
    centre, radius = rng.uniform(0, (width, height), (count, 2)), rng.uniform(4, (width / 4, height / 4), (count, 2))
    return np.stack([((x - u) / across) ** 2 + ((y - v) / down) ** 2 < 1
                     for (u, v), (across, down) in zip(centre, radius)])
