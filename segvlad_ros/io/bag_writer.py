"""Writes ROS 2 bags with standard messages, without ROS."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from segvlad_ros.io import bag_types
from segvlad_ros.io.image_codec import encode_compressed_depth, encode_depth, encode_jpeg
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
        store = bag_types.typestore()
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
        self._store = store
        self._types = store.types
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
        """A raw ``rgb8`` Image.

        :param rgb: (h, w, 3) uint8
        """
        height, width = rgb.shape[:2]
        self.write(topic, self._types[bag_types.IMAGE](
            self._header(stamp_ns, frame_id), height, width, 'rgb8', 0, 3 * width,
            np.ascontiguousarray(rgb, np.uint8).reshape(-1)), stamp_ns)

    def write_image_jpeg(self, topic: str, stamp_ns: int, frame_id: str, rgb: np.ndarray, quality: int = 90) -> None:
        """A JPEG CompressedImage.

        :param topic: by custom the name of the raw topic with ``/compressed``
        :param rgb: (h, w, 3) uint8
        """
        self._write_compressed(topic, stamp_ns, frame_id, 'rgb8; jpeg compressed bgr8', encode_jpeg(rgb, quality))

    def write_depth(self, topic: str, stamp_ns: int, frame_id: str, depth: np.ndarray) -> None:
        """A raw ``16UC1`` Image in millimetres (REP 118).

        :param depth: (h, w) metres, NaN where unknown
        """
        height, width = depth.shape
        self.write(topic, self._types[bag_types.IMAGE](
            self._header(stamp_ns, frame_id), height, width, '16UC1', 0, 2 * width,
            np.frombuffer(encode_depth(depth).astype('<u2').tobytes(), np.uint8)), stamp_ns)

    def write_depth_compressed(self, topic: str, stamp_ns: int, frame_id: str, depth: np.ndarray) -> None:
        """A ``compressedDepth`` PNG in millimetres.

        :param topic: by custom the name of the raw topic with ``/compressedDepth``
        :param depth: (h, w) metres, NaN where unknown
        """
        self._write_compressed(topic, stamp_ns, frame_id, '16UC1; compressedDepth png', encode_compressed_depth(depth))

    def _write_compressed(self, topic: str, stamp_ns: int, frame_id: str, encoding: str, data: bytes) -> None:
        self.write(topic, self._types[bag_types.COMPRESSED_IMAGE](
            self._header(stamp_ns, frame_id), encoding, np.frombuffer(data, np.uint8)), stamp_ns)

    def write_camera_info(self, topic: str, stamp_ns: int, frame_id: str, model: CameraModel) -> None:
        """Intrinsics of one camera."""
        matrix = np.asarray(model.matrix, np.float64)
        self.write(topic, self._types[bag_types.CAMERA_INFO](
            self._header(stamp_ns, frame_id), model.height, model.width, model.distortion_model,
            np.asarray(model.distortion, np.float64).reshape(-1), matrix.reshape(9), np.eye(3).reshape(9),
            np.hstack([matrix, np.zeros((3, 1))]).reshape(12), 0, 0,
            self._types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)), stamp_ns)

    def write_odometry(self, topic: str, stamp_ns: int, pose: Pose, child_frame_id: str = 'base_link') -> None:
        """A pose as Odometry, without twist.

        :param pose: ``frame`` is the odometry frame; a covariance is taken along
        """
        types, zero = self._types, self._vector((0.0, 0.0, 0.0))
        covariance = np.zeros(36) if pose.covariance is None else np.asarray(pose.covariance, np.float64).reshape(36)
        self.write(topic, types[bag_types.ODOMETRY](
            self._header(stamp_ns, pose.frame), child_frame_id,
            types['geometry_msgs/msg/PoseWithCovariance'](self._pose(pose), covariance),
            types['geometry_msgs/msg/TwistWithCovariance'](types['geometry_msgs/msg/Twist'](zero, zero), np.zeros(36))),
            stamp_ns)

    def write_pose(self, topic: str, stamp_ns: int, pose: Pose) -> None:
        """A PoseStamped in ``pose.frame``."""
        self.write(topic, self._types[bag_types.POSE_STAMPED](
            self._header(stamp_ns, pose.frame), self._pose(pose)), stamp_ns)

    def write_static_transform(self, stamp_ns: int, parent_from_child: Pose, child_frame_id: str) -> None:
        """One transform on ``/tf_static``, latched.

        :param parent_from_child: ``frame`` is the parent
        """
        self._write_transform('/tf_static', stamp_ns, parent_from_child, child_frame_id, latched=True)

    def write_transform(self, stamp_ns: int, parent_from_child: Pose, child_frame_id: str) -> None:
        """One transform on ``/tf``, see :meth:`write_static_transform`."""
        self._write_transform('/tf', stamp_ns, parent_from_child, child_frame_id, latched=False)

    def _write_transform(self, topic: str, stamp_ns: int, pose: Pose, child_frame_id: str, latched: bool) -> None:
        transform = self._types['geometry_msgs/msg/TransformStamped'](
            self._header(stamp_ns, pose.frame), child_frame_id,
            self._types['geometry_msgs/msg/Transform'](self._vector(pose.translation), self._rotation(pose)))
        self.write(topic, self._types[bag_types.TRANSFORMS]([transform]), stamp_ns, latched)

    def write_clock(self, stamp_ns: int) -> None:
        """The time on ``/clock``."""
        self.write('/clock', self._types[bag_types.CLOCK](self._time(stamp_ns)), stamp_ns)

    def _time(self, stamp_ns: int):
        return self._types['builtin_interfaces/msg/Time'](*divmod(int(stamp_ns), 1_000_000_000))

    def _header(self, stamp_ns: int, frame_id: str):
        return self._types['std_msgs/msg/Header'](self._time(stamp_ns), frame_id)

    def _vector(self, values):
        return self._types['geometry_msgs/msg/Vector3'](*map(float, values))

    def _rotation(self, pose: Pose):
        return self._types['geometry_msgs/msg/Quaternion'](*map(float, pose.quaternion))

    def _pose(self, pose: Pose):
        return self._types['geometry_msgs/msg/Pose'](
            self._types['geometry_msgs/msg/Point'](*map(float, pose.translation)), self._rotation(pose))


def _qos(latched: bool):
    """What the recorded publisher offered: reliable, keep last."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    forever = QosTime(9223372036, 854775807)
    return Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, forever, forever,
               QosLiveliness.AUTOMATIC, forever, False)
