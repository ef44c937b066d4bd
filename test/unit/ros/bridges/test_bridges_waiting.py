"""Bridges that wait for a back-end's ids: which node stands for a keyframe, what is held, what is given up and told.

The back-ends' packages are not installed, so a stand-in node records what a bridge opens and feeds it messages that are
built from the peers' definitions. The bridge node itself runs as a process in test/nodes/test_bridge.py.
"""
from types import SimpleNamespace

import numpy as np
import peer_interfaces as peers
import pytest
from nav_msgs.msg import Odometry
from test_bridges import ADD_LINK, CSLAM, GRAPH, MATCH_NS, QUERY_NS, answer_of, closure_of

from segvlad_ros.geometry import from_matrix, to_matrix
from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.ros.bridges import cslam, pose_graph_tools, rtabmap
from segvlad_ros.ros.bridges.base_bridge import MOST, PendingMessages
from segvlad_ros.ros.bridges.rtabmap import RtabmapNodes
from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.ros.output.conversions import fill_pose, to_time
from segvlad_ros.ros.output.node_statistics import Statistics
from segvlad_ros.types import Pose

SECOND = 10**9
IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def stamped(message, stamp_ns):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    return message


def info(ref_id, stamp_ns, alive=()):
    message = stamped(peers.make('rtabmap_msgs/msg/Info'), stamp_ns)
    message.ref_id, message.wm_state = ref_id, np.array(alive, np.int32)
    return peers.over_the_wire(message)


def database(*nodes):
    data = peers.make('rtabmap_msgs/msg/MapData')
    for number, seconds, weight in nodes:
        node = peers.make('rtabmap_msgs/msg/Node')
        node.id, node.stamp, node.weight = number, seconds, weight
        data.nodes.append(node)
    return peers.over_the_wire(data)


# nodes of RTAB-Map

@pytest.fixture
def nodes():
    return RtabmapNodes(max_difference_s=1.0)


def test_a_node_is_found_by_its_stamp_to_the_nanosecond(nodes):
    nodes.add_info(info(11, QUERY_NS))
    nodes.add_info(info(12, QUERY_NS + SECOND))
    found = nodes.locate(QUERY_NS)
    assert found.node_id == 11
    np.testing.assert_array_equal(to_matrix(found.node_from_keyframe), np.eye(4))


def test_nodes_of_a_loaded_database_are_found_by_their_rounded_stamps(nodes):
    nodes.add_map(database((3, MATCH_NS / 1e9, 0), (4, MATCH_NS / 1e9 + 5, -1)))
    assert nodes.locate(MATCH_NS).node_id == 3
    assert isinstance(nodes.locate(MATCH_NS + 5 * SECOND), str)  # an intermediate node takes no links
    nodes.add_info(info(9, QUERY_NS))
    nodes.add_map(database((9, QUERY_NS / 1e9 + 0.5, 0)))
    assert nodes.locate(QUERY_NS).node_id == 9  # what info said is exact


def test_nodes_that_left_the_memory_take_no_links(nodes):
    nodes.add_info(info(1, 10 * SECOND, alive=[1]))
    nodes.add_info(info(2, 11 * SECOND, alive=[1]))  # dropped at once: the robot had hardly moved
    assert 'no node of this time yet' in nodes.locate(11 * SECOND)
    nodes.add_info(info(3, 12 * SECOND, alive=[3]))
    assert 'nearest node in memory, 3, is 2.00 s away' in nodes.locate(10 * SECOND)
    nodes.add_info(info(4, 13 * SECOND, alive=[1, 3, 4]))
    assert nodes.locate(10 * SECOND).node_id == 1


def test_between_nodes_odometry_tells_the_motion(nodes):
    def pose_at(seconds):
        turn = np.array([0, 0, np.sin(0.1 * seconds), np.cos(0.1 * seconds)])
        return Pose(np.array([2.0 * seconds, 1.0, 0.0]), turn, 'odom')
    nodes.add_info(info(7, 10 * SECOND))
    assert 'no node of this time yet' in nodes.locate(10 * SECOND + 300_000_000)
    nodes.add_info(info(8, 11 * SECOND))
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)
    for tenths in range(95, 115):
        nodes.add_odometry(tenths * SECOND // 10, pose_at(tenths / 10))
    found = nodes.locate(10 * SECOND + 300_000_000)
    assert found.node_id == 7
    wanted = np.linalg.inv(to_matrix(pose_at(10.0))) @ to_matrix(pose_at(10.3))
    np.testing.assert_allclose(to_matrix(found.node_from_keyframe), wanted, atol=1e-3)
    assert nodes.locate(10 * SECOND + 800_000_000).node_id == 8
    nodes.add_odometry(1 * SECOND, pose_at(1.0))  # a bag began anew
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)


def test_odometry_that_leaps_moves_no_pose(nodes):
    nodes.add_info(info(7, 10 * SECOND))
    nodes.add_info(info(8, 12 * SECOND))
    for tenths in range(80, 130, 2):  # the driver starts again from zero behind the node
        x = 0.1 * tenths if tenths <= 100 else 0.1 * tenths - 10
        nodes.add_odometry(tenths * SECOND // 10, Pose(np.array([x, 0.0, 0.0]), IDENTITY, 'odom'))
    assert 'without unbroken odometry' in nodes.locate(10 * SECOND + 300_000_000)
    assert nodes.locate(12 * SECOND - 300_000_000).node_id == 8


# holding

@pytest.fixture
def clock():
    return [0.0]


def test_what_is_held_is_sent_once_or_given_up_once(clock):
    ready, sent, lost = set(), [], []

    def send(item):
        if item not in ready:
            return f'{item} is not ready'
        sent.append(item)
        return ''
    held = PendingMessages(send, lambda item, reason: lost.append((item, reason)), 10.0, lambda: clock[0])
    ready.add('a')
    for item in 'abc':
        held.add(item)
    assert (sent, len(held)) == (['a'], 2)
    ready.add('c')
    held.retry()
    assert (sent, len(held), lost) == (['a', 'c'], 1, [])
    clock[0] = 10.0
    held.retry()
    held.retry()
    assert (len(held), lost) == (0, [('b', 'b is not ready, 10 s long')])


def test_only_so_many_wait(clock):
    lost = []
    held = PendingMessages(lambda item: 'never', lambda item, reason: lost.append(item), 10.0, lambda: clock[0])
    for number in range(MOST + 2):
        held.add(number)
    assert (len(held), lost) == (MOST, [0, 1])


# wiring

class Client:
    """A service whose presence and answer the test decides."""

    def __init__(self, name):
        self.srv_name, self.ready, self.requests, self.answer = name, True, [], None

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        self.requests.append(request)
        return SimpleNamespace(done=lambda: self.answer is not None, result=lambda: self.answer)


class StandIn:
    """What a bridge wants of its node; records what it opens."""

    def __init__(self, clock, **parameters):
        defaults = {entry.name: entry.default for entry in table_of('bridge')}
        self.parameters = {**defaults, **{name.replace('__', '.'): value for name, value in parameters.items()}}
        self.steady_s, self.steady_clock, self.sensor_group, self.paused = (lambda: clock[0]), None, None, False
        self.statistics = Statistics(self.steady_s)
        self.status = SimpleNamespace(problem='', publish=lambda: None)
        self.inputs, self.outputs, self.clients, self.timers, self.problems = {}, {}, {}, [], []

    def report(self, problem):
        self.problems.append(problem)

    def resolve_topic_name(self, topic):
        return f'/{topic}'

    def create_subscription(self, kind, topic, callback, profile, **options):
        self.inputs[topic] = callback
        return topic

    def create_publisher(self, kind, topic, profile):
        messages = self.outputs.setdefault(topic, [])
        return SimpleNamespace(publish=messages.append, topic_name=topic)

    def create_client(self, kind, service, **options):
        return self.clients.setdefault(service, Client(service))

    def create_timer(self, period, callback, **options):
        self.timers.append(callback)
        return callback

    def destroy_subscription(self, topic):
        del self.inputs[topic]

    def destroy_timer(self, callback):
        self.timers.remove(callback)

    def destroy_publisher(self, publisher):
        pass

    def destroy_client(self, client):
        pass

    @property
    def sent(self):
        return self.statistics.snapshot().counts.matches_published


@pytest.fixture
def world():
    rng = np.random.default_rng(3)
    match, query = np.eye(4), np.eye(4)
    match[:3, 3], query[:3, 3] = rng.uniform(-1, 1, (2, 3))
    return match, query, np.eye(6) * 0.01


@pytest.fixture
def rtabmap_bridge(clock, monkeypatch):
    types = rtabmap.RtabmapTypes(SimpleNamespace(Request=ADD_LINK), SimpleNamespace(Request=SimpleNamespace),
                          peers.maker('rtabmap_msgs/msg/Info'))
    monkeypatch.setattr(rtabmap, 'load_types', lambda: types)
    node = StandIn(clock)
    bridge = rtabmap.Rtabmap(node)
    bridge.open()
    return node, bridge


def test_a_closure_waits_for_both_nodes_of_rtabmap(rtabmap_bridge, world):
    node, bridge = rtabmap_bridge
    links = node.clients['add_link'].requests
    node.inputs['info'](info(1, MATCH_NS))
    node.inputs['loop_closures'](closure_of(world))
    assert (links, bridge.waiting(), node.problems) == ([], 1, [])
    node.inputs['info'](info(300, QUERY_NS))
    request, = links
    assert (request.link.from_id, request.link.to_id) == (300, 1)
    assert (bridge.waiting(), node.sent, bridge.given_up) == (0, 1, 0)
    node.timers[0]()
    assert len(links) == 1


def test_a_closure_without_nodes_is_given_up_with_the_reason(rtabmap_bridge, world, clock):
    node, bridge = rtabmap_bridge
    node.inputs['info'](info(300, QUERY_NS))
    node.inputs['loop_closures'](closure_of(world))
    clock[0] = 31.0
    node.timers[0]()
    assert (bridge.waiting(), bridge.given_up, node.sent) == (0, 1, 0)
    assert node.problems == ['closure of keyframe 9 with 4 not added: its match: the nearest node in memory, 300, is '
                             '321.86 s away, 30 s long']


@pytest.mark.fault('topic', 'a back-end that is not there yet', 'waited for')
def test_a_missing_service_is_waited_for(rtabmap_bridge, world):
    node, bridge = rtabmap_bridge
    node.clients['add_link'].ready = False
    for number, stamp in ((1, MATCH_NS), (2, QUERY_NS)):
        node.inputs['info'](info(number, stamp))
    node.inputs['loop_closures'](closure_of(world))
    assert bridge.waiting() == 1
    node.clients['add_link'].ready = True
    node.timers[0]()
    assert len(node.clients['add_link'].requests) == 1


def test_nodes_of_an_earlier_session_are_asked_for_once(rtabmap_bridge, world):
    node, bridge = rtabmap_bridge
    service = node.clients['get_map_data2']
    node.inputs['info'](info(300, QUERY_NS))
    for _ in range(2):
        node.inputs['loop_closures'](closure_of(world))
    assert service.requests == [SimpleNamespace(global_map=True)]
    service.answer = SimpleNamespace(data=database((17, MATCH_NS / 1e9, 0)))
    node.timers[0]()
    assert [request.link.to_id for request in node.clients['add_link'].requests] == [17, 17]
    assert bridge.waiting() == 0


def test_keyframes_between_nodes_need_odometry(rtabmap_bridge, world):
    node, _ = rtabmap_bridge
    early = 300_000_000
    for number, stamp in ((1, MATCH_NS - early), (2, MATCH_NS + SECOND), (3, QUERY_NS - early), (4, QUERY_NS + SECOND)):
        node.inputs['info'](info(number, stamp))
    for centre in (MATCH_NS, QUERY_NS):
        for step in range(-5, 6):
            odometry = stamped(Odometry(), centre + step * 200_000_000)
            fill_pose(odometry.pose.pose, from_matrix(np.eye(4)))
            odometry.pose.pose.position.x = float(step)  # five metres a second
            node.inputs['odom'](odometry)
    node.inputs['loop_closures'](closure_of(world))
    link = node.clients['add_link'].requests[0].link
    assert (link.from_id, link.to_id) == (3, 1)
    match, query, _ = world
    move = link.transform.translation
    np.testing.assert_allclose([move.x, move.y, move.z], (match - query)[:3, 3], atol=1e-9)


@pytest.mark.fault('topic', 'closures that a bridge cannot translate', 'reported, and it goes on')
def test_wrong_input_is_reported_and_the_bridge_goes_on(rtabmap_bridge, world):
    node, bridge = rtabmap_bridge
    for number, stamp in ((1, MATCH_NS), (2, QUERY_NS)):
        node.inputs['info'](info(number, stamp))
    broken = closure_of(world)
    broken.query_pose_in_match.pose.orientation.w = 0.0
    node.inputs['loop_closures'](broken)
    assert (bridge.given_up, bridge.waiting(), len(node.problems)) == (1, 0, 1)
    node.inputs['loop_closures'](closure_of(world))
    assert node.sent == 1
    node.paused = True
    node.inputs['loop_closures'](closure_of(world))
    assert node.sent == 1
    bridge.close()
    assert not node.inputs
    assert not node.timers


def test_cslams_images_go_on_and_its_ids_come_back(clock, monkeypatch):
    monkeypatch.setattr(cslam, 'load_types', lambda: CSLAM)
    node = StandIn(clock, cslam__max_nb_robots=3, robot_id=1)
    bridge = cslam.Cslam(node)
    bridge.open()
    assert {topic for topic in node.inputs if topic.startswith('/')} == {'/r0/cslam/keyframe_odom',
                                                                         '/r2/cslam/keyframe_odom'}
    for number, stamp in ((7, MATCH_NS), (41, QUERY_NS)):
        keyframe = peers.make('cslam_common_interfaces/msg/KeyframeRGB')
        keyframe.id = number
        stamped(keyframe.image, stamp)
        node.inputs['cslam/keyframe_data'](keyframe)
        node.inputs['matches'](answer_of(query_robot=1, match_robot=1))
    assert [image.header.stamp.nanosec for image in node.outputs['~/image']] == [123456789, 987654321]
    node.timers[0]()
    local, again = node.outputs['cslam/local_keyframe_match']
    assert (local.keyframe0_id, local.keyframe1_id) == (again.keyframe0_id, again.keyframe1_id) == (41, 7)
    other = peers.make('cslam_common_interfaces/msg/KeyframeOdom')
    other.id = 5
    stamped(other.odom, MATCH_NS)
    node.inputs['/r2/cslam/keyframe_odom'](other)
    node.inputs['matches'](answer_of(query_robot=1, match_robot=2))
    between = node.outputs['/cslam/inter_robot_matches'][0].matches[0]
    assert (between.robot0_id, between.robot0_keyframe_id) == (1, 41)
    assert (between.robot1_id, between.robot1_keyframe_id) == (2, 5)
    node.inputs['matches'](answer_of(query_robot=1, match_robot=0))
    node.inputs['matches'](answer_of(status=PlaceMatchArray.NO_MATCH_LOW_SCORE))
    assert bridge.waiting() == 1
    clock[0] = 31.0
    node.timers[0]()
    assert 'not sent' in node.problems[-1]


def test_a_pose_graph_goes_out_at_once(clock, monkeypatch, world):
    monkeypatch.setattr(pose_graph_tools, 'load_types', lambda: GRAPH)
    node = StandIn(clock)
    pose_graph_tools.PoseGraphTools(node).open()
    node.inputs['loop_closures'](closure_of(world))
    graph, = node.outputs['external_loop_closures']
    assert graph.edges[0].key_to == MATCH_NS
    assert node.sent == 1


def test_stamps_of_the_tests_do_not_fit_a_float():
    assert to_time(QUERY_NS).nanosec == 987654321
    assert round(QUERY_NS / 1e9 * 1e9) != QUERY_NS
