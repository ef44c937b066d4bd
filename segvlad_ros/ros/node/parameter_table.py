"""The one table of the nodes' parameters: declaration, validation and docs/parameters.md come from it."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

BOTH = ('map_builder', 'localizer')
BUILDER = ('map_builder',)
LOCALIZER = ('localizer',)
BRIDGE = ('bridge',)
POSE_GRAPH = ('pose_graph',)


@dataclass(frozen=True)
class Parameter:
    """One node parameter.

    :ivar name: with its unit as suffix where it has one
    :ivar default: also fixes the type: bool, int, float, str, or a list of float or str
    :ivar minimum, maximum: inclusive range of a number, or None
    :ivar one_of: the allowed strings; empty: any
    :ivar read_only: True: takes effect when the node is configured, and cannot change while it is; False: at once
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    read_only: bool = True
    nodes: tuple[str, ...] = BOTH

    @property
    def type_name(self) -> str:
        """The type as ROS users call it."""
        names = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}
        if isinstance(self.default, list):
            return f'{names[type(self.default[0])]} array'
        return names[type(self.default)]

    @property
    def allowed(self) -> str:
        """The allowed values, for people; '' if any."""
        if self.one_of:
            return ', '.join(f'`{value}`' for value in self.one_of)
        if self.minimum is None and self.maximum is None:
            return ''
        if self.maximum is None:
            return f'>= {self.minimum}'
        return f'{self.minimum} to {self.maximum}'

    def check(self, value: Any) -> str:
        """'' if the value is allowed, else one line that says what is."""
        if self.one_of and value not in self.one_of:
            return f'{self.name} is {value!r}: use one of {", ".join(self.one_of)}'
        if isinstance(self.default, list) and isinstance(self.default[0], float):
            if len(value) != len(self.default) or not all(map(math.isfinite, value)):
                return f'{self.name} needs {len(self.default)} finite numbers'
            return ''
        if isinstance(self.default, (int, float)) and not isinstance(self.default, bool):
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not low <= value <= high:
                return f'{self.name} is {value}: use {self.allowed.replace("`", "")}'
        return ''


TABLE: tuple[Parameter, ...] = (
    Parameter('preset', 'classic', 'Pipeline: the name of a preset in config/, or the path of a preset YAML.',
              nodes=(*BOTH, *POSE_GRAPH)),
    Parameter('device', 'cpu', 'Where networks run: cpu, cuda, cuda:1, ..., and tensorrt for those in ONNX files.'),
    Parameter('autostart', True, 'Configure and activate at start; false: wait for a lifecycle manager.',
              nodes=(*BOTH, *BRIDGE, *POSE_GRAPH)),
    Parameter('map_directory', '~/segvlad_maps', 'Folder of the maps; map names cannot leave it.'),
    Parameter('map', '', 'Name of the map to write; empty: a new name with the date.', nodes=BUILDER),
    Parameter('map', '', 'Name of the map to load, read-only; empty: none.', nodes=LOCALIZER),
    Parameter('append', False, 'Add a session to an existing map; false: refuse to start if the map exists.',
              nodes=BUILDER),
    Parameter('run_id', '', 'Id of this run, which the map remembers: a node that is configured again, or restarted '
              'with the same id, continues that map. Launch files set one per launch; empty: one per process.',
              nodes=BUILDER),
    Parameter('source', 'images', "What is localised: the camera's images, or the keyframes of a map_builder.",
              one_of=('images', 'descriptors'), nodes=LOCALIZER),
    Parameter('follow', True, 'With source descriptors: add each received keyframe to the searched map, so that '
              'loops are found.', nodes=LOCALIZER),
    Parameter('robot_id', 0, 'Number of this robot in its keyframe ids; 0 in single-robot use.',
              minimum=0, maximum=2**32 - 1, nodes=(*BOTH, *BRIDGE, *POSE_GRAPH)),
    Parameter('camera', '', 'Name of this camera in its keyframe ids; empty with a single camera.'),
    Parameter('image_transport', 'raw', 'Subscribe to <image> (raw) or to <image>/compressed.',
              one_of=('raw', 'compressed')),
    Parameter('depth_transport', 'raw', 'Subscribe to <depth> (raw), to <depth>/compressedDepth (PNG), or to '
              '<depth>/compressed (16-bit PNG).', one_of=('raw', 'compressedDepth', 'compressed')),
    Parameter('image_decoder', 'auto', 'auto takes cv_bridge if it imports and passes a self-test.',
              one_of=('auto', 'builtin', 'cv_bridge')),
    Parameter('image_bits', 0, 'Bits of the camera in 16-bit images (mono16, rgb16, bayer_*16) that leave the upper '
              'ones empty: 10, 12, ...; 0: all 16, but images that seem to use fewer are refused.', minimum=0,
              maximum=16),
    Parameter('mask_file', '', "PNG mask of what is in every image but belongs to no place, such as the robot's own "
              'body: 0 covers, anything else is used. It is resized if it has the aspect ratio of the images. For '
              'people and other moving things use the topic mask.'),
    Parameter('max_megapixels', 25.0, 'Images that claim more pixels are refused before they are decoded.',
              minimum=0.01, maximum=100.0),
    Parameter('sync_timeout_s', 0.2, 'Longest time an image waits for its camera_info, depth, mask and odometry.',
              minimum=0.0, maximum=10.0),
    Parameter('sync_tolerance_s', 0.02, 'Largest difference between the stamps of an image and of its depth or mask.',
              minimum=0.0, maximum=10.0),
    Parameter('odom_max_gap_s', 0.5, 'Longest gap between two odometry messages that is interpolated.',
              minimum=0.0, maximum=60.0),
    Parameter('rectified', False, 'The images are rectified: they fit P of camera_info, and have no distortion. A '
              'topic named image_rect is taken as rectified in any case.'),
    Parameter('ignore_frame_ids', False, "Use depth, mask and camera_info although their frame_id is not the image's, "
              "e.g. for registered depth that keeps the depth camera's frame."),
    Parameter('base_frame', 'base_link', "Frame of the robot's base; all poses in the results are of this frame. If "
              'odometry is for another frame and no transform connects the two, poses are of that frame instead.'),
    Parameter('base_from_camera', [0.0] * 7, "Pose of the camera's optical frame in base_frame: x y z (metres), "
              'quaternion x y z w; all zero: look it up in TF. Images of a camera that sits on its side or '
              'upside-down are described upright by it.'),
    Parameter('keyframe.min_interval_s', 0.5, 'No keyframe sooner than this after the last one, by image stamps.',
              minimum=0.0, maximum=3600.0, read_only=False),
    Parameter('keyframe.min_distance_m', 0.5, 'With odometry: a keyframe after this distance, or after the rotation.',
              minimum=0.0, maximum=1000.0, read_only=False),
    Parameter('keyframe.min_angle_rad', 0.35, 'With odometry: a keyframe after this rotation.',
              minimum=0.0, maximum=3.14159, read_only=False),
    Parameter('keyframe.no_odometry_interval_s', 1.0, 'Without odometry: a keyframe each time this has passed.',
              minimum=0.0, maximum=3600.0, read_only=False),
    Parameter('retention.explained_score', 0.0, 'A keyframe with a geometrically verified match in the map of at least '
              'this score is not stored: the map explains it. 0: every keyframe is stored.',
              minimum=0.0, maximum=1.0, nodes=BUILDER),
    Parameter('retention.explained_within_m', 0.75, 'Largest measured distance at which a map keyframe explains a new '
              'one.', minimum=0.01, maximum=100.0, nodes=BUILDER),
    Parameter('retention.explained_within_rad', 0.35, 'Largest rotation at which it does.',
              minimum=0.01, maximum=3.14159, nodes=BUILDER),
    Parameter('retention.max_keyframes', 0, 'Most keyframes in the map; redundant ones are removed first. 0: no '
              'limit.', minimum=0, maximum=10**9, nodes=BUILDER),
    Parameter('retention.max_megabytes', 0, 'Largest size of the map file, 10^6 bytes; 0: no limit.',
              minimum=0, maximum=10**9, nodes=BUILDER),
    Parameter('retention.same_condition_score', 0.2, 'Keyframes of a place that score at least this with each other '
              'show it in one condition: the same side in the same light. Every condition keeps one keyframe before '
              'any keeps two.', minimum=0.01, maximum=1.0, nodes=BUILDER),
    Parameter('top_k', 5, 'Most candidates in a PlaceMatchArray.',
              minimum=1, maximum=1000, read_only=False, nodes=LOCALIZER),
    Parameter('sessions', [''], 'Ids of the map sessions to search, as listed by segvlad map info; empty: all.',
              read_only=False, nodes=LOCALIZER),
    Parameter('publish_evidence', False, 'Fill PlaceMatch.evidence: which segments voted.',
              read_only=False, nodes=LOCALIZER),
    Parameter('allow_removal', False, 'Let the service remove_keyframes remove keyframes.',
              read_only=False, nodes=BUILDER),
    Parameter('fleet.uri', '', 'Place database of many robots to which the map is sent: http://HOST:PORT, or https:// '
              'with TLS; empty: none. See docs/fleet.md.', nodes=BUILDER),
    Parameter('fleet.site', 'default', 'Building or area that the robots share; other sites are not searched.',
              nodes=BUILDER),
    Parameter('fleet.token_file', '', 'File with the token, or user:password, of a place database that asks for one.',
              nodes=BUILDER),
    Parameter('fleet.ca_file', '', "Certificate (PEM) that the place database's is checked against; empty: the "
              "system's.", nodes=BUILDER),
    Parameter('service_timeout_s', 10.0, "Longest time a service call waits for the node's worker.",
              minimum=0.1, maximum=600.0, read_only=False),
    Parameter('diagnostics.no_images_warn_s', 5.0, 'WARN after this time without an image; with source descriptors, '
              'without a first keyframe, or while nobody publishes any.',
              minimum=0.1, maximum=3600.0, read_only=False),
    Parameter('diagnostics.drop_ratio_warn', 0.9, 'WARN above this share of images replaced before they were '
              'processed.', minimum=0.0, maximum=1.0, read_only=False),
    Parameter('diagnostics.drop_ratio_error', 0.99, 'ERROR above this share of images replaced before they were '
              'processed.', minimum=0.0, maximum=1.0, read_only=False),
    Parameter('diagnostics.lost_ratio_warn', 0.1, 'WARN above this share of images that were published but never '
              'arrived.', minimum=0.0, maximum=1.0, read_only=False),
    Parameter('diagnostics.latency_warn_s', 1.0, 'WARN above this 95th percentile from receipt to result.',
              minimum=0.0, maximum=3600.0, read_only=False),
    Parameter('diagnostics.latency_error_s', 5.0, 'ERROR above this 95th percentile from receipt to result.',
              minimum=0.0, maximum=3600.0, read_only=False),
    Parameter('diagnostics.worker_errors_error', 3, 'ERROR after this many consecutive failures of the worker.',
              minimum=1, maximum=1000, read_only=False, nodes=(*BOTH, *POSE_GRAPH)),
    Parameter('target', 'pose_graph_tools', 'The back-end that gets loop closures or matches: see docs/bridges.md.',
              one_of=('pose_graph_tools', 'rtabmap', 'cslam', 'initial_pose'), nodes=BRIDGE),
    Parameter('hold_timeout_s', 30.0, 'Target rtabmap or cslam: longest time a closure waits for the back-end to know '
              'both keyframes.', minimum=0.0, maximum=3600.0, nodes=BRIDGE),
    Parameter('rtabmap.max_stamp_difference_s', 1.0, 'Largest difference between the stamps of a keyframe and of the '
              'RTAB-Map node that represents it; odometry on odom gives the motion between them.',
              minimum=0.0, maximum=10.0, nodes=BRIDGE),
    Parameter('cslam.max_nb_robots', 1, "As Swarm-SLAM's max_nb_robots: keyframes of robots 0 to this - 1 are "
              'known.', minimum=1, maximum=1000, nodes=BRIDGE),
    Parameter('initial_pose.frame', 'map', "The localiser's map frame; a match whose pose is in another frame is not "
              'sent.', nodes=BRIDGE),
    Parameter('initial_pose.lost_after_keyframes', 30, 'After this many consecutive keyframes without a match the '
              'robot counts as lost, and the next metric match is sent; 0: only at the start and when triggered.',
              minimum=0, maximum=100000, nodes=BRIDGE),
    Parameter('initial_pose.map_position_std_m', 0.1, "Standard deviation of the map's keyframe positions, added to "
              "the match's.", minimum=0.0, maximum=100.0, nodes=BRIDGE),
    Parameter('initial_pose.map_angle_std_rad', 0.05, "Standard deviation of the map's keyframe angles, added to the "
              "match's.", minimum=0.0, maximum=3.14159, nodes=BRIDGE),
    Parameter('node_distance_m', 0.5, 'Distance by odometry after which the pose graph gets a new node, or after '
              'node_angle_rad.',
              minimum=0.05, maximum=100.0, nodes=POSE_GRAPH),
    Parameter('node_angle_rad', 0.35, 'Rotation by odometry after which the pose graph gets a new node.',
              minimum=0.02, maximum=3.14159, nodes=POSE_GRAPH),
    Parameter('drift_rad_per_rad', 0.02, 'Drift of the odometry in turns, radians per radian; its drift with distance '
              'is set in the preset (section odometry).', minimum=0.0, maximum=1.0, nodes=POSE_GRAPH),
    Parameter('closure.added_m', 0.05, "Standard deviation added to a loop closure's position.",
              minimum=0.001, maximum=10.0, nodes=POSE_GRAPH),
    Parameter('closure.added_rad', 0.02, "Standard deviation added to a loop closure's rotation.",
              minimum=0.001, maximum=1.0, nodes=POSE_GRAPH),
    Parameter('path_period_s', 1.0, 'Period, in odometry time, at which a growing path is published; it is also '
              'published after each loop closure.', minimum=0.1, maximum=3600.0, nodes=POSE_GRAPH),
    Parameter('broadcast_map_to_odom', False, 'Broadcast map -> odom on /tf. Leave it off where another node does, '
              'such as AMCL.', nodes=POSE_GRAPH),
    Parameter('transform_tolerance_s', 0.2, 'How long beyond the stamp of its odometry the broadcast map -> odom '
              'remains valid.', minimum=0.0, maximum=10.0, read_only=False, nodes=POSE_GRAPH),
)


def table_of(node: str) -> tuple[Parameter, ...]:
    """The parameters of one node.

    :param node: its executable, such as 'localizer'
    """
    return tuple(entry for entry in TABLE if node in entry.nodes)


def markdown() -> str:
    """The table of docs/parameters.md."""
    lines = ['| parameter | node | type | default | allowed | changes | meaning |', '|---|---|---|---|---|---|---|']
    for entry in TABLE:
        nodes = 'both' if entry.nodes == BOTH else ', '.join(entry.nodes)
        default = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
        shown = '(empty)' if default in ('', ['']) else f'`{default}`'
        when = 'at configure' if entry.read_only else 'at once'
        lines.append(f'| `{entry.name}` | {nodes} | {entry.type_name} | {shown} | {entry.allowed} | {when} | '
                     f'{entry.description} |')
    return '\n'.join(lines)
