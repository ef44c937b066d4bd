"""What is fuzzed: the entries by which foreign data comes in, and good data to begin with."""
from __future__ import annotations

import contextlib
import shutil
import struct
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from made_archives import MadeArchive
from mutations import mutated_bytes, mutated_message, mutated_text

from segvlad_ros.description.vocabulary import Vocabulary, load_vocabulary
from segvlad_ros.evaluation.truth import read_truth
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.bags import read_messages
from segvlad_ros.io.camera_info import camera_model
from segvlad_ros.io.hdf5_archives import Hdf5Archive
from segvlad_ros.io.image_codec import decode_compressed, decode_compressed_depth, encode_depth
from segvlad_ros.io.trajectory_files import read_trajectory
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import config_directory, load_preset
from segvlad_ros.recognition.calibration import load_calibration
from segvlad_ros.types import (
    FeatureGrid,
    Keyframe,
    KeyframeId,
    Keypoints,
    Masks,
    PlaceDescription,
    Pose,
    SegvladError,
)

TEXT_SUFFIXES = ('.yaml', '.csv', '.json', '.txt')


@dataclass(frozen=True)
class Target:
    """One entry.

    :ivar wanted: cases of the whole campaign
    :ivar samples: makes good inputs, bytes or a message each, in a folder
    :ivar read: takes one input; bytes come as the file that they were written to
    :ivar suffix: of that file
    """

    wanted: int
    samples: Callable[[Path], list[Any]]
    read: Callable[[Any], object]
    suffix: str = ''

    def mutated(self, sample: Any, rng: np.random.Generator) -> Any:
        """A bad one."""
        if isinstance(sample, bytes):
            return mutated_text(sample, rng) if self.suffix in TEXT_SUFFIXES else mutated_bytes(sample, rng)
        return mutated_message(sample, rng)


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A small image."""
    coarse = np.random.default_rng(number).integers(0, 255, (5, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def keyframe(index: int, dimension: int = 8, segments: int = 6) -> Keyframe:
    """A small keyframe with all that one may have."""
    rng = np.random.default_rng(index)
    rows = rng.normal(size=(segments, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = Keypoints(rng.uniform(0, 48, (9, 2)).astype(np.float32), rng.integers(0, 255, (9, 128)).astype(np.uint8),
                       rng.uniform(0.5, 3, 9).astype(np.float32))
    place = PlaceDescription(rows, rng.integers(1, 20, (segments, 4)).astype(np.int32),
                             rng.integers(1, 99, segments).astype(np.int64), keypoints=points)
    pose = Pose(rng.normal(size=3), np.array([0.0, 0.0, 0.0, 1.0]), 'odom', np.eye(6) * 0.01)
    return Keyframe(KeyframeId(0, 'fuzz', index, index * 10 ** 9), place, 'camera', pose, thumbnail=bytes(300))


def _encoded(depth: bool, _: Path) -> list[bytes]:
    if depth:
        return [cv2.imencode('.png', encode_depth(np.full((48, 64), 2.0)))[1].tobytes()]
    rgb, images = picture(1), []
    for suffix in ('.jpg', '.png', '.webp', '.bmp', '.tiff', '.ppm'):
        images.append(cv2.imencode(suffix, rgb)[1].tobytes())
    return [*images, cv2.imencode('.png', rgb[..., 0].astype(np.uint16) * 257)[1].tobytes()]


def _images(_: Path) -> list[Any]:
    from sensor_msgs.msg import Image
    rgb, messages = picture(2, 16, 12), []
    for encoding, pixels in (('rgb8', rgb), ('mono8', rgb[..., 0]), ('16UC1', rgb[..., 0].astype(np.uint16)),
                             ('32FC1', rgb[..., 0].astype(np.float32)), ('nv12', rgb[:, :, 0]), ('uyvy', rgb[..., :2])):
        data = np.ascontiguousarray(pixels)
        messages.append(Image(height=12, width=16, encoding=encoding, step=data.nbytes // 12,
                              data=array('B', data.tobytes() + bytes(data.nbytes // 2))))
    return messages


_QUANTISED = struct.pack('<iff', 0, 5000.0, -1.0)  # header of compressedDepth: metres are 5000 / (value + 1)


def _compressed_images(folder: Path) -> list[Any]:
    from sensor_msgs.msg import CompressedImage
    plain = [CompressedImage(format='jpeg', data=array('B', data)) for data in _encoded(False, folder)]
    deep = _encoded(True, folder)[0]
    return [*plain, CompressedImage(format='16UC1; compressedDepth png', data=array('B', bytes(12) + deep)),
            CompressedImage(format='32FC1; compressedDepth png', data=array('B', _QUANTISED + deep))]


def _camera_infos(_: Path) -> list[Any]:
    from sensor_msgs.msg import CameraInfo
    matrix = np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]])
    return [CameraInfo(width=640, height=480, k=matrix.ravel(), r=np.eye(3).ravel(), d=list(distortion),
                       distortion_model=model, p=np.hstack([matrix, np.zeros((3, 1))]).ravel())
            for model, distortion in (('plumb_bob', [0.1, 0.0, 0.0, 0.0, 0.0]), ('equidistant', [0.1, 0.0, 0.0, 0.1]),
                                      ('rational_polynomial', [0.1] * 8))]


def _odometry(_: Path) -> list[Any]:
    from nav_msgs.msg import Odometry
    message = Odometry()
    message.header.frame_id, message.child_frame_id = 'odom', 'base_link'
    message.pose.pose.orientation.w = 1.0
    return [message]


def _descriptors(_: Path) -> list[Any]:
    from segvlad_ros.ros.output.keyframe_messages import to_place_descriptor
    return [to_place_descriptor(keyframe(index), 'digest') for index in (1, 2)]


def _read_image(message: Any) -> None:
    from segvlad_ros.ros.input.image_decoder import ImageDecoder
    decoder = ImageDecoder('builtin')
    try:
        decoder.decode(message)
    except SegvladError:
        decoder.decode_depth(message)


def _read_camera_info(message: Any) -> None:
    camera_model(message, rectified=bool(message.header.stamp.nanosec % 2))


def _read_odometry(message: Any) -> None:
    from segvlad_ros.ros.output.conversions import from_odometry
    from_odometry(message)


def _read_descriptor(message: Any) -> None:
    from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor
    if not _SEARCHED:
        _SEARCHED.append(build_recognizer(load_preset('classic')))
        for index in range(3):
            _SEARCHED[0].add(keyframe(index + 100))
    received = from_place_descriptor(message)
    _SEARCHED[0].recognize(received, exclude_recent=True)


_SEARCHED: list[Any] = []  # made once: it takes longer than a thousand cases


def _map(folder: Path) -> list[bytes]:
    path = folder / 'good.segvlad'
    with PlaceMap.create(path, {'preset': 'classic'}, 8) as place_map:
        for index in range(1, 5):
            place_map.append(keyframe(index))
    data = path.read_bytes()
    path.unlink()
    return [data]


def _read_map(path: Path) -> None:
    with PlaceMap.open(path) as place_map:
        _drained(place_map.keyframes())


def _drained(things: Iterable[Any]) -> int:
    return sum(1 for _ in things)


def _presets(folder: Path) -> list[bytes]:
    config = config_directory()
    shutil.copytree(config / 'classic', folder / 'classic')  # what they name by paths beside them
    return [(config / f'{name}.yaml').read_bytes() for name in ('classic', 'classic_patches', 'given')]


def _read_preset(path: Path) -> None:
    load_preset(path).fingerprint()


def _truths(folder: Path) -> list[bytes]:
    for name in ('a.jpg', 'b.jpg', 'c.jpg'):
        (folder / name).write_bytes(cv2.imencode('.jpg', picture(3))[1].tobytes())
    return [b'query,references,ignore\na.jpg,b.jpg,\nb.jpg,a.jpg c.jpg,\nc.jpg,,a.jpg\n']


def _trajectories(_: Path) -> list[bytes]:
    return [''.join(f'{1.7e9 + number} {number} 0 0 0 0 0 1\n' for number in range(8)).encode(),
            ''.join(f'1 0 0 {number} 0 1 0 0 0 0 1 0\n' for number in range(8)).encode()]


def _archives(folder: Path) -> list[bytes]:
    path, rng = folder / 'good.h5', np.random.default_rng(0)
    with MadeArchive(path) as archive:
        for name in ('a', 'b'):
            archive.add_features(name, FeatureGrid(rng.random((6, 5), np.float32), 2, 3))
    features = path.read_bytes()
    with MadeArchive(path) as archive:
        archive.add_masks('a', Masks(rng.random((2, 8, 9)) > 0.5, np.ones(2, np.float32)))
    masks = path.read_bytes()
    path.unlink()
    return [features, masks]


def _read_archive(path: Path) -> None:
    with Hdf5Archive(path) as archive:
        for name in islice(archive.names, 50):
            for read in (archive.features, archive.masks):
                with contextlib.suppress(SegvladError):
                    read(name)


def _bag(storage: str, folder: Path) -> list[bytes]:
    identity = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')
    with BagWriter(folder / 'good', storage) as bag:
        for number in range(3):
            stamp = (1700000000 + number) * 10 ** 9
            bag.write_odometry('/odom', stamp, identity)
            bag.write_image_jpeg('/camera/image_raw/compressed', stamp, 'camera', picture(number))
    file, = (folder / 'good').glob(f'*.{_BAG_SUFFIXES[storage]}')
    return [file.read_bytes()]


_BAG_SUFFIXES = {'mcap': 'mcap', 'sqlite3': 'db3'}


def _read_bag(path: Path) -> None:
    with contextlib.suppress(SegvladError):
        _drained(read_messages(path))
    _drained(FrameReader(path))


def _vocabularies(folder: Path) -> list[bytes]:
    path = folder / 'good.npz'
    Vocabulary(np.random.default_rng(0).random((4, 16), np.float32)).save(path)
    return [path.read_bytes()]


def _calibrations(_: Path) -> list[bytes]:
    return [Path(load_preset('classic').calibration).read_bytes()]


TARGETS: dict[str, Target] = {
    'image files': Target(150_000, partial(_encoded, False), lambda path: decode_compressed(path.read_bytes()), '.jpg'),
    'depth images': Target(50_000, partial(_encoded, True), lambda path: decode_compressed_depth(
        path.read_bytes(), '16UC1; png'), '.png'),
    'Image': Target(300_000, _images, _read_image),
    'CompressedImage': Target(150_000, _compressed_images, _read_image),
    'CameraInfo': Target(150_000, _camera_infos, _read_camera_info),
    'Odometry': Target(100_000, _odometry, _read_odometry),
    'PlaceDescriptor': Target(100_000, _descriptors, _read_descriptor),
    'map files': Target(100_000, _map, _read_map, '.segvlad'),
    'presets (YAML)': Target(20_000, _presets, _read_preset, '.yaml'),
    'ground truth (CSV)': Target(50_000, _truths, read_truth, '.csv'),
    'trajectories': Target(50_000, _trajectories, read_trajectory, '.txt'),
    'archives (HDF5)': Target(50_000, _archives, _read_archive, '.h5'),
    'bags (mcap)': Target(20_000, partial(_bag, 'mcap'), _read_bag, '.mcap'),
    'bags (sqlite3)': Target(20_000, partial(_bag, 'sqlite3'), _read_bag, '.db3'),
    'vocabularies (npz)': Target(20_000, _vocabularies, load_vocabulary, '.npz'),
    'calibrations (JSON)': Target(20_000, _calibrations, load_calibration, '.json'),
}
"""The first seven are a million images and messages."""
