"""What the Python packages of a ROS 2 distribution offer, read from their sources.

Humble has no wheels, so that nothing of it runs here: its API is the list humble_api.json beside this file, made by

    python ros_api.py MIRRORS --branch humble --later jazzy rolling > humble_api.json

where MIRRORS holds clones of the repositories below, each in ``OWNER+NAME/repo``.
"""
from __future__ import annotations

import argparse
import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORIES = ('ros2/rclpy', 'ros2/launch', 'ros2/launch_ros', 'ros2/message_filters', 'ros2/geometry2',
                'ament/ament_index', 'ros-perception/vision_opencv', 'ros2/common_interfaces', 'ros2/rcl_interfaces')
SOURCES = {  # Python packages: their folder in the repository
    'rclpy': 'rclpy/rclpy', 'launch': 'launch/launch', 'launch_ros': 'launch_ros/launch_ros',
    'message_filters': ('src/message_filters', 'message_filters'), 'tf2_ros': 'tf2_ros_py/tf2_ros',
    'ament_index_python': 'ament_index_python/ament_index_python', 'cv_bridge': 'cv_bridge/python/cv_bridge',
}
EXTENSION = 'rclpy/src/rclpy/'  # C++, of which rclpy.clock.ClockType and its like come
INTERFACES = ('builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces',
              'rosgraph_msgs', 'sensor_msgs', 'std_msgs', 'std_srvs', 'tf2_msgs', 'visualization_msgs')
LEFT_OUT = ('launch.frontend', 'launch.legacy', 'launch_ros.ros_adapters', 'ament_index_python.cli')
ANY = '**'  # among the parameters of what takes any keyword


class Branch:
    """One branch of one repository."""

    def __init__(self, git: Path, name: str) -> None:
        self._git, self._name = git, name

    def _ask(self, *words: str) -> str:
        return subprocess.run(['git', '-C', self._git, *words], check=True, capture_output=True, text=True).stdout

    @property
    def commit(self) -> str:
        """The commit that is read."""
        return self._ask('rev-parse', self._name).strip()

    @property
    def files(self) -> list[str]:
        """All paths."""
        return self._ask('ls-tree', '-r', '--name-only', self._name).splitlines()

    def text(self, path: str) -> str:
        """One file."""
        return self._ask('show', f'{self._name}:{path}')


def _parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [*names, ANY] if arguments.kwarg else names


def _class(node: ast.ClassDef) -> dict[str, Any]:
    """Its bases and members: parameters of a method, None of an attribute."""
    members: dict[str, Any] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == 'self' and isinstance(part.ctx, ast.Store):
            members.setdefault(part.attr, None)
    for part in node.body:
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            members[part.name] = _parameters(part)
        elif isinstance(part, (ast.Assign, ast.AnnAssign)):
            members.update({name.id: None for name in ast.walk(part)
                            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)})
    return {'bases': [ast.unparse(base).rsplit('.', 1)[-1] for base in node.bases], 'members': members}


def _names(tree: ast.Module) -> dict[str, Any]:
    """What a module defines or hands on."""
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names[node.name] = _parameters(node)
        elif isinstance(node, ast.ClassDef):
            names[node.name] = _class(node)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == '*':
            names[f'*{"." * node.level}{node.module}'] = None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update({alias.asname or alias.name: None for alias in node.names})
        else:
            names.update({part.id: None for part in ast.walk(node)
                          if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)})
    return names


def _message(text: str) -> dict[str, Any]:
    """Fields and constants of an interface file, of a service's request and response together."""
    members: dict[str, Any] = {}
    for line in text.splitlines():
        words = line.split('#')[0].replace('=', ' = ').split()
        if len(words) > 1:
            members[words[1]] = None
    return {'bases': [], 'members': {**members, '__init__': ['self', *members], 'Request': None, 'Response': None}}


def modules_of(branches: list[Branch]) -> dict[str, dict[str, Any]]:
    """Every module of the packages with what it offers."""
    modules: dict[str, dict[str, Any]] = {}
    for branch in branches:
        for path in branch.files:
            for package, folders in SOURCES.items():
                for folder in (folders,) if isinstance(folders, str) else folders:
                    if path.startswith(f'{folder}/') and path.endswith('.py'):
                        inside = path.removeprefix(f'{folder}/').removesuffix('.py').removesuffix('__init__')
                        module = '.'.join([package, *inside.strip('/').split('/')]).rstrip('.')
                        modules[module] = _names(ast.parse(branch.text(path)))
            if path.startswith(EXTENSION):
                told = re.findall(r'\.(?:def\w*|value|attr)\(\s*"(\w+)"', branch.text(path))
                modules.setdefault(EXTENSION, {}).update(dict.fromkeys(told))
            parts = path.split('/')
            if len(parts) == 3 and parts[0] in INTERFACES and parts[2].endswith(('.msg', '.srv')):
                kinds = modules.setdefault(f'{parts[0]}.{parts[1]}', {})
                kinds[parts[2].rsplit('.', 1)[0]] = _message(branch.text(path))
    for name, names in modules.items():
        _resolve_stars(name, names, modules)
    return {name: modules[name] for name in sorted(modules) if modules[name] and not name.startswith(LEFT_OUT)}


def _resolve_stars(module: str, names: dict[str, Any], modules: dict[str, dict[str, Any]]) -> None:
    """What ``from X import *`` hands on; of an X in C++, such as tf2_py, any name: '*'."""
    for star in [name for name in names if name.startswith('*')]:
        del names[star]
        source = star.removeprefix('*')
        source = f'{module}{source}' if source.startswith('.') else source
        names.update(dict.fromkeys(modules[source]) if source in modules else {'*': None})


def members_of(modules: dict[str, dict[str, Any]]) -> dict[str, set[str] | None]:
    """Every name that a function or member has anywhere: all parameters of that name, None of what is no function."""
    found: dict[str, set[str] | None] = {}

    def note(name: str, parameters: list[str] | None) -> None:
        known = found.get(name)
        found[name] = known if parameters is None else (known or set()) | set(parameters)
    for names in modules.values():
        for name, offered in names.items():
            if isinstance(offered, dict):
                note(name, offered['members'].get('__new__', offered['members'].get('__init__')))
                for member, parameters in offered['members'].items():
                    note(member, parameters)
            else:
                note(name, offered)
    return found


def main() -> None:
    """Write the list of a distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('mirrors', type=Path)
    parser.add_argument('--branch', required=True)
    parser.add_argument('--later', nargs='+', default=[])
    options = parser.parse_args()

    def branches(name: str) -> dict[str, Branch]:
        found = {}
        for repository in REPOSITORIES:
            git = options.mirrors / repository.replace('/', '+') / 'repo'
            ask = ['git', '-C', git, 'rev-parse', '-q', '--verify', name]
            if subprocess.run(ask, capture_output=True, check=False).returncode == 0:
                found[repository] = Branch(git, name)
        return found
    own = branches(options.branch)
    modules = modules_of(list(own.values()))
    later = {name for branch in options.later for name in members_of(modules_of(list(branches(branch).values())))
             if not name.startswith('__')}
    write = functools.partial(json.dumps, separators=(',', ':'))
    commits = {name: branch.commit for name, branch in own.items()}
    lines = ',\n'.join(f'{write(name)}:{write(offered)}' for name, offered in modules.items())
    sys.stdout.write(f'{{"branch":{write(options.branch)},\n"commits":{write(commits)},\n'
                     f'"later":{write(sorted(later - set(members_of(modules))))},\n"modules":{{\n{lines}}}}}\n')


if __name__ == '__main__':
    main()
