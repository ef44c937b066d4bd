"""One image to its place description: the whole of description, with every way that it can fail."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import cv2
import numpy as np

from segvlad_ros.description import covered
from segvlad_ros.description.arrays import Array, like, namespace, to_numpy, unit_rows
from segvlad_ros.description.keypoints import in_camera_image
from segvlad_ros.description.projection import Projection
from segvlad_ros.description.segments import neighbours, segments_from_masks
from segvlad_ros.description.vlad import merge_neighbours, project_segment_vlad, textured_cells
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.features import FeatureExtractor
from segvlad_ros.features.given_vectors import given
from segvlad_ros.features.sam_neck import SamNeckExtractor
from segvlad_ros.segmentation import Segmenter
from segvlad_ros.threads import one_blas_thread
from segvlad_ros.types import CellGrid, FeatureGrid, Keypoints, Masks, PlaceDescription, Segments, SegvladError

# An image is dark when all but its brightest hundredth stay below this grey level,
MIN_BRIGHTNESS = 20.0
# and blank when its grey levels spread less than this (standard deviation).
MIN_CONTRAST = 2.0
# An image with a shorter side than this, pixels, is a strip of a line camera or a wrong crop: stretched to the size of
# the features it would be smeared into stripes that look alike everywhere.
MIN_SIDE = 16


class Describer:
    """Joins a segmenter, features, a vocabulary and a projection.

    :param order: hops in the segments' neighbourhood graph that are described together; 0 describes each alone
    :param rule: see :func:`segvlad_ros.description.segments.neighbours`
    :param image_size: width and height that features are taken at, pixels; the aspect ratio is not kept
    :param segment_scale: size of the segmented image as a share of ``image_size``
    :param min_segments: fewer segments than this reject the image
    :param find_keypoints: (rgb, depth or None) -> keypoints for geometric verification, or None for none; not asked
        where the features come with keypoints
    """

    def __init__(self, segmenter: Segmenter, extractor: FeatureExtractor, vocabulary: Vocabulary,
                 projection: Projection, *, order: int = 3, rule: str = 'robust',
                 image_size: tuple[int, int] = (640, 480), segment_scale: float = 0.5, min_segments: int = 1,
                 find_keypoints: Callable[[np.ndarray, np.ndarray | None], Keypoints] | None = None) -> None:
        if extractor.dimension != vocabulary.dimension:
            raise SegvladError(f'the vocabulary is for {vocabulary.dimension}-d features, the preset has '
                               f'{extractor.dimension}-d ones; set the vocabulary that was fitted with this preset')
        if projection.input_dimension != len(vocabulary) * vocabulary.dimension:
            raise SegvladError(f'the projection is for {projection.input_dimension} numbers, {len(vocabulary)} words '
                               f'of {vocabulary.dimension} give {len(vocabulary) * vocabulary.dimension}; '
                               'fit it with this vocabulary')
        self.segmenter, self.extractor = segmenter, extractor
        self.vocabulary, self.projection = vocabulary, projection
        self.order, self.rule, self.min_segments = order, rule, min_segments
        self.grid = CellGrid(*image_size, extractor.cell)
        self.segment_size = segment_size(image_size, segment_scale)
        self.find_keypoints = find_keypoints
        self._pool = ThreadPoolExecutor(1, 'features')

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return self.projection.dimension

    def warm_up(self) -> None:
        """Describe a made-up image, so that no camera image waits for what is loaded and compiled at first use."""
        width, height = self.grid.width, self.grid.height
        self.describe(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))

    def describe(self, rgb: np.ndarray, depth: np.ndarray | None = None, vector: np.ndarray | None = None,
                 usable: np.ndarray | None = None) -> PlaceDescription:
        """Describe one image.

        :param rgb: (height, width, 3) uint8, any size
        :param depth: (height, width) float32 metres, NaN where unknown; only keypoints use it
        :param vector: (D,) what a preset with ``features.kind: given`` wants, and no other takes
        :param usable: (height, width) bool, False where the image is covered, see
            :mod:`~segvlad_ros.description.covered`; None: nowhere
        :return: empty, and ``rejected`` with the reason, where the image cannot be recognised
        """
        with one_blas_thread():
            return self._describe(rgb, depth, vector, None if usable is None or usable.all() else usable)

    def _describe(self, rgb: np.ndarray, depth: np.ndarray | None, vector: np.ndarray | None,
                  usable: np.ndarray | None) -> PlaceDescription:
        timings: dict[str, float] = {}
        reason = _unusable(rgb, usable)
        if reason:
            return self._nothing(reason, timings)
        if usable is not None:
            with _timed(timings, 'mask'):
                rgb = covered.painted(rgb, usable)
        with _gpu_memory_errors():
            grid, keypoints, segments = self._see(rgb, depth, vector, usable, timings=timings)
        if len(segments) < self.min_segments:
            return self._nothing(f'{len(segments)} segments found, at least {self.min_segments} needed', timings)
        with _timed(timings, 'description'), _gpu_memory_errors():
            descriptors, kept = self.describe_segments(grid, segments)
        if descriptors is None:
            return self._nothing('features or descriptors are not finite', timings)
        if not len(kept):
            return self._nothing('no texture in any segment', timings)
        height, width = rgb.shape[:2]
        return PlaceDescription(
            descriptors, np.rint(segments.boxes[kept] * [width, height, width, height]).astype(np.int32),
            np.rint(segments.areas[kept] * (width * height)).astype(np.int64), keypoints=keypoints, timings=timings)

    def describe_segments(self, grid: FeatureGrid, segments: Segments) -> tuple[np.ndarray | None, np.ndarray]:
        """Descriptors of segments on a feature grid.

        :return: (m, d) float32 unit rows and the numbers of their segments (those with texture); None in place of
            the rows if a feature is NaN or infinite
        :raises SegvladError: rule ``reference`` has no neighbours for segments on a line
        """
        features: Array = grid.features
        if not bool(namespace(features).isfinite(features).all()):
            return None, np.zeros(0, np.int64)
        incidence = like(segments.incidence, features)
        if self.order:
            incidence = merge_neighbours(incidence, self._neighbours(segments.centroids))
        kept = np.flatnonzero(to_numpy((incidence & textured_cells(features)).any(axis=1)))
        if len(kept) < len(incidence):
            incidence = incidence[like(kept, incidence)]
        rows = project_segment_vlad(features, incidence, self.vocabulary, self.projection)
        descriptors = to_numpy(unit_rows(rows))
        return (descriptors if np.isfinite(descriptors).all() else None), kept

    def _neighbours(self, centroids: np.ndarray) -> np.ndarray:
        from scipy.spatial import QhullError

        try:
            return neighbours(centroids, self.order, self.rule)
        except QhullError:
            raise SegvladError('the centres of the segments lie on a line; set neighbourhood.rule to robust') from None

    def _nothing(self, reason: str, timings: dict[str, float]) -> PlaceDescription:
        return PlaceDescription(np.zeros((0, self.dimension), np.float32), np.zeros((0, 4), np.int32),
                                np.zeros(0, np.int64), rejected=reason, timings=timings)

    def _see(self, rgb: np.ndarray, depth: np.ndarray | None, vector: np.ndarray | None, usable: np.ndarray | None, *,
             timings: dict[str, float]) -> tuple[FeatureGrid, Keypoints | None, Segments]:
        """Features and keypoints of one image and, in this thread meanwhile, its segments; each takes about as long.

        Features that are the segmenter's own come with its masks.
        """
        of_masks = isinstance(self.extractor, SamNeckExtractor) and vector is None

        def features_and_keypoints() -> tuple[FeatureGrid | None, Keypoints | None]:
            with one_blas_thread():  # OpenMP counts threads for each thread that asks
                grid = None if of_masks else self._features(rgb, vector, timings)
                return grid, self._keypoints(rgb, depth, grid, timings)

        others = self._pool.submit(features_and_keypoints)
        try:
            masks = self._masks(rgb, timings)
            masks = masks if usable is None else covered.cut(masks, usable)
            with _timed(timings, 'description'):
                segments = segments_from_masks(masks, self.grid)
        finally:
            wait([others])  # never leave the other half running into the next image
        grid, keypoints = others.result()
        if of_masks:
            with _timed(timings, 'features'):
                grid = self.extractor.of_masks(masks)
        grid = self._on_cells(grid)
        if usable is not None:
            grid = covered.without_covered(grid, usable, self.grid)
            keypoints = None if keypoints is None else covered.uncovered(keypoints, usable)
        return grid, keypoints, segments

    def _features(self, rgb: np.ndarray, vector: np.ndarray | None, timings: dict[str, float]) -> FeatureGrid:
        with _timed(timings, 'features'):
            image = resized(rgb, (self.grid.width, self.grid.height))
            return self.extractor.extract(image) if vector is None else given(self.extractor, vector, image.shape)

    def _on_cells(self, grid: FeatureGrid) -> FeatureGrid:
        if (grid.rows, grid.cols) != (self.grid.rows, self.grid.cols):
            raise SegvladError(f'the features form {grid.rows} x {grid.cols} cells, the image size has '
                               f'{self.grid.rows} x {self.grid.cols}; the extractor must keep to the image size')
        return grid

    def _keypoints(self, rgb: np.ndarray, depth: np.ndarray | None, grid: FeatureGrid | None,
                   timings: dict[str, float]) -> Keypoints | None:
        if grid is not None and grid.keypoints is not None:
            return in_camera_image(grid.keypoints, (self.grid.width, self.grid.height), rgb.shape, depth)
        if self.find_keypoints is None:
            return None
        with _timed(timings, 'keypoints'):
            return self.find_keypoints(rgb, depth)

    def _masks(self, rgb: np.ndarray, timings: dict[str, float]) -> Masks:
        with _timed(timings, 'segments'):
            return self.segmenter.segment(resized(rgb, self.segment_size))


def segment_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Width and height of the image that is segmented, pixels; halves are cut off, as in segvlad-spec.md 4."""
    width, height = (max(1, int(side * scale)) for side in image_size)
    return width, height


def resized(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """8-bit bilinear resize without antialiasing (segvlad-spec.md 2.2)."""
    if rgb.shape[1::-1] == size:
        return rgb
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def _unusable(rgb: np.ndarray, usable: np.ndarray | None) -> str:
    """'' or why there is nothing to be seen."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise SegvladError(f'an image must be (height, width, 3) uint8 RGB, not {rgb.shape} {rgb.dtype}')
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f'image of {width} x {height} pixels: too thin, each side needs at least {MIN_SIDE}'
    step = max(1, min(height, width) // 120)
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[::step, ::step]), cv2.COLOR_RGB2GRAY)
    if usable is not None:
        if usable.shape != (height, width):
            raise SegvladError(f'a mask of {usable.shape} for an image of {rgb.shape[:2]}: they have one size')
        if (seen := usable.mean()) < covered.MIN_OPEN:
            return (f'the mask covers {1 - seen:.0%} of the image, at least {covered.MIN_OPEN:.0%} must be seen: 0 '
                    'covers, anything else is used')
        grey = grey[usable[::step, ::step]]
        if not grey.size:
            return 'the mask leaves nothing but single pixels of the image'
    brightness, contrast = float(np.percentile(grey, 99)), float(grey.std())
    if brightness < MIN_BRIGHTNESS:
        return f'dark image: 99 % of it below grey level {brightness:.0f} of 255'
    if contrast < MIN_CONTRAST:
        return f'blank image: grey levels spread by {contrast:.1f} of 255'
    return ''


@contextmanager
def _gpu_memory_errors() -> Iterator[None]:
    """Turn PyTorch's exception into ours, without importing it."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != 'OutOfMemoryError':
            raise
        raise SegvladError('the GPU is out of memory for this image; free GPU memory, or use a smaller model or '
                           'fewer points') from error


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
