"""A node's command line: parameters without --ros-args are refused, and --help starts nothing."""
import pytest

from segvlad_ros.ros.node.command_line import answered
from segvlad_ros.ros.node.interface_table import INPUTS
from segvlad_ros.ros.node.parameter_table import TABLE
from segvlad_ros.ros.node.run import run_node


@pytest.mark.fault('parameter', 'ros2 run with parameters as ros2 launch takes them, without --ros-args',
                   'one line that says how to write it, and no map')
def test_parameters_outside_of_ros_args_are_refused(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['/opt/lib/map_builder', 'map:=office', 'preset:=learned', 'image:=/cam'])
    assert run_node(pytest.fail) == 1
    assert capsys.readouterr().err == ('map_builder: map:=office preset:=learned sets nothing: write --ros-args '
                                       '-p map:=office -p preset:=learned\n')


@pytest.mark.parametrize('words', [
    [], ['--ros-args', '-p', 'map:=office'], ['image:=/cam'], ['--ros-args', '-p', 'map:=a', '--', 'word'],
    ['--ros-args', '-r', 'map:=other']])
def test_what_ros_reads_is_left_to_it(words):
    assert answered('map_builder', words) is None


def test_a_parameter_behind_the_words_of_ros_is_refused(capsys):
    assert answered('map_builder', ['--ros-args', '-r', 'image:=/cam', '--', 'map:=office']) == 1
    assert '-p map:=office' in capsys.readouterr().err


def test_no_remapping_is_taken_for_a_parameter():
    assert not {entry.name for entry in TABLE} & {endpoint.name for endpoint in INPUTS}


@pytest.mark.parametrize('word', ['-h', '--help'])
def test_help_starts_nothing(word, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['/opt/lib/map_builder', word])
    assert run_node(pytest.fail) == 0
    assert 'docs/parameters.md' in capsys.readouterr().out
