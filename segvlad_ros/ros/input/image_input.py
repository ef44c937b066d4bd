"""A node's camera: subscriptions, synchronisation, and from messages to a Frame."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from segvlad_ros.geometry import unit_quaternion
from segvlad_ros.io.frame_assembler import FrameAssembler, InputSettings
from segvlad_ros.io.masks import read_mask
from segvlad_ros.io.paths import from_home
from segvlad_ros.io.stamps import LATE_S, stamp_ns
from segvlad_ros.ros.input.image_decoder import ImageDecoder
from segvlad_ros.ros.input.synchroniser import Bundle, Synchroniser
from segvlad_ros.ros.input.tf import Transforms
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.events import publisher_count
from segvlad_ros.ros.node.parameters import NodeParameters
from segvlad_ros.ros.output.conversions import from_odometry
from segvlad_ros.ros.output.diagnostics import Awaited
from segvlad_ros.types import Frame, Pose, SegvladError

ODOMETRY_DEPTH = 50  # odometry comes faster than images, and two messages are needed around a stamp
COMPANION_DEPTH = 5


class ImageInput:
    """Receives images with what belongs to them.

    :param node: a ``SegvladNode``: its worker gets each :class:`Bundle`
    :raises SegvladError: the image decoder asked for does not work
    """

    def __init__(self, node) -> None:
        self._node = node
        parameters = node.parameters
        self.topic, self._image_kind = _transported('image', parameters['image_transport'], node)
        self._depth_topic, self._depth_kind = _transported('depth', parameters['depth_transport'], node)
        decoder = ImageDecoder(parameters['image_decoder'], bits=parameters['image_bits'])
        settings, self._transforms = _settings(parameters), Transforms(node, parameters['sync_timeout_s'])
        self._assembler = FrameAssembler(settings, decoder, self._transforms.lookup, node.report_change, self.topic)
        self._against_loss = {'images': qos.against_loss(self.topic, self._image_kind is CompressedImage),
                              'depth_images': qos.against_loss(self._depth_topic, self._depth_kind is CompressedImage)}
        self._last_stamp_ns = 0
        self._subscriptions: dict[str, Any] = {}
        self._timer: Any = None

    def open(self) -> None:
        """Subscribe."""
        node, parameters = self._node, self._node.parameters
        self._synchroniser = Synchroniser(
            node.worker.put, expected=self._expected, now_s=node.steady_s, schedule=self._schedule,
            timeout_s=parameters['sync_timeout_s'], tolerance_s=parameters['sync_tolerance_s'],
            odom_max_gap_s=parameters['odom_max_gap_s'])
        self._timer = node.create_timer(1.0, self._expire, callback_group=node.sensor_group,
                                        clock=node.steady_clock)
        self._timer.cancel()
        lost = {'image': self._unless_paused(functools.partial(node.statistics.lost, 'images')),
                'depth': self._unless_paused(functools.partial(node.statistics.lost, 'depth_images'))}
        for name, kind, topic, callback, depth in (
                ('odom', Odometry, 'odom', self._take_odometry, ODOMETRY_DEPTH),
                ('camera_info', CameraInfo, 'camera_info', self._synchroniser.add_camera_info, COMPANION_DEPTH),
                ('depth', self._depth_kind, self._depth_topic, self._take_depth, COMPANION_DEPTH),
                ('mask', Image, 'mask', self._synchroniser.add_mask, COMPANION_DEPTH),
                ('image', self._image_kind, self.topic, self._take_image, 1)):
            self._subscriptions[name] = qos.subscribe(
                node, kind, topic, self._unless_paused(callback), qos.sensor(depth), callback_group=node.sensor_group,
                on_lost=lost.get(name))

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def destroy(self) -> None:
        """Unsubscribe, and stop listening to TF."""
        self.close()
        self._transforms.close()

    def awaited(self, age_s: float, active_s: float) -> Awaited:
        """What is waited for.

        :param age_s: of the newest image
        :param active_s: since the node became active
        """
        return Awaited('images', self.topic, min(age_s, active_s),
                       hint='is the camera running, is the topic remapped?',
                       against_loss=self._against_loss)

    def frame(self, bundle: Bundle) -> Frame:
        """Decode a bundle; runs in the worker's thread.

        :raises SegvladError: the image cannot be used: zero stamp, backwards clock, undecodable
        """
        if stamp_ns(bundle.image) > 0:  # the assembler refuses the others
            self._check_order(stamp_ns(bundle.image))
        if bundle.missing:
            self._node.statistics.count(incomplete=1)
            self._node.report(f'image used without {", ".join(bundle.missing)}: nothing with a fitting stamp came')
        return self._assembler.frame(bundle.image, depth=bundle.depth, camera_info=bundle.camera_info,
                                     odometry=bundle.odometry, mask=bundle.mask)

    def picture(self, message: Any) -> Frame:
        """Decode an image that comes by itself; with a frame_id it counts as one of this camera, with its mask.

        :raises SegvladError: it cannot be decoded, is too large, or the mask is not of such images
        """
        return self._assembler.picture(message)

    def _check_order(self, stamp: int) -> None:
        back_s = (self._last_stamp_ns - stamp) * 1e-9
        if back_s > LATE_S:
            self._last_stamp_ns = stamp
            self._node.statistics.count(clock_jumps=1)
            self._transforms.forget_moving()
            self._node.forget_recent()
            raise SegvladError(f'its stamp is {back_s:.3f} s before the last one: the clock jumped back, '
                               'recent images are forgotten, the map is kept')
        if back_s > 0:
            raise SegvladError(f'its stamp is {back_s:.3f} s before the last one: it came too late')
        self._last_stamp_ns = stamp

    def _expected(self, name: str) -> bool:
        subscription = self._subscriptions.get(name)
        return subscription is not None and publisher_count(self._node, subscription) > 0

    def _schedule(self, delay_s: float) -> None:
        self._timer.timer_period_ns = max(1, round(delay_s * 1e9))
        self._timer.reset()

    def _expire(self) -> None:
        self._timer.cancel()
        self._synchroniser.advance()

    def _unless_paused(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        def guarded(message: Any) -> None:
            if not self._node.paused:
                callback(message)
        return guarded

    def _take_image(self, message: Any) -> None:
        self._node.statistics.arrived(stamp_ns(message))
        self._node.statistics.came('images')
        self._synchroniser.add_image(message)

    def _take_depth(self, message: Any) -> None:
        self._node.statistics.came('depth_images')
        self._synchroniser.add_depth(message)

    def _take_odometry(self, message: Odometry) -> None:
        try:
            if stamp_ns(message) <= 0:
                raise SegvladError('its stamp is zero: its driver must fill header.stamp')
            leapt = self._synchroniser.add_pose(stamp_ns(message), from_odometry(message), message.child_frame_id)
            if leapt:
                self._node.statistics.count(odometry_leaps=1)
                self._node.report('odometry leaps, as if its driver was started again: poses before and after '
                                  'it are not compared')
        except SegvladError as error:
            self._node.report(f'odometry not used: {error}')


def _transported(name: str, transport: str, node: Any) -> tuple[str, type]:
    """Topic and message type of images by image_transport's names."""
    topic = node.resolve_topic_name(name)
    return (topic, Image) if transport == 'raw' else (f'{topic}/{transport}', CompressedImage)


def _settings(parameters: NodeParameters) -> InputSettings:
    fixed, base_frame = parameters['base_from_camera'], parameters['base_frame']
    mount = Pose(np.array(fixed[:3]), unit_quaternion(np.array(fixed[3:])), base_frame) if any(fixed) else None
    mask = read_mask(from_home(parameters['mask_file'])) if parameters['mask_file'] else None
    return InputSettings(parameters['camera'], base_frame, mount, parameters['rectified'],
                         parameters['ignore_frame_ids'], max_megapixels=parameters['max_megapixels'], mask=mask)
