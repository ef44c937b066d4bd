"""cv_bridge is used where it proves itself; padded rows never go to it."""
import io

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage
from sensor_msgs.msg import CompressedImage, Image

from segvlad_ros.io.image_codec import encode_depth, encode_jpeg
from segvlad_ros.ros.input.image_decoder import ImageDecoder
from segvlad_ros.types import SegvladError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)


class Bridge:
    """A cv_bridge that works, or fails in a way that real ones have."""

    def __init__(self, fault=''):
        self.fault, self.calls = fault, []

    def imgmsg_to_cv2(self, message, encoding):
        self.calls.append(message.encoding)
        if self.fault == 'raises':
            raise AttributeError('tostring')
        data = np.frombuffer(message.data, np.uint8)
        if message.encoding == '16UC1':
            depth = data.view('<u2').reshape(message.height, message.width)
            return depth.astype(np.uint8) if self.fault == 'narrow' else depth
        if message.encoding == '32FC1':
            return data.view('<f4').reshape(message.height, message.width)
        return data.reshape(message.height, message.width, -1)


def image(pixels, encoding, padding=0):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1],
                 data=rows.tobytes())


def test_without_cv_bridge_auto_is_builtin():
    decoder = ImageDecoder('builtin')
    assert decoder.name == 'builtin'
    np.testing.assert_array_equal(decoder.decode(image(PIXELS, 'rgb8')), PIXELS)
    np.testing.assert_array_equal(decoder.decode(image(PIXELS[..., ::-1], 'bgr8', padding=5)), PIXELS)


def test_a_bridge_that_passes_is_used_for_what_it_does_well():
    bridge = Bridge()
    decoder = ImageDecoder('auto', bridge)
    assert decoder.name == 'cv_bridge'
    bridge.calls.clear()
    np.testing.assert_array_equal(decoder.decode(image(PIXELS, 'rgb8')), PIXELS)
    assert bridge.calls == ['rgb8']
    np.testing.assert_array_equal(decoder.decode(image(PIXELS, 'rgb8', padding=5)), PIXELS)
    decoder.decode(image(np.ones((6, 8), np.uint16), 'mono16'))
    assert bridge.calls == ['rgb8']
    depth = image(np.array([[0, 1500]], np.uint16), '16UC1')
    for one in (decoder, ImageDecoder('builtin')):
        np.testing.assert_allclose(one.decode_depth(depth), [[np.nan, 1.5]])
    metres = image(np.array([[0.0, 2.5]], np.float32), '32FC1')
    for one in (decoder, ImageDecoder('builtin')):
        np.testing.assert_allclose(one.decode_depth(metres), [[np.nan, 2.5]])
    assert bridge.calls == ['rgb8', '16UC1', '32FC1']


@pytest.mark.fault('image', 'a cv_bridge that was built for another NumPy',
                   'found out at the start; the built-in decoder is used')
@pytest.mark.parametrize('fault', ['raises', 'narrow'])
def test_a_bridge_that_fails_its_self_test_is_not_used(fault):
    assert ImageDecoder('auto', Bridge(fault)).name == 'builtin'
    with pytest.raises(SegvladError, match='self-test'):
        ImageDecoder('cv_bridge', Bridge(fault))


def test_real_cv_bridge_agrees():
    pytest.importorskip('cv_bridge', reason='part of a ROS installation, not of the wheels')
    bridged, builtin = ImageDecoder('auto'), ImageDecoder('builtin')
    for encoding, channels in (('rgb8', 3), ('bgr8', 3), ('rgba8', 4), ('bgra8', 4), ('mono8', 1)):
        pixels = np.random.default_rng(1).integers(0, 256, (6, 8, channels)).astype(np.uint8)
        message = image(pixels, encoding)
        np.testing.assert_array_equal(bridged.decode(message), builtin.decode(message))


def test_a_machine_without_cv_bridge_says_so():
    try:
        import cv_bridge  # noqa: F401
    except Exception:
        with pytest.raises(SegvladError, match='image_decoder'):
            ImageDecoder('cv_bridge')
    else:
        pytest.skip('cv_bridge is installed')


def test_compressed_images():
    decoder = ImageDecoder('builtin')
    smooth = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    message = CompressedImage(format='rgb8; jpeg compressed bgr8', data=encode_jpeg(smooth))
    assert np.abs(decoder.decode(message).astype(int) - smooth).max() <= 3
    depth = np.array([[np.nan, 1.5]] * 4, np.float32)
    png = cv2.imencode('.png', encode_depth(depth))[1].tobytes()
    message = CompressedImage(format='16UC1; compressedDepth png', data=bytes(12) + png)
    np.testing.assert_allclose(decoder.decode_depth(message), depth)
    with pytest.raises(SegvladError):
        decoder.decode(CompressedImage(format='jpeg', data=b'junk'))


def test_bits_of_the_camera_and_exif_as_offline():
    twelve = image((PIXELS[..., 1].astype(np.uint16) << 4), 'mono16')
    with pytest.raises(SegvladError, match='image_bits'):
        ImageDecoder('builtin').decode(twelve)
    for bridge in (None, Bridge()):
        decoder = ImageDecoder('auto', bridge, bits=12) if bridge else ImageDecoder('builtin', bits=12)
        assert np.abs(decoder.decode(twelve)[..., 0].astype(int) - PIXELS[..., 1]).max() <= 1
    exif = PilImage.Exif()
    exif[0x112] = 3
    data = io.BytesIO()
    PilImage.fromarray(PIXELS).save(data, 'PNG', exif=exif)
    message = CompressedImage(format='png', data=data.getvalue())
    np.testing.assert_array_equal(ImageDecoder('builtin').decode(message), PIXELS)


def test_planes_of_yuv_never_go_to_cv_bridge():
    bridge = Bridge()
    decoder = ImageDecoder('auto', bridge)
    bridge.calls.clear()
    message = Image(height=4, width=6, encoding='nv12', step=8, data=bytes([128]) * 48)
    assert decoder.decode(message).shape == (4, 6, 3)
    assert bridge.calls == []


@pytest.mark.parametrize('change', [{'encoding': 'holographic8'}, {'step': 3}, {'height': 4_000_000_000}, {'width': 0}])
@pytest.mark.parametrize('bridge', [None, Bridge()])
def test_bad_images_are_refused(change, bridge):
    decoder = ImageDecoder('auto', bridge) if bridge else ImageDecoder('builtin')
    message = image(PIXELS, 'rgb8')
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(SegvladError):
        decoder.decode(message)
