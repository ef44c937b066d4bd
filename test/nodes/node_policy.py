"""What the nodes open, read from the graph of running nodes, as an SROS 2 policy: config/sros2/policy.xml is made by

    python test/nodes/node_policy.py > config/sros2/policy.xml

Every node is started as the launch files start it, in each of the ways that change what it opens. The bridge to another
back-end than ``initial_pose`` needs that back-end's messages, and is left to ``ros2 security generate_policy``.
"""
from __future__ import annotations

import importlib
import itertools
import runpy
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from segvlad_ros.ros.node.launch_arguments import arguments_of, parameters_of, remappings_of

_RUNS = itertools.count()
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = '/robot'  # what lies in it is written relative: the policy holds for any
ENCLAVES = '/segvlad'
OPERATOR = 'operator'
TF = ('/tf', '/tf_static')  # read by tf2_ros, which wheels do not bring, by every node that takes images
# of packages that wheels do not bring either: the bond to nav2's lifecycle manager, and broadcast_map_to_odom
WRITTEN = {'map_builder': {'bond'}, 'localizer': {'bond'}, 'pose_graph': {'bond', '/tf'}, 'bridge': {'bond'}}
NODES = {'map_builder': 'MapBuilder', 'localizer': 'Localizer', 'pose_graph': 'PoseGraphNode', 'bridge': 'BridgeNode'}
WAYS = {  # parameters that change what a node opens
    'map_builder': ({}, {'image_transport': 'compressed', 'depth_transport': 'compressedDepth',
                         'retention.explained_score': 0.4}, {'depth_transport': 'compressed'}),
    'localizer': ({}, {'image_transport': 'compressed', 'depth_transport': 'compressedDepth'},
                  {'depth_transport': 'compressed'}),
    'pose_graph': ({},),
    'bridge': ({'target': 'initial_pose'},),
}


class Opened(NamedTuple):
    """Names of one kind of endpoint, relative to the namespace where they lie in it."""

    publish: frozenset[str]
    subscribe: frozenset[str]
    reply: frozenset[str]
    request: frozenset[str]


def opened_by(executable: str, domain: int) -> Opened:
    """What a node opens in all the ways it is launched.

    :param domain: ROS domain to run in
    """
    found = [_run(executable, parameters | extra, remaps, domain)
             for parameters, remaps in _launches(executable) for extra in WAYS[executable]]
    united = Opened(*(frozenset().union(*kind) for kind in zip(*found)))
    united = united._replace(publish=united.publish | WRITTEN[executable])
    takes_images = {'image', 'image/compressed'} & united.subscribe
    return united._replace(subscribe=united.subscribe | set(TF)) if takes_images else united


def _launches(executable: str) -> Iterable[tuple[dict, list[tuple[str, str]]]]:
    """Parameters and remappings of a node in each launch file that starts it."""
    for path in sorted((ROOT / 'launch').glob('*.launch.py')):
        nodes = runpy.run_path(str(path))['NODES']
        values = {argument.name: argument.default for argument in arguments_of(nodes)} | {'use_sim_time': 'true'}
        for node in nodes:
            if node.executable == executable:
                yield parameters_of(node, values), remappings_of(node, values)


def _run(executable: str, parameters: dict, remaps: list[tuple[str, str]], domain: int) -> Opened:
    """Start a node in this process, and ask the graph for its endpoints."""
    module = importlib.import_module(f'segvlad_ros.nodes.{executable}')
    with tempfile.TemporaryDirectory() as maps:
        given = {'map_directory': maps, **parameters} if executable in ('map_builder', 'localizer') else parameters
        texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        # of two nodes of one name and process, one after the other, the graph gives the first one's endpoints
        named = [('-r', '__ns', NAMESPACE), ('-r', '__node', f'{executable}_{next(_RUNS)}')]
        rules = [*named, *(('-r', *pair) for pair in remaps), *(('-p', *pair) for pair in texts.items())]
        rclpy.init(args=['--ros-args', *(word for flag, name, value in rules for word in (flag, f'{name}:={value}'))],
                   domain_id=domain)
        node = getattr(module, NODES[executable])()
        try:
            for trigger in (node.trigger_configure, node.trigger_activate):
                if trigger() != TransitionCallbackReturn.SUCCESS:
                    raise RuntimeError(f'{executable} does not start: {node.failure}')
            return Opened(*(_names(node, ask) for ask in (
                node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node,
                node.get_service_names_and_types_by_node, node.get_client_names_and_types_by_node)))
        finally:
            node.close()
            node.destroy_node()
            rclpy.shutdown()


def _names(node, ask) -> frozenset[str]:
    own, around = f'{node.get_fully_qualified_name()}/', f'{NAMESPACE}/'
    return frozenset('~/' + name.removeprefix(own) if name.startswith(own) else name.removeprefix(around)
                     for name, _ in ask(node.get_name(), node.get_namespace()))


def profile_of(executable: str, opened: Opened) -> ElementTree.Element:
    """The rules of one node: all that it opens, and nothing else."""
    profile = ElementTree.Element('profile', ns='/', node=executable)
    for verb, names in opened._asdict().items():
        kind = 'topic' if verb in ('publish', 'subscribe') else 'service'
        if names:
            rules = ElementTree.SubElement(profile, f'{kind}s', {verb: 'ALLOW'})
            for name in sorted(names):
                ElementTree.SubElement(rules, kind).text = name
    return profile


def operator_of(opened: dict[str, Opened]) -> Opened:
    """Who may call every service of every node; nobody else may, but for what the nodes ask of each other."""
    services = frozenset(f'{executable}/{name.removeprefix("~/")}' for executable, what in opened.items()
                         for name in what.reply)
    return Opened(frozenset({'/rosout', '/parameter_events'}), frozenset(), frozenset(), services)


def policy_of(opened: dict[str, Opened]) -> str:
    """The policy file."""
    policy = ElementTree.Element('policy', version='0.2.0')
    policy.append(ElementTree.Comment(
        ' What each node opens, made by test/nodes/node_policy.py; docs/security.md says how it is used. '))
    enclaves = ElementTree.SubElement(policy, 'enclaves')
    for executable, what in {**opened, OPERATOR: operator_of(opened)}.items():
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=f'{ENCLAVES}/{executable}')
        ElementTree.SubElement(enclave, 'profiles').append(profile_of(executable, what))
    ElementTree.indent(policy)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ElementTree.tostring(policy, encoding='unicode')}\n"


def read_policy(path: Path) -> dict[str, Opened]:
    """The names that a policy allows, by the last part of the enclave's path."""
    allowed = {}
    for enclave in ElementTree.parse(path).getroot().iter('enclave'):
        names = {verb: frozenset(name.text for rules in enclave.iter() if rules.get(verb) == 'ALLOW' for name in rules)
                 for verb in Opened._fields}
        allowed[enclave.get('path').rsplit('/', 1)[1]] = Opened(**names)
    return allowed


if __name__ == '__main__':
    sys.stdout.write(policy_of({executable: opened_by(executable, domain=77) for executable in NODES}))
