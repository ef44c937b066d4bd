"""What a frame must be to be described: checked as a whole, before anything remembers it."""
from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import numpy as np

from segvlad_ros.geometry import sound_pose
from segvlad_ros.io.camera_info import checked
from segvlad_ros.io.image_codec import same_view
from segvlad_ros.types import Frame, SegvladError


def sound(frame: Frame) -> Frame:
    """A frame that can be described, its quaternions of length 1 and its lens as OpenCV takes it.

    :raises SegvladError: naming what is not as :class:`~segvlad_ros.types.Frame` says
    """
    rgb = frame.rgb
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise SegvladError(f'an image is an array (height, width, 3) uint8 RGB, not {_kind(rgb)}')
    if not isinstance(frame.stamp_ns, Integral) or not -2 ** 63 <= frame.stamp_ns < 2 ** 63:
        raise SegvladError(f'stamp_ns is a whole number of nanoseconds that 64 bits hold, not {frame.stamp_ns!r}')
    _check_mask(frame.mask, rgb.shape)
    _check_depth(frame.depth, rgb.shape)
    model = None if frame.camera_model is None else checked(frame.camera_model)
    if model is not None and (model.height, model.width) != rgb.shape[:2]:
        raise SegvladError(f'camera_model is of images of {model.width} x {model.height} pixels, the image has '
                           f'{rgb.shape[1]} x {rgb.shape[0]}: scale it, or give the image as the camera delivered it')
    return replace(frame, camera_model=model, pose=frame.pose and sound_pose(frame.pose),
                   base_from_camera=frame.base_from_camera and sound_pose(frame.base_from_camera))


def _check_mask(mask: object, shape: tuple[int, ...]) -> None:
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.shape != shape[:2] or mask.dtype != bool):
        raise SegvladError(f'a mask is bool and of the size of the image, {shape[:2]}, not {_kind(mask)}: resize it by '
                           'nearest neighbour, and compare it with 0')


def _check_depth(depth: object, shape: tuple[int, ...]) -> None:
    if depth is None:
        return
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise SegvladError(f'depth is an array (height, width) float32 of metres, not {_kind(depth)}: of millimetres '
                           'make metres, and of unknown values NaN')
    if not depth.size or not same_view(depth.shape, shape):  # it may be smaller than the image
        raise SegvladError(f'depth has {depth.shape[1]} x {depth.shape[0]} pixels, the image {shape[1]} x {shape[0]}: '
                           'use depth registered to the image')


def _kind(value: object) -> str:
    return f'{value.dtype} of shape {value.shape}' if isinstance(value, np.ndarray) else type(value).__name__
