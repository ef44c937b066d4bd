import contextlib
import zlib

import numpy as np
import pytest

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.types import Keypoints, SegvladError


def some(count=50, width=640, seed=0, depth=True, values=128):
    random = np.random.default_rng(seed)
    depths = np.where(random.random(count) < 0.3, np.nan, random.uniform(0.3, 20, count)).astype(np.float32)
    return Keypoints((random.random((count, 2)) * width - 0.5).astype(np.float32),
                     random.integers(0, 128, (count, values), np.uint8),
                     depths if depth else np.full(count, np.nan, np.float32))


@pytest.mark.parametrize('width', [160, 640, 4000, 12000])
def test_what_is_kept(width):
    points = some(width=width)
    packed = pack_keypoints(points)
    assert len(packed) <= 6 + 50 * 38 + 20
    back = unpack_keypoints(packed)
    assert back.positions.dtype == back.depths.dtype == np.float32 and back.descriptors.dtype == np.uint8
    assert abs(back.positions - points.positions).max() <= max(width / 65536, 1 / 128)
    assert abs(back.descriptors.astype(int) - np.minimum(points.descriptors, 112)).max() <= 19
    np.testing.assert_allclose(back.depths, points.depths, rtol=5e-4)  # NaN stays NaN
    assert pack_keypoints(back) == packed


def test_descriptors_of_xfeat_have_levels_of_their_own():
    """Its values lie around 128, and 95 % of them within a quarter of the byte to each side."""
    random = np.random.default_rng(2)
    values = np.rint(random.normal(128, 32, (300, 64))).clip(0, 255).astype(np.uint8)
    points = Keypoints(np.zeros((300, 2), np.float32), values, np.full(300, np.nan, np.float32))
    packed = pack_keypoints(points)
    assert len(packed) <= 6 + 300 * 20 + 20
    back = unpack_keypoints(packed)
    before, after = values - 128.0, back.descriptors - 128.0
    cosines = (before * after).sum(axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert cosines.min() > 0.9
    assert pack_keypoints(back) == packed


def test_depths_that_are_unknown_take_no_bytes():
    packed = pack_keypoints(some(depth=False))
    assert len(packed) <= 6 + 50 * 36 + 20
    assert np.isnan(unpack_keypoints(packed).depths).all()
    beyond = Keypoints(np.zeros((2, 2), np.float32), np.zeros((2, 128), np.uint8), np.array([1e6, np.inf], np.float32))
    assert np.isnan(unpack_keypoints(pack_keypoints(beyond)).depths).all()


def test_the_edges():
    for count, values in ((0, 128), (0, 0), (3, 0), (3, 61)):
        back = unpack_keypoints(pack_keypoints(some(count, values=values)))
        assert back.positions.shape == (count, 2) and back.descriptors.shape == (count, values)
    corner = Keypoints(np.array([[-0.5, -0.5], [-0.7, 1023.4]], np.float32), np.full((2, 128), 255, np.uint8),
                       np.zeros(2, np.float32))
    back = unpack_keypoints(pack_keypoints(corner))
    np.testing.assert_allclose(back.positions, [[-0.5, -0.5], [-0.5, 1023.4]], atol=0.01)
    assert (back.descriptors == 99).all() and (back.depths == 0).all()


def test_what_cannot_be_packed():
    points = some(5)
    for wrong in (np.nan, np.inf, 1e9):
        with pytest.raises(SegvladError, match='no image'):
            pack_keypoints(Keypoints(np.full((5, 2), wrong, np.float32), points.descriptors, points.depths))
    with pytest.raises(SegvladError, match='shape'):
        pack_keypoints(Keypoints(points.positions, points.descriptors[:4], points.depths))
    with pytest.raises(SegvladError, match='at most 65535'):
        pack_keypoints(some(70_000, values=1))
    with pytest.raises(SegvladError, match='at most 256'):
        pack_keypoints(some(1, values=257))


def test_damaged_bytes_give_one_line_and_read_nothing_beyond():
    packed, random = pack_keypoints(some(5)), np.random.default_rng(1)
    plain = zlib.decompress(packed)
    for damaged in (b'', packed[:5], packed[:-1], packed + b'x', b'\xff' * len(packed), packed * 2,
                    zlib.compress(b''), zlib.compress(bytes(1 << 26)), *map(zlib.compress, (
                        plain[:-1], plain + b'x', b'\xff' + plain[1:], plain[:4] + b'\x7f' + plain[5:]))):
        with pytest.raises(SegvladError, match='^[^\n]+$'):
            unpack_keypoints(damaged)
    for _ in range(300):
        flipped = bytearray(packed)
        flipped[random.integers(len(packed))] ^= 1 << int(random.integers(8))
        with contextlib.suppress(SegvladError):
            assert len(unpack_keypoints(bytes(flipped)).depths) == 5
