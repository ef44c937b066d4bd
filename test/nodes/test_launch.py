"""`ros2 launch` with the launch files, as a user runs it: launch, launch_ros and ros2cli, where they are installed.

`.ci/launch-tools` builds them from their sources where the network has them.
"""
from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from checkout_prefix import ROOT, make_prefix
from lifecycle_msgs.msg import Transition
from node_harness import CTRL_C, DEADLINE_S, EVERY_IMAGE, PROBE_S, Robot, image_message, real_images, reliable

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.node.parameter_table import table_of

if not os.environ.get('SEGVLAD_REQUIRE_LAUNCH'):
    pytest.importorskip('ros2launch', reason='part of a ROS installation, not of the wheels: see .ci/launch-tools')

STARTED = r'\[(\w+)-\d+\]: process started with pid \[(\d+)\]'
NODES = {'mapping': ['map_builder'], 'localization': ['localizer'], 'loop_closure': ['map_builder', 'localizer'],
         'slam': ['map_builder', 'localizer', 'pose_graph'], 'bridge': ['bridge']}


class Launched:
    """A running `ros2 launch`, and its nodes as the harness knows them."""

    def __init__(self, name, namespace, log, arguments):
        self.name, self.namespace, self.log = name, namespace, log
        command = [*CTRL_C, 'ros2', 'launch', str(ROOT / 'launch' / f'{name}.launch.py'),
                   f'namespace:={namespace.strip("/")}', *(f'{key}:={value}' for key, value in arguments.items())]
        self.started_ns = time.time_ns()
        with self.log.open('wb') as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def text(self):
        return self.log.read_text(errors='replace')

    def pids(self, node):
        """Of all processes that were started for a node, in order."""
        return [int(pid) for name, pid in re.findall(STARTED, self.text()) if name == node]

    def robot(self, peer, node):
        """A node of it, as a Robot wants it."""
        launched = self

        class Node:
            name, process, started_ns = f'{self.namespace}/{node}', launched.process, launched.started_ns

            @staticmethod
            def text():
                return launched.text()
        return Robot(peer, Node())

    def end(self):
        """End it with Ctrl-C and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def ros2_launch(domain, namespace, tmp_path, monkeypatch):
    """Starts `ros2 launch` of this checkout; at the end it must stop cleanly, and its nodes with it."""
    prefix = make_prefix(tmp_path / 'prefix')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{prefix}:{os.environ.get("AMENT_PREFIX_PATH", "")}')
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{os.environ.get("PYTHONPATH", "")}')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    started = []

    def start(name, **arguments):
        maps = {} if name == 'bridge' else {'map_directory': tmp_path / 'maps'}
        log = tmp_path / f'{name}_{len(started)}.log'
        started.append(Launched(name, namespace, log, {**maps, **arguments}))
        return started[-1]
    yield start
    for launched in started:
        status = launched.end()
        print(launched.text())  # shown when the test fails
        assert 'Traceback' not in launched.text()
        assert status in (0, 1)
        for node in NODES[launched.name]:
            assert not any(_is_alive(pid) for pid in launched.pids(node))


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.slam if name == 'slam' else ())
                                  for name in NODES])
def test_each_launch_file_runs_its_nodes(name, ros2_launch, peer):
    if name == 'slam':
        pytest.importorskip('gtsam')
    launched = ros2_launch(name, **({'target': 'initial_pose'} if name == 'bridge' else {}))
    for node in NODES[name]:
        launched.robot(peer, node).running()
    assert launched.end() == 0, launched.text()
    assert launched.text().count('process has finished cleanly') == len(NODES[name])


@pytest.mark.fault('node', 'a launch with something that is missing',
                   'it is found before anything starts; nothing is left running')
@pytest.mark.parametrize(('arguments', 'words'), [
    ({'rviz': 'true'}, 'there is no rviz2 of the package rviz2'),
    ({'localizer_params': '/nowhere.yaml'}, 'there is no file /nowhere.yaml'),
    ({'append': 'perhaps'}, 'append:=perhaps must be true or false'),
    ({'append': 'perhaps', 'mapp': 'office'}, 'there is no argument mapp: is it map?'),
    ({'log_level': 'verbose'}, 'log_level:=verbose must be debug, info, warn, error or fatal')])
def test_nothing_is_left_running_when_something_is_missing(arguments, words, ros2_launch):
    if 'rviz' in arguments and _has_rviz():
        pytest.skip('rviz2 is installed')
    launched = ros2_launch('loop_closure', **arguments)
    assert launched.process.wait(DEADLINE_S) == 1
    assert words in launched.text()
    assert 'process started' not in launched.text()


@pytest.mark.slam
def test_without_one_node_the_others_do_not_stay(ros2_launch, tmp_path, monkeypatch):
    (tmp_path / 'gtsam.py').write_text('raise ImportError("no module named gtsam")')
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{os.environ["PYTHONPATH"]}')
    launched = ros2_launch('slam')
    launched.process.wait(DEADLINE_S)
    assert 'gtsam cannot be imported' in launched.text()
    assert launched.text().count('process has finished cleanly') == 2


def _has_rviz():
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    try:
        return bool(get_package_prefix('rviz2'))
    except PackageNotFoundError:
        return False


def parameter_file(tmp_path, namespace):
    """What the harness gives its nodes: every image is a keyframe, and none is lost."""
    file = tmp_path / 'map_builder.yaml'
    lines = [f'    {name}: {value}' for name, value in {
        **EVERY_IMAGE, **reliable(namespace, 'image')}.items()]
    file.write_text('\n'.join(['/**:', '  ros__parameters:', *lines]))
    return file


@pytest.mark.fault('parameter', 'names such as `off` or an emoji on the command line of a launch', 'they stay names')
def test_names_that_yaml_takes_for_something_else(ros2_launch, peer, tmp_path):
    launched = ros2_launch('mapping', map='office 🏠', camera='off', robot_id='7', base_from_camera='0 0 1 0 0 0 1')
    launched.robot(peer, 'map_builder').running()
    assert (tmp_path / 'maps' / 'office 🏠.segvlad').is_file()
    assert [*tmp_path.glob('segvlad_ros_*.yaml')]
    assert launched.end() == 0
    assert not [*tmp_path.glob('segvlad_ros_*.yaml')]


def sent_until_taken(robot, camera, picture):
    """The status once an image has reached the node: DDS takes the one that was killed for a subscriber for a while."""
    for second in range(2, 2 + round(DEADLINE_S / PROBE_S)):
        camera.publish(image_message(picture, second))
        with contextlib.suppress(AssertionError):
            return robot.peer.wait(lambda: robot.statuses[-1].keyframes_processed and robot.statuses[-1],
                                   'the fate of an image', PROBE_S)
    raise AssertionError(f'no image was taken:\n{robot.node.text()}')


def test_a_node_that_dies_is_started_again_and_goes_on_in_its_map(ros2_launch, peer, tmp_path, namespace, monkeypatch):
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')  # see test_map_builder
    pictures = real_images('hololens_office/images', [0, 40], (160, 120))
    launched = ros2_launch('mapping', map='office', respawn='true',
                           map_builder_params=parameter_file(tmp_path, namespace))
    robot = launched.robot(peer, 'map_builder')
    robot.running()
    robot.send(robot.camera(), image_message(pictures[0], 1.0))
    first = robot.statuses[-1]
    os.kill(launched.pids('map_builder')[0], signal.SIGKILL)
    again = launched.robot(peer, 'map_builder')
    again.status(lambda s: len(launched.pids('map_builder')) == 2 and s.keyframes == 1 and s.images_received == 0,
                 'the map again')
    again.running()
    status = sent_until_taken(again, again.camera(), pictures[1])
    assert (status.map_id, status.keyframes) == (first.map_id, 1 + status.keyframes_processed)
    assert launched.end() == 0
    with PlaceMap.open(tmp_path / 'maps' / 'office.segvlad') as place_map:
        assert len(place_map.sessions()) == 2
    # another launch is another run: it may not write there unasked
    second = ros2_launch('mapping', map='office')
    second.process.wait(DEADLINE_S)  # of itself, with its only node
    assert 'map office.segvlad exists' in second.text()


def lifecycle_set(node, word):
    """What `ros2 lifecycle set` says, once it finds the node in the half second that it looks for it."""
    end, told = time.monotonic() + DEADLINE_S, None
    while told is None or ('Node not found' in told.stderr and time.monotonic() < end):
        told = subprocess.run(['ros2', 'lifecycle', 'set', '--no-daemon', node, word],
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return told


@pytest.mark.skipif(importlib.util.find_spec('ros2lifecycle') is None, reason='ros2lifecycle is not installed')
def test_ros2_lifecycle_resets_a_node(ros2_launch, peer, namespace):
    launched = ros2_launch('mapping', map='office')
    robot = launched.robot(peer, 'map_builder')
    robot.running()
    for word in ('deactivate', 'cleanup', 'configure', 'activate'):
        told = lifecycle_set(f'{namespace}/map_builder', word)
        assert 'Transitioning successful' in told.stdout, told.stdout + told.stderr + launched.text()
    assert robot.state() == 'active'
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)


def test_the_parameters_of_a_running_node_are_those_of_the_launch(ros2_launch, peer):
    from rcl_interfaces.srv import GetParameters
    launched = ros2_launch('localization', camera='off', robot_id='7', base_from_camera='0 0 1 0 0 0 1')
    launched.robot(peer, 'localizer').running()
    names = ['camera', 'robot_id', 'base_from_camera', 'source']
    values = peer.call(GetParameters, 'localizer/get_parameters', names=names).values
    assert set(names) <= {entry.name for entry in table_of('localizer')}
    assert [values[0].string_value, values[1].integer_value, list(values[2].double_array_value),
            values[3].string_value] == ['off', 7, [0, 0, 1, 0, 0, 0, 1], 'images']


def test_ros2_is_the_one_of_this_environment():
    """So that a test of another installation's launch does not pass for one of this."""
    assert shutil.which('ros2')
