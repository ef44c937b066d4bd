"""The robot's side of soak_nodes.py: what its sensors send to a map_builder, and what it hears of both nodes."""
from __future__ import annotations

import array
import functools
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from segvlad_ros.io.image_codec import encode_depth, encode_jpeg
from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.msg import PlaceDescriptor, PlaceMatchArray, SegVladStatus
from segvlad_ros.ros.input.player import QUEUE
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import to_camera_info, to_pose_with_covariance, to_time
from segvlad_ros.simulation.camera import BASE_FRAME
from segvlad_ros.simulation.robot import JPEG_QUALITY
from segvlad_ros.types import Frame

BUILDER, LOCALIZER = NODES = 'map_builder', 'localizer'
AROUND_NS = 100_000_000  # odometry comes this long before and after each image


class Sensors:
    """Publishes what belongs to an image, and the image last."""

    def __init__(self, node: Node) -> None:
        self._odometry, self._info, self._depth, self._image = self._publishers = [
            node.create_publisher(kind, topic, qos.reliable(QUEUE)) for kind, topic in (
                (Odometry, '/odom'), (CameraInfo, '/camera/camera_info'), (Image, '/camera/depth/image_raw'),
                (CompressedImage, '/camera/image_raw/compressed'))]

    @property
    def connected(self) -> bool:
        """Whether somebody takes each of them."""
        return all(publisher.get_subscription_count() for publisher in self._publishers)

    def publish(self, frame: Frame) -> float:
        """Send a frame.

        :return: steady time at which its image went out, seconds
        """
        for stamp in (frame.stamp_ns - AROUND_NS, frame.stamp_ns + AROUND_NS):
            self._odometry.publish(Odometry(header=Header(stamp=to_time(stamp), frame_id=frame.pose.frame),
                                            child_frame_id=BASE_FRAME, pose=to_pose_with_covariance(frame.pose)))
        header, depth = Header(stamp=to_time(frame.stamp_ns), frame_id=frame.frame_id), encode_depth(frame.depth)
        self._info.publish(to_camera_info(frame.camera_model, header))
        self._depth.publish(Image(header=header, height=depth.shape[0], width=depth.shape[1], encoding='16UC1',
                                  step=depth.strides[0], data=array.array('B', depth.tobytes())))
        image = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8',
                                data=array.array('B', encode_jpeg(frame.rgb, JPEG_QUALITY)))
        sent_s = time.monotonic()
        self._image.publish(image)
        return sent_s


class Heard:
    """What the nodes say.

    :param since_ns: system time at which they were started; others of their names may still be heard
    :ivar status: the last one of each node
    :ivar diagnosed: how often each node has sent diagnostics
    :ivar input: what the last ones say of its input
    :ivar keyframes, answers: how many came
    :ivar stored: keyframes that the map took
    :ivar received_s: steady time of the message of each node, by stamp of the image; of the last images
    """

    def __init__(self, node: Node, since_ns: int) -> None:
        self.status = dict.fromkeys(NODES, SegVladStatus())
        self.diagnosed = dict.fromkeys(NODES, 0)
        self.input: dict[str, dict[str, str]] = {}
        self.keyframes = self.answers = self.stored = 0
        self.received_s: dict[str, dict[int, float]] = {name: {} for name in NODES}

        def listen(kind: type, topic: str, take: Callable[[Any], None], profile: QoSProfile) -> None:
            def recent(message: Any, about: dict[str, Any]) -> None:
                if about['source_timestamp'] >= since_ns:
                    take(message)
            node.create_subscription(kind, topic, recent, profile)
        for name in NODES:
            listen(SegVladStatus, f'/{name}/status', functools.partial(self.status.__setitem__, name), qos.latched())
        listen(PlaceDescriptor, f'/{BUILDER}/keyframes', self._take_keyframe, qos.reliable(QUEUE))
        listen(PlaceMatchArray, f'/{LOCALIZER}/matches', self._take_answer, qos.reliable(QUEUE))
        # the last one: who reaches us here has found all that was made before it
        listen(DiagnosticArray, '/diagnostics', self._take_diagnostics, qos.reliable(QUEUE))

    @property
    def fates(self) -> int:
        """Images of which the map_builder says what became of them."""
        return self.status[BUILDER].images_received + self.status[BUILDER].images_lost

    @property
    def unseen(self) -> int:
        """Images that did not come to its gate."""
        status = self.status[BUILDER]
        return status.images_lost + status.images_dropped + status.images_rejected

    @property
    def settled(self) -> bool:
        """Whether both nodes have handled as many keyframes as came of them, and hold the same map."""
        handled = {self.keyframes, self.answers, *(status.keyframes_processed for status in self.status.values())}
        return len(handled) == len({status.keyframes for status in self.status.values()}) == 1

    def _take_keyframe(self, message: PlaceDescriptor) -> None:
        self.received_s[BUILDER][stamp_ns(message)] = time.monotonic()
        self.keyframes += 1
        self.stored += not message.passed_over

    def _take_answer(self, message: PlaceMatchArray) -> None:
        self.received_s[LOCALIZER][stamp_ns(message)] = time.monotonic()
        self.answers += 1

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, part = status.name.strip('/').partition(': ')
            if part == 'input' and name in NODES:
                self.diagnosed[name] += 1
                self.input[name] = {value.key: value.value for value in status.values}
