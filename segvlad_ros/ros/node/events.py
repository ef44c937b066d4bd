"""Events of topics, and what Humble's rclpy lacks of them."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSProfile

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'UnsupportedEventTypeError', 'publisher_count',
           'telling_publisher', 'wrong_type']

LOOK_EVERY_S = 1.0
_RAW, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def telling_publisher(node: Any, kind: Any, topic: str, profile: QoSProfile, came: Callable[[], None]) -> Any:
    """A lifecycle publisher that says when somebody subscribes; where no event tells, by looking once a second.

    :param came: called in the executor
    """
    try:
        events = PublisherEventCallbacks(matched=lambda event: came() if event.current_count_change > 0 else None)
    except TypeError:  # Humble has no such event
        publisher = node.create_lifecycle_publisher(kind, topic, profile)
        seen = 0

        def look() -> None:
            nonlocal seen
            before, seen = seen, publisher.get_subscription_count()
            if seen > before:
                came()
        node.create_timer(LOOK_EVERY_S, look, clock=node.steady_clock)
        return publisher
    return node.create_lifecycle_publisher(kind, topic, profile, event_callbacks=events)


def publisher_count(node: Any, subscription: Any) -> int:
    """How many publish to a subscription, of those that match it; in Humble of all that are seen."""
    if hasattr(subscription, 'get_publisher_count'):
        return subscription.get_publisher_count()
    return node.count_publishers(subscription.topic_name)


def wrong_type(node: Any, subscription: Any) -> str:
    """What to say where a topic is published, but only in other types than a subscription's; else ''."""
    topic, expected = subscription.topic_name, _type_name(subscription.msg_type)
    if hasattr(subscription, 'get_publisher_count') and subscription.get_publisher_count():
        return ''
    found = {publisher.topic_type for publisher in node.get_publishers_info_by_topic(topic)}
    if not found or expected in found:
        return ''
    hint = (' (compressed images: give the name without /compressed, and set image_transport:=compressed, or '
            'depth_transport)') if (_COMPRESSED in found and expected == _RAW) else ''
    return f'{topic} is of {", ".join(sorted(found))}, {expected} is expected{hint}'


def _type_name(kind: Any) -> str:
    """As `ros2 topic type` tells it."""
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
