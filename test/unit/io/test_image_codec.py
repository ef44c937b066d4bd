from __future__ import annotations

import array
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.io import image_codec
from segvlad_ros.types import SegvladError


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    small = np.random.default_rng(3).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def fields(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> dict:
    """The message fields of an image, with rows padded by ``padding`` bytes of 0xAA."""
    height, width = pixels.shape[:2]
    ordered = pixels.astype(pixels.dtype.newbyteorder('>' if big else '<'))
    rows = np.frombuffer(ordered.tobytes(), np.uint8).reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 0xAA, np.uint8)])
    return {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': big, 'step': rows.shape[1],
            'data': array.array('B', rows.tobytes())}  # as rclpy has it


def grey(picture):
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def alpha(picture, order):
    return np.dstack([picture[..., order], np.full(picture.shape[:2], 9, np.uint8)])


CASES = {
    'rgb8': lambda p: p, 'bgr8': lambda p: p[..., ::-1], '8UC3': lambda p: p[..., ::-1],
    'rgba8': lambda p: alpha(p, [0, 1, 2]), 'bgra8': lambda p: alpha(p, [2, 1, 0]),
    '8UC4': lambda p: alpha(p, [2, 1, 0]), 'rgb16': lambda p: p.astype(np.uint16) * 257,
    'bgr16': lambda p: p[..., ::-1].astype(np.uint16) * 257,
    'rgba16': lambda p: alpha(p, [0, 1, 2]).astype(np.uint16) * 257,
}


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 64])
@pytest.mark.parametrize('encoding', CASES)
def test_colour_comes_back_exactly(picture, encoding, padding, big):
    pixels = np.ascontiguousarray(CASES[encoding](picture))
    decoded = image_codec.decode_image(**fields(pixels, encoding, padding, big))
    np.testing.assert_array_equal(decoded, picture)
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize(('encoding', 'scale'), [('mono8', None), ('8UC1', None), ('mono16', 257)])
@pytest.mark.parametrize('padding', [0, 3])
def test_grey(picture, encoding, scale, padding):
    expected = grey(picture)
    pixels = expected if scale is None else expected.astype(np.uint16) * scale
    decoded = image_codec.decode_image(**fields(pixels, encoding, 2 * padding, big=scale is not None))
    np.testing.assert_array_equal(decoded, np.dstack([expected] * 3))


@pytest.mark.parametrize(('encoding', 'order'), [
    ('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')])
def test_packed_yuv(encoding, order):
    """Against BT.601 limited range computed here, on a picture of one colour."""
    red, green, blue = 200, 90, 30
    y = round(16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256)
    u = round(128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256)
    v = round(128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256)
    values = {'y': y, 'u': u, 'v': v}
    pixels = np.tile(np.array([values[c] for c in order], np.uint8).reshape(1, 2, 2), (4, 3, 1))
    decoded = image_codec.decode_image(**fields(pixels, encoding, padding=5))
    assert decoded.shape == (4, 6, 3)
    assert np.abs(decoded.astype(int) - [red, green, blue]).max() <= 3


YUV = {'y': 123, 'u': 79, 'v': 181}
PLANES = {'nv12': ('uv', 2), 'nv21': ('vu', 2), 'nv24': ('uv', 1)}


def planes(encoding, luma, chroma, padding=0):
    """The message fields of luma (h, w) and chroma (h / 2, w / 2, 2) or (h, w, 2), u before v."""
    order, _ = PLANES[encoding]
    height, width = luma.shape
    step = width + padding
    pairs = chroma if order == 'uv' else chroma[..., ::-1]
    pairs = np.ascontiguousarray(pairs).reshape(len(chroma), -1)
    data = b''.join(np.pad(plane, ((0, 0), (0, length - plane.shape[1])), constant_values=0xAA).tobytes()
                    for plane, length in ((luma, step), (pairs, step * pairs.shape[1] // width)))
    return {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': False, 'step': step, 'data': data}


@pytest.mark.parametrize('padding', [0, 3, 64])
@pytest.mark.parametrize('encoding', PLANES)
def test_planes_of_yuv_are_converted_as_opencv_converts_packed_yuv(encoding, padding):
    rng = np.random.default_rng(1)
    _, share = PLANES[encoding]
    luma = rng.integers(0, 256, (8, 12), np.uint8)
    chroma = rng.integers(0, 256, (8 // share, 12 // share, 2), np.uint8)
    full = chroma.repeat(share, axis=0).repeat(share, axis=1)
    packed = np.dstack([full[..., 0], luma, full[..., 1], luma]).reshape(8, 24, 2)
    decoded = image_codec.decode_image(**planes(encoding, luma, chroma, padding))
    np.testing.assert_array_equal(decoded, cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_UYVY)[:, ::2])
    if encoding != 'nv24':
        whole = np.vstack([luma, (chroma if encoding == 'nv12' else chroma[..., ::-1]).reshape(4, 12)])
        code = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}[encoding]
        np.testing.assert_array_equal(decoded, cv2.cvtColor(whole, code))


@pytest.mark.fault('image', 'YUV planes of odd sizes, or too short', 'refused in one line')
@pytest.mark.parametrize(('encoding', 'width', 'height', 'change', 'says'), [
    ('nv12', 7, 6, {}, 'even'), ('nv12', 6, 7, {}, 'even'), ('nv21', 1, 1, {}, 'even'), ('nv12', 0, 2, {}, 'empty'),
    ('nv24', 6, 0, {}, 'empty'), ('nv12', 6, 4, {'data': bytes(35)}, 'too short'),
    ('nv12', 6, 4, {'step': 5}, 'too short'), ('nv24', 5, 3, {'data': bytes(44)}, 'too short'),
    ('nv12', 2**32 - 2, 2**32 - 2, {'step': 2**32 - 1}, 'too short')])
def test_planes_that_do_not_fit(encoding, width, height, change, says):
    message = {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': False, 'step': width,
               'data': bytes(200), **change}
    with pytest.raises(SegvladError, match=says) as refused:
        image_codec.decode_image(**message)
    assert '\n' not in str(refused.value)


def test_nv24_of_odd_sizes():
    luma = np.full((3, 5), YUV['y'], np.uint8)
    decoded = image_codec.decode_image(**planes('nv24', luma, np.full((3, 5, 2), (YUV['u'], YUV['v']), np.uint8)))
    red = 1.164 * (YUV['y'] - 16) + 1.596 * (YUV['v'] - 128)
    blue = 1.164 * (YUV['y'] - 16) + 2.018 * (YUV['u'] - 128)
    assert decoded.shape == (3, 5, 3)
    assert np.abs(decoded[..., [0, 2]] - [red, blue]).max() <= 1


class TestBitsOfTheCamera:
    """16-bit images of cameras with fewer bits, in the lower ones."""

    @pytest.mark.parametrize('bits', [8, 10, 12, 14])
    @pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb16', 'rgb16'])
    def test_said(self, picture, encoding, bits):
        pixels = picture if encoding == 'rgb16' else np.ascontiguousarray(picture[..., 1])
        expected = image_codec.decode_image(**fields(pixels, encoding.replace('16', '8')))
        values = np.rint(pixels / 255 * ((1 << bits) - 1)).astype(np.uint16)
        decoded = image_codec.decode_image(**fields(values, encoding, big=True), bits=bits)
        assert np.abs(decoded.astype(int) - expected).max() <= 2

    @pytest.mark.parametrize(('bits', 'limit'), [(8, 256), (10, 1024), (12, 4096)])
    def test_not_said(self, picture, bits, limit):
        values = grey(picture).astype(np.uint16) << (bits - 8)
        with pytest.raises(SegvladError, match=f'mono16 image .* below {limit}: .* image_bits .* to {bits};'):
            image_codec.decode_image(**fields(values, 'mono16'))

    def test_dark_images(self, picture, caplog):
        dark = (grey(picture) // 20).astype(np.uint16)  # by any bits
        assert image_codec.decode_image(**fields(dark, 'mono16')).max() == 0
        dim = grey(picture).astype(np.uint16) * 12
        assert 0 < image_codec.decode_image(**fields(dim, 'mono16'), bits=16).max() < 16
        assert not caplog.records
        image_codec._suspect_14_bits.cache_clear()
        for _ in range(2):  # said once
            assert 16 < image_codec.decode_image(**fields(dim * 2, 'mono16')).max() < 64
        assert [record.getMessage().split(':')[0] for record in caplog.records] == [
            'mono16 image whose values stay below 16384, read as 16 bits']

    def test_said_wrongly(self, picture):
        values = grey(picture).astype(np.uint16) * 16
        with pytest.raises(SegvladError, match='10 bits do not hold'):
            image_codec.decode_image(**fields(values, 'mono16'), bits=10)

    def test_depth_is_not_touched(self):
        near = np.array([[400, 900]], np.uint16)
        np.testing.assert_allclose(image_codec.decode_depth(**fields(near, 'mono16')), [[0.4, 0.9]])


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer(pattern, bits):
    colour = {'r': 200, 'g': 90, 'b': 30}
    mosaic = np.tile(np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2), (4, 5))
    pixels = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    decoded = image_codec.decode_image(**fields(pixels, f'bayer_{pattern}{bits}'))
    np.testing.assert_array_equal(decoded[2:-2, 2:-2], np.broadcast_to([200, 90, 30], (4, 6, 3)))


@pytest.mark.parametrize('buffer', [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
def test_any_buffer_and_own_memory(picture, buffer):
    message = fields(picture, 'rgb8')
    message['data'] = buffer(message['data'].tobytes())
    decoded = image_codec.decode_image(**message)
    decoded[:] = 0  # writable, and not the message's own
    np.testing.assert_array_equal(image_codec.decode_image(**message), picture)


@pytest.mark.fault('image', 'sizes, steps, encodings that do not fit the data',
                   'refused in one line before memory is taken')
@pytest.mark.parametrize(('change', 'says'), [
    ({'encoding': 'rgb9'}, "unknown image encoding 'rgb9'"), ({'encoding': ''}, 'unknown'),
    ({'encoding': '8UC²'}, 'unknown'), ({'encoding': 'bayer_rgbg8'}, 'unknown'),
    ({'encoding': '16UC1', 'step': 128}, 'depth image'), ({'encoding': '32SC1', 'width': 48}, 'no colour conversion'),
    ({'step': 10}, 'too short'), ({'height': 1000}, 'too short'), ({'height': 0}, 'empty'), ({'width': 0}, 'empty'),
    ({'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1}, 'too short'), ({'data': b''}, 'too short'),
    ({'encoding': 'yuyv', 'width': 63}, 'does not fit the encoding'),
    ({'encoding': 'bayer_rggb8', 'width': 2}, 'does not fit the encoding'),
    ({'encoding': 'bayer_grbg16', 'height': 1}, 'does not fit the encoding'),
])
def test_faults_are_one_line(picture, change, says):
    with pytest.raises(SegvladError, match=says) as refused:
        image_codec.decode_image(**{**fields(picture, 'rgb8'), **change})
    assert '\n' not in str(refused.value)


messages = st.fixed_dictionaries({
    'encoding': st.sampled_from([*CASES, *PLANES, 'mono8', 'mono16', 'yuyv', 'bayer_rggb8', '16UC1', '32FC1',
                                 '64FC4', 'junk']),
    'height': st.integers(0, 9), 'width': st.integers(0, 9), 'step': st.integers(0, 40), 'is_bigendian': st.booleans(),
    'data': st.binary(max_size=400)})


@settings(deadline=None)
@given(messages)
def test_any_sizes_decode_or_are_refused(message):
    shape = message['height'], message['width']
    for decode, expected in ((image_codec.decode_image, (*shape, 3)), (image_codec.decode_depth, shape)):
        try:
            assert decode(**message).shape == expected
        except SegvladError as error:
            assert '\n' not in str(error)


class TestDepth:
    def test_millimetres(self):
        raw = np.array([[0, 1, 1500], [65535, 2, 0]], np.uint16)
        for encoding in ('16UC1', 'mono16'):
            depth = image_codec.decode_depth(**fields(raw, encoding, padding=3, big=True))
            assert depth.dtype == np.float32
            np.testing.assert_allclose(depth, [[np.nan, 0.001, 1.5], [65.535, 0.002, np.nan]], rtol=1e-6)

    def test_metres(self):
        raw = np.array([[0, np.nan, np.inf, -np.inf, -1, 2.5]], np.float32)
        np.testing.assert_array_equal(image_codec.decode_depth(**fields(raw, '32FC1')),
                                      np.array([[np.nan] * 5 + [2.5]], np.float32))

    def test_colour_is_no_depth(self, picture):
        with pytest.raises(SegvladError, match='not a depth image'):
            image_codec.decode_depth(**fields(picture, 'rgb8'))

    def test_compressed_round_trip(self):
        depth = np.array([[0.5, np.nan, 12.345], [0.0, 70.0, -3.0]], np.float32)
        png = cv2.imencode('.png', image_codec.encode_depth(depth))[1].tobytes()
        back = image_codec.decode_compressed_depth(bytes(12) + png, '16UC1; compressedDepth png')
        np.testing.assert_allclose(back, [[0.5, np.nan, 12.345], [np.nan, np.nan, np.nan]], atol=5e-4)

    def test_plain_png(self):
        png = cv2.imencode('.png', np.array([[0, 2000]], np.uint16))[1].tobytes()
        np.testing.assert_allclose(image_codec.decode_compressed_depth(png, '16UC1; png compressed '), [[np.nan, 2.0]])

    def test_quantised_inverse_depth(self):
        """compressedDepth of 32FC1: value = A / depth + B (compressed_depth_image_transport)."""
        quantum_a, quantum_b = 100.0 * 101.0, 1 - 101.0
        depth = np.array([[1.0, 4.0, np.nan]], np.float32)
        values = np.nan_to_num(quantum_a / depth + quantum_b).astype(np.uint16)
        data = image_codec._DEPTH_HEADER.pack(0, quantum_a, quantum_b) + cv2.imencode('.png', values)[1].tobytes()
        back = image_codec.decode_compressed_depth(data, '32FC1; compressedDepth png')
        np.testing.assert_allclose(back, depth, rtol=1e-3)

    @pytest.mark.parametrize(('data', 'kind', 'says'), [
        (b'', '16UC1; compressedDepth png', 'cut off'), (b'x' * 40, '16UC1; compressedDepth png', 'not a JPEG'),
        (b'x' * 40, '16UC1; compressedDepth rvl', 'RVL')])
    def test_faults(self, data, kind, says):
        with pytest.raises(SegvladError, match=says):
            image_codec.decode_compressed_depth(data, kind)

    def test_a_colour_png_is_no_depth(self, picture):
        png = cv2.imencode('.png', picture)[1].tobytes()
        with pytest.raises(SegvladError, match='not a 16-bit depth'):
            image_codec.decode_compressed_depth(png, '16UC1; png compressed ')


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')  # as image_file does, but pytest has its own filters
class TestCompressed:
    def test_jpeg_round_trip(self, picture):
        data = image_codec.encode_jpeg(picture, quality=95)
        assert np.abs(image_codec.decode_compressed(data).astype(int) - picture).mean() < 4  # and RGB stays RGB

    @pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tiff', '.ppm', '.webp', '.jpg'])
    def test_formats(self, picture, suffix):
        options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == '.webp' else []
        data = cv2.imencode(suffix, picture[..., ::-1], options)[1].tobytes()
        decoded = image_codec.decode_compressed(array.array('B', data))
        if suffix != '.jpg':
            np.testing.assert_array_equal(decoded, picture)

    def test_lossy_webp_and_grey_files(self, picture):
        data = cv2.imencode('.webp', picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()
        assert np.abs(image_codec.decode_compressed(data).astype(int) - picture).mean() < 12
        data = cv2.imencode('.pgm', grey(picture))[1].tobytes()
        np.testing.assert_array_equal(image_codec.decode_compressed(data)[..., 1], grey(picture))

    def test_progressive_jpeg_with_comment(self, picture):
        data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
        comment = b'\xff\xfe\x00\x06\xff\xd9ab'  # an end marker that is none
        assert image_codec.decode_compressed(data[:2] + comment + data[2:]).shape == (48, 64, 3)
        with pytest.raises(SegvladError, match='the end is missing'):
            image_codec.decode_compressed((data[:2] + comment + data[2:])[:-2])

    @pytest.mark.fault('image', 'a compressed image that is cut off', 'refused, not half of it used')
    @pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp', '.tiff', '.ppm'])
    @pytest.mark.parametrize('part', [0.02, 0.3, 0.7, 0.99])
    def test_cut_off(self, picture, suffix, part):
        data = cv2.imencode(suffix, picture)[1].tobytes()
        with pytest.raises(SegvladError) as refused:
            image_codec.decode_compressed(data[:int(part * len(data))])
        assert '\n' not in str(refused.value)

    @pytest.mark.fault('image', 'a small file that would be a huge image', 'refused by its header')
    def test_a_bomb_is_refused_before_it_is_decoded(self, picture):
        png = bytearray(cv2.imencode('.png', picture)[1].tobytes())
        png[16:24] = (60000).to_bytes(4, 'big') * 2
        png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, 'big')
        with pytest.raises(SegvladError, match='60000 x 60000 pixels refused'):
            image_codec.decode_compressed(bytes(png))
        with pytest.raises(SegvladError, match='at most 100'):
            image_codec.decode_compressed(image_codec.encode_jpeg(picture), max_pixels=100)

    @given(st.binary(max_size=64), st.sampled_from(
        [b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'RIFF\x10\x00\x00\x00WEBP', b'BM', b'P5 ', b'P6\n', b'P1\n',
         b'II*\0\x08\0\0\0', b'MM\0*\0\0\0\x08', b'II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0']))
    def test_random_bytes(self, data, magic):
        try:
            image_codec.decode_compressed(magic + data)
        except SegvladError as error:
            assert '\n' not in str(error)
