"""The one way from image bytes to arrays: sensor_msgs Image and CompressedImage by their plain fields, without ROS.

Encodings are those of ``sensor_msgs/image_encodings.hpp``. Results equal cv_bridge's where cv_bridge is right, and are
also right for padded rows and big-endian data. Every size is checked against the data before memory is taken.
"""
from __future__ import annotations

import logging
import struct
from functools import cache

import cv2
import numpy as np

from segvlad_ros.io.image_file import image_size, read_pixels, white_of
from segvlad_ros.text import out_of_memory
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
"""Compressed images with more pixels than this are refused (300 MB when decoded)."""

_GENERIC = {'8U': 'u1', '8S': 'i1', '16U': 'u2', '16S': 'i2', '32S': 'i4', '32F': 'f4', '64F': 'f8'}
# Numpy type and channels of one pixel, and OpenCV's conversion to RGB.
_PICTURES = {
    'mono8': ('u1', 1, cv2.COLOR_GRAY2RGB), 'mono16': ('u2', 1, cv2.COLOR_GRAY2RGB),
    'rgb8': ('u1', 3, None), 'rgb16': ('u2', 3, None),
    'bgr8': ('u1', 3, cv2.COLOR_BGR2RGB), 'bgr16': ('u2', 3, cv2.COLOR_BGR2RGB),
    'rgba8': ('u1', 4, cv2.COLOR_RGBA2RGB), 'rgba16': ('u2', 4, cv2.COLOR_RGBA2RGB),
    'bgra8': ('u1', 4, cv2.COLOR_BGRA2RGB), 'bgra16': ('u2', 4, cv2.COLOR_BGRA2RGB),
    'yuv422': ('u1', 2, cv2.COLOR_YUV2RGB_UYVY), 'uyvy': ('u1', 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': ('u1', 2, cv2.COLOR_YUV2RGB_YUY2), 'yuyv': ('u1', 2, cv2.COLOR_YUV2RGB_YUY2),
    # generic types carry no colour order; OpenCV's own is what their publishers use
    '8UC1': ('u1', 1, cv2.COLOR_GRAY2RGB), '8UC3': ('u1', 3, cv2.COLOR_BGR2RGB), '8UC4': ('u1', 4, cv2.COLOR_BGRA2RGB),
}
for _pattern, _code in (  # OpenCV names a Bayer pattern by its second row, second and third pixel
        ('rggb', cv2.COLOR_BayerBG2RGB), ('bggr', cv2.COLOR_BayerRG2RGB),
        ('gbrg', cv2.COLOR_BayerGR2RGB), ('grbg', cv2.COLOR_BayerGB2RGB)):
    _PICTURES |= {f'bayer_{_pattern}8': ('u1', 1, _code), f'bayer_{_pattern}16': ('u2', 1, _code)}

_PLANES = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21, 'nv24': cv2.COLOR_YUV2RGB_UYVY}
"""A plane of luma, then one of chroma pairs: of 2 x 2 pixels each (nv12: UV, nv21: VU) or of every pixel (nv24)."""


def _layout(encoding: str) -> tuple[str, int]:
    """Numpy type and channels of one pixel."""
    if encoding in _PICTURES:
        return _PICTURES[encoding][:2]
    kind, _, channels = encoding.partition('C')
    if kind in _GENERIC and channels in ('1', '2', '3', '4'):
        return _GENERIC[kind], int(channels)
    raise SegvladError(f'unknown image encoding {encoding!r}; publish e.g. rgb8, bgr8 or mono8')


def decode_array(*, height: int, width: int, encoding: str, is_bigendian: bool, step: int, data) -> np.ndarray:
    """The pixels of a raw image as they are, without colour conversion.

    :param step: bytes from one row to the next, padding included
    :param data: bytes or any buffer of them, at least ``step * height``
    :returns: (height, width) or (height, width, channels), native byte order, own memory
    :raises SegvladError: unknown encoding, sizes that do not fit the data
    """
    code, channels = _layout(encoding)
    dtype = np.dtype(code).newbyteorder('>' if is_bigendian else '<')
    if height < 1 or width < 1:
        raise SegvladError(f'empty image: {width} x {height} pixels')
    row = width * channels * dtype.itemsize
    buffer = np.frombuffer(data, np.uint8)
    if step < row or len(buffer) < step * height:
        raise SegvladError(f'image data too short for {width} x {height} {encoding}: {len(buffer)} bytes, '
                           f'step {step}, a row needs {row}')
    rows = np.array(buffer[:step * height].reshape(height, step)[:, :row], order='C')
    pixels = rows.view(dtype).astype(dtype.newbyteorder('='), copy=False)
    return pixels.reshape(height, width, channels) if channels > 1 else pixels


def _decode_planes(height: int, width: int, encoding: str, step: int, buffer: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 RGB of luma and chroma planes, by OpenCV's conversion of BT.601 with limited range.

    :param step: bytes from one row of luma to the next; chroma rows of nv24 are twice as long
    :param buffer: uint8
    """
    if height < 1 or width < 1:
        raise SegvladError(f'empty image: {width} x {height} pixels')
    full = encoding == 'nv24'
    if not full and (height % 2 or width % 2):
        raise SegvladError(f'cannot convert {width} x {height} {encoding} to RGB: both sides must be even')
    rows = height * 3 if full else height * 3 // 2
    if step < width or len(buffer) < step * rows:
        raise SegvladError(f'image data too short for {width} x {height} {encoding}: {len(buffer)} bytes, step {step}, '
                           f'{rows} rows of at least {width} are needed')
    if not full:
        return cv2.cvtColor(np.ascontiguousarray(buffer[:step * rows].reshape(rows, step)[:, :width]),
                            _PLANES[encoding])
    luma = buffer[:step * height].reshape(height, step)[:, :width]
    chroma = buffer[step * height:step * rows].reshape(height, 2 * step)[:, :2 * width].reshape(height, width, 2)
    # OpenCV has no nv24: each pixel twice is packed 4:2:2
    packed = np.dstack([chroma[..., 0], luma, chroma[..., 1], luma]).reshape(height, 2 * width, 2)
    return np.ascontiguousarray(cv2.cvtColor(packed, _PLANES[encoding])[:, ::2])


def to_8_bits(pixels: np.ndarray, bits: int, what: str) -> np.ndarray:
    """A 16-bit picture with the 8 bits that everything else sees.

    Cameras of 10 or 12 bits often leave the upper bits of a 16-bit image empty. Read as 16 bits it is so dark (at most
    16 of 255) that it would be rejected. A true 16-bit image of a dark room can look the same, so that both causes are
    named, and who knows the camera says its bits; an image that is dark by 8 bits, too, is only dark. 14 of 16 bits
    can be recognised, at a quarter of the light: that is used, and said once.

    :param pixels: uint16, any shape
    :param bits: that the camera has, in the lower bits of each value; 0: all 16, as far as it looks so
    :param what: name of the image for error messages
    :raises SegvladError: values beyond the bits; or bits are 0, and the upper bits are empty
    """
    largest = int(pixels.max())
    if bits and largest >> bits:
        raise SegvladError(f'{what} image with values up to {largest}, which {bits} bits do not hold: set image_bits '
                           "(--image-bits) to the camera's bits, or to 16 if the lower bits are empty")
    if not bits and 16 <= largest < 4096:
        seen = next(bits for bits in (8, 10, 12) if largest < 1 << bits)
        raise SegvladError(f'{what} image whose values stay below {1 << seen}: if the camera has {seen} bits, set '
                           f'image_bits (--image-bits) to {seen}; if all 16 are in use and it is only dark, to 16')
    if not bits and 4096 <= largest < 1 << 14:
        _suspect_14_bits(what)
    return cv2.convertScaleAbs(pixels, alpha=255.0 / ((1 << (bits or 16)) - 1))


@cache
def _suspect_14_bits(what: str) -> None:
    logger.warning('%s image whose values stay below 16384, read as 16 bits: if the camera has 14 bits, set image_bits '
                   '(--image-bits) to 14, else to 16', what)


def decode_image(*, height: int, width: int, encoding: str, is_bigendian: bool, step: int, data,
                 bits: int = 0) -> np.ndarray:
    """A raw colour or grey image, see :func:`decode_array`.

    :param bits: of the camera, in images of 16 bits, see :func:`to_8_bits`
    :returns: (height, width, 3) uint8 RGB
    :raises SegvladError: as :func:`decode_array`, and for encodings that are not a picture (depth, labels)
    """
    if encoding in _PLANES:
        return _decode_planes(height, width, encoding, step, np.frombuffer(data, np.uint8))
    pixels = decode_array(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian, step=step,
                          data=data)
    if encoding not in _PICTURES:
        hint = '; this is a depth image' if encoding in ('16UC1', '32FC1') else ''
        raise SegvladError(f'no colour conversion from encoding {encoding!r}{hint}; '
                           'connect a topic with rgb8, bgr8 or mono8')
    _, channels, code = _PICTURES[encoding]
    if pixels.dtype == np.uint16:
        pixels = to_8_bits(pixels, bits, encoding)
    if code is None:
        return pixels
    misfit = SegvladError(f'cannot convert {width} x {height} {encoding} to RGB: the size does not fit the encoding')
    # OpenCV 4.6 reads on in packed YUV, and all make a mosaic without a neighbour on each side black
    if (channels == 2 and width % 2) or (encoding.startswith('bayer') and min(height, width) < 3):
        raise misfit
    try:
        return cv2.cvtColor(pixels, code)
    except cv2.error as error:
        if out_of_memory(error):
            raise
        raise misfit from None


def depth_from_millimetres(depth: np.ndarray) -> np.ndarray:
    """REP 118: uint16 millimetres, 0 unknown -> (h, w) float32 metres, NaN unknown."""
    metres = depth.astype(np.float32) * np.float32(0.001)
    metres[depth == 0] = np.nan
    return metres


def _depth_from_metres(depth: np.ndarray) -> np.ndarray:
    """float32 metres with 0, negative, infinite or NaN for unknown -> the same with NaN only."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)


def decode_depth(*, height: int, width: int, encoding: str, is_bigendian: bool, step: int, data) -> np.ndarray:
    """A raw depth image (REP 118), see :func:`decode_array`.

    :param encoding: 16UC1 or mono16 (millimetres), 32FC1 (metres)
    :returns: (height, width) float32 metres, NaN where unknown
    """
    if encoding not in ('16UC1', 'mono16', '32FC1'):
        raise SegvladError(f'encoding {encoding!r} is not a depth image; connect a topic with 16UC1 or 32FC1')
    pixels = decode_array(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian, step=step,
                          data=data)
    return _depth_from_metres(pixels) if encoding == '32FC1' else depth_from_millimetres(pixels)


def decode_compressed(data, max_pixels: int = MAX_PIXELS, *, upright: bool = False, bits: int = 0) -> np.ndarray:
    """A JPEG, PNG, WebP, BMP, TIFF or PNM image, e.g. the data of a CompressedImage.

    :param data: bytes or any buffer of them
    :param max_pixels: larger images are refused before they are decoded
    :param upright: turn the image as its EXIF orientation says, as a viewer of files does. Not for messages: their
        depth images and calibration belong to the grid of the sensor
    :param bits: as in :func:`to_8_bits`; 0 where a PPM or PGM names a white of its own: that
    :returns: (h, w, 3) uint8 RGB
    :raises SegvladError: unknown format, damaged, cut off, too large
    """
    data = bytes(data)
    pixels = read_pixels(data, max_pixels, upright=upright)
    if pixels.dtype == np.uint16:
        white = white_of(data)
        # 65535 is what programs write whatever the camera has, and says no more than the 16 bits of a PNG
        is_stated = not bits and 0 < white < 65535
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / white) if is_stated else to_8_bits(pixels, bits, '16-bit')
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


# Of the shapes of two images that show the same view; one of the two may be smaller.
_SHAPE_TOLERANCE = 0.01


def same_view(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two images, height first, can show the same view: their shapes differ by no more than rounding."""
    return abs(shape[1] * other[0] / (shape[0] * other[1]) - 1.0) <= _SHAPE_TOLERANCE


_DEPTH_HEADER = struct.Struct('<iff')
"""Of image_transport's compressedDepth: format (0 = inverse depth), quantisation A and B."""


def _has_depth_header(data: bytes, format: str) -> bool:  # noqa: A002
    if 'compressedDepth' not in format:
        return False
    if 'rvl' in format:
        raise SegvladError("compressedDepth with RVL cannot be read; set the publisher's format to png")
    if len(data) < _DEPTH_HEADER.size:
        raise SegvladError(f'compressed depth image of {len(data)} bytes is cut off')
    return True


def compressed_size(data, format: str = '') -> tuple[int, int]:  # noqa: A002
    """Width and height of a CompressedImage, of colour or of depth, by its header."""
    data = bytes(data)
    return image_size(data[_DEPTH_HEADER.size:] if _has_depth_header(data, format) else data)


def decode_compressed_depth(data, format: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:  # noqa: A002
    """A depth CompressedImage: PNG behind the 12-byte header of ``compressedDepth``, or a plain 16-bit PNG.

    The PNG holds millimetres (16UC1), or A / depth + B with A and B of the header (32FC1), 0 where nothing is known.

    :param format: the message's ``format``, e.g. ``16UC1; compressedDepth png``
    :returns: (h, w) float32 metres, NaN where unknown
    """
    data = bytes(data)
    encoding = format.split(';', maxsplit=1)[0].strip()
    with_header = _has_depth_header(data, format)
    pixels = read_pixels(data[_DEPTH_HEADER.size:] if with_header else data, max_pixels)
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise SegvladError(f'compressed image with format {format!r} is not a 16-bit depth image')
    if encoding == '32FC1' and not with_header:
        raise SegvladError('32FC1 depth is not a 16-bit PNG without the header of compressedDepth: use that transport')
    if encoding != '32FC1':
        return depth_from_millimetres(pixels)
    _, quantum_a, quantum_b = _DEPTH_HEADER.unpack_from(data)
    if not (0 < quantum_a < np.inf and -np.inf < quantum_b < 1):  # B = 1 - A / largest depth
        raise SegvladError(f'compressed depth image: its header is damaged (quantisation {quantum_a:g}, {quantum_b:g})')
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.float32(quantum_a) / (pixels.astype(np.float32) - np.float32(quantum_b))
    return _depth_from_metres(np.where(pixels == 0, np.nan, depth))


def encode_jpeg(rgb: np.ndarray, quality: int = 85) -> bytes:
    """JPEG bytes of an (h, w, 3) uint8 RGB image, with Huffman tables of its own; quality is 1 to 100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    encoded, data = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise SegvladError(f'cannot encode an image of shape {rgb.shape} as JPEG')
    return data.tobytes()


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """REP 118: (h, w) float32 metres, NaN unknown -> uint16 millimetres; unknown or beyond 65.535 m become 0."""
    with np.errstate(invalid='ignore'):
        millimetres = np.round(np.asarray(depth, np.float64) * 1000)
        return np.where((millimetres > 0) & (millimetres < 65536), millimetres, 0).astype(np.uint16)
