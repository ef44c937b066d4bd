"""Compressed images, as files and messages hold them: from bytes to pixels, with the size checked in between.

Pillow reads the header, which takes no memory for pixels, and decodes what is not lossy: it knows more variants of BMP,
TIFF and PPM, and writes nothing to stderr when a PNG is damaged. OpenCV decodes JPEG and WebP, several channels of 16
bits, of which Pillow keeps the upper 8 only, and PPM and PGM of more than 8, which Pillow stretches to all 16.
"""
from __future__ import annotations

import io
import re
import warnings

import cv2
import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from segvlad_ros.text import one_line, out_of_memory
from segvlad_ros.types import SegvladError

# Pillow warns of large images and odd metadata on stderr: the limit here is our own, and metadata is not used.
warnings.filterwarnings('ignore', module=r'PIL\.')

FORMATS = 'JPEG, PNG, WebP, BMP, TIFF or PPM/PGM'
# The readers are called themselves: Image.open() knows more formats, and has a limit of its own for the whole process.
_READERS = (
    (re.compile(rb'\xff\xd8\xff'), JpegImageFile), (re.compile(rb'\x89PNG\r\n\x1a\n'), PngImageFile),
    (re.compile(rb'RIFF....WEBP', re.DOTALL), WebPImageFile), (re.compile(rb'BM'), BmpImageFile),
    (re.compile(rb'II[*+]\0|MM\0[*+]'), TiffImageFile), (re.compile(rb'P[1-6]'), PpmImageFile),
)
# Of PPM and PGM: width, height and the value of white, with comments between them.
_PPM_HEADER = re.compile(rb'P[2356]' + 3 * rb'(?:\s|#[^\r\n]*[\r\n])+(\d+)')
_ORIENTATION = 0x0112  # of EXIF and TIFF
# From the stored pixels to upright ones. All but 6 and 8, which undo each other, undo themselves.
_TURN = {2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
         6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: np.rot90}


def read_pixels(data: bytes, max_pixels: int, *, upright: bool = False) -> np.ndarray:
    """The pixels of a compressed image.

    :param max_pixels: larger images are refused before memory is taken for their pixels
    :param upright: turn the image as its EXIF orientation says; False keeps the grid of pixels that is stored
    :return: (h, w, 3) RGB, uint8 or uint16; or (h, w) uint16 for grey of 16 bits, such as depth
    :raises SegvladError: unknown format, damaged, cut off, too large, or no picture
    """
    return _pixels(_opened(data, max_pixels), data, max_pixels, upright)


def read_usable(data: bytes, max_pixels: int, *, upright: bool = False) -> np.ndarray:
    """What a mask leaves of an image: 0 (black) covers, anything else is used, of 8 bits and of 16.

    A palette whose entry 0, and no other, is black says the same by its numbers and by its colours. What JPEG makes of
    black beside white is nearly black.

    :param max_pixels: and ``upright``: as in :func:`read_pixels`
    :return: (h, w) bool, True where the image is used
    :raises SegvladError: as :func:`read_pixels`, or it can be read in two ways
    """
    image = _opened(data, max_pixels)
    pixels = _pixels(image, data, max_pixels, upright)
    if _is_transparent(image):
        doubt = 'transparent pixels'
    elif image.mode == 'P':
        is_black = ~np.asarray(image.convert('RGB')).any(axis=2)
        doubt = '' if np.array_equal(is_black, np.asarray(image) == 0) else 'a palette in which 0 is not what is black'
    elif isinstance(image, JpegImageFile) and ((pixels > 0) & (pixels < 128)).any():
        doubt = 'nearly black pixels of a JPEG'
    else:
        doubt = 'colours' if pixels.ndim == 3 and (pixels != pixels[..., :1]).any() else ''
    if doubt:
        raise SegvladError(f'it has {doubt}, which leaves open what it covers: save it as grey PNG without alpha '
                           'channel, black where the image is covered')
    return pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0


def _pixels(image: Image.Image, data: bytes, max_pixels: int, upright: bool) -> np.ndarray:
    width, height = image.size
    if width * height > max_pixels:
        raise SegvladError(f'compressed image of {width} x {height} pixels refused; at most {max_pixels} are allowed')
    if len(data) < _least_bytes(image, data):
        raise SegvladError(f'compressed image of {len(data)} bytes is damaged or cut off: it claims {width} x {height} '
                           'pixels, which take more')
    is_tiff = isinstance(image, TiffImageFile)
    if is_tiff and (oddity := _oddity(image)):
        raise SegvladError(f'the TIFF has {oddity}, which is not read: save it as PNG')
    orientation = _orientation(image) if upright or is_tiff else 1
    pixels = _by_opencv(image, data) if _is_for_opencv(image, data) else _by_pillow(image)
    if pixels is None:
        raise SegvladError(f'compressed image of {width} x {height} pixels ({len(data)} bytes) is damaged')
    if orientation in _TURN and upright != is_tiff:  # both libraries have turned a TIFF already
        pixels = _TURN[orientation if upright else {6: 8, 8: 6}.get(orientation, orientation)](pixels)
    return np.ascontiguousarray(pixels)


def is_turned(data: bytes) -> bool:
    """Whether an image's EXIF orientation says that its pixels do not lie as they are to be seen."""
    return _orientation(_opened(data, 0, check=False)) in _TURN


def white_of(data: bytes) -> int:
    """The value that is white in a PPM or PGM, by its header; 0: it is no such image."""
    header = _PPM_HEADER.match(data)
    return int(header[3]) if header else 0


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height of a compressed image by its header; nothing is decoded.

    :raises SegvladError: no image whose header can be read
    """
    return _opened(data, 0, check=False).size


def _least_bytes(image: Image.Image, data: bytes) -> int:
    """What a file with so many pixels has at least: a few bytes may not claim memory for many.

    Huffman's codes give each block of 8 x 8 pixels a bit or more, and deflate packs 1032 bytes in one at best. PPM of
    more than 8 bits has two bytes for each value, or a digit and a space.
    """
    width, height = image.size
    if isinstance(image, JpegImageFile):
        return -(-width // 8) * -(-height // 8) // 8
    if _is_deep_ppm(image, data):
        return 2 * width * height * len(image.getbands())
    return width * height // (8 * 1032) if isinstance(image, PngImageFile) else 0


def _opened(data: bytes, max_pixels: int, check: bool = True) -> Image.Image:
    """The image with its header read.

    :param check: whether the rest is there, as far as that is seen without decoding
    """
    reader = next((reader for magic, reader in _READERS if magic.match(data)), None)
    if reader is None:
        raise SegvladError(f'{len(data)} bytes are not a {FORMATS} image')
    try:
        image = reader(io.BytesIO(data))
        if check and reader is PngImageFile:
            reader(io.BytesIO(data)).verify()  # the checksums, which decoding passes over
    except Image.DecompressionBombError:  # of WebP, whose reader takes memory early
        raise SegvladError(f'compressed image refused; at most {max_pixels} pixels are allowed') from None
    except MemoryError:  # says nothing of the image
        raise
    except Exception as error:  # what a header of random bytes raises is not documented
        raise SegvladError(f'compressed image of {len(data)} bytes is damaged or cut off ({_line(error)})') from None
    # OpenCV fills a cut off JPEG with grey. Inside the scan, where the reader stopped, 0xFF is followed by 0 or a
    # restart marker, so that 0xFFD9 is the end and nothing else.
    if check and reader is JpegImageFile and data.find(b'\xff\xd9', image.fp.tell()) < 0:
        raise SegvladError(f'compressed image of {len(data)} bytes is damaged or cut off (the end is missing)')
    return image


def _is_transparent(image: Image.Image) -> bool:
    """Whether any pixel is; an alpha channel that is opaque everywhere says nothing."""
    if image.mode not in ('LA', 'PA', 'RGBA', 'RGBa') and 'transparency' not in image.info:
        return False
    if image.mode.startswith('I'):  # grey of 16 bits, one value of which is transparent
        return True
    return image.convert('RGBA').getchannel('A').getextrema()[0] < 255


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse a picture
        return 1


def _oddity(image: TiffImageFile) -> str:
    """What of a TIFF neither library looks at, so that another picture comes out without a word; '' if nothing."""
    tags = image.tag_v2
    if _is_deep_tiff(image) and tags.get(284) == 2:
        return 'a plane of each colour'
    if image.mode.startswith('I;16') and tags.get(262) == 0:
        return '0 for white'
    if tags.get(254) == 1:  # the picture that was taken lies behind it, in DNG and other raw files
        return 'a preview first'
    return 'signed numbers' if 2 in tags.get(339, ()) and tags.get(258, (8,))[0] <= 16 else ''


def _is_deep_tiff(image: TiffImageFile) -> bool:
    """Whether it has colours of 16 bits."""
    return image.mode.startswith('RGB') and image.tag_v2.get(258, (8,))[0] == 16


def _is_for_opencv(image: Image.Image, data: bytes) -> bool:
    if isinstance(image, PngImageFile):
        return data[24:26] in (b'\x10\x02', b'\x10\x04', b'\x10\x06')  # 16 bits: RGB, grey with alpha, RGBA
    if isinstance(image, TiffImageFile):
        return _is_deep_tiff(image)
    if isinstance(image, WebPImageFile):
        return not image.is_animated  # of which OpenCV 4.6 reads nothing
    return isinstance(image, JpegImageFile) or _is_deep_ppm(image, data)


def _is_deep_ppm(image: Image.Image, data: bytes) -> bool:
    return isinstance(image, PpmImageFile) and white_of(data) > 255


def _by_opencv(image: Image.Image, data: bytes) -> np.ndarray | None:
    is_grey = image.mode.startswith('I')
    flags = cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR
    if data[:2] in (b'P2', b'P3'):  # the text of a PPM: its last number ends the file, and OpenCV wants to see it end
        data += b'\n'
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8),
                              flags | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if out_of_memory(error):
            raise
        return None
    return pixels if pixels is None or is_grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _by_pillow(image: Image.Image) -> np.ndarray:
    deep = image.mode.startswith('I;16') or (image.mode == 'I' and isinstance(image, PngImageFile))
    if image.mode in ('I', 'F') and not deep:
        raise SegvladError('the image has 32 bits a pixel and channel, which no camera has: save it with 8 or 16')
    try:
        image.load()
        return np.asarray(image).astype(np.uint16) if deep else np.asarray(image.convert('RGB'))
    except MemoryError:  # as above
        raise
    except Exception as error:  # as above
        raise SegvladError(f'compressed image of {image.size[0]} x {image.size[1]} pixels is damaged or of a kind that '
                           f'cannot be read ({_line(error)})') from None


def _line(error: Exception) -> str:
    return one_line(error, 100) or type(error).__name__
