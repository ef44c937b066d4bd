"""The executor of our nodes: a callback group outlives what cannot be taken of it."""
import functools
import threading
import time

import pytest
import rclpy
from node_harness import DEADLINE_S
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.waitable import NumberOfEntities, Waitable
from std_msgs.msg import String

from segvlad_ros.ros.node.events import SubscriptionEventCallbacks
from segvlad_ros.ros.node.executor import NodeExecutor


@pytest.fixture
def node(context, namespace):
    node = rclpy.create_node('spun', namespace=namespace, context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def executor(node, context):
    """It has one thread: what is ready at once is handled one after the other."""
    executor = NodeExecutor(1, context=context)
    executor.add_node(node)
    yield executor
    executor.remove_node(node)
    executor._executor.shutdown()
    executor.shutdown()


def spin(executor, event):
    """Spin until an event.

    :return: what was raised meanwhile
    """
    raised, end = [], time.monotonic() + DEADLINE_S
    while not event.is_set():
        assert time.monotonic() < end, 'not heard of'
        try:
            executor.spin_once(timeout_sec=0.05)
        except Exception as error:
            raised.append(error)
    return raised


def test_a_timer_that_the_callback_before_it_has_cancelled_blocks_nothing(node, executor):
    group, hold, heard = MutuallyExclusiveCallbackGroup(), threading.Event(), threading.Event()
    called = []

    def cancel(name):
        called.append(name)
        for timer in timers:
            timer.cancel()
        node.create_timer(0.01, heard.set, callback_group=group)

    timers = [node.create_timer(0.05, functools.partial(cancel, name), callback_group=group) for name in 'ab']
    executor._executor.submit(hold.wait)
    while not all(timer.is_ready() for timer in timers):
        time.sleep(0.01)
    for _ in timers:
        executor.spin_once(timeout_sec=1.0)
    hold.set()
    assert spin(executor, heard) == []
    assert len(called) == 1


class Destroyer(Waitable):
    """Destroys a subscription once the executor has collected its event handlers, as another thread may."""

    def __init__(self, node):
        super().__init__(MutuallyExclusiveCallbackGroup())
        self.node, self.subscription = node, None

    def __enter__(self):
        if self.subscription is not None:
            subscription, self.subscription = self.subscription, None
            self.node.destroy_subscription(subscription)

    def __exit__(self, *_):
        pass

    def is_ready(self, wait_set):
        return False

    def get_num_entities(self):
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set):
        pass


def test_a_subscription_that_is_destroyed_while_it_is_collected_is_no_failure(node, executor):
    destroyer, heard = Destroyer(node), threading.Event()
    node.add_waitable(destroyer)  # before the handlers of the subscription
    destroyer.subscription = node.create_subscription(
        String, 'words', print, 10, event_callbacks=SubscriptionEventCallbacks(deadline=print))
    node.create_timer(0.01, heard.set)
    assert spin(executor, heard) == []
    assert destroyer.subscription is None


def test_what_cannot_be_taken_is_raised_and_blocks_nothing(node, executor, monkeypatch):
    group, heard = MutuallyExclusiveCallbackGroup(), threading.Event()
    node.create_subscription(String, 'words', lambda message: heard.set(), 10, callback_group=group)
    publisher = node.create_publisher(String, 'words', 10)
    taken = []

    def take(subscription, original=executor._take_subscription):
        if subscription.topic_name.endswith('/words') and not taken:
            taken.append(subscription)
            raise RuntimeError('the first one cannot be read')
        return original(subscription)

    monkeypatch.setattr(executor, '_take_subscription', take)
    node.create_timer(0.05, lambda: publisher.publish(String(data='word')))
    assert {str(error) for error in spin(executor, heard)} == {'the first one cannot be read'}
