"""Humble has no wheels: what of ROS 2 the package imports and calls is held against the list of what Humble has."""
import ast
import json
from pathlib import Path

import pytest
from api_use import Api, defined, missing

ROOT = Path(__file__).resolve().parents[3]
HUMBLE = json.loads((Path(__file__).parent / 'humble_api.json').read_text())
FILES = sorted(path for folder in ('segvlad_ros', 'launch') for path in (ROOT / folder).rglob('*.py')
               if path.parent.name not in ('msg', 'srv'))
MENDED = {  # what Humble has not, and what is done there
    'events.py': {'PublisherEventCallbacks(matched=)', 'a member .current_count_change',
                  'a member .get_publisher_count'},
}


TREES = {path: ast.parse(path.read_text()) for path in FILES}
ALL = Api(HUMBLE['modules'], set(HUMBLE['later']))


@pytest.fixture(scope='module')
def asked():
    """What each file asks for that Humble has not. Members that are called as one of ours are not looked at."""
    ours = {name for tree in TREES.values() for name in defined(tree)}
    ours |= {line.split()[1].split('=')[0] for folder in ('msg', 'srv') for path in (ROOT / folder).iterdir()
             for line in path.read_text().splitlines() if len(line.split('#')[0].split()) > 1}
    api = Api(HUMBLE['modules'], ALL.later - ours)
    return {path.name: found for path, tree in TREES.items() if (found := set(missing(tree, api)))}


def test_humble_has_what_the_package_asks_for(asked):
    """What is mended must still be there, too: else the list above would hide a new want."""
    assert asked == MENDED


@pytest.mark.parametrize(('code', 'says'), [
    ('import rclpy.event_handler', 'module rclpy.event_handler'),
    ('from rclpy.qos_event import PublisherEventCallbacks\nPublisherEventCallbacks(matched=print)',
     'PublisherEventCallbacks(matched=)'),
    ('from rclpy.node import Node\nNode.get_fully_qualified_node_names', 'Node.get_fully_qualified_node_names'),
    ('import rclpy\ndef f(node): node.add_post_set_parameters_callback(1)',
     'a member .add_post_set_parameters_callback'),
    ('from rclpy.node import Node\ndef f(node): node.create_subscription(content_filter_options=1)',
     'create_subscription(content_filter_options=)'),
    ('from rclpy.executors import EventsExecutor', 'rclpy.executors.EventsExecutor'),
    ('import rclpy\nrclpy.something_new()', 'rclpy.something_new'),
    ('from visualization_msgs.msg import Marker\nMarker.ARROW_STRIP', 'Marker.ARROW_STRIP'),
    ('from launch_ros.actions import SetROSLogDir', 'launch_ros.actions.SetROSLogDir'),
])
def test_what_humble_lacks_is_found(code, says):
    assert says in set(missing(ast.parse(code), ALL))


@pytest.mark.parametrize('code', [
    'from rclpy.clock import Clock, ClockType\nClock(clock_type=ClockType.STEADY_TIME)',
    'try:\n    from rclpy.event_handler import X\nexcept ImportError:\n    from rclpy.qos_event import QoSEventHandler',
    'from rclpy.node import Node\ndef f(node: Node): node.create_publisher(msg_type=1, topic=2, qos_profile=3)',
    'import numpy\nnumpy.anything.at_all',
])
def test_what_humble_has_passes(code):
    assert not set(missing(ast.parse(code), ALL))
