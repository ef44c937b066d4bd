"""Image messages to arrays: cv_bridge where it proves itself, else and for padded rows the built-in decoder."""
from __future__ import annotations

import logging
from typing import Any

import numpy as np

from segvlad_ros.io import image_codec
from segvlad_ros.io.frame_assembler import BuiltinDecoder
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

# encodings whose conversion is nothing but a choice of bytes, so that both decoders give identical arrays
_BRIDGED = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
_BRIDGED_DEPTH = {'16UC1': 2, '32FC1': 4}


class ImageDecoder(BuiltinDecoder):
    """The built-in decoder, and cv_bridge for what it is asked to do.

    :param kind: 'auto' (cv_bridge if it imports and passes a self-test), 'builtin', or 'cv_bridge'
    :param bits: of the camera, in images of 16 bits, see :func:`segvlad_ros.io.image_codec.to_8_bits`
    :param bridge: stands for ``cv_bridge.CvBridge()`` in tests
    :raises SegvladError: kind is 'cv_bridge' and it does not import or fails the self-test
    """

    def __init__(self, kind: str = 'auto', bridge: Any | None = None, *, bits: int = 0) -> None:
        super().__init__(bits)
        self._bridge = None
        if kind == 'builtin':
            return
        problem = ''
        if bridge is None:
            try:
                from cv_bridge import CvBridge
                bridge = CvBridge()
            except Exception as error:  # built for another numpy it fails in many ways
                problem = f'cv_bridge does not import ({type(error).__name__}: {error})'
        if not problem:
            problem = _self_test(bridge)
        if not problem:
            self._bridge = bridge
        elif kind == 'cv_bridge':
            raise SegvladError(f'{problem}: set image_decoder to builtin')
        elif bridge is not None:
            logger.warning('%s: the built-in decoder is used', problem)

    @property
    def name(self) -> str:
        """'cv_bridge' or 'builtin'."""
        return 'builtin' if self._bridge is None else 'cv_bridge'

    def decode(self, message: Any) -> np.ndarray:
        """A colour or grey image, see :class:`~segvlad_ros.io.frame_assembler.BuiltinDecoder`."""
        if self._bridges(message, _BRIDGED):
            return _bridged(self._bridge, message, 'rgb8')
        return super().decode(message)

    def decode_depth(self, message: Any) -> np.ndarray:
        """A depth image (REP-118), likewise."""
        if not self._bridges(message, _BRIDGED_DEPTH):
            return super().decode_depth(message)
        pixels = np.ascontiguousarray(_bridged(self._bridge, message, 'passthrough'))
        height, width = pixels.shape
        return image_codec.decode_depth(height=height, width=width, encoding=message.encoding,
                                        is_bigendian=False, step=pixels.strides[0], data=pixels.tobytes())

    def _bridges(self, message: Any, pixel_bytes: dict[str, int]) -> bool:
        if self._bridge is None or not hasattr(message, 'encoding'):
            return False
        size = pixel_bytes.get(message.encoding, 0) * message.width
        return (size > 0 and message.step == size and not message.is_bigendian
                and len(message.data) == size * message.height)


def _bridged(bridge: Any, message: Any, encoding: str) -> np.ndarray:
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, encoding))
    except Exception as error:
        raise SegvladError(f'cv_bridge cannot decode {message.encoding}: {error}') from error


def _self_test(bridge: Any) -> str:
    """'' if cv_bridge decodes rgb8 and 16UC1 as it should, else what it did."""
    from sensor_msgs.msg import Image
    for encoding, wanted, pixels in (
            ('rgb8', 'rgb8', np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10),
            ('16UC1', 'passthrough', np.arange(8, dtype=np.uint16).reshape(2, 4) * 1000)):
        message = Image(height=2, width=4, encoding=encoding, step=pixels.strides[0], data=pixels.tobytes())
        try:
            decoded = _bridged(bridge, message, wanted)
        except SegvladError as error:
            return f'cv_bridge fails its self-test: {error}'
        if decoded.dtype != pixels.dtype or not np.array_equal(decoded, pixels):
            return f'cv_bridge fails its self-test: it decodes {encoding} wrongly'
    return ''
