"""What a node learns of its topics, by Jazzy's events and as Humble has to do."""
from types import SimpleNamespace

import pytest
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from segvlad_ros.ros.node import events


class HumbleCallbacks(events.PublisherEventCallbacks):
    """As far as Humble has them."""

    def __init__(self, *, deadline=None, liveliness=None, incompatible_qos=None):
        super().__init__(deadline=deadline, liveliness=liveliness, incompatible_qos=incompatible_qos)


@pytest.fixture(params=['jazzy', 'humble'])
def node(request, peer, context, namespace, monkeypatch):
    """One that the peer's thread spins."""
    if request.param == 'humble':
        monkeypatch.setattr(events, 'PublisherEventCallbacks', HumbleCallbacks)
        monkeypatch.setattr(events, 'LOOK_EVERY_S', 0.1)
    node = LifecycleNode('teller', namespace=namespace, context=context)
    node.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
    peer.spin(node)
    return node


def test_a_publisher_says_when_somebody_comes_each_time(node, peer):
    came = []
    events.telling_publisher(node, Header, 'told', QoSProfile(depth=1), lambda: came.append(None))
    for count in (1, 2):
        peer.node.create_subscription(Header, 'told', print, 1)
        peer.wait(lambda count=count: len(came) == count, f'subscription {count} to be told of')


def test_publishers_are_counted_with_and_without_a_method_for_it(node, peer):
    subscription = node.create_subscription(Header, 'counted', print, 1)
    topic_only = SimpleNamespace(topic_name=subscription.topic_name)  # all that a subscription of Humble tells
    assert events.publisher_count(node, subscription) == events.publisher_count(node, topic_only) == 0
    peer.node.create_publisher(Header, 'counted', 1)
    peer.wait(lambda: events.publisher_count(node, subscription) == 1, 'a publisher that matches')
    peer.wait(lambda: events.publisher_count(node, topic_only) == 1, 'a publisher that is seen')


@pytest.mark.parametrize(('types', 'says'), [
    ([], ''), (['std_msgs/msg/Header'], ''), (['std_msgs/msg/ColorRGBA', 'std_msgs/msg/Header'], ''),
    (['std_msgs/msg/ColorRGBA'], '/typed is of std_msgs/msg/ColorRGBA, std_msgs/msg/Header is expected')])
def test_a_type_that_does_not_fit_is_told_only_where_none_does(types, says):
    """Made up: one process cannot publish and take two types on one topic."""
    publishers = [SimpleNamespace(topic_type=name) for name in types]
    seen = SimpleNamespace(get_publishers_info_by_topic=lambda topic: publishers)
    assert events.wrong_type(seen, SimpleNamespace(topic_name='/typed', msg_type=Header)) == says
