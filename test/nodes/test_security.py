"""The SROS 2 policy says what nodes open, keystores are made of it, and without its enclave a node does not start."""
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest
from node_harness import DEADLINE_S
from node_policy import ENCLAVES, NODES, OPERATOR, ROOT, Opened, opened_by, operator_of, policy_of, read_policy

from segvlad_ros.ros.node.launch_arguments import LaunchedNode, enclave_of

POLICY = ROOT / 'config' / 'sros2' / 'policy.xml'
DDS = {  # the topics of an endpoint
    'publish': (('publish', 'rt/{}'),), 'subscribe': (('subscribe', 'rt/{}'),),
    'reply': (('subscribe', 'rq/{}Request'), ('publish', 'rr/{}Reply')),
    'request': (('publish', 'rq/{}Request'), ('subscribe', 'rr/{}Reply')),
}


@pytest.fixture(scope='module')
def policy():
    return read_policy(POLICY)


@pytest.mark.parametrize('executable', [
    pytest.param(name, marks=[pytest.mark.slam] if name == 'pose_graph' else []) for name in NODES])
def test_the_policy_allows_what_the_node_opens_and_nothing_else(executable, policy, domain):
    if executable == 'pose_graph' and not os.environ.get('SEGVLAD_REQUIRE_SLAM'):
        pytest.importorskip('gtsam')
    assert policy[executable] == opened_by(executable, domain)


def test_services_answer_the_operator_and_what_nodes_ask_of_each_other(policy):
    nodes = {name: policy[name] for name in NODES}
    assert policy[OPERATOR] == operator_of(nodes)
    asked = {name: set(opened.request) for name, opened in nodes.items() if opened.request}
    assert asked == {'localizer': {'map_builder/get_keyframe'}}


def test_the_file_is_as_it_is_made(policy):
    assert POLICY.read_text() == policy_of({name: policy[name] for name in NODES})


def test_launched_nodes_are_put_into_their_enclaves():
    node = LaunchedNode('localizer', ())
    assert enclave_of(node, {'enclaves': ENCLAVES}) == ['--enclave', f'{ENCLAVES}/localizer']
    assert enclave_of(node, {'enclaves': ''}) == []


@pytest.fixture(scope='module')
def keystore(domain, tmp_path_factory):
    """One that the real tool makes of our policy, for this domain."""
    if not os.environ.get('SEGVLAD_REQUIRE_LAUNCH'):
        pytest.importorskip('sros2', reason='no wheel has it: see .ci/launch-tools')
    from sros2.api._artifact_generation import generate_artifacts
    path = tmp_path_factory.mktemp('keystore')
    path.rmdir()
    generate_artifacts(path, [], [POLICY])
    return path


def dds_names(executable: str, opened: Opened) -> set[tuple[str, str]]:
    """What DDS sees of the endpoints of a node in the root namespace: verb and topic."""
    return {(does, topic.format(name.replace('~', executable, 1).lstrip('/')))
            for verb, names in opened._asdict().items() for name in names for does, topic in DDS[verb]}


class Permissions:
    """The rules of one enclave, as the middleware applies them."""

    def __init__(self, keystore: Path, enclave: str) -> None:
        grant = ElementTree.parse(keystore / 'enclaves' / enclave / 'permissions.xml').getroot().find('.//grant')
        self.default = grant.find('default').text
        self._allowed = {(verb.tag, topic.text) for rule in grant.findall('allow_rule') for verb in rule
                         if verb.tag in ('publish', 'subscribe') for topic in verb.iter('topic')}

    def allow(self, verb: str, topic: str) -> bool:
        return any(verb == allowed and fnmatchcase(topic, pattern) for allowed, pattern in self._allowed)


def test_the_keystore_allows_each_node_its_own_and_refuses_others(keystore, policy):
    for executable in NODES:
        permissions = Permissions(keystore, f'{ENCLAVES[1:]}/{executable}')
        assert permissions.default == 'DENY'
        own = dds_names(executable, policy[executable])
        assert all(permissions.allow(*name) for name in own), executable
        others = {name for other in NODES for name in dds_names(other, policy[other])} - own
        assert others and not any(permissions.allow(*name) for name in others), executable
    for enclave, may in ((OPERATOR, True), ('localizer', False), ('bridge', False)):
        permissions = Permissions(keystore, f'{ENCLAVES[1:]}/{enclave}')
        for service in ('remove_keyframes', 'load_map', 'set_parameters', 'change_state'):
            assert permissions.allow('publish', f'rq/map_builder/{service}Request') is may, (enclave, service)


@pytest.fixture
def secured(namespace, tmp_path):
    """Starts a localizer under enforcement."""
    started = []

    def start(keystore, enclave, namespace=namespace):
        environment = {**os.environ, 'ROS_SECURITY_KEYSTORE': str(keystore), 'ROS_SECURITY_ENABLE': 'true',
                       'ROS_SECURITY_STRATEGY': 'Enforce'}
        command = [sys.executable, '-m', 'segvlad_ros.nodes.localizer', '--ros-args', '-r', f'__ns:={namespace}',
                   '--enclave', enclave]
        log = tmp_path / f'{len(started)}.log'
        with log.open('wb') as output:
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
        return started[-1], log
    yield start
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)


def refused(process: subprocess.Popen, log: Path) -> str:
    """The line with which it has ended."""
    assert process.wait(DEADLINE_S) == 1
    lines = [line for line in log.read_text().splitlines() if 'does not start the node' in line]
    assert len(lines) == 1 and 'Traceback' not in log.read_text(), log.read_text()
    return lines[0]


def test_without_its_enclave_a_node_ends_with_one_line(domain, tmp_path, secured):
    (tmp_path / 'enclaves').mkdir()
    assert 'stranger' in refused(*secured(tmp_path, '/stranger'))


def test_an_enforced_policy_lets_its_own_node_start_and_no_other(keystore, secured, peer):
    """Where Fast DDS is built without security, as in the wheels, nothing starts under enforcement: not unprotected."""
    process, log = secured(keystore, f'{ENCLAVES}/localizer', '/')
    peer.wait(lambda: process.poll() is not None or 'preset classic' in log.read_text(), 'a start, or a refusal')
    if process.poll() is not None:
        assert 'security libraries' in refused(process, log)
        pytest.skip('this Fast DDS is built without security')
    assert 'does not start' in refused(*secured(keystore, f'{ENCLAVES}/bridge', '/'))
