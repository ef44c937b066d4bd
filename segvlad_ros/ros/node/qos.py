"""QoS of every topic, and subscriptions that say when a publisher does not fit."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import get_rmw_implementation_identifier

from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.ros.node.events import SubscriptionEventCallbacks, UnsupportedEventTypeError
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError


def sensor(depth: int = 1) -> QoSProfile:
    """SensorData: best effort matches every publisher; depth 1 keeps the newest (REP-2003)."""
    return _profile(depth, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def reliable(depth: int = 10) -> QoSProfile:
    """Results, and with depth 20 descriptors."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def latched(depth: int = 1) -> QoSProfile:
    """Status: whoever comes late gets the last one."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def _profile(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


DESCRIPTORS_DEPTH = 20
REMOVED_DEPTH = 100  # messages that wait for who comes late


def subscribe(node, message_type: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile, *,
              callback_group=None, raw: bool = False, on_lost: Callable[[int], None] | None = None):
    """Subscribe so that users can override the QoS (``qos_overrides.<topic>.subscription.reliability``), and
    so that a publisher whose QoS does not fit is named in one warning.

    :param raw: the callback is given the message as bytes
    :param on_lost: is told how many more messages were published and never arrived; 0 at once where the middleware can
        tell at all. What a full queue of this process gave up, because nobody took it in time, is not among them
    :raises SegvladError: the middleware refuses it, most likely for what is overridden
    """
    resolved = node.resolve_topic_name(topic)
    warned: set[str] = set()

    def incompatible(event) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        if policy not in warned:
            warned.add(policy)
            node.get_logger().warning(
                f'a publisher on {resolved} offers an incompatible {policy}: nothing is received from it; '
                f'set the parameter qos_overrides.{resolved}.subscription.{policy.lower()}')

    def create(**events):
        try:
            return node.create_subscription(
                message_type, topic, callback, profile, callback_group=callback_group, raw=raw,
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible, **events),
                qos_overriding_options=QoSOverridingOptions.with_default_policies())
        except UnsupportedEventTypeError:
            raise
        except (RuntimeError, TypeError, ParameterException) as error:
            raise SegvladError(f'cannot subscribe to {resolved}: {said_by(error)}; look at the parameters '
                               f'qos_overrides.{resolved}.subscription.*') from error
    if on_lost is not None:
        try:
            subscription = create(message_lost=lambda event: on_lost(event.total_count_change))
        except UnsupportedEventTypeError:
            return create()
        on_lost(0)
        return subscription
    return create()


VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def allow_large_images() -> None:
    """Let this process publish raw images without loss; to be called before ``rclpy.init``.

    By default Fast DDS has 512 kB of shared memory a process. What does not fit, such as a raw image of 640 x 480, goes
    through UDP in fragments: best-effort subscribers lose most of them, and reliable ones wait up to 3 s for the next
    heartbeat. A profile that the user has chosen stays; other DDS implementations do not read it.
    """
    if not any(os.environ.get(name) for name in VARIABLES):
        os.environ[_variable()] = _large_images_profile()


def against_loss(topic: str, compressed: bool) -> str:
    """What helps when images are lost on their way.

    :param topic: resolved name
    :param compressed: they are sent as CompressedImage
    """
    if compressed:
        return f'the network drops what {topic} sends, or is too slow for it'
    network = 'over a network, use compressed transports'
    if not get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
        return f'{topic} is too large for the buffers of the middleware, see its tuning; {network}'
    return (f'start the process that publishes {topic} with {_variable()}={_large_images_profile()} (this node does '
            f'not need it); {network}')


def _variable() -> str:
    """The one of the Fast DDS that is installed: Kilted's, version 3, warns of the older name."""
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)), sys.prefix]
    return VARIABLES[any(list(Path(prefix, 'lib').glob('libfastdds.so*')) for prefix in prefixes)]


def _large_images_profile() -> str:
    return str(config_directory() / 'dds' / 'fastdds_large_images.xml')
