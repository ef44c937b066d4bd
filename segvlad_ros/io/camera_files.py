"""Intrinsics from files: COLMAP's ``cameras.txt``, and the YAML that ROS's camera_calibration writes."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from segvlad_ros.io.camera_info import camera_model, checked
from segvlad_ros.io.yaml_text import parse_yaml
from segvlad_ros.types import CameraModel, SegvladError

# COLMAP's models: their parameters by name, and what the distortion is called in ROS. COLMAP's order of coefficients is
# that of OpenCV as far as it goes.
_COLMAP = {
    'SIMPLE_PINHOLE': ('f cx cy', 'plumb_bob'), 'PINHOLE': ('fx fy cx cy', 'plumb_bob'),
    'SIMPLE_RADIAL': ('f cx cy k1', 'plumb_bob'), 'RADIAL': ('f cx cy k1 k2', 'plumb_bob'),
    'OPENCV': ('fx fy cx cy k1 k2 p1 p2', 'plumb_bob'),
    'SIMPLE_RADIAL_FISHEYE': ('f cx cy k1', 'equidistant'), 'RADIAL_FISHEYE': ('f cx cy k1 k2', 'equidistant'),
    'OPENCV_FISHEYE': ('fx fy cx cy k1 k2 k3 k4', 'equidistant'),
    'FULL_OPENCV': ('fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6', 'rational_polynomial'),
}
_COEFFICIENTS = {'plumb_bob': 'k1 k2 p1 p2 k3', 'equidistant': 'k1 k2 k3 k4',
                 'rational_polynomial': 'k1 k2 p1 p2 k3 k4 k5 k6'}
_MAX_BYTES = 10_000_000


def read_cameras(path: Path, rectified: bool = False) -> dict[int | None, CameraModel]:
    """The cameras of a file: by COLMAP's number, or, of a YAML file, the only one as None.

    :param rectified: the images are rectified: of a YAML file its projection_matrix counts, without distortion
    :raises SegvladError: naming file and line or field
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SegvladError(f'{path}: larger than {_MAX_BYTES // 1_000_000} MB, no file of cameras')
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError:
        raise SegvladError(f'{path}: is not a text file in UTF-8; save it as one') from None
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror})') from None
    if is_ros_camera(path):
        return {None: _ros_camera(path, text, rectified)}
    cameras: dict[int | None, CameraModel] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith('#'):
            where = f'{path}:{number}'
            identity, model = _colmap_camera(line.split(), where)
            if identity in cameras:
                raise SegvladError(f'{where}: camera {identity} comes a second time')
            cameras[identity] = model
    if not cameras:
        raise SegvladError(f'{path}: has no cameras')
    return cameras


def is_ros_camera(path: Path) -> bool:
    """Whether a file is called as ROS's YAML is, and not as COLMAP's text."""
    return path.suffix.lower() in ('.yaml', '.yml')


def _colmap_camera(words: list[str], where: str) -> tuple[int, CameraModel]:
    name = words[1] if len(words) > 1 else ''
    if name not in _COLMAP:
        raise SegvladError(f'{where}: camera model {name[:40]!r} is not supported: use one of {", ".join(_COLMAP)}, or '
                           'undistort the images (colmap image_undistorter)')
    names, distortion = _COLMAP[name]
    names = names.split()
    if len(words) != 4 + len(names):
        raise SegvladError(f'{where}: {len(words)} values, {name} has {4 + len(names)}: id model width height '
                           f'{" ".join(names)}')
    try:
        identity, width, height = int(words[0]), int(words[2]), int(words[3])
        values = dict(zip(names, map(float, words[4:])))
    except ValueError:
        raise SegvladError(f'{where}: {" ".join(words)[:80]!r} has a value that is not a number') from None
    # the centre of COLMAP's first pixel lies at (0.5, 0.5), that of ROS's and OpenCV's at (0, 0)
    matrix = np.array([[values.get('fx', values.get('f')), 0, values['cx'] - 0.5],
                       [0, values.get('fy', values.get('f')), values['cy'] - 0.5], [0, 0, 1.0]])
    coefficients = np.array([values.get(each, 0.0) for each in _COEFFICIENTS[distortion].split()])
    try:
        return identity, checked(CameraModel(width, height, matrix, coefficients, distortion))
    except SegvladError as error:
        raise SegvladError(f'{where}: {str(error).removeprefix("camera_info: ")}') from None


def _ros_camera(path: Path, text: str, rectified: bool) -> CameraModel:
    """Of the fields that a sensor_msgs/CameraInfo has, as camera_calibration_parsers names them."""
    try:
        fields = parse_yaml(text)
        info = SimpleNamespace(
            width=int(fields['image_width']), height=int(fields['image_height']),
            k=_values(fields, 'camera_matrix', 9), d=_values(fields, 'distortion_coefficients', None),
            r=_values(fields, 'rectification_matrix', 9), p=_values(fields, 'projection_matrix', 12),
            distortion_model=str(fields.get('distortion_model', fields.get('camera_model', 'plumb_bob'))),
            binning_x=0, binning_y=0, roi=SimpleNamespace(width=0, height=0, x_offset=0, y_offset=0))
        model = camera_model(info, rectified)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SegvladError(f'{path}: is not a ROS camera calibration ({type(error).__name__}: {error}); it has '
                           'image_width, image_height, camera_matrix and distortion_coefficients') from None
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}') from None
    if model is None:
        raise SegvladError(f'{path}: the camera is not calibrated: its matrix is all zero')
    return model


def _values(fields: dict, name: str, count: int | None) -> list[float]:
    """Numbers of a matrix; one that may be missing is all zero."""
    if name not in fields and name in ('rectification_matrix', 'projection_matrix'):
        return [0.0] * count
    values = [float(value) for value in fields[name]['data']]
    if count is not None and len(values) != count:
        raise ValueError(f'{name} has {len(values)} values, not {count}')
    return values
