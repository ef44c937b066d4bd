"""Each node opens what the table of docs/topics.md says, and nothing else: names, types, QoS, and when."""
import importlib.util
import json
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from segvlad_ros.nodes.bridge import BridgeNode
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.nodes.map_builder import MapBuilder
from segvlad_ros.nodes.pose_graph import PoseGraphNode
from segvlad_ros.ros.node.interface_table import BEST_EFFORT, CLIENTS, INPUTS, LATCHED, OUTPUTS, RELIABLE, SERVICES
from segvlad_ros.ros.node.parameter_table import table_of

OF_EVERY_NODE = {'parameter_events', 'rosout', 'transition_event', 'clock', *(
    f'{verb}_{what}' for verb in ('get', 'set', 'list', 'describe') for what in ('parameters', 'parameter_types')),
    'set_parameters_atomically', 'get_type_description', 'change_state', 'get_state', 'get_available_states',
    'get_available_transitions', 'get_transition_graph'}
PACKAGES = 'pose_graph_tools_msgs', 'rtabmap_msgs', 'cslam_common_interfaces', 'bond'
NAMES = {MapBuilder: 'map_builder', Localizer: 'localizer', BridgeNode: 'bridge', PoseGraphNode: 'pose_graph'}
CONFIGURATIONS = [
    (MapBuilder, {}),
    (MapBuilder, {'image_transport': 'compressed', 'depth_transport': 'compressedDepth',
                  'retention.max_keyframes': 10, 'autostart': False}),
    (Localizer, {}),
    (Localizer, {'image_transport': 'compressed', 'depth_transport': 'compressedDepth', 'autostart': False}),
    (Localizer, {'source': 'descriptors'}),
    (Localizer, {'source': 'descriptors', 'follow': False}),
    *((BridgeNode, {'target': target, 'cslam.max_nb_robots': 2})
      for target in ('pose_graph_tools', 'rtabmap', 'cslam')),
    (BridgeNode, {'target': 'initial_pose', 'autostart': False}),
    (PoseGraphNode, {}),
    (PoseGraphNode, {'broadcast_map_to_odom': True, 'autostart': False}),
]


class StandInPackage(ModuleType):
    """A package of a back-end that is not installed: whatever is asked of it is an empty message or service."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        base = Trigger if self.__name__.endswith('.srv') else Empty
        return type(base)(name, (base,), {'__module__': self.__name__,
                                          '__init__': lambda message, **_fields: base.__init__(message)})


def spelled(value):
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def start(domain, tmp_path, monkeypatch):
    """An active node of this process."""
    nodes = []

    def stand_in(package):
        for kind in ('msg', 'srv'):
            monkeypatch.setitem(sys.modules, f'{package}.{kind}', StandInPackage(f'{package}.{kind}'))
        module = ModuleType(package)
        module.__spec__ = ModuleSpec(package, None)
        monkeypatch.setitem(sys.modules, package, module)

    def make(kind, parameters):
        for package in (*PACKAGES, *(['tf2_msgs'] if parameters.get('broadcast_map_to_odom') else [])):
            stand_in(package)
        given = {'map_directory': str(tmp_path), **parameters}
        rclpy.init(domain_id=domain, args=['--ros-args', '-r', '__ns:=/robot', *(
            word for name, value in given.items() for word in ('-p', f'{name}:={json.dumps(value)}'))])
        nodes.append(kind())
        assert nodes[-1].trigger_configure().name == 'SUCCESS', nodes[-1].failure
        assert nodes[-1].trigger_activate().name == 'SUCCESS', nodes[-1].failure
        return nodes[-1]
    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown()


def settings(name, parameters):
    """All that may stand as ``when`` in the table and holds of a node with these parameters."""
    values = {entry.name: entry.default for entry in table_of(name)} | parameters
    holds = {f'{key}: {spelled(value)}' for key, value in values.items()}
    holds |= {f'{package} is installed' for package in ('tf2_ros', 'tf2_msgs') if importlib.util.find_spec(package)}
    if name == 'map_builder':
        holds.add('source: images')
    if values.get('retention.max_keyframes'):
        holds.add('retention.*')
    return holds


def told(table, node, parameters):
    """What the table says that this node opens."""
    holds = settings(node.get_name(), parameters)
    return {(node.resolve_topic_name(entry.name.replace('/rN/', '/r1/')), entry.type_name, entry.reliability,
             entry.depth) for entry in table if node.get_name() in entry.nodes and holds.issuperset(entry.when)}


def opened(endpoints):
    """What was opened, but for what every node has."""
    found = set()
    for endpoint in endpoints:
        topic = hasattr(endpoint, 'topic_name')
        name = endpoint.topic_name if topic else endpoint.service_name
        kind = endpoint.msg_type if topic else endpoint.srv_type
        if name.rsplit('/', 1)[-1] not in OF_EVERY_NODE:
            found.add((name, f'{kind.__module__.split(".")[0]}/{kind.__name__}',
                       *(of_profile(endpoint.qos_profile) if topic else ('', 0))))
    return found


def of_profile(profile):
    if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        return LATCHED, profile.depth
    return RELIABLE if profile.reliability == ReliabilityPolicy.RELIABLE else BEST_EFFORT, profile.depth


@pytest.mark.parametrize('kind, parameters', [
    pytest.param(kind, parameters, marks=pytest.mark.slam if kind is PoseGraphNode else ())
    for kind, parameters in CONFIGURATIONS])
def test_a_started_node_opens_what_the_table_says(start, kind, parameters):
    if kind is PoseGraphNode and not os.environ.get('SEGVLAD_REQUIRE_SLAM'):
        pytest.importorskip('gtsam')
    node = start(kind, parameters)
    for endpoints, table in ((node.publishers, OUTPUTS), (node.subscriptions, INPUTS), (node.services, SERVICES),
                             (node.clients, CLIENTS)):
        assert opened(endpoints) == told(table, node, parameters)


def test_every_row_of_the_table_is_opened_by_some_configuration():
    """Else a row could stay that no code opens any more."""
    holds = [(NAMES[kind], settings(NAMES[kind], parameters)) for kind, parameters in CONFIGURATIONS]
    for entry in (*OUTPUTS, *INPUTS, *SERVICES, *CLIENTS):
        wanted = {setting for setting in entry.when if not setting.endswith(' is installed')}
        for node in entry.nodes:
            assert any(name == node and met.issuperset(wanted) for name, met in holds), (node, entry)
