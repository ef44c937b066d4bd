"""Compressed images as files and messages hold them: which are read, which are turned, and that none is a bomb."""
from __future__ import annotations

import io
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.io.image_file import read_pixels
from segvlad_ros.io.images import read_image
from segvlad_ros.types import SegvladError


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    small = np.random.default_rng(3).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def saved(pixels, kind, mode=None, **options) -> bytes:
    image = Image.fromarray(pixels)
    data = io.BytesIO()
    (image.convert(mode) if mode else image).save(data, kind, **options)
    return data.getvalue()


def refused(data, says, **options):
    with pytest.raises(SegvladError, match=says) as error:
        decode_compressed(data, **options)
    assert '\n' not in str(error.value)


TURNED = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
          5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
          8: lambda a: np.rot90(a, 1)}


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(('kind', 'options'), [('JPEG', {'quality': 95, 'subsampling': 0}), ('PNG', {}),
                                               ('WEBP', {'lossless': True}),
                                               ('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'})])
def test_files_are_turned_and_messages_keep_the_grid_of_the_sensor(picture, tmp_path, kind, options, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    where = {'tiffinfo': {0x112: orientation}} if kind == 'TIFF' else {'exif': exif}
    data = saved(picture, kind, **where, **options)
    (tmp_path / 'a.jpg').write_bytes(data)
    for decoded, expected in ((decode_compressed(data), picture),
                              (read_image(tmp_path / 'a.jpg'), TURNED[orientation](picture))):
        assert decoded.shape == expected.shape
        assert decoded.flags.c_contiguous
        assert np.abs(decoded.astype(int) - expected).mean() < (2 if kind == 'JPEG' else 0.01)


@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'])
def test_tiff(picture, compression):
    np.testing.assert_array_equal(decode_compressed(saved(picture, 'TIFF', compression=compression)), picture)


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
@pytest.mark.parametrize('part', [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(('kind', 'options'), [('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'}), ('BMP', {}),
                                               ('PPM', {}), ('PNG', {})])
def test_cut_off(picture, kind, options, part):
    data = saved(picture, kind, **options)
    refused(data[:int(part * len(data))], 'damaged')


@pytest.mark.fault('image', 'a PNG with wrong bytes inside', 'refused by its checksums')
def test_a_png_with_wrong_bytes_inside(picture):
    data = bytearray(saved(picture, 'PNG'))
    data[len(data) // 2] ^= 1
    refused(data, 'damaged')


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'RGBA', 'LA', 'CMYK'])
@pytest.mark.parametrize('kind', ['TIFF', 'PNG', 'BMP', 'JPEG'])
def test_kinds_of_pixels(picture, mode, kind):
    try:
        data = saved(picture, kind, mode)
    except OSError:  # the format has no such pixels
        return
    expected = np.asarray(Image.fromarray(picture).convert(mode).convert('RGB'))
    assert np.abs(decode_compressed(data).astype(int) - expected).mean() < (12 if kind == 'JPEG' else 2)


@pytest.mark.parametrize(('suffix', 'colour'), [
    ('.tiff', False), ('.png', False), ('.pgm', False), ('.tiff', True), ('.png', True), ('.ppm', True)])
def test_files_of_16_bits(picture, suffix, colour):
    values = (picture[..., ::-1] if colour else picture[..., 1]).astype(np.uint16)
    expected = picture if colour else picture[..., 1:2].repeat(3, axis=2)
    np.testing.assert_array_equal(decode_compressed(cv2.imencode(suffix, values * 257)[1].tobytes()), expected)
    twelve = cv2.imencode(suffix, values * 16)[1].tobytes()  # 12 bits of 16
    refused(twelve, 'below 4096.*image_bits.* to 12')
    assert np.abs(decode_compressed(twelve, bits=12).astype(int) - expected).max() <= 1


@pytest.mark.parametrize('largest', [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize('colour', [False, True])
def test_ppm_states_its_largest_value(picture, largest, colour):
    values = np.rint((picture if colour else picture[..., 0]) / 255 * largest)
    data = b'P%d\n# made here\n64 48\n%d\n' % (6 if colour else 5, largest)
    decoded = decode_compressed(data + values.astype('>u2' if largest > 255 else 'u1').tobytes())
    expected = values * 255 / largest
    assert np.abs(decoded - (expected if colour else expected[..., None])).max() <= 1
    text = b'P%d 64 48 %d\n' % (3 if colour else 2, largest) + b' '.join(b'%d' % value for value in values.ravel())
    assert np.abs(decode_compressed(text) - (expected if colour else expected[..., None])).max() <= 1


@pytest.mark.parametrize('largest', [256, 1000, 4095, 65535])
@pytest.mark.parametrize('kind', [b'P2', b'P3', b'P5', b'P6'])
def test_ppm_of_more_than_8_bits_keeps_its_values(kind, largest):
    """Depth in millimetres has the largest of the image as often as 65535."""
    shape = (48, 64, 3) if kind in (b'P3', b'P6') else (48, 64)
    values = np.random.default_rng(4).integers(0, largest + 1, shape, np.uint16)
    header = kind + b'\n# made here\n64 # wide\n#\n48\n%d\n' % largest
    data = header + (values.astype('>u2').tobytes() if kind in (b'P5', b'P6')
                     else b' '.join(b'%d' % value for value in values.ravel()))
    pixels = read_pixels(data, values.size)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, values)
    refused(data[:len(header) + 2 * values.size - 1], 'damaged')
    refused(data[:len(data) // 2], 'damaged')


def test_the_bits_of_the_camera_say_what_is_white_in_a_ppm_too(picture):
    data = b'P6 64 48 4095\n' + (picture.astype(np.uint16) * 4).astype('>u2').tobytes()  # 10 bits
    assert decode_compressed(data).max() <= 64  # by the header, which names 12
    assert np.abs(decode_compressed(data, bits=10).astype(int) - picture).max() <= 1
    refused(data, 'which 8 bits do not hold', bits=8)


def test_black_and_white(picture):
    dark = picture[..., 0] < 128
    expected = np.where(dark, 0, 255)
    bits = b'P4\n64 48\n' + np.packbits(dark, axis=1).tobytes()
    np.testing.assert_array_equal(decode_compressed(bits)[..., 1], expected)
    text = b'P1\n64 48\n' + b' '.join(b'%d' % bit for bit in dark.ravel())
    np.testing.assert_array_equal(decode_compressed(text)[..., 1], expected)


def test_bmp_of_os2(picture):
    """The 12-byte header, whose sizes are 16-bit numbers; rows run upwards."""
    rows = picture[::-1, :, ::-1].tobytes()
    data = b'BM' + struct.pack('<IHHI', 26 + len(rows), 0, 0, 26) + struct.pack('<IHHHH', 12, 64, 48, 1, 24) + rows
    np.testing.assert_array_equal(decode_compressed(data), picture)


@pytest.mark.parametrize('filling', [bytes(12), b'\xff' * 9, b'\x00\xff\xff', b'junk'])
def test_filling_between_the_markers_of_a_jpeg(picture, filling):
    data = saved(picture, 'JPEG', quality=95)
    quantisation = data.index(b'\xff\xdb')
    decoded = decode_compressed(data[:quantisation] + filling + data[quantisation:])
    np.testing.assert_array_equal(decoded, decode_compressed(data))


def tiff_of(pixels, **tags):
    """A TIFF of one strip; tags of its own by t and their number."""
    data = pixels.tobytes()
    height, width, channels = *pixels.shape, *([1] if pixels.ndim == 2 else [])
    bits = (8 * pixels.itemsize,) * channels
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels > 1 else 1, 273: 0, 277: channels,
              278: height, 279: len(data), **{int(name[1:]): value for name, value in tags.items()}}
    directory = ImageFileDirectory_v2()
    for tag, value in fields.items():
        directory[tag] = value
    return b'II*\0' + struct.pack('<I', 8) + directory.tobytes(8) + data  # to which the offset 0 is made to point


def test_tiff_with_a_fourth_channel_that_says_nothing_keeps_16_bits(picture):
    values = np.dstack([picture, picture[..., 0]]).astype('<u2') * 16
    refused(tiff_of(values, t338=0), 'below 4096')
    assert np.abs(decode_compressed(tiff_of(values, t338=0), bits=12).astype(int) - picture).max() <= 1


@pytest.mark.fault('image', 'a TIFF with planes of 16 bits, or in which 0 is white, or of signed numbers',
                   'refused: it would be read as another picture')
def test_tiff_that_would_be_read_as_another_picture_is_refused(picture):
    deep, grey = picture.astype('<u2') * 257, picture[..., 0]
    np.testing.assert_array_equal(decode_compressed(tiff_of(deep)), picture)
    refused(tiff_of(deep, t284=2), 'the TIFF has a plane of each colour, .* save it as PNG')
    refused(tiff_of(deep[..., 0].copy(), t262=0), 'the TIFF has 0 for white, .* save it as PNG')
    for signed in (grey.view(np.int8), grey.astype('<i2')):
        refused(tiff_of(signed, t339=2), 'the TIFF has signed numbers, .* save it as PNG')
    refused(tiff_of(picture, t254=1), 'the TIFF has a preview first, .* save it as PNG')  # as raw files of cameras do
    np.testing.assert_array_equal(decode_compressed(tiff_of(255 - grey, t262=0))[..., 0], grey)  # of 8 bits


def test_the_first_picture_of_an_animation_is_read(picture):
    data = saved(picture, 'WEBP', lossless=True, save_all=True, append_images=[Image.fromarray(picture[::-1])])
    np.testing.assert_array_equal(decode_compressed(data), picture)


@pytest.mark.fault('image', 'pixels of 32 bits', 'refused with what to save instead')
@pytest.mark.parametrize(('mode', 'dtype'), [('F', np.float32), ('I', np.int32)])
def test_numbers_are_no_picture(mode, dtype):
    refused(saved(np.arange(12, dtype=dtype).reshape(3, 4), 'TIFF'), '32 bits')


def test_other_formats_are_refused_by_name(picture):
    for kind in ('GIF', 'ICO', 'TGA', 'PCX'):
        refused(saved(picture, kind), 'not a JPEG, PNG, WebP, BMP, TIFF or PPM/PGM image')


def webp_of(width, height):
    frame = saved(np.zeros((8, 8, 3), np.uint8), 'WEBP')[12:]
    header = b'VP8X' + struct.pack('<I', 10) + bytes([2, 0, 0, 0])
    header += (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    frame = bytes(6) + (7).to_bytes(3, 'little') * 2 + bytes(4) + frame
    body = b'WEBP' + header + b'ANIM' + struct.pack('<I', 6) + bytes(6)
    body += b'ANMF' + struct.pack('<I', len(frame)) + frame
    return b'RIFF' + struct.pack('<I', len(body)) + body


def bomb(kind, side=30000):
    small = saved(np.zeros((48, 64), np.uint8), kind) if kind != 'WEBP' else webp_of(side, side)
    if kind == 'JPEG':
        at = small.index(b'\xff\xc0') + 5
        return small[:at] + struct.pack('>HH', side, side) + small[at + 4:]
    if kind == 'TIFF':
        return small.replace(struct.pack('<HHII', 256, 4, 1, 64), struct.pack('<HHII', 256, 4, 1, side)).replace(
            struct.pack('<HHII', 257, 4, 1, 48), struct.pack('<HHII', 257, 4, 1, side))
    return {'PNG': small[:16] + struct.pack('>II', side, side) + small[24:], 'WEBP': small,
            'BMP': small[:18] + struct.pack('<ii', side, -side) + small[26:],
            'PPM': small.replace(b'64 48', b'%d %d' % (side, side))}[kind]


@pytest.mark.parametrize('side', [10_100, 30_000])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'PPM'])
def test_bombs_are_refused_before_memory_is_taken(kind, side, recwarn):
    data = bomb(kind, side)
    if kind == 'PNG':  # the checksum of the header is checked first
        data = data[:29] + struct.pack('>I', zlib.crc32(data[12:29])) + data[33:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(data, 'refused')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert not recwarn.list
