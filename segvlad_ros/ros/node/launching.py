"""What the launch files share: their arguments, each described, and how arguments become nodes.

An argument that is left empty leaves the value to the parameter file, so that a user's own file is not overruled by
defaults. Nothing here imports ``launch`` before a launch file asks for it.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One launch argument.

    :ivar description: one sentence for ``ros2 launch --show-args``
    :ivar default: '' for a node parameter: as in the parameter file
    :ivar parameter: type of the node parameter of the same name, or None if it is not one
    :ivar topic: whether the argument names an input topic
    """

    name: str
    description: str
    default: str = ''
    parameter: type | None = None
    topic: bool = False


@dataclass(frozen=True)
class LaunchedNode:
    """One node of a launch file.

    :ivar executable: 'map_builder' or 'localizer'; also the node's name
    :ivar fixed: parameters that this launch file is about
    :ivar remappings: topics and services that the launch file connects, relative to the namespace
    """

    executable: str
    arguments: tuple[Argument, ...]
    fixed: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()


RVIZ_CONFIG = 'config/rviz/segvlad.rviz'
NAMESPACE = Argument('namespace', 'Namespace of the nodes, such as robot1.')
LOG_LEVEL = Argument('log_level', 'Least severity that is logged: debug, info, warn, error.', 'info')
SIM_TIME = Argument('use_sim_time', 'Take the time from /clock: true for simulations and for bags played with --clock.',
                    'false')
ENCLAVES = Argument('enclaves', 'SROS 2: the enclave below which each node has its own, such as /segvlad; empty: none.')
RVIZ = Argument('rviz', 'true: start RViz too, with keyframes, matches and their pictures (package rviz2).', 'false')
BASIC = (
    Argument('preset', 'Pipeline: the name of a preset, or the path of a preset YAML; empty: as in the parameter file.',
             parameter=str),
    Argument('map_directory', 'Folder of the maps; empty: as in the parameter file.', parameter=str),
    Argument('autostart', 'false: wait for a lifecycle manager; empty: as in the parameter file.', parameter=bool),
    Argument('base_frame', "Frame of the robot's base; empty: as in the parameter file.", parameter=str),
)
CAMERA = (
    Argument('image', 'Topic of the camera images (without /compressed).', 'image', topic=True),
    Argument('camera_info', 'Topic of the camera_info.', 'camera_info', topic=True),
    Argument('depth', 'Topic of depth images registered to the camera image.', 'depth', topic=True),
    Argument('mask', 'Topic of masks of single images, as of people: 0 covers.', 'mask', topic=True),
    Argument('mask_file', "PNG that covers the robot's own body in every image; empty: as in the parameter file.",
             parameter=str),
    Argument('odom', 'Topic of the odometry.', 'odom', topic=True),
    Argument('device', 'Where the networks of a torch preset run: cpu, cuda, ...; empty: as in the parameter file.',
             parameter=str),
    Argument('image_transport', 'raw or compressed; empty: as in the parameter file.', parameter=str),
    Argument('depth_transport', 'raw, compressedDepth or compressed; empty: as in the parameter file.', parameter=str),
)
MAP_TO_WRITE = (
    Argument('map', 'Name of the map to write; empty: as in the parameter file, or a new name with the date.',
             parameter=str),
    Argument('append', 'true: add a session to an existing map; empty: as in the parameter file.', parameter=bool),
)
MAP_TO_LOAD = (
    Argument('map', 'Name of the map to load, read-only; empty: as in the parameter file.', parameter=str),
)

BRIDGE = (
    Argument('target', 'pose_graph_tools, rtabmap, cslam or initial_pose; empty: as in the parameter file.',
             parameter=str),
    Argument('autostart', 'false: wait for a lifecycle manager; empty: as in the parameter file.', parameter=bool),
    Argument('loop_closures', 'Topic of the loop closures (pose_graph_tools, rtabmap).', 'localizer/loop_closures',
             topic=True),
    Argument('matches', 'Topic of the matches (cslam, initial_pose).', 'localizer/matches', topic=True),
    Argument('external_loop_closures', 'Topic on which Hydra takes PoseGraph messages (pose_graph_tools).',
             'external_loop_closures', topic=True),
    Argument('info', "Topic of RTAB-Map's Info (rtabmap).", 'rtabmap/info', topic=True),
    Argument('add_link', "RTAB-Map's service AddLink (rtabmap).", 'rtabmap/rtabmap/add_link', topic=True),
    Argument('get_map_data2', "RTAB-Map's service GetMap2 (rtabmap).", 'rtabmap/rtabmap/get_map_data2', topic=True),
    Argument('odom', 'Topic of the odometry (rtabmap).', 'odom', topic=True),
    Argument('initialpose', 'Topic on which the localiser takes its first pose (initial_pose).', 'initialpose',
             topic=True),
)


def params_file(executable: str) -> Argument:
    """The argument that names a node's parameter file."""
    return Argument(f'{executable}_params', f'Parameter file of {executable}; empty: the one of this package.')


def arguments_of(nodes: tuple[LaunchedNode, ...]) -> tuple[Argument, ...]:
    """All arguments of a launch file, each once."""
    wanted = [NAMESPACE, LOG_LEVEL, SIM_TIME, ENCLAVES, RVIZ]
    for node in nodes:
        wanted += [*node.arguments, params_file(node.executable)]
    return tuple({argument.name: argument for argument in wanted}.values())


def parameters_of(node: LaunchedNode, values: dict[str, str]) -> dict[str, Any]:
    """The parameters that launch arguments set."""
    given = {argument.name: _typed(argument, values[argument.name]) for argument in node.arguments
             if argument.parameter is not None and values[argument.name]}
    return {**given, **node.fixed, 'use_sim_time': is_true(values['use_sim_time'])}


def remappings_of(node: LaunchedNode, values: dict[str, str]) -> list[tuple[str, str]]:
    """The topics that launch arguments connect."""
    given = [(argument.name, values[argument.name]) for argument in node.arguments
             if argument.topic and values[argument.name] != argument.name]
    return [*given, *node.remappings]


def enclave_of(node: LaunchedNode, values: dict[str, str]) -> list[str]:
    """The words that put a node into its enclave, none where there is none."""
    return ['--enclave', f'{values[ENCLAVES.name]}/{node.executable}'] if values[ENCLAVES.name] else []


def is_true(value: str) -> bool:
    """Of an argument that is true or false."""
    return value.lower() == 'true'


def describe_launch(nodes: tuple[LaunchedNode, ...]) -> Any:
    """The LaunchDescription of some nodes."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    from launch import LaunchDescription
    declared = [DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.description)
                for argument in arguments_of(nodes)]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[nodes])])


def _start(context: Any, nodes: tuple[LaunchedNode, ...]) -> list[Any]:
    from ament_index_python.packages import get_package_share_directory
    from launch_ros.actions import Node
    values = context.launch_configurations
    share = get_package_share_directory('segvlad_ros')
    actions = []
    for node in nodes:
        file = values[params_file(node.executable).name] or f'{share}/config/nodes/{node.executable}.yaml'
        actions.append(Node(
            package='segvlad_ros', executable=node.executable, name=node.executable, namespace=values['namespace'],
            output='screen', parameters=[file, parameters_of(node, values)],
            remappings=remappings_of(node, values),
            arguments=['--ros-args', '--log-level', values['log_level'], *enclave_of(node, values)]))
    if is_true(values[RVIZ.name]):
        actions.append(Node(
            package='rviz2', executable='rviz2', name='rviz2', namespace=values['namespace'],
            arguments=['-d', f'{share}/{RVIZ_CONFIG}'],
            parameters=[{'use_sim_time': is_true(values['use_sim_time'])}]))
    return actions


def _typed(argument: Argument, value: str) -> Any:
    return is_true(value) if argument.parameter is bool else value
