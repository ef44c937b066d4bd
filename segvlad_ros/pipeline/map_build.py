"""Maps made offline: of images with known poses, or of what a robot has recorded."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import compose, inverse
from segvlad_ros.io.image_codec import MAX_PIXELS, same_view
from segvlad_ros.io.image_file import is_turned, read_pixels
from segvlad_ros.io.images import decode_file, read_image
from segvlad_ros.io.masks import MaskFiles
from segvlad_ros.io.pose_files import PosedImage
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.place_recognizer import STEP_NS, PlaceRecognizer
from segvlad_ros.types import CameraModel, Frame, Keyframe, OptimizedPose, Pose, SegvladError


@dataclass(frozen=True)
class KnownCamera:
    """What files say of the camera of some images.

    :ivar models: intrinsics by COLMAP's number of the camera, or the only one's as None; empty: not known
    :ivar base_from_camera: where it sits; its ``frame`` names the base
    :ivar frame: the name of the frame that known poses are in
    :ivar depth: folder of 16-bit images with the images' names, None without depth
    :ivar depth_units: of a depth image, to the metre
    :ivar image_bits: see :func:`segvlad_ros.io.images.read_image`
    :ivar masks: None without
    """

    models: Mapping[int | None, CameraModel]
    base_from_camera: Pose
    frame: str = 'map'
    depth: Path | None = None
    depth_units: float = 1000.0
    image_bits: int = 0
    masks: MaskFiles | None = None

    def frame_of(self, image: PosedImage, number: int) -> Frame:
        """An image as a frame: its pose, if it has one, that of the base.

        :param number: of the image, from 0, for a stamp where it has none
        :raises SegvladError: unreadable, of another size than its camera's images, or turned by its EXIF orientation,
            where intrinsics, pose and depth are those of the pixels as they are stored
        """
        rgb, model = read_image(image.path, self.image_bits), self._model(image)
        if (model or self.depth or image.pose) and decode_file(image.path, is_turned):
            raise SegvladError(f'{image.path}: its EXIF orientation turns it, and nothing says whether camera, pose '
                               'and depth are turned, too: save it upright, without EXIF')
        if model is not None and (model.width, model.height) != rgb.shape[1::-1]:
            raise SegvladError(f'{image.path}: is {rgb.shape[1]} x {rgb.shape[0]} pixels, its camera takes '
                               f'{model.width} x {model.height}')
        mask = None if self.masks is None else self.masks.of(image.path, rgb.shape)
        pose = image.pose and replace(compose(image.pose, inverse(self.base_from_camera)), frame=self.frame)
        return Frame(rgb, image.stamp_ns or (number + 1) * STEP_NS, pose=pose, depth=self._depth(image, rgb.shape),
                     camera_model=model, base_from_camera=self.base_from_camera, mask=mask)

    def _model(self, image: PosedImage) -> CameraModel | None:
        if not self.models:
            return None
        if image.camera in self.models:
            return self.models[image.camera]
        if len(self.models) == 1 and (image.camera is None or None in self.models):
            return next(iter(self.models.values()))
        raise SegvladError(f'{image.path}: is of camera {image.camera}, the known ones are '
                           f'{", ".join(map(str, self.models))}')

    def _depth(self, image: PosedImage, shape: tuple[int, ...]) -> np.ndarray | None:
        """(h, w) float32 metres, NaN where it is 0."""
        if self.depth is None:
            return None
        path = self.depth / f'{image.path.stem}.png'
        if not path.is_file():
            raise SegvladError(f'{path}: there is no such depth image of {image.path.name}: leave the image out, or '
                               'make one of 0')
        values = decode_file(path, partial(read_pixels, max_pixels=MAX_PIXELS))
        if values.dtype != np.uint16 or values.ndim != 2:
            raise SegvladError(f'{path}: is not a 16-bit grey image, which depth of {image.path.name} must be')
        if not same_view(values.shape, shape):  # it may be smaller than the image
            raise SegvladError(f'{path}: has {values.shape[1]} x {values.shape[0]} pixels, {image.path.name} '
                               f'{shape[1]} x {shape[0]}, turned as its EXIF data say: use depth registered to it')
        depth = values.astype(np.float32) / np.float32(self.depth_units)
        depth[values == 0] = np.nan
        return depth


@dataclass
class Built:
    """Counts of a build.

    :ivar images: taken from the sources
    :ivar keyframes: that are in the map
    :ivar rejected: by reason, keyframes whose image cannot be recognised, and which are not in the map
    """

    images: int
    keyframes: int
    rejected: dict[str, int]


def build_map(output: Path, places: PlaceRecognizer, drives: Iterable[Iterable[Frame]], *,
              known_poses: bool = False) -> Built:
    """Describe frames and write them as a map, whole or not at all: what is interrupted leaves no file.

    :param output: a new map file
    :param places: makes keyframes, by its gate; what it holds is forgotten
    :param drives: each becomes a session of its own
    :param known_poses: the frames' poses are in one fixed frame for good, as those of a back-end
    :raises SegvladError: the output exists, a frame cannot be read, or none becomes a keyframe
    """
    built = Built(0, 0, {})
    PlaceMap.write(output, _keyframes(places, drives, built, known_poses), places.preset.fingerprint(),
                   places.describer.dimension, places.named)
    return built


def _keyframes(places: PlaceRecognizer, drives: Iterable[Iterable[Frame]], built: Built,
               known_poses: bool) -> Iterator[Keyframe]:
    for frames in drives:
        places.clear()
        for frame in frames:
            built.images += 1
            keyframe = places.process(frame)
            if keyframe is None:
                continue
            if reason := keyframe.description.rejected:
                built.rejected[reason] = built.rejected.get(reason, 0) + 1
                continue
            built.keyframes += 1
            known = known_poses and keyframe.pose is not None
            yield replace(keyframe, optimized=OptimizedPose(keyframe.pose)) if known else keyframe
    if not built.keyframes:
        raise SegvladError(f'none of the {built.images} images can become a keyframe'
                           + ''.join(f': {reason}' for reason in list(built.rejected)[:1]))

