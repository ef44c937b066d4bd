"""Launch files: every argument is described and reaches its node; what cannot start is found first."""
import ast
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import rclpy
import yaml
from checkout_prefix import ROOT, add_executable, make_prefix

from segvlad_ros.ros.node.launch_arguments import arguments_of, misspelt, parameters_of, remappings_of
from segvlad_ros.ros.node.launching import RVIZ_CONFIG, planned
from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.types import SegvladError

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
                assert known[argument.sets or argument.name] is argument.parameter
                assert argument.default == ''
        assert set(node.fixed) <= set(known)


def values(nodes, **given):
    return {argument.name: given.get(argument.name, argument.default) for argument in arguments_of(nodes)}


def test_what_is_not_given_is_left_to_the_parameter_file():
    node, = nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    assert parameters_of(node, values(nodes)) == {}
    assert remappings_of(node, values(nodes)) == []


def test_arguments_reach_the_node_with_their_types():
    node, = nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    given = values(nodes, map='7', append='true', image='/camera/rgb', use_sim_time='true', robot_id='3', camera='left',
                   base_from_camera='[0.1, 0, 1.2, -0.5, 0.5, -0.5, 0.5]')
    assert parameters_of(node, given) == {
        'map': '7', 'append': True, 'use_sim_time': True, 'robot_id': 3, 'camera': 'left',
        'base_from_camera': [0.1, 0.0, 1.2, -0.5, 0.5, -0.5, 0.5]}
    assert remappings_of(node, given) == [('image', '/camera/rgb')]


@pytest.mark.fault('parameter', 'a launch argument of the wrong type',
                   'one line, and nothing is started')
@pytest.mark.parametrize(('wrong', 'words'), [
    ({'append': 'yes'}, 'append:=yes must be true or false'), ({'robot_id': 'x'}, 'robot_id:=x must be a whole number'),
    ({'use_sim_time': '1'}, 'use_sim_time:=1 must be true or false'),
    ({'base_from_camera': '1 2 nan'}, 'base_from_camera:=1 2 nan must be finite numbers')])
def test_a_value_of_the_wrong_type_is_refused(wrong, words):
    node, = nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    with pytest.raises(SegvladError, match=words):
        parameters_of(node, values(nodes, **wrong))


@pytest.mark.fault('parameter', 'a launch argument with a misspelt name', 'a warning that names the nearest one')
def test_misspelt_arguments_are_named():
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    assert misspelt(nodes, values(nodes) | {'imge': '/cam', 'mapp': 'office'}) == [
        'there is no argument imge: is it image?', 'there is no argument mapp: is it map?']


@pytest.mark.parametrize('name', ['ros_namespace', 'use_namespace', 'use_rviz', 'params_file', 'robot_name', 'world'])
def test_arguments_of_outer_launch_files_are_none_of_ours(name):
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    assert misspelt(nodes, values(nodes) | {name: 'x'}) == []


def arguments_that_can_be_used(path):
    """Whether a launch file can use an argument: a node of it has the parameter, and gets it from nowhere else."""
    nodes = nodes_of(path)
    parameters = {entry.name for node in nodes for entry in table_of(node.executable)}
    describes = any(node.executable != 'bridge' for node in nodes)
    return {'respawn'} | ({'robot_id'} & parameters) | ({'camera', 'base_from_camera', 'map'} if describes else set())


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_the_arguments_that_people_miss_are_there(path):
    assert arguments_that_can_be_used(path) <= {argument.name for argument in arguments_of(nodes_of(path))}


def test_loop_closure_connects_its_nodes():
    nodes = nodes_of(ROOT / 'launch' / 'loop_closure.launch.py')
    localizer = next(node for node in nodes if node.executable == 'localizer')
    assert parameters_of(localizer, values(nodes))['source'] == 'descriptors'
    assert dict(remappings_of(localizer, values(nodes))) == {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe',
        'removed_keyframes': 'map_builder/removed_keyframes'}


def test_closures_against_an_earlier_map():
    nodes = nodes_of(ROOT / 'launch' / 'loop_closure.launch.py')
    given = values(nodes, map='today', known_map='yesterday')
    assert [parameters_of(node, given)['map'] for node in nodes] == ['today', 'yesterday']


def test_the_back_ends_verdicts_reach_both_nodes():
    nodes = {node.executable: node for node in nodes_of(ROOT / 'launch' / 'slam.launch.py')}
    for name in ('map_builder', 'localizer'):
        given = dict(remappings_of(nodes[name], values([*nodes.values()])))
        assert given['loop_closure_feedback'] == 'pose_graph/loop_closure_feedback'
    assert given['removed_keyframes'] == 'map_builder/removed_keyframes'


# what is started, and what is found missing before


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return make_prefix(tmp_path)


def add_rviz(prefix):
    add_executable(prefix / 'lib/rviz2/rviz2', 'exit 0')
    (prefix / 'share/ament_index/resource_index/packages/rviz2').touch()


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_rviz_starts_only_when_asked(path, prefix):
    nodes = nodes_of(path)
    names = [node.executable for node in nodes]
    assert [wanted['executable'] for wanted in planned(nodes, values(nodes))] == names
    add_rviz(prefix)
    *others, rviz = planned(nodes, values(nodes, rviz='True'))
    assert [wanted['executable'] for wanted in others] == names
    assert rviz['arguments'] == ['-d', str(prefix / 'share/segvlad_ros' / RVIZ_CONFIG),
                                 '-f', 'map' if 'pose_graph' in names else 'odom']
    assert planned(nodes, values(nodes, rviz='true', fixed_frame='world'))[-1]['arguments'][-1] == 'world'


@pytest.mark.fault('node', 'a launch without its RViz, parameter file or node',
                   'one line, and nothing is started')
@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_what_cannot_start_is_found_before_anything_starts(path, prefix):
    nodes = nodes_of(path)
    last = nodes[-1].executable

    def refused(words, **given):
        with pytest.raises(SegvladError, match=f'nothing was started: .*{words}'):
            planned(nodes, values(nodes, **given))
    refused(r'there is no rviz2 of the package rviz2; sudo apt install ros-\$ROS_DISTRO-rviz2', rviz='true')
    refused('there is no file /nowhere.yaml', **{f'{last}_params': '/nowhere.yaml'})
    (prefix / 'broken.yaml').write_text('/**: [')
    refused('broken.yaml is unusable', **{f'{last}_params': str(prefix / 'broken.yaml')})
    (prefix / 'empty.yaml').touch()
    refused('empty.yaml is unusable: it has no nodes', **{f'{last}_params': str(prefix / 'empty.yaml')})
    (prefix / 'mixed.yaml').write_text('/**:\n  ros__parameters:\n    sessions: [1, x]')
    refused('mixed.yaml is unusable: Sequence should be of same type', **{f'{last}_params': str(prefix / 'mixed.yaml')})
    add_rviz(prefix)
    config = prefix / 'share/segvlad_ros/config'
    config.unlink()
    refused('there is no file')
    config.symlink_to(ROOT / 'config')
    (prefix / 'lib/segvlad_ros' / last).unlink()
    refused(f'there is no {last} of the package segvlad_ros; build it again')


@pytest.mark.fault('parameter', 'a launch argument that a node, or rcl, would refuse: a level of the log, a topic, a '
                   'namespace, a mount that is not a pose', 'one line, and nothing is started')
@pytest.mark.parametrize(('wrong', 'words'), [
    ({'log_level': 'verbose'}, 'log_level:=verbose must be debug, info, warn, error or fatal'),
    ({'log_level': ''}, 'log_level:= must be debug'),
    ({'base_from_camera': '[]'}, 'base_from_camera needs 7 finite numbers'),
    ({'base_from_camera': '1 2 3'}, 'base_from_camera needs 7 finite numbers'),
    ({'image_transport': 'theora'}, "image_transport is 'theora': use one of raw, compressed"),
    ({'robot_id': '-1'}, 'robot_id is -1: use 0 to 4294967295'),
    ({'image': '/cam-1/image'}, 'image:=/cam-1/image must be a name of ROS 2: letters, digits, _ and /'),
    ({'odom': ''}, 'odom:= must be a name'), ({'namespace': 'my robot'}, 'namespace:=/site/my robot must be a name'),
    ({'map': '\udcff'}, 'map:=.* must be text')])
def test_what_a_node_would_refuse_is_found_before_anything_starts(wrong, words, prefix):
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    with pytest.raises(SegvladError, match=words) as refused:
        planned(nodes, values(nodes, **wrong), '/site')
    assert str(refused.value).isprintable()
    assert not [*prefix.glob('segvlad_ros_*.yaml')]


@pytest.mark.parametrize('level', ['debug', 'INFO', 'Warn', 'error', 'fatal', 'rcl:=debug'])
def test_levels_that_rcl_takes(level, prefix):
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    wanted, = planned(nodes, values(nodes, log_level=level, namespace='/robot1', image='camera/image', odom='~/odom'))
    assert wanted['arguments'] == ['--ros-args', '--log-level', level]


@pytest.mark.fault('parameter', 'a name on the command line that YAML takes for something else: `map:=y`',
                   'it stays a name')
@pytest.mark.parametrize('text', ['y', 'off', '7', '1e3', 'null', '~', '[a]', 'a: b', "it's", '"', 'ü'])
def test_a_name_stays_a_string(text, prefix):
    """PyYAML writes y without quotes, and rcl reads it as true."""
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    wanted, = planned(nodes, values(nodes, map=text, namespace='robot1'), '/site')
    content = Path(wanted['parameters'][1]).read_text()
    assert content.isascii()
    parameters = yaml.safe_load(content)['/site/robot1/map_builder']['ros__parameters']
    assert parameters['map'] == text
    assert '"map": "' in content


@pytest.mark.parametrize('text', [
    'office 🏠', '𝔘', '"', 'say "hi"', 'a\\b', '\\', '\\ud83c\\udfe0', 'two\nlines', 'a\u2028b', 'a\x85b', '\x7f',
    '\ufeff', ' ', '-', '-r __ns:=/x', 'y', '1e5', '0x1f', '{a: b}', '%', '@', '!int 7', '# no', '地図'])
def test_rcl_reads_the_very_string(text, prefix):
    nodes = nodes_of(ROOT / 'launch' / 'mapping.launch.py')
    wanted, = planned(nodes, values(nodes, map=text))
    context = rclpy.Context()
    rclpy.init(context=context, args=['--ros-args', '--params-file', wanted['parameters'][1]])
    try:
        node = rclpy.create_node('map_builder', context=context, enable_rosout=False, start_parameter_services=False)
        assert node.declare_parameter('map', '').value == text
        node.destroy_node()
    finally:
        context.try_shutdown()


def rcl_reads(file, name):
    context = rclpy.Context()
    rclpy.init(context=context, args=['--ros-args', '--params-file', str(file)])
    try:
        node = rclpy.create_node(name, namespace='/site', context=context, enable_rosout=False,
                                 start_parameter_services=False, automatically_declare_parameters_from_overrides=True)
        found = {key: entry.value for key, entry in node.get_parameters_by_prefix('').items()}
        node.destroy_node()
        return found
    finally:
        context.try_shutdown()


def test_sections_of_a_parameter_file_may_come_again_as_rcl_merges_them(prefix):
    """A value that comes again in one section may not: rcl takes the last one, or the first, as their types are."""
    nodes, file = nodes_of(ROOT / 'launch' / 'mapping.launch.py'), prefix / 'own.yaml'

    def planned_with(text):
        file.write_text(text)
        return planned(nodes, values(nodes, map_builder_params=str(file)))
    wanted, = planned_with(
        '/**:\n  ros__parameters: {preset: classic, robot_id: 1}\n/**:\n  ros__parameters: {robot_id: 3}\n'
        'site:\n  map_builder:\n    ros__parameters: {overwrite: true}\n'
        'site:\n  map_builder:\n    ros__parameters: {gate: {time_s: 1.0}, gate: {distance_m: 2.0}}\n')
    assert wanted['parameters'][0] == str(file)
    said = {'preset': 'classic', 'robot_id': 3, 'overwrite': True, 'gate.time_s': 1.0, 'gate.distance_m': 2.0}
    assert said.items() <= rcl_reads(file, 'map_builder').items()
    with pytest.raises(SegvladError, match='own.yaml is unusable: line 4: the key robot_id comes a second time'):
        planned_with('/**:\n  ros__parameters:\n    robot_id: 1\n    robot_id: x\n')


def test_parameter_files_go_with_the_launch(prefix):
    """Not before: a node that launch starts again reads its file again."""
    code = ('from test_launching import *\n'
            'nodes = nodes_of(ROOT / "launch" / "slam.launch.py")\n'
            'print([Path(wanted["parameters"][1]).is_file() for wanted in planned(nodes, values(nodes))])')
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, 'TMPDIR': str(prefix), 'PYTHONPATH': paths}
    done = subprocess.run([sys.executable, '-c', code], check=True, text=True, capture_output=True, env=environment)
    assert done.stdout.split() == ['[True,', 'True,', 'True]']
    assert not [*prefix.glob('segvlad_ros_*')]


def test_a_launch_is_one_run(prefix):
    nodes = nodes_of(ROOT / 'launch' / 'slam.launch.py')

    def run_ids():
        files = [wanted['parameters'][1] for wanted in planned(nodes, values(nodes))]
        found = [yaml.safe_load(Path(file).read_text()).popitem()[1]['ros__parameters'].get('run_id') for file in files]
        return [run_id for run_id in found if run_id]
    first, second = run_ids(), run_ids()
    assert len(first) == 1
    assert first != second


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_real_launch_declares_the_arguments(path):
    pytest.importorskip('launch_ros', reason='part of a ROS installation, not of the wheels')
    from launch.actions import DeclareLaunchArgument
    description = runpy.run_path(str(path))['generate_launch_description']()
    declared = {entity.name: entity.description for entity in description.entities
                if isinstance(entity, DeclareLaunchArgument)}
    assert declared == {argument.name: argument.description for argument in arguments_of(nodes_of(path))}
