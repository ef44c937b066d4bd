"""Writes ROS 2 bags with standard messages, without ROS."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segvlad_ros.io import bags
from segvlad_ros.io.image_codec import encode_depth, encode_jpeg
from segvlad_ros.types import CameraModel, Pose, SegvladError


class BagWriter:
    """A new bag, as a context manager. The stamp of a message is also its time in the bag.

    mcap chunks are compressed with zstd, which shrinks raw depth of a rendered world several times. If the block is
    left by an exception, the bag stays unfinished and cannot be read.

    :param path: folder that will be made; it must not exist
    :param storage: ``mcap`` or ``sqlite3``
    """

    def __init__(self, path: str | Path, storage: str = 'mcap'):
        self.path = Path(path)
        self._store = bags.typestore()
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
        plugins = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
        if storage not in plugins:
            raise SegvladError(f'unknown bag storage {storage!r}; it is one of {", ".join(plugins)}')
        try:
            self._writer = Writer(self.path, version=9, storage_plugin=plugins[storage])
        except WriterError:
            raise SegvladError(f'{path}: exists already; give another name') from None
        if storage == 'mcap':
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._types = self._store.types
        self._connections: dict[str, object] = {}

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except OSError as error:
            raise SegvladError(f'{self.path}: cannot be written ({error.strerror})') from None
        return self

    def __exit__(self, *exception) -> None:
        self._writer.__exit__(*exception)

    def write(self, topic: str, message: object, stamp_ns: int, latched: bool = False) -> None:
        """Write one rosbags message of the Jazzy type store.

        :param topic: absolute name
        :param stamp_ns: time in the bag
        :param latched: offer the topic as transient local, for those who come late
        """
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=[_qos(latched)])
        connection = self._connections[topic]
        if connection.msgtype != kind:
            raise SegvladError(f'topic {topic} holds {connection.msgtype}; a {kind} cannot be written to it')
        try:
            self._writer.write(connection, stamp_ns, self._store.serialize_cdr(message, kind))
        except OSError as error:
            raise SegvladError(f'{self.path}: cannot be written ({error.strerror})') from None

    def write_image(self, topic: str, stamp_ns: int, frame_id: str, rgb: np.ndarray) -> None:
        """A raw ``rgb8`` Image of (h, w, 3) uint8."""
        self._write_raw(topic, stamp_ns, frame_id, 'rgb8', np.ascontiguousarray(rgb, np.uint8))

    def write_image_jpeg(self, topic: str, stamp_ns: int, frame_id: str, rgb: np.ndarray, quality: int = 90) -> None:
        """A JPEG CompressedImage of (h, w, 3) uint8, by custom on the raw topic's name with ``/compressed``."""
        self._write_stamped(topic, bags.COMPRESSED_IMAGE, stamp_ns, frame_id, 'rgb8; jpeg compressed bgr8',
                            np.frombuffer(encode_jpeg(rgb, quality), np.uint8))

    def write_depth(self, topic: str, stamp_ns: int, frame_id: str, depth: np.ndarray) -> None:
        """A raw ``16UC1`` Image in millimetres (REP 118) of (h, w) metres, NaN where unknown."""
        self._write_raw(topic, stamp_ns, frame_id, '16UC1', encode_depth(depth).astype('<u2'))

    def write_mask(self, topic: str, stamp_ns: int, frame_id: str, usable: np.ndarray) -> None:
        """A raw ``mono8`` Image of (h, w) bool, 255 where the image is used."""
        self._write_raw(topic, stamp_ns, frame_id, 'mono8', usable.astype(np.uint8) * 255)

    def write_camera_info(self, topic: str, stamp_ns: int, frame_id: str, model: CameraModel) -> None:
        """Intrinsics of one camera."""
        matrix = np.asarray(model.matrix, np.float64)
        self._write_stamped(
            topic, bags.CAMERA_INFO, stamp_ns, frame_id, model.height, model.width, model.distortion_model,
            np.asarray(model.distortion, np.float64).reshape(-1), matrix.reshape(9), np.eye(3).reshape(9),
            np.hstack([matrix, np.zeros((3, 1))]).reshape(12), 0, 0,
            self._types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False))

    def write_odometry(self, topic: str, stamp_ns: int, pose: Pose, child_frame_id: str = 'base_link') -> None:
        """A pose in the odometry frame ``pose.frame`` as Odometry, with its covariance but without twist."""
        types, zero = self._types, self._geometry('Vector3', (0.0, 0.0, 0.0))
        covariance = np.zeros(36) if pose.covariance is None else np.asarray(pose.covariance, np.float64).reshape(36)
        self._write_stamped(
            topic, bags.ODOMETRY, stamp_ns, pose.frame, child_frame_id,
            types['geometry_msgs/msg/PoseWithCovariance'](self._pose(pose), covariance),
            types['geometry_msgs/msg/TwistWithCovariance'](types['geometry_msgs/msg/Twist'](zero, zero), np.zeros(36)))

    def write_pose(self, topic: str, stamp_ns: int, pose: Pose) -> None:
        """A PoseStamped in ``pose.frame``."""
        self._write_stamped(topic, bags.POSE_STAMPED, stamp_ns, pose.frame, self._pose(pose))

    def write_fix(self, topic: str, stamp_ns: int, degrees: Sequence[float], sigma_m: float = 0.0, *,
                  status: int = 0) -> None:
        """A NavSatFix of a receiver that does not know its height; ``degrees``: latitude and longitude.

        :param sigma_m: standard deviation that it claims, 0: none
        :param status: of NavSatStatus, -1: no fix
        """
        state = self._types['sensor_msgs/msg/NavSatStatus'](status, 1)
        self._write_stamped(topic, bags.NAV_SAT_FIX, stamp_ns, 'gps', state, *map(float, degrees), float('nan'),
                            np.eye(3).ravel() * sigma_m ** 2, 2 if sigma_m else 0)

    def write_static_transform(self, stamp_ns: int, parent_from_child: Pose, child_frame_id: str) -> None:
        """One transform on ``/tf_static``, latched; ``parent_from_child.frame`` is the parent."""
        types = self._types
        transform = types['geometry_msgs/msg/Transform'](
            self._geometry('Vector3', parent_from_child.translation),
            self._geometry('Quaternion', parent_from_child.quaternion))
        message = types[bags.TRANSFORMS]([types['geometry_msgs/msg/TransformStamped'](
            self._header(stamp_ns, parent_from_child.frame), child_frame_id, transform)])
        self.write('/tf_static', message, stamp_ns, latched=True)

    def _write_stamped(self, topic: str, msgtype: str, stamp_ns: int, frame_id: str, *fields) -> None:
        """Write a message of a header and these fields."""
        self.write(topic, self._types[msgtype](self._header(stamp_ns, frame_id), *fields), stamp_ns)

    def _write_raw(self, topic: str, stamp_ns: int, frame_id: str, encoding: str, pixels: np.ndarray) -> None:
        height, width = pixels.shape[:2]
        self._write_stamped(topic, bags.IMAGE, stamp_ns, frame_id, height, width, encoding, 0, pixels[0].nbytes,
                            pixels.view(np.uint8).reshape(-1))

    def _header(self, stamp_ns: int, frame_id: str):
        stamp = self._types['builtin_interfaces/msg/Time'](*divmod(int(stamp_ns), 1_000_000_000))
        return self._types['std_msgs/msg/Header'](stamp, frame_id)

    def _geometry(self, name: str, numbers):
        return self._types[f'geometry_msgs/msg/{name}'](*map(float, numbers))

    def _pose(self, pose: Pose):
        return self._types['geometry_msgs/msg/Pose'](
            self._geometry('Point', pose.translation), self._geometry('Quaternion', pose.quaternion))


def _qos(latched: bool):
    """What the recorded publisher offered: reliable, keep last."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    forever = QosTime(9223372036, 854775807)
    return Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, forever, forever,
               QosLiveliness.AUTOMATIC, forever, False)
