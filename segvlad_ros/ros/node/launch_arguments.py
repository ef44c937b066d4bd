"""The arguments of the launch files, each described, and what they set.

An argument that is left empty leaves the value to the parameter file, so that a user's own file is not overruled by
defaults.
"""
from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

NEAR = 0.75  # of difflib: iamge is 0.8 from image, robot_name 0.67 from robot_id


@dataclass(frozen=True)
class Argument:
    """One launch argument.

    :ivar description: one sentence for ``ros2 launch --show-args``
    :ivar default: '' for a node parameter: as in the parameter file
    :ivar parameter: type of the node parameter that it sets, or None if it sets none; list: of numbers
    :ivar topic: whether the argument names an input topic
    :ivar sets: the node parameter, where it has another name
    """

    name: str
    description: str
    default: str = ''
    parameter: type | None = None
    topic: bool = False
    sets: str = ''


@dataclass(frozen=True)
class LaunchedNode:
    """One node of a launch file.

    :ivar executable: such as 'map_builder'; also the node's name
    :ivar fixed: parameters that this launch file is about
    :ivar remappings: topics and services that the launch file connects, relative to the namespace
    """

    executable: str
    arguments: tuple[Argument, ...]
    fixed: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()


NAMESPACE = Argument('namespace', 'Namespace of the nodes, such as robot1.')
LOG_LEVEL = Argument('log_level', 'Lowest severity that is logged: debug, info, warn, error, fatal.', 'info')
SIM_TIME = Argument('use_sim_time', 'true: take the time from /clock, for simulations and bags played with --clock; '
                    'empty: as in the parameter file.')
RVIZ = Argument('rviz', 'true: start RViz too, with keyframes, matches and their pictures (package rviz2).', 'false')
FIXED_FRAME = Argument('fixed_frame', 'Fixed frame of RViz; empty: map with pose_graph, else odom. Data in other '
                       'frames is shown where TF connects them.')
RESPAWN = Argument('respawn', 'true: restart a node that has exited; a map_builder continues its map.', 'false')
ENCLAVES = Argument('enclaves', 'SROS 2: the parent enclave of the nodes, such as /segvlad; empty: none.')
EVERY = (NAMESPACE, LOG_LEVEL, SIM_TIME, ENCLAVES, RESPAWN, RVIZ, FIXED_FRAME)
AUTOSTART = Argument('autostart', 'false: wait for a lifecycle manager; empty: as in the parameter file.',
                     parameter=bool)
ROBOT_ID = Argument('robot_id', 'Number of this robot in its keyframe ids; empty: as in the parameter file.',
                    parameter=int)
BASIC = (
    Argument('preset', 'Pipeline: the name of a preset, or the path of a preset YAML; empty: as in the parameter file.',
             parameter=str),
    Argument('map_directory', 'Folder of the maps; empty: as in the parameter file.', parameter=str),
    AUTOSTART,
    ROBOT_ID,
    Argument('base_frame', "Frame of the robot's base; empty: as in the parameter file.", parameter=str),
)
CAMERA = (
    Argument('image', 'Topic of the camera images (without /compressed).', 'image', topic=True),
    Argument('camera_info', 'Topic of the camera_info.', 'camera_info', topic=True),
    Argument('depth', 'Topic of depth images registered to the camera image.', 'depth', topic=True),
    Argument('mask', 'Topic of masks of single images, e.g. of people: 0 covers.', 'mask', topic=True),
    Argument('mask_file', "PNG that covers the robot's own body in every image; empty: as in the parameter file.",
             parameter=str),
    Argument('odom', 'Topic of the odometry.', 'odom', topic=True),
    Argument('device', 'Where networks run: cpu, cuda, tensorrt, ...; empty: as in the parameter file.',
             parameter=str),
    Argument('image_transport', 'raw or compressed; empty: as in the parameter file.', parameter=str),
    Argument('depth_transport', 'raw, compressedDepth or compressed; empty: as in the parameter file.', parameter=str),
    Argument('camera', 'Name of this camera in its keyframe ids; empty: as in the parameter file.', parameter=str),
    Argument('base_from_camera', "Pose of the camera's optical frame in base_frame, x y z qx qy qz qw; empty: as in "
             'the parameter file, or by TF.', parameter=list),
)
MAP_TO_WRITE = (
    Argument('map', 'Name of the map to write; empty: as in the parameter file, or a new name with the date.',
             parameter=str),
    Argument('append', 'true: add a session to an existing map; empty: as in the parameter file.', parameter=bool),
)
MAP_TO_LOAD = (
    Argument('map', 'Name of the map to load, read-only; empty: as in the parameter file.', parameter=str),
)
KNOWN_MAP = (
    Argument('known_map', "Name of an earlier map, e.g. yesterday's, to close loops against as well; empty: as in the "
             'parameter file.', parameter=str, sets='map'),
)

BRIDGE = (
    Argument('target', 'pose_graph_tools, rtabmap, cslam or initial_pose; empty: as in the parameter file.',
             parameter=str),
    AUTOSTART,
    ROBOT_ID,
    Argument('loop_closures', 'Topic of the loop closures (pose_graph_tools, rtabmap).', 'localizer/loop_closures',
             topic=True),
    Argument('matches', 'Topic of the matches (cslam, initial_pose); the others read from it when a session began.',
             'localizer/matches', topic=True),
    Argument('external_loop_closures', 'Topic on which Hydra receives PoseGraph messages (pose_graph_tools).',
             'external_loop_closures', topic=True),
    Argument('info', "Topic of RTAB-Map's Info (rtabmap).", 'rtabmap/info', topic=True),
    Argument('add_link', "RTAB-Map's service AddLink (rtabmap).", 'rtabmap/rtabmap/add_link', topic=True),
    Argument('get_map_data2', "RTAB-Map's service GetMap2 (rtabmap).", 'rtabmap/rtabmap/get_map_data2', topic=True),
    Argument('odom', 'Topic of the odometry (rtabmap).', 'odom', topic=True),
    Argument('initialpose', 'Topic on which the localiser receives its initial pose (initial_pose).', 'initialpose',
             topic=True),
)


POSE_GRAPH = (
    *(argument for argument in (*BASIC, *CAMERA) if argument.name in ('preset', 'autostart', 'robot_id', 'odom')),
    Argument('broadcast_map_to_odom', 'true: pose_graph broadcasts map -> odom on /tf; empty: as in the parameter '
             'file.', parameter=bool),
)


def params_file(executable: str) -> Argument:
    """The argument that names a node's parameter file."""
    return Argument(f'{executable}_params', f'Parameter file of {executable}; empty: the one of this package.')


def arguments_of(nodes: tuple[LaunchedNode, ...]) -> tuple[Argument, ...]:
    """All arguments of a launch file, each once."""
    wanted = [*EVERY]
    for node in nodes:
        wanted += [*node.arguments, params_file(node.executable)]
    return tuple({argument.name: argument for argument in wanted}.values())


def misspelt(nodes: tuple[LaunchedNode, ...], given: Iterable[str]) -> list[str]:
    """What to say of names that nearly are those of arguments. Others may belong to a launch file that includes this
    one, and so may those that have an argument's name as a part, such as use_rviz.
    """
    names = [argument.name for argument in arguments_of(nodes)]
    said = []
    for name in given:
        near = difflib.get_close_matches(name, names, 1, NEAR)
        if near and name not in names and f'_{near[0]}_' not in f'_{name}_':
            said.append(f'there is no argument {one_line(name, 100)}: is it {near[0]}?')
    return said


def parameters_of(node: LaunchedNode, values: dict[str, str]) -> dict[str, Any]:
    """The parameters that launch arguments set.

    :raises SegvladError: a value is not of its parameter's type
    """
    given = {argument.sets or argument.name: _typed(argument, values[argument.name]) for argument in node.arguments
             if argument.parameter is not None and values[argument.name]}
    return {**given, **node.fixed, **sim_time_of(values)}


def sim_time_of(values: dict[str, str]) -> dict[str, bool]:
    """The parameter of the clock where the argument sets it: what a file or an outer launch file says counts else."""
    return {SIM_TIME.name: is_true(SIM_TIME, values)} if values[SIM_TIME.name] else {}


def remappings_of(node: LaunchedNode, values: dict[str, str]) -> list[tuple[str, str]]:
    """The topics that launch arguments connect."""
    given = [(argument.name, values[argument.name]) for argument in node.arguments
             if argument.topic and values[argument.name] != argument.name]
    return [*given, *node.remappings]


def enclave_of(node: LaunchedNode, values: dict[str, str]) -> list[str]:
    """The words that put a node into its enclave, none where there is none."""
    return ['--enclave', f'{values[ENCLAVES.name]}/{node.executable}'] if values[ENCLAVES.name] else []


def is_true(argument: Argument, values: dict[str, str]) -> bool:
    """Of an argument that is true or false."""
    return _typed(argument, values[argument.name], bool)


def fixed_frame(nodes: Iterable[LaunchedNode], values: dict[str, str]) -> str:
    """The frame in which RViz shows all."""
    return values[FIXED_FRAME.name] or ('map' if any(node.executable == 'pose_graph' for node in nodes) else 'odom')


def _typed(argument: Argument, value: str, kind: type | None = None) -> Any:
    kind = kind or argument.parameter
    try:
        if kind is bool:
            return {'true': True, 'false': False}[value.lower()]
        if kind is list:
            numbers = [float(word) for word in value.strip('[] ').replace(',', ' ').split()]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
            return numbers
        value.encode()  # bytes that are not text would end rcl's parser
        return kind(value)
    except (KeyError, ValueError):
        wanted = {bool: 'true or false', int: 'a whole number', list: 'finite numbers', str: 'text'}[kind]
        raise SegvladError(f'{argument.name}:={value} must be {wanted}') from None
