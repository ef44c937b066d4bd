"""Fixtures of the node tests: a ROS domain of its own, processes that are stopped, a peer."""
from __future__ import annotations

import pytest
import rclpy
from node_harness import NodeProcess, Peer, Robot

from segvlad_ros.cli.processes import own_domain
from segvlad_ros.ros.node.qos import allow_large_images


@pytest.fixture(scope='session')
def domain():
    """A domain id that no other test run on this machine has; parallel runs would see each other."""
    with own_domain() as number:
        allow_large_images()  # Fast DDS reads it once, when the first participant of the process is made
        yield number


@pytest.fixture(scope='session')
def context(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.fixture
def namespace(request):
    """A namespace of its own for each test, so that none sees the nodes of the one before."""
    return '/' + ''.join(c if c.isalnum() else '_' for c in request.node.name).strip('_')[:60]


@pytest.fixture
def peer(context, namespace):
    peer = Peer(context, namespace)
    yield peer
    peer.close()


@pytest.fixture
def launch(domain, namespace, tmp_path):
    """Starts node processes; at the end each one must stop cleanly."""
    started = []

    def start(executable, parameters=None, remappings=None, prefix=(), **named):
        log = tmp_path / f'{executable}_{len(started)}.log'
        defaults = {'map_directory': tmp_path / 'maps'}
        node = NodeProcess(executable, namespace, log, {**defaults, **(parameters or {}), **named}, remappings or {},
                           prefix=prefix)
        started.append(node)
        return node
    yield start
    ended = [node for node in started if node.process.poll() is None]
    statuses = [node.stop() for node in ended]
    for node in started:
        print(f'{node.name} said:\n{node.text()}')  # shown when the test fails
    for node, status in zip(ended, statuses):
        assert status == 0, f'{node.name} ended with {status}:\n{node.text()}'
        assert 'Traceback' not in node.text(), node.text()


@pytest.fixture
def robot(peer, launch):
    """Starts one node and waits until it is active."""
    def start(executable, parameters=None, remappings=None, wait=True, prefix=()):
        robot = Robot(peer, launch(executable, parameters, remappings, prefix))
        if wait:
            robot.running()
        return robot
    return start


@pytest.fixture
def in_process(domain):
    """Configures a node in this process, where a test can look into it."""
    made = []

    def make(kind, **parameters):
        words = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
        rclpy.init(args=['--ros-args', *words], domain_id=domain)
        node = kind()
        made.append(node)
        assert node.trigger_configure().name == 'SUCCESS', node.failure
        return node
    yield make
    for node in made:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown()
