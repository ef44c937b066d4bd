"""A stand-in for the bridge node, which records what a bridge opens, and messages of back-ends as they come."""
from types import SimpleNamespace

import numpy as np
import peer_interfaces as peers

from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.ros.output.node_statistics import Statistics

SECOND = 10**9


def stamped(message, stamp_ns):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    return message


def info(ref_id, stamp_ns, alive=()):
    message = stamped(peers.make('rtabmap_msgs/msg/Info'), stamp_ns)
    message.ref_id, message.wm_state = ref_id, np.array(alive, np.int32)
    return peers.over_the_wire(message)


def swarm_keyframe(number, stamp_ns):
    """Swarm-SLAM's keyframe_data."""
    keyframe = peers.make('cslam_common_interfaces/msg/KeyframeRGB')
    keyframe.id = number
    stamped(keyframe.image, stamp_ns)
    return keyframe


def database(*nodes):
    data = peers.make('rtabmap_msgs/msg/MapData')
    for number, seconds, weight in nodes:
        node = peers.make('rtabmap_msgs/msg/Node')
        node.id, node.stamp, node.weight = number, seconds, weight
        data.nodes.append(node)
    return peers.over_the_wire(data)


class Client:
    """A service whose presence and answer the test decides."""

    def __init__(self, name):
        self.srv_name, self.ready, self.requests, self.answer = name, True, [], None
        self.abandoned = 0  # requests whose answers nobody waits for any more

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        self.requests.append(request)
        return SimpleNamespace(done=lambda: self.answer is not None, result=lambda: self.answer)

    def remove_pending_request(self, future):
        self.abandoned += 1


class StandIn:
    """What a bridge wants of its node; records what it opens."""

    def __init__(self, clock, **parameters):
        defaults = {entry.name: entry.default for entry in table_of('bridge')}
        self.parameters = {**defaults, **{name.replace('__', '.'): value for name, value in parameters.items()}}
        self.steady_s, self.steady_clock, self.sensor_group, self.paused = (lambda: clock[0]), None, None, False
        self.statistics = Statistics(self.steady_s)
        self.status = SimpleNamespace(problem='', publish=lambda: None)
        self.inputs, self.outputs, self.clients, self.timers, self.problems = {}, {}, {}, [], []
        self.listeners = 1  # on each output
        self.unpublished = set()  # inputs that nobody publishes

    def report(self, problem):
        self.problems.append(problem)

    def resolve_topic_name(self, topic):
        return f'/{topic}'

    def create_subscription(self, kind, topic, callback, profile, **options):
        self.inputs[topic] = callback
        return SimpleNamespace(topic_name=f'/{topic.lstrip("/")}',
                               get_publisher_count=lambda: int(topic not in self.unpublished),
                               close=lambda: self.inputs.pop(topic))

    def create_publisher(self, kind, topic, profile):
        messages = self.outputs.setdefault(topic, [])
        return SimpleNamespace(publish=messages.append, topic_name=topic,
                               get_subscription_count=lambda: self.listeners)

    def create_client(self, kind, service, **options):
        return self.clients.setdefault(service, Client(service))

    def create_timer(self, period, callback, **options):
        self.timers.append(callback)
        return callback

    def destroy_subscription(self, subscription):
        subscription.close()

    def destroy_timer(self, callback):
        self.timers.remove(callback)

    def destroy_publisher(self, publisher):
        pass

    def destroy_client(self, client):
        pass

    @property
    def sent(self):
        return self.statistics.snapshot().counts.matches_published
