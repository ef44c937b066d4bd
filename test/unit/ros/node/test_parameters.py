"""One table makes declarations, checks and parameter files; docs/parameters.md: test/docs/test_tables.py."""
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from segvlad_ros.ros.node.parameter_table import BOTH, TABLE, markdown, table_of
from segvlad_ros.ros.node.parameters import NodeParameters
from segvlad_ros.types import SegvladError

ROOT = Path(__file__).resolve().parents[4]
UNITS = ('_s', '_m', '_rad', '_hz', '_megapixels')
NODES = [*BOTH, 'bridge', 'pose_graph']


@pytest.fixture(scope='module')
def context():
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


@pytest.fixture
def make(context):
    nodes = []

    def start(name, overrides=None, configured=lambda: False, arguments=()):
        node = Node(f'test_{name}', context=context, enable_rosout=False, start_parameter_services=False,
                    cli_args=['--ros-args', *arguments],
                    parameter_overrides=[RosParameter(key, value=value) for key, value in (overrides or {}).items()])
        nodes.append(node)
        return node, NodeParameters(node, name, configured)
    yield start
    for node in nodes:
        node.destroy_node()


@pytest.mark.parametrize('name', NODES)
def test_every_parameter_is_described_and_its_default_allowed(name):
    entries = table_of(name)
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.description.endswith('.')
        assert entry.check(entry.default) == ''
        assert (entry.minimum is None) == (entry.maximum is None)
        if isinstance(entry.default, float):
            assert entry.minimum is not None
            assert entry.name.endswith(UNITS) or any(share in entry.name for share in ('_ratio_', '_score'))


@pytest.mark.parametrize('name', BOTH)
def test_declared_parameters_have_descriptors(make, name):
    node, parameters = make(name)
    parameters.check()
    for entry in table_of(name):
        descriptor = node.describe_parameter(entry.name)
        assert descriptor.description == entry.description
        assert parameters[entry.name] == entry.default
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert bool(ranges) == (entry.minimum is not None)


@pytest.mark.fault('parameter', 'values of a wrong type or outside of their range', 'the parameter is named')
@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('top_k', 0, 'top_k'), ('sync_timeout_s', -1.0, 'sync_timeout_s'), ('sync_timeout_s', 1, 'double'),
    ('top_k', 'many', 'integer')])
def test_wrong_values_at_start_are_named(make, name, value, words):
    with pytest.raises(SegvladError, match=words):
        make('localizer', {name: value})[1].check()


@pytest.mark.fault('parameter', 'a mount that is not a pose, an unknown source',
                   'configure fails, with what is allowed')
@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('source', 'sound', 'images, descriptors'), ('base_from_camera', [1.0, 2.0], '7 finite numbers'),
    ('base_from_camera', [float('nan')] * 7, '7 finite numbers')])
def test_values_that_no_descriptor_can_check_are_checked_at_configure(make, name, value, words):
    _, parameters = make('localizer', {name: value})
    with pytest.raises(SegvladError, match=words):
        parameters.check()


@pytest.mark.fault('parameter', 'an empty array, which rcl takes for no value at all',
                   'an array is empty then; of any other parameter the type is named')
@pytest.mark.parametrize('name', NODES)
def test_an_empty_array_is_a_value_of_the_parameter(make, name):
    for entry in table_of(name):
        arguments = ['-p', f'{entry.name}:=[]']
        if not isinstance(entry.default, list):
            with pytest.raises(SegvladError, match=f'parameter {entry.name} must be of type {entry.type_name}'):
                make(name, arguments=arguments)
            continue
        node, parameters = make(name, arguments=arguments)
        assert parameters[entry.name] == []
        if isinstance(entry.default[0], float):
            with pytest.raises(SegvladError, match=f'{entry.name} needs {len(entry.default)} finite numbers'):
                parameters.check()
        else:
            parameters.check()
        for value in (RosParameter(entry.name, value=[]), RosParameter(entry.name)):
            assert not node.set_parameters([value])[0].successful


@pytest.mark.fault('parameter', 'a change at run time that needs a configure', 'refused, and said so')
def test_changes_are_validated(make):
    configured = [False]
    node, parameters = make('localizer', configured=lambda: configured[0])

    def change(name, value):
        return node.set_parameters([RosParameter(name, value=value)])[0]
    assert change('source', 'descriptors').successful
    assert 'one of' in change('source', 'sound').reason
    configured[0] = True
    refused = change('source', 'images')
    assert not refused.successful
    assert 'configure' in refused.reason
    assert change('top_k', 3).successful
    assert not change('top_k', 0).successful
    assert (parameters['source'], parameters['top_k']) == ('descriptors', 3)


def flat(values, prefix=''):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


@pytest.mark.parametrize('name', NODES)
def test_the_parameter_files_hold_all_parameters_with_their_defaults(name):
    content = yaml.safe_load((ROOT / 'config' / 'nodes' / f'{name}.yaml').read_text())
    found, wanted = dict(flat(content['/**']['ros__parameters'])), table_of(name)
    assert found == {entry.name: entry.default for entry in wanted}
    assert all(type(found[entry.name]) is type(entry.default) for entry in wanted)


def test_the_table_names_every_parameter():
    lines = markdown().splitlines()
    assert len(lines) == len(TABLE) + 2
    assert all(line.count('|') == lines[0].count('|') for line in lines)


@pytest.mark.fault('parameter', 'a name that the node does not have, such as a misspelt one',
                   'a warning that asks for the one that is like it')
def test_a_parameter_that_the_node_does_not_have_is_named(make, capfd):
    make('localizer', {'top_kk': 3, 'something_else': 1, 'qos_overrides./x.subscription.depth': 2,
                       'use_sim_time': False})
    said = capfd.readouterr().err
    assert 'there is no parameter top_kk: is it top_k?' in said
    assert 'there is no parameter something_else; it is passed over' in said
    assert said.count('there is no parameter') == 2
