"""Small bags for tests, and mcap files as other recorders write them: in small chunks or none, whole or without end."""
from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import yaml

from segvlad_ros.io import zstd
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.bags import BagMessage
from segvlad_ros.types import Pose

START = 1_700_000_000_000_000_000
STEP = 100_000_000
SECOND = 1_000_000_000
MAGIC = b'\x89MCAP0\r\n'
IMAGE_TOPIC = '/camera/image_raw/compressed'


def picture(number):
    small = np.random.default_rng(number).integers(0, 255, (3, 4, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_LINEAR)


def scene(number, view=0):
    """The picture of a made place, a little different in every view."""
    coarse = np.random.default_rng(number).integers(0, 255, (15, 20, 3), np.uint8)
    image = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng([number, view]).integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_quick_preset(folder):
    """A preset that takes a millisecond an image, for images of :func:`scene`."""
    np.savez(folder / 'words.npz', centres=np.random.default_rng(0).random((4, 128), np.float32) / 15)
    path = folder / 'small.yaml'
    path.write_text(yaml.safe_dump({
        'name': 'small', 'image': {'width': 160, 'height': 120}, 'vocabulary': 'words.npz',
        'segmenter': {'kind': 'patches', 'rows': 3, 'cols': 3}, 'neighbourhood': {'order': 0},
        'features': {'kind': 'root_sift', 'cell': 8, 'bin_sizes': [4], 'min_gradient': 1.0},
        'projection': {'kind': 'seeded', 'dimension': 64}, 'vote': {'floor': 0.9},
        'decision': {'min_score': 0.3, 'max_ambiguity': 0.8, 'agreement': 2}, 'places': {'near_keyframes': 2},
        'exclude': {'time_s': 6.0, 'distance_m': 2.0}}))
    return path


def at_x(x, frame='odom'):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame)


def write_run(path, storage='mcap', images=10):
    """Images ten a second, each with odometry and truth at its stamp: three messages each, one /tf_static before."""
    with BagWriter(path, storage) as bag:
        bag.write_static_transform(START, at_x(0, 'base_link'), 'camera')
        for number in range(images):
            stamp = START + number * STEP
            bag.write_odometry('/odom', stamp, at_x(number))
            bag.write_pose('/truth', stamp, at_x(number, 'map'))
            bag.write_image_jpeg(IMAGE_TOPIC, stamp, 'camera', picture(number))
    return path


def _text(value):
    data = value.encode()
    return struct.pack('<I', len(data)) + data


def _record(code, content):
    return struct.pack('<BQ', code, len(content)) + content


def zstd_library():
    """Has ``compress``; which package it is depends on the version of rosbags."""
    return zstd._library()


def _packed(data, compression):
    if compression == 'zstd':
        return zstd_library().compress(data)
    if compression == 'lz4':
        from lz4.frame import compress
        return compress(data)
    return data


def _chunk(messages, descriptions, compression, checksum):
    data = descriptions + b''.join(messages)
    packed = _packed(data, compression)
    return _record(6, struct.pack('<QQQI', 0, 2**63, len(data), zlib.crc32(data) if checksum else 0)
                   + _text(compression) + struct.pack('<Q', len(packed)) + packed)


def write_mcap(path, messages: list[BagMessage], *, per_chunk=4, compression='zstd', checksum=True, profile='ros2',
               encoding='cdr', schema='ros2msg', end=True):
    """An mcap file without a summary.

    :param per_chunk: 0 writes no chunks
    :param encoding, schema: of all messages, or functions of the topic
    :param end: with a footer
    :return: where each piece of the file ends: header, chunks or messages, in bytes
    """
    kinds = {message.topic: message.msgtype for message in messages}
    descriptions = b''
    for number, (topic, kind) in enumerate(kinds.items(), 1):
        stored, written = (value(topic) if callable(value) else value for value in (schema, encoding))
        descriptions += _record(3, struct.pack('<H', number) + _text(kind) + _text(stored) + _text(''))
        descriptions += _record(4, struct.pack('<HH', number, number) + _text(topic) + _text(written) + _text(''))
    keys = {topic: number for number, topic in enumerate(kinds, 1)}
    rows = [_record(5, struct.pack('<HIQQ', keys[m.topic], 0, m.stamp_ns, m.stamp_ns) + m.data) for m in messages]
    pieces = [MAGIC + _record(1, _text(profile) + _text('test'))]
    if per_chunk:
        for begin in range(0, len(rows), per_chunk):
            pieces.append(_chunk(rows[begin:begin + per_chunk], b'' if begin else descriptions, compression, checksum))
    else:
        pieces += [descriptions + rows[0], *rows[1:]] if rows else [descriptions]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    if end:
        pieces += [_record(15, bytes(4)), _record(2, bytes(20)), MAGIC]
    path.write_bytes(b''.join(pieces))
    return ends
