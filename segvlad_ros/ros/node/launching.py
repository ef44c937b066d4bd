"""How the launch files start nodes.

Whatever cannot start is found before anything starts: launch ends at an error, and the nodes that run already would
stay behind. Nothing here imports ``launch`` before a launch file asks for it.
"""
from __future__ import annotations

import atexit
import json
import re
import tempfile
import uuid
from pathlib import Path
from typing import Any

from segvlad_ros.io.paths import from_home
from segvlad_ros.io.yaml_text import check_ros_parameters
from segvlad_ros.ros.node.launch_arguments import (
    LOG_LEVEL,
    NAMESPACE,
    RESPAWN,
    RVIZ,
    LaunchedNode,
    arguments_of,
    enclave_of,
    fixed_frame,
    is_true,
    misspelt,
    parameters_of,
    params_file,
    remappings_of,
    sim_time_of,
)
from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

PACKAGE = 'segvlad_ros'
RVIZ_CONFIG = 'config/rviz/segvlad.rviz'
RESPAWN_DELAY_S = 2.0
CANNOT_START = 1  # exit status of :func:`segvlad_ros.ros.node.run.run_node`


def describe_launch(nodes: tuple[LaunchedNode, ...]) -> Any:
    """The LaunchDescription of some nodes."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    from launch import LaunchDescription
    declared = [DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.description)
                for argument in arguments_of(nodes)]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[nodes])])


def _start(context: Any, nodes: tuple[LaunchedNode, ...]) -> list[Any]:
    from launch.actions import Shutdown
    from launch.logging import get_logger
    from launch_ros.actions import Node
    values = context.launch_configurations
    for warning in misspelt(nodes, values):
        get_logger(PACKAGE).warning(warning)
    respawn = is_true(RESPAWN, values)

    def ended(event: Any, _context: Any) -> Any:
        """Without a node that cannot start (no GTSAM, no such map) the others end; one that dies later they survive."""
        if event.returncode == CANNOT_START and event.action.node_package == PACKAGE and not respawn:
            return Shutdown(reason=f'{event.process_name} cannot start')
        return None
    return [Node(**wanted, on_exit=ended) for wanted in planned(nodes, values, values.get('ros_namespace', ''))]


def planned(nodes: tuple[LaunchedNode, ...], values: dict[str, str], outer_namespace: str = '') -> list[dict[str, Any]]:
    """What is to be started, as keywords of launch_ros' Node, once all that it needs is there.

    :param values: of the arguments
    :param outer_namespace: of the launch file that includes this one
    :raises SegvladError: something is missing, or an argument is wrong
    """
    share, respawn = _share(), is_true(RESPAWN, values)
    namespace, run_id, wanted = values[NAMESPACE.name], uuid.uuid4().hex, []
    for node in nodes:
        _require_executable(PACKAGE, node.executable)
        own = share / 'config' / 'nodes' / f'{node.executable}.yaml'
        file = _parameter_file(values[params_file(node.executable).name], own)
        parameters, remappings = parameters_of(node, values), remappings_of(node, values)
        name = _full_name(outer_namespace, namespace, node.executable)
        _require_values(node.executable, parameters)
        _require_words(values[LOG_LEVEL.name], name.rpartition('/')[0], remappings)
        if any(entry.name == 'run_id' for entry in table_of(node.executable)):
            parameters['run_id'] = run_id  # of this launch: a process that it starts again has the same
        wanted.append({
            'package': PACKAGE, 'executable': node.executable, 'name': node.executable, 'namespace': namespace,
            'output': 'screen', 'parameters': [file, _written(name, parameters)],
            'remappings': remappings, 'respawn': respawn, 'respawn_delay': RESPAWN_DELAY_S,
            'arguments': ['--ros-args', '--log-level', values[LOG_LEVEL.name], *enclave_of(node, values)]})
    if is_true(RVIZ, values):
        _require_executable('rviz2', 'rviz2', f'sudo apt install ros-$ROS_DISTRO-rviz2, or leave {RVIZ.name} out')
        sim_time = sim_time_of(values)
        wanted.append({
            'package': 'rviz2', 'executable': 'rviz2', 'name': 'rviz2', 'namespace': namespace,
            'arguments': ['-d', str(_required(share / RVIZ_CONFIG)), '-f', fixed_frame(nodes, values)],
            'parameters': [sim_time] if sim_time else []})
    return wanted


def _share() -> Path:
    from ament_index_python.packages import get_package_share_directory
    return Path(get_package_share_directory(PACKAGE))


def _require_executable(package: str, name: str, otherwise: str = 'build it again') -> None:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    try:
        if (Path(get_package_prefix(package)) / 'lib' / package / name).is_file():
            return
    except PackageNotFoundError:
        pass
    raise SegvladError(f'nothing was started: there is no {name} of the package {package}; {otherwise}')


def _required(path: Path) -> Path:
    if not path.is_file():
        raise SegvladError(f'nothing was started: there is no file {path}')
    return path


def _parameter_file(given: str, own: Path) -> str:
    """The file that was given, else our own, if it can be read."""
    path = _required(from_home(given) if given else own)
    try:
        check_ros_parameters(path)
        if refusal := _refusal('--params-file', str(path)):
            raise SegvladError(refusal)
    except (OSError, SegvladError) as error:
        raise SegvladError(f'nothing was started: the parameter file {path} is unusable: {one_line(error)}') from None
    return str(path)


def _require_values(executable: str, parameters: dict[str, Any]) -> None:
    for entry in table_of(executable):
        problem = entry.check(parameters[entry.name]) if entry.name in parameters else ''
        if problem:
            raise SegvladError(f'nothing was started: {problem}')


def _require_words(level: str, namespace: str, remappings: list[tuple[str, str]]) -> None:
    if _refusal('--log-level', level):
        raise SegvladError(f'nothing was started: {LOG_LEVEL.name}:={level} must be debug, info, warn, error or fatal')
    names = [(NAMESPACE.name, '__ns', namespace)] if namespace else []
    for argument, source, target in [*names, *((source, source, target) for source, target in remappings)]:
        if _refusal('-r', f'{source}:={target}'):
            raise SegvladError(f'nothing was started: {argument}:={target} must be a name of ROS 2: letters, digits, _ '
                               'and /')


def _refusal(*words: str) -> str:
    """Why rcl would end a node that has these words on its command line; '' if it takes them."""
    from rclpy.utilities import remove_ros_args
    try:
        remove_ros_args(['', '--ros-args', *words])
    except (RuntimeError, ValueError) as error:
        return re.sub(r', at \S+:\d+', '', str(error).rpartition('Error: ')[2])
    return ''


def _full_name(outer_namespace: str, namespace: str, name: str) -> str:
    """The node's name as launch_ros will give it: a wildcard would not win over what a file says of this very node."""
    parts = [namespace, name] if namespace.startswith('/') else [outer_namespace, namespace, name]
    return '/' + '/'.join(part.strip('/') for part in parts if part.strip('/'))


def _written(node: str, parameters: dict[str, Any]) -> str:
    """A parameter file with these values, each of the type that it has here; it stays while launch runs, for respawn.

    launch_ros would write the name of a map as YAML without quotes, and rcl read y, 7 or off as what they are in YAML.
    """
    text = json.dumps({node: {'ros__parameters': parameters}}, ensure_ascii=False)
    # JSON is YAML, and quotes every string; but rcl refuses what JSON escapes as two halves of 16 bits, and unescaped
    # the line ends of Unicode would be folded.
    text = re.sub('[^ -~]', lambda match: f'\\U{ord(match[0]):08x}', text)
    with tempfile.NamedTemporaryFile('w', prefix='segvlad_ros_', suffix='.yaml', delete=False) as file:
        file.write(text)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
