"""Launch files: every argument is described and reaches its node; with launch installed they also start."""
import ast
import runpy
from pathlib import Path

import pytest

from segvlad_ros.ros.node.launching import RVIZ_CONFIG, arguments_of, is_true, parameters_of, remappings_of
from segvlad_ros.ros.node.parameter_table import table_of

ROOT = Path(__file__).resolve().parents[4]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


def nodes_of(path):
    return runpy.run_path(str(path))['NODES']


def test_the_three_launch_files_exist():
    assert {path.name for path in FILES} >= {'mapping.launch.py', 'localization.launch.py', 'loop_closure.launch.py'}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_they_compile_and_generate(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert any(isinstance(node, ast.FunctionDef) and node.name == 'generate_launch_description' for node in tree.body)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_is_described_and_is_a_parameter_of_its_node(path):
    nodes = nodes_of(path)
    for argument in arguments_of(nodes):
        assert argument.description.endswith('.')
    for node in nodes:
        known = {entry.name: type(entry.default) for entry in table_of(node.executable)}
        for argument in node.arguments:
            if argument.parameter is not None:
                assert known[argument.name] is argument.parameter
                assert argument.default == ''
        assert set(node.fixed) <= set(known)


def values(nodes, **given):
    return {argument.name: given.get(argument.name, argument.default) for argument in arguments_of(nodes)}


def test_what_is_not_given_is_left_to_the_parameter_file():
    node, = nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    assert parameters_of(node, values(nodes)) == {'use_sim_time': False}
    assert remappings_of(node, values(nodes)) == []


def test_arguments_reach_the_node_with_their_types():
    node, = nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    given = values(nodes, map='7', append='true', image='/camera/rgb', use_sim_time='true')
    assert parameters_of(node, given) == {'map': '7', 'append': True, 'use_sim_time': True}
    assert remappings_of(node, given) == [('image', '/camera/rgb')]


def test_loop_closure_connects_its_nodes():
    nodes = nodes_of(ROOT / 'launch' / 'loop_closure.launch.py')
    localizer = next(node for node in nodes if node.executable == 'localizer')
    assert parameters_of(localizer, values(nodes))['source'] == 'descriptors'
    assert dict(remappings_of(localizer, values(nodes))) == {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe',
        'removed_keyframes': 'map_builder/removed_keyframes'}


def test_the_back_ends_verdicts_reach_both_nodes():
    nodes = {node.executable: node for node in nodes_of(ROOT / 'launch' / 'slam.launch.py')}
    for name in ('map_builder', 'localizer'):
        given = dict(remappings_of(nodes[name], values([*nodes.values()])))
        assert given['loop_closure_feedback'] == 'pose_graph/loop_closure_feedback'
    assert given['removed_keyframes'] == 'map_builder/removed_keyframes'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_rviz_starts_only_when_asked(path):
    nodes = nodes_of(path)
    assert not is_true(values(nodes)['rviz'])
    assert is_true(values(nodes, rviz='True')['rviz'])
    assert all('rviz' not in parameters_of(node, values(nodes, rviz='true')) for node in nodes)
    assert (ROOT / RVIZ_CONFIG).is_file()


@pytest.mark.parametrize('asked', ['false', 'true'])
@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_real_launch_starts_the_nodes_and_rviz_when_asked(path, asked):
    pytest.importorskip('launch_ros', reason='part of a ROS installation, not of the wheels')
    from launch.actions import OpaqueFunction

    from launch import LaunchContext
    description = runpy.run_path(str(path))['generate_launch_description']()
    start, = (entity for entity in description.entities if isinstance(entity, OpaqueFunction))
    context = LaunchContext()
    context.launch_configurations.update(values(nodes_of(path), rviz=asked))
    started = [action.node_executable for action in start.execute(context)]
    assert started == [node.executable for node in nodes_of(path)] + ['rviz2'] * (asked == 'true')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_real_launch_declares_declares_the_arguments(path):
    pytest.importorskip('launch_ros', reason='part of a ROS installation, not of the wheels')
    from launch.actions import DeclareLaunchArgument
    description = runpy.run_path(str(path))['generate_launch_description']()
    declared = {entity.name: entity.description for entity in description.entities
                if isinstance(entity, DeclareLaunchArgument)}
    assert declared == {argument.name: argument.description for argument in arguments_of(nodes_of(path))}
