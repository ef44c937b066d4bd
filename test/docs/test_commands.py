"""What the pages name exists: every command and option, launch argument, make target, file."""
import argparse
import importlib.util
import re

import pytest
from pages import PAGES, ROOT, blocks, commands

from segvlad_ros.cli import _parser
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.node.launch_arguments import arguments_of
from segvlad_ros.ros.node.parameter_table import TABLE, table_of

TARGETS = re.findall(r'^([a-z][a-z-]*):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
FILE = re.compile(r'(?:test|benchmark|config|launch|docs|segvlad_ros|msg|srv|cmake)/[\w./-]+\.\w+')
SECTIONS = 'decision', 'exclude', 'geometry', 'odometry', 'places', 'search', 'vote', 'neighbourhood'  # of a preset
KINDS = 'bash', 'bash run', 'text', 'python', 'none'
PROGRAMS = {'segvlad', 'ros2', 'make', 'pip', 'python', 'python3', 'cd', 'export', 'git', 'rosdep', 'colcon', 'source',
            'touch'}


def options_of(parser, arguments):
    """The options that these words may have: `fit vocabulary|projection` those of both."""
    subcommands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not subcommands or not arguments or arguments[0] == '...':
        return set(parser._option_string_actions)
    known = subcommands[0].choices
    unknown = set(arguments[0].split('|')) - set(known)
    assert not unknown, f'{unknown}: use one of {", ".join(known)}'
    return set.intersection(*(options_of(known[name], arguments[1:]) for name in arguments[0].split('|')))


def check_segvlad(arguments):
    options = options_of(_parser(arguments[0].split('|')[0])[0], arguments)
    wrong = {word.split('=')[0] for word in arguments if word.startswith('--')} - options
    assert not wrong, f'{sorted(wrong)}: it has {", ".join(sorted(options))}'


def check_ros2(arguments):
    if arguments[:2] == ['run', 'segvlad_ros'] and arguments[2] != 'segvlad':
        known = {entry.name for entry in table_of(arguments[2])}
        given = {value.split(':=')[0] for word, value in zip(arguments, arguments[1:]) if word == '-p'}
        assert known
        assert given <= known
    if arguments[:2] == ['launch', 'segvlad_ros'] and arguments[2] not in ('<file>', 'FILE'):
        check_launch(ROOT / 'launch' / arguments[2], arguments[3:])


def check_launch(file, arguments):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = {argument.name for argument in arguments_of(module.NODES)}
    assert {word.split(':=')[0] for word in arguments if ':=' in word} <= known


def check_make(arguments):
    assert arguments[0] in TARGETS


def check_python(arguments):
    if arguments[0] != '-m':
        assert (ROOT / arguments[0]).is_file()


CHECKS = {'segvlad': check_segvlad, 'ros2': check_ros2, 'make': check_make, 'python': check_python,
          'python3': check_python}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_name_what_there_is(page):
    for program, *arguments in commands(page):
        assert program in PROGRAMS, f'{program} {" ".join(arguments)}'
        try:
            CHECKS.get(program, lambda arguments: None)(arguments)
        except AssertionError as error:
            raise AssertionError(f'{page.name}: {program} {" ".join(arguments)}: {error}') from error


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_blocks_of_commands_say_so(page):
    """Else nobody checks them."""
    for block in blocks(page):
        assert block.kind in KINDS, f'{page.name}: {block.kind!r}: {block.text}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_files_of_this_repository_that_are_named_are_there(page):
    named = set(re.findall(r'`([^`\n]+)`', page.read_text()))
    missing = [name for name in named if FILE.fullmatch(name) and not (ROOT / name).is_file()]
    assert not missing


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_settings_that_are_named_exist(page):
    """Keys of presets and node parameters, such as `decision.min_score`."""
    preset, parameters = load_preset('classic'), {entry.name for entry in TABLE}
    for section, key in re.findall(r'`(\w+)\.(?!py`)(\w+)(?:: [^`]*)?`', page.read_text()):
        known = vars(getattr(preset, section)) if section in SECTIONS else {}
        if section in SECTIONS or any(name.startswith(f'{section}.') for name in parameters):
            assert key in known or f'{section}.{key}' in parameters, f'{section}.{key}'
