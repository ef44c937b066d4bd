"""One contract for inputs: from an image message and what came with it to a Frame, live and in bags alike.

Messages are taken by their fields, so that those of rclpy and of a bag are the same here. What cannot be used is left
out of the frame and said in one line; only an image that cannot be used itself is refused.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segvlad_ros.geometry import compose, same_frame
from segvlad_ros.io import image_codec
from segvlad_ros.io.camera_info import camera_model
from segvlad_ros.io.image_file import read_usable
from segvlad_ros.io.masks import fitted
from segvlad_ros.io.odometry_pieces import OdometryPose
from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.types import CameraModel, Frame, Pose, SegvladError

logger = logging.getLogger(__name__)

# A depth image or mask need not be of its image's size, but it has no more than so many times its pixels.
_FAR_LARGER = 16
# image_rect, image_rect_color, left/rectified/image: image_proc's names of rectified images, and others' like them.
_RECTIFIED_NAME = re.compile(r'(^|[/_])rect(ified)?([/_]|$)')


@dataclass(frozen=True)
class InputSettings:
    """What messages cannot say of themselves.

    :ivar camera: its name in keyframe ids, '' with a single camera
    :ivar base_frame: frame of the robot's base; results are poses of it
    :ivar base_from_camera: where the camera sits, None where transforms tell
    :ivar rectified: the images are rectified, and fit P of their camera_info; those of a topic that is called so are
    :ivar image_bits: of the camera, in images of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    :ivar ignore_frame_ids: depth, mask and camera_info belong to the image although their frame_id is another
    :ivar max_megapixels: larger images are refused before they are decoded
    :ivar mask: (h, w) bool, what of each image is used, as all but the robot's own body; None: all
    """

    camera: str = ''
    base_frame: str = 'base_link'
    base_from_camera: Pose | None = None
    rectified: bool = False
    ignore_frame_ids: bool = False
    image_bits: int = 0
    max_megapixels: float = image_codec.MAX_PIXELS / 1e6
    mask: np.ndarray | None = None


class BuiltinDecoder:
    """From image messages to arrays, see :mod:`segvlad_ros.io.image_codec` for errors.

    :param bits: of the camera, in images of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    """

    def __init__(self, bits: int = 0) -> None:
        self._bits = bits

    def decode(self, message: Any) -> np.ndarray:
        """(height, width, 3) uint8 RGB of an Image or CompressedImage."""
        if hasattr(message, 'encoding'):
            return image_codec.decode_image(**_raw_fields(message), bits=self._bits)
        return image_codec.decode_compressed(message.data, bits=self._bits)

    def decode_depth(self, message: Any) -> np.ndarray:
        """(height, width) float32 metres, NaN where unknown, of an Image or CompressedImage."""
        if hasattr(message, 'encoding'):
            return image_codec.decode_depth(**_raw_fields(message))
        return image_codec.decode_compressed_depth(message.data, message.format)

    def decode_mask(self, message: Any) -> np.ndarray:
        """(height, width) bool, True where the image is used, of an Image (mono8, 8UC1) or CompressedImage (PNG)."""
        if not hasattr(message, 'encoding'):
            return read_usable(bytes(message.data), image_codec.MAX_PIXELS)
        if message.encoding not in ('mono8', '8UC1'):
            raise SegvladError(f'encoding {message.encoding!r} is not a mask; publish mono8, 0 where the image is '
                               'covered')
        return image_codec.decode_array(**_raw_fields(message)) != 0


def check_pixels(message: Any, most: float, reason: str) -> None:
    """See that an image, or depth image, is of a usual size before memory is taken for its pixels.

    :param message: Image or CompressedImage
    :param most: pixels
    :param reason: what makes that the limit
    :raises SegvladError: it claims more, or they cannot be told
    """
    width, height = ((message.width, message.height) if hasattr(message, 'encoding')
                     else image_codec.compressed_size(message.data, message.format))
    if width * height > most:
        raise SegvladError(f'image of {width} x {height} pixels refused: {reason}')


def _raw_fields(message: Any) -> dict[str, Any]:
    """The fields of a sensor_msgs/Image as the codec takes them."""
    return {'height': message.height, 'width': message.width, 'encoding': message.encoding,
            'is_bigendian': bool(message.is_bigendian), 'step': message.step, 'data': message.data}


class FrameAssembler:
    """Makes frames.

    :param decoder: of the images
    :param transform: (target frame, source frame, stamp in ns) -> ``target_from_source``, or None if nobody knows it
    :param report: (name of an input, one line why it is not used); the same line comes again with each image
    :param topic: of the images, as far as it has a name
    """

    def __init__(self, settings: InputSettings, decoder: BuiltinDecoder,
                 transform: Callable[[str, str, int], Pose | None], report: Callable[[str, str], None],
                 topic: str = '') -> None:
        self._settings, self._decoder, self._transform, self._report = settings, decoder, transform, report
        self._called_rectified = _RECTIFIED_NAME.search(topic) is not None
        self._topic = topic
        self._base_frame = settings.base_frame
        self._without_mount: set[str] = set()
        self._calibrated = False  # the camera was, once

    def frame(self, image: Any, *, depth: Any = None, camera_info: Any = None,
              odometry: OdometryPose | None = None, mask: Any = None) -> Frame:
        """The frame of an image.

        :param image: sensor_msgs Image or CompressedImage
        :param depth: Image or CompressedImage that shows the same view, or None
        :param camera_info: sensor_msgs/CameraInfo, or None
        :param odometry: at the image's stamp, or None
        :param mask: Image (mono8) or CompressedImage that shows the same view, 0 where it is covered, or None
        :raises SegvladError: the image cannot be decoded, has no stamp, or is not what the static mask is of
        """
        stamp, frame_id = stamp_ns(image), image.header.frame_id
        if stamp <= 0:
            raise SegvladError('its stamp is zero: the camera driver must fill header.stamp')
        rgb = self.decode(image)
        model = self._or_nothing('camera_info', camera_info, self._camera_model, frame_id, rgb.shape)
        metres = self._or_nothing('depth', depth, self._depth, frame_id, rgb.shape)
        pose, piece = (None, None) if odometry is None else (self._base_pose(odometry, stamp), odometry.piece)
        usable = self._or_nothing('mask', mask, self._mask, frame_id, rgb.shape)
        static = self._static_mask(rgb.shape)
        usable = static if usable is None else usable if static is None else usable & static
        mount = self._mount(frame_id, stamp)
        return Frame(rgb, stamp, self._settings.camera, frame_id, pose, metres, model, mount, piece, mask=usable)

    def picture(self, image: Any) -> Frame:
        """An image that comes by itself, at any time; one that names its frame is taken for one of this camera.

        :raises SegvladError: it cannot be decoded, or is not what the static mask is of
        """
        rgb, frame_id, stamp = self.decode(image), image.header.frame_id, stamp_ns(image)
        if not frame_id:
            return Frame(rgb, stamp)
        return Frame(rgb, stamp, self._settings.camera, frame_id, base_from_camera=self._mount(frame_id, stamp),
                     mask=self._static_mask(rgb.shape))

    def _static_mask(self, shape: tuple[int, ...]) -> np.ndarray | None:
        return None if self._settings.mask is None else fitted(self._settings.mask, shape, 'mask')

    def decode(self, image: Any) -> np.ndarray:
        """(height, width, 3) uint8 RGB of an image.

        :raises SegvladError: it has more than ``max_megapixels``, or cannot be decoded
        """
        most = self._settings.max_megapixels
        check_pixels(image, most * 1e6, f'max_megapixels is {most:g}')
        return self._decoder.decode(image)

    def _or_nothing(self, name: str, message: Any, read: Callable, frame_id: str, shape: tuple[int, ...]) -> Any:
        """What is read of an optional input, None where there is none or where it cannot be used."""
        if message is None:
            return None
        try:
            return read(message, frame_id, shape)
        except SegvladError as error:
            self._report(name, str(error))
            return None

    def _camera_model(self, message: Any, frame_id: str, shape: tuple[int, ...]) -> CameraModel | None:
        self._check_frame('camera_info', message, frame_id)
        try:
            model = camera_model(message, self._settings.rectified or self._called_rectified)
            if model is None and self._calibrated:
                raise SegvladError('camera_info: is of a camera that is not calibrated (K is all zero), and was not so '
                                   'before')
            self._calibrated = model is not None or self._calibrated
            if model is not None and (model.height, model.width) != shape[:2]:
                raise SegvladError(f'camera_info: is of {model.width} x {model.height} pixels, the image has '
                                   f'{shape[1]} x {shape[0]}')
            if model is not None and np.any(message.d) and not self._settings.rectified and self._called_rectified:
                self._report('rectified', f'{self._topic} is taken for rectified by its name: P of camera_info counts, '
                             'its distortion D does not; set rectified to confirm, or remap the topic')
            if model is not None and model.distortion_model == 'equidistant' and not np.any(model.distortion):
                self._report('lens', 'camera_info: distortion_model is equidistant and D all zero, which is taken for '
                             'an ideal fisheye lens; if the images are rectified, set rectified')
            return model
        except SegvladError as error:
            raise SegvladError(f'{error}; images are used without it, and matches have no metric pose') from None

    def _depth(self, message: Any, frame_id: str, shape: tuple[int, ...]) -> np.ndarray:
        self._check_frame('depth', message, frame_id)
        try:
            check_pixels(message, _FAR_LARGER * shape[0] * shape[1], f'the image has {shape[1]} x {shape[0]}')
            depth = self._decoder.decode_depth(message)
        except SegvladError as error:
            raise SegvladError(f'depth image not used: {error}') from None
        if not image_codec.same_view(depth.shape, shape):  # it may be smaller than the image
            raise SegvladError(f'depth image not used: it has {depth.shape[1]} x {depth.shape[0]} pixels, the image '
                               f'{shape[1]} x {shape[0]}; use depth registered to the image')
        return depth

    def _mask(self, message: Any, frame_id: str, shape: tuple[int, ...]) -> np.ndarray:
        self._check_frame('mask', message, frame_id)
        try:
            check_pixels(message, _FAR_LARGER * shape[0] * shape[1], f'the image has {shape[1]} x {shape[0]}')
            return fitted(self._decoder.decode_mask(message), shape, 'it')
        except SegvladError as error:
            raise SegvladError(f'mask not used: {error}') from None

    def _check_frame(self, name: str, message: Any, frame_id: str) -> None:
        other = message.header.frame_id
        if not self._settings.ignore_frame_ids and not same_frame(other, frame_id):
            raise SegvladError(f"{name} not used: its frame_id is {other!r}, the image's {frame_id!r}; connect what "
                               'belongs to the image, or set ignore_frame_ids if this does all the same')

    def _mount(self, frame_id: str, stamp: int) -> Pose | None:
        """Where the camera sits on the base."""
        fixed = self._settings.base_from_camera
        if fixed is not None:
            return replace(fixed, frame=self._base_frame)
        found = self._transform(self._base_frame, frame_id, stamp) if frame_id else None
        if found is None and frame_id not in self._without_mount:
            self._without_mount.add(frame_id)
            logger.info("no transform from %r to %r: the camera's place on the robot is unknown; publish it on "
                        '/tf_static or set base_from_camera', frame_id, self._base_frame)
        return found

    def _base_pose(self, odometry: OdometryPose, stamp: int) -> Pose:
        """The pose of the base; odometry tells that of its child frame."""
        wanted, child = self._settings.base_frame, odometry.child.lstrip('/')
        self._base_frame = wanted
        if not child or same_frame(child, wanted):
            return odometry.pose
        child_from_base = self._transform(child, wanted, stamp)
        if child_from_base is None:
            self._base_frame = child
            self._report('odometry', f'odometry is of {child!r}, and nothing tells where base_frame {wanted!r} is from '
                         f'there: results are poses of {child!r}')
            return odometry.pose
        moved = compose(odometry.pose, child_from_base)
        return Pose(moved.translation, moved.quaternion, odometry.pose.frame, odometry.pose.covariance)
