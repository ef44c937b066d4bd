"""The house rules that no linter knows: who may import whom, and what must stay light."""
import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / 'segvlad_ros'
ROOMS = ['text', 'types', 'geometry', 'threads', 'io', 'settings', 'segmentation', 'features', 'description', 'mapping',
         'verification', 'recognition', 'pipeline', 'slam', 'fleet', 'evaluation', 'training', 'simulation', 'ros',
         'nodes', 'cli']
ROS_MODULES = {'rclpy', 'std_msgs', 'sensor_msgs', 'geometry_msgs', 'nav_msgs', 'message_filters', 'cv_bridge',
               'tf2_ros', 'diagnostic_msgs', 'visualization_msgs', 'lifecycle_msgs', 'builtin_interfaces'}
GENERATED = {'msg', 'srv'}


def modules(room):
    single = PACKAGE / f'{room}.py'
    return [single] if single.exists() else sorted((PACKAGE / room).rglob('*.py'))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    allowed = {*ROOMS[:ROOMS.index(room) + 1]}
    if room == 'cli':
        allowed.discard('nodes')
    if room in ('ros', 'nodes', 'cli'):
        allowed |= GENERATED
    wrong = [f'{path.relative_to(PACKAGE)} imports {name}'
             for path in modules(room) for name in imported(path)
             if name.startswith('segvlad_ros.') and name.split('.')[1] not in allowed]
    assert not wrong


@pytest.mark.parametrize('room', ROOMS[:ROOMS.index('ros')])
def test_the_core_knows_no_ros(room):
    wrong = [f'{path.relative_to(PACKAGE)} imports {name}'
             for path in modules(room) for name in imported(path) if name.split('.')[0] in ROS_MODULES]
    assert not wrong


def test_no_two_modules_or_classes_have_one_name():
    """Modules of cli/ and nodes/ may be named after what they call."""
    named = defaultdict(list)
    for path in (path for room in ROOMS for path in modules(room) if path.name != '__init__.py'):
        if path.parent.name not in ('cli', 'nodes'):
            named[path.stem].append(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                named[node.name].append(path)
    assert not {name: paths for name, paths in named.items() if len(paths) > 1}


def test_the_hall_of_ros_has_four_doors_and_no_module():
    inside = {path.name for path in (PACKAGE / 'ros').iterdir() if path.name != '__pycache__'}
    assert inside == {'__init__.py', 'node', 'input', 'output', 'bridges'}


def test_importing_every_core_module_needs_no_torch_and_no_faiss():
    names = ['segvlad_ros.' + '.'.join(p.relative_to(PACKAGE).with_suffix('').parts)
             for room in ROOMS[:ROOMS.index('ros')] for p in modules(room) if p.name != '__init__.py']
    code = (f'import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n'
            'heavy = {"torch", "faiss", "timm", "rclpy", "skimage", "gtsam", "pymilvus", "onnxruntime", "matplotlib",\n'
            '         "jinja2", "ray"} & set(sys.modules)\n'
            'assert not heavy, heavy')
    subprocess.run([sys.executable, '-c', code], check=True, cwd=PACKAGE.parent)
