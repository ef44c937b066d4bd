"""What a ``sensor_msgs/CameraInfo`` must be to measure with: CameraInfo.msg and REP 104, checked as a whole.

Whoever makes a :class:`~segvlad_ros.types.CameraModel` of foreign numbers comes here: a message, live or in a bag, the
map file, a keyframe of another node. What cannot be used is refused with the field and its value; the image is still
recognised, without a metric pose.
"""
from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from segvlad_ros.io.stamps import nearest
from segvlad_ros.types import CameraModel, SegvladError

# Coefficients that a driver must send of each model, and the forms that OpenCV takes, in ROS's order.
_LEAST = {'plumb_bob': 4, 'rational_polynomial': 8, 'equidistant': 4}
_FORMS = {'plumb_bob': (5,), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
_ALIASES = {'fisheye': 'equidistant', 'equi': 'equidistant', 'kannala_brandt': 'equidistant',
            'kannala_brandt4': 'equidistant', 'brown_conrady': 'plumb_bob', 'radtan': 'plumb_bob'}
# Wider than this no pinhole sees, narrower none that a robot carries: such numbers are not pixels.
_MIN_FOCAL, _MAX_FOCAL = 0.05, 50.0
# A part of an image lies no further from the principal point than a pinhole sees: 2 focal lengths are 63 degrees.
_CUT_OUT = 2.0


def camera_model(info: Any, rectified: bool = False) -> CameraModel | None:
    """The intrinsics of the images that come with a CameraInfo, binned and cut as it says.

    :param info: sensor_msgs/CameraInfo, or a bag's message with these fields
    :param rectified: the images are rectified: they fit P, and have no distortion
    :return: None of a camera that is not calibrated (K, or where it counts P, is all zero)
    :raises SegvladError: it is calibrated, but cannot be used
    """
    k, r, p = (np.array(getattr(info, name), np.float64).reshape(shape) for name, shape in (
        ('k', (3, 3)), ('r', (3, 3)), ('p', (3, 4))))
    distortion = np.array(info.d, np.float64).reshape(-1)
    for name, values in (('K', k), ('D', distortion), ('R', r), ('P', p)):
        if not np.isfinite(values).all():
            raise SegvladError(f'camera_info: {name} is not finite: {_shown(values)}')
    if r.any() and (abs(r).max() > 1.1 or abs(r @ r.T - np.eye(3)).max() > 1e-2 or np.linalg.det(r) < 0):
        raise SegvladError(f'camera_info: R is not a rotation: {_shown(r)}')
    if rectified and p.any():
        k, distortion = p[:, :3], distortion[:0]
    elif rectified and (distortion.any() or k.any() and r.any() and abs(r - np.eye(3)).max() > 1e-6):
        raise SegvladError('camera_info: P is all zero, so that nothing is known of rectified images: publish P, or '
                           'set rectified false')
    elif rectified:
        distortion = distortion[:0]
    if not k.any():
        return None
    whole = checked(CameraModel(int(info.width), int(info.height), k, distortion, info.distortion_model))
    _check_centre(whole, 0.0)
    return checked(_cut(whole, info))


def checked(model: CameraModel) -> CameraModel:
    """A model that can be measured with, its distortion in the form that OpenCV takes.

    All coefficients zero mean no distortion; of an equidistant lens, the ideal fisheye.

    :raises SegvladError: naming the field and its value
    """
    if model.width < 1 or model.height < 1:
        raise SegvladError(f'camera_info: width and height are {model.width} x {model.height} pixels')
    _check_matrix(model)
    _check_centre(model, _CUT_OUT)
    name = re.sub(r'[ -]', '_', model.distortion_model.lower())
    name = _ALIASES.get(name, name)
    distortion = np.asarray(model.distortion, np.float64).reshape(-1)
    if not np.isfinite(distortion).all():
        raise SegvladError(f'camera_info: D is not finite: {_shown(distortion)}')
    if not distortion.any() and (name != 'equidistant' or len(distortion) < _LEAST[name]):
        return replace(model, distortion=distortion[:0], distortion_model='plumb_bob')
    if name not in _FORMS:
        raise SegvladError(f'camera_info: distortion_model is {model.distortion_model!r}: use one of '
                           f'{", ".join(_FORMS)}, or rectified images')
    return replace(model, distortion=_coefficients(name, distortion), distortion_model=name)


def _coefficients(name: str, distortion: np.ndarray) -> np.ndarray:
    """As many coefficients as OpenCV takes: zeros behind them are dropped, as drivers append them, or added."""
    used, forms = 1 + max(np.flatnonzero(distortion), default=-1), _FORMS[name]
    if len(distortion) < _LEAST[name] or used > forms[-1]:
        raise SegvladError(f'camera_info: D has {len(distortion)} values, {name} has {" or ".join(map(str, forms))}: '
                           f'{_shown(distortion)}')
    length = next(count for count in forms if count >= used)
    return np.pad(distortion[:length], (0, max(0, length - len(distortion))))


def _check_matrix(model: CameraModel) -> None:
    matrix = np.asarray(model.matrix, np.float64)
    if not np.isfinite(matrix).all():
        raise SegvladError(f'camera_info: K is not finite: {_shown(matrix)}')
    pinhole = np.array([[matrix[0, 0], 0, matrix[0, 2]], [0, matrix[1, 1], matrix[1, 2]], [0, 0, 1]])
    if abs(matrix - pinhole).max() > 1e-6:
        raise SegvladError(f'camera_info: K is not [fx 0 cx, 0 fy cy, 0 0 1]: {_shown(matrix)}')
    for name, focal, size in (('x', matrix[0, 0], model.width), ('y', matrix[1, 1], model.height)):
        if not _MIN_FOCAL * size < focal < _MAX_FOCAL * size:
            raise SegvladError(f'camera_info: f{name} is {focal:g} pixels in an image of {size}')


def _check_centre(model: CameraModel, beside: float) -> None:
    """Refuse a principal point far outside the image.

    :param beside: focal lengths that it may lie further outside, as that of a part that was cut out
    """
    matrix = np.asarray(model.matrix, np.float64)
    for axis, (name, size) in enumerate((('x', model.width), ('y', model.height))):
        focal, centre = matrix[axis, axis], matrix[axis, 2]
        if not -0.5 * size < centre + beside * focal or not centre - beside * focal < 1.5 * size:
            raise SegvladError(f'camera_info: c{name} is {centre:g} pixels, far outside an image of {size}')


def _cut(model: CameraModel, info: Any) -> CameraModel:
    """The model of the part of the image that is sent, binned (CameraInfo.msg: K is that of the whole image)."""
    binning = np.maximum([info.binning_x, info.binning_y], 1)
    roi, matrix = info.roi, np.array(model.matrix, np.float64)
    size = np.array([model.width, model.height])
    if roi.width and roi.height:
        if roi.x_offset + roi.width > model.width or roi.y_offset + roi.height > model.height:
            raise SegvladError(f'camera_info: roi of {roi.width} x {roi.height} pixels at ({roi.x_offset}, '
                               f'{roi.y_offset}) leaves the whole image of {model.width} x {model.height}')
        matrix[:2, 2] -= roi.x_offset, roi.y_offset
        size = np.array([roi.width, roi.height])
    matrix[:2] /= binning[:, None]
    width, height = (size // binning).tolist()
    return replace(model, width=width, height=height, matrix=matrix)


def _shown(values: np.ndarray) -> str:
    return '[' + ' '.join(f'{value:.6g}' for value in values.ravel()[:14]) + ']'


_CALIBRATION = ('width', 'height', 'distortion_model', 'd', 'k', 'r', 'p', 'binning_x', 'binning_y')
_REGION = ('x_offset', 'y_offset', 'width', 'height')


def same_calibration(one: Any, other: Any) -> bool:
    """Whether two CameraInfo messages say the same of their images."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b, names in (
        (one, other, _CALIBRATION), (one.roi, other.roi, _REGION)) for name in names)


class CameraInfos:
    """The camera_info messages of a recording: many, and nearly always one and the same."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._messages: list[Any] = []  # those of the stamps
        self._distinct: dict[bytes, Any] = {}

    def add(self, stamp_ns: int | None, content: bytes, decode: Callable[[], Any]) -> None:
        """Take a message; those that differ in no more than their stamp are decoded once.

        :param stamp_ns: None of a message that is cut off
        :param content: all but the stamp
        :param decode: gives the message, None if it is damaged
        """
        if stamp_ns is None:
            return
        message = self._distinct[content] if content in self._distinct else decode()
        if message is None:
            return
        self._distinct[content] = message
        at = bisect.bisect_right(self._stamps, stamp_ns)
        self._stamps.insert(at, stamp_ns)
        self._messages.insert(at, message)

    def nearest(self, stamp_ns: int) -> Any | None:
        """The one whose stamp is nearest; None without any, and where it changes around that stamp."""
        number, after = nearest(self._stamps, stamp_ns), bisect.bisect_left(self._stamps, stamp_ns)
        if number is None or self._stamps[number] != stamp_ns and 0 < after < len(self._stamps) and (
                self._messages[after - 1] is not self._messages[after]):
            return None
        return self._messages[number]
