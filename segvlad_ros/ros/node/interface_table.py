"""What the nodes open to others: docs/topics.md is written by it, and started nodes are compared with it."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segvlad_ros.ros.node.parameter_table import BOTH, BRIDGE, BUILDER, LOCALIZER, POSE_GRAPH

ALL = (*BOTH, *BRIDGE, *POSE_GRAPH)
IMAGES = ('source: images',)  # what a map_builder has in any case
DESCRIPTORS = ('source: descriptors',)
FOLLOWS = (*DESCRIPTORS, 'follow: true')
HYDRA, RTABMAP = ('target: pose_graph_tools',), ('target: rtabmap',)
CSLAM, INITIAL_POSE = ('target: cslam',), ('target: initial_pose',)
LATCHED = 'latched'  # reliable, and late subscribers get the last messages
RELIABLE = 'reliable'
BEST_EFFORT = 'best effort'


@dataclass(frozen=True)
class Endpoint:
    """A topic or a service as one or several nodes open it.

    :ivar name: as the node has it before remapping: ``~/`` is its own name
    :ivar type_name: package and name
    :ivar reliability: LATCHED, RELIABLE or BEST_EFFORT; '' of a service
    :ivar depth: messages that are kept; 0 of a service
    :ivar when: settings that open it together; none: it is open in any case
    """

    name: str
    type_name: str
    meaning: str
    nodes: tuple[str, ...]
    reliability: str = ''
    depth: int = 0
    when: tuple[str, ...] = ()

    @property
    def qos(self) -> str:
        """Reliability and depth, for people."""
        return f'{self.reliability}, {self.depth}'


OUTPUTS = (
    Endpoint('~/matches', 'segvlad_ros/PlaceMatchArray', 'The answer to every keyframe, with its reason.', LOCALIZER,
             RELIABLE, 10),
    Endpoint('~/loop_closures', 'segvlad_ros/LoopClosure', 'Accepted matches with a metric pose.', LOCALIZER,
             RELIABLE, 10),
    Endpoint('~/match_image', 'sensor_msgs/Image', 'Query and match side by side, made only when somebody subscribes.',
             LOCALIZER, RELIABLE, 1),
    Endpoint('~/keyframes', 'segvlad_ros/PlaceDescriptor', 'Every keyframe; `passed_over`: it is not stored in the '
             'map.', BUILDER, RELIABLE, 20),
    Endpoint('~/removed_keyframes', 'segvlad_ros/RemovedKeyframes', 'Keyframes that were removed from its map.',
             BUILDER, LATCHED, 100),
    Endpoint('~/path', 'nav_msgs/Path', 'The optimised path, in `map`: a pose per node, and the newest pose.',
             POSE_GRAPH, LATCHED, 1),
    Endpoint('~/loop_closure_feedback', 'segvlad_ros/LoopClosureFeedback', 'The verdict on each loop closure, sent '
             'again when it changes.', POSE_GRAPH, RELIABLE, 100),
    Endpoint('~/markers', 'visualization_msgs/MarkerArray', 'Keyframes and matches: all of them for a new '
             'subscriber, then what has changed. Give RViz a depth of 100.', BOTH, LATCHED, 20),
    Endpoint('~/markers', 'visualization_msgs/MarkerArray', 'Loop closures by verdict.', POSE_GRAPH, LATCHED, 1),
    Endpoint('~/status', 'segvlad_ros/SegVladStatus', 'State, counts and timings, once a second.', ALL, LATCHED, 1),
    Endpoint('/tf', 'tf2_msgs/TFMessage', '`map` -> `odom`, with the stamps of odometry.', POSE_GRAPH, RELIABLE, 100,
             ('broadcast_map_to_odom: true',)),
    Endpoint('bond', 'bond/Status', "Heartbeats for nav2's lifecycle manager, where the package `bond` is installed.",
             ALL, RELIABLE, 5, ('autostart: false',)),
    Endpoint('/diagnostics', 'diagnostic_msgs/DiagnosticArray', 'The same, rated OK, WARN or ERROR.', ALL, RELIABLE,
             10),
    Endpoint('external_loop_closures', 'pose_graph_tools_msgs/PoseGraph', 'A loop closure, for Hydra.', BRIDGE,
             RELIABLE, 100, HYDRA),
    Endpoint('~/image', 'sensor_msgs/Image', "The images of Swarm-SLAM's keyframes, for map_builder.", BRIDGE,
             RELIABLE, 10, CSLAM),
    Endpoint('cslam/local_keyframe_match', 'cslam_common_interfaces/LocalKeyframeMatch', "A match with one of this "
             "robot's keyframes.", BRIDGE, RELIABLE, 100, CSLAM),
    Endpoint('/cslam/inter_robot_matches', 'cslam_common_interfaces/InterRobotMatches', "A match with another robot's "
             'keyframe.', BRIDGE, RELIABLE, 100, CSLAM),
    Endpoint('initialpose', 'geometry_msgs/PoseWithCovarianceStamped', 'The pose of a relocalised robot.', BRIDGE,
             RELIABLE, 10, INITIAL_POSE),
)

INPUTS = (
    Endpoint('image', 'sensor_msgs/Image', 'rgb8, bgr8, rgba8, bgra8, mono8, mono16 (with `image_bits` of 10 or 12, '
             'too), YUV (uyvy, yuyv, nv12, nv21, nv24), Bayer.', BOTH, BEST_EFFORT, 1,
             (*IMAGES, 'image_transport: raw')),
    Endpoint('image/compressed', 'sensor_msgs/CompressedImage', 'The same as JPEG or PNG.', BOTH, BEST_EFFORT, 1,
             (*IMAGES, 'image_transport: compressed')),
    Endpoint('camera_info', 'sensor_msgs/CameraInfo', 'Optional, matched by stamp: an image never waits longer than '
             '`sync_timeout_s`.', BOTH, BEST_EFFORT, 5, IMAGES),
    Endpoint('depth', 'sensor_msgs/Image', 'Likewise, on the grid of the image.', BOTH, BEST_EFFORT, 5,
             (*IMAGES, 'depth_transport: raw')),
    Endpoint('depth/compressedDepth', 'sensor_msgs/CompressedImage', 'The same as PNG; `depth/compressed` with '
             '`depth_transport: compressed`.', BOTH, BEST_EFFORT, 5, (*IMAGES, 'depth_transport: compressedDepth')),
    Endpoint('mask', 'sensor_msgs/Image', 'Likewise, mono8: 0 covers people and other things that belong to no '
             'place, anything else is used. For the robot itself there is `mask_file`: [cameras](cameras.md).', BOTH,
             BEST_EFFORT, 5, IMAGES),
    Endpoint('odom', 'nav_msgs/Odometry', 'Likewise, interpolated at the stamp of the image.', BOTH, BEST_EFFORT, 50,
             IMAGES),
    Endpoint('odom', 'nav_msgs/Odometry', "Of the robot's base; any message rate.", POSE_GRAPH, BEST_EFFORT, 100),
    Endpoint('odom', 'nav_msgs/Odometry', 'The motion between a keyframe and the node next to it.', BRIDGE,
             BEST_EFFORT, 20, RTABMAP),
    Endpoint('/tf', 'tf2_msgs/TFMessage', 'Where the camera sits, if a moving part carries it.', BOTH, RELIABLE, 100,
             (*IMAGES, 'tf2_ros is installed')),
    Endpoint('/tf_static', 'tf2_msgs/TFMessage', 'Where the camera sits, without `base_from_camera`.', BOTH,
             LATCHED, 100, (*IMAGES, 'tf2_msgs is installed')),
    Endpoint('keyframes', 'segvlad_ros/PlaceDescriptor', 'From a map_builder, instead of images.', LOCALIZER,
             RELIABLE, 20, DESCRIPTORS),
    Endpoint('removed_keyframes', 'segvlad_ros/RemovedKeyframes', 'Keyframes that were removed from that map.',
             LOCALIZER, LATCHED, 100, FOLLOWS),
    Endpoint('loop_closure_feedback', 'segvlad_ros/LoopClosureFeedback', 'Closures that a back-end rejects are '
             'withdrawn, and keyframes it often rejects are down-weighted for a while; those it could not judge '
             '(`UNUSABLE`) change nothing.', LOCALIZER, RELIABLE, 20),
    Endpoint('loop_closure_feedback', 'segvlad_ros/LoopClosureFeedback', 'Keyframes of a rejected closure are no '
             'longer protected from eviction.', BUILDER, RELIABLE, 20, ('retention.*',)),
    Endpoint('optimized_path', 'nav_msgs/Path', "Keyframes get the back-end's poses, by stamp; not those of other "
             'sessions if the clock has restarted.', BOTH, RELIABLE, 1),
    Endpoint('loop_closures', 'segvlad_ros/LoopClosure', 'The closures to check and optimise.', POSE_GRAPH, RELIABLE,
             100),
    Endpoint('loop_closures', 'segvlad_ros/LoopClosure', 'What the bridge forwards.', BRIDGE, RELIABLE, 10,
             HYDRA),
    Endpoint('loop_closures', 'segvlad_ros/LoopClosure', 'What the bridge forwards.', BRIDGE, RELIABLE, 10,
             RTABMAP),
    *(Endpoint('matches', 'segvlad_ros/PlaceMatchArray', 'Tells when each session began: a match with a session on '
               'another clock is not forwarded.', BRIDGE, RELIABLE, 10, when) for when in (HYDRA, RTABMAP)),
    Endpoint('matches', 'segvlad_ros/PlaceMatchArray', 'Tells which sessions the odometry belongs to; without it, '
             'those whose keyframes were queries of closures.', POSE_GRAPH, RELIABLE, 100),
    Endpoint('matches', 'segvlad_ros/PlaceMatchArray', 'What the bridge forwards.', BRIDGE, RELIABLE, 10, CSLAM),
    Endpoint('matches', 'segvlad_ros/PlaceMatchArray', 'What the bridge forwards.', BRIDGE, RELIABLE, 10,
             INITIAL_POSE),
    Endpoint('info', 'rtabmap_msgs/Info', "The stamps of RTAB-Map's nodes.", BRIDGE, RELIABLE, 20, RTABMAP),
    Endpoint('cslam/keyframe_data', 'cslam_common_interfaces/KeyframeRGB', "This robot's keyframes.", BRIDGE, RELIABLE,
             100, CSLAM),
    Endpoint('/rN/cslam/keyframe_odom', 'cslam_common_interfaces/KeyframeOdom', 'Those of each other robot, N.', BRIDGE,
             RELIABLE, 100, CSLAM),
)

SERVICES = (
    Endpoint('~/save_map', 'segvlad_ros/SaveMap', 'A consistent snapshot below `map_directory`.', BUILDER),
    Endpoint('~/load_map', 'segvlad_ros/LoadMap', 'Switch to another map, or (`append`) add it to the current '
             'one.', BOTH),
    Endpoint('~/reset_map', 'std_srvs/Trigger', 'Start with an empty map; no file is changed.', BOTH),
    Endpoint('~/pause', 'std_srvs/SetBool', 'Ignore inputs (true), or take them again (false).', ALL),
    Endpoint('~/trigger_localization', 'std_srvs/Trigger', 'The robot was carried elsewhere: recent queries are '
             'forgotten, and no match until it is sure again.', LOCALIZER),
    Endpoint('~/trigger_localization', 'std_srvs/Trigger', 'Send the pose of the next metric match (target '
             'initial_pose).', BRIDGE),
    Endpoint('~/recognize_image', 'segvlad_ros/RecognizeImage', 'One image, without side effects.', LOCALIZER),
    Endpoint('~/get_keyframe', 'segvlad_ros/GetKeyframe', 'A stored keyframe, by its id.', BOTH),
    Endpoint('~/remove_keyframes', 'segvlad_ros/RemoveKeyframes', 'Remove keyframes by session, by id or around a '
             'point; needs `allow_removal`.', BUILDER),
)

CLIENTS = (
    Endpoint('get_keyframe', 'segvlad_ros/GetKeyframe', "The map_builder's: fetches missed keyframes.", LOCALIZER,
             when=FOLLOWS),
    Endpoint('add_link', 'rtabmap_msgs/AddLink', "RTAB-Map's: takes a loop closure.", BRIDGE, when=RTABMAP),
    Endpoint('get_map_data2', 'rtabmap_msgs/GetMap2', "RTAB-Map's: the nodes of a loaded database.", BRIDGE,
             when=RTABMAP),
)


def topics(endpoints: Iterable[Endpoint]) -> str:
    """A table of topics in docs/topics.md."""
    lines = ['| topic | type | node | when | QoS | meaning |', '|---|---|---|---|---|---|']
    lines += [f'| `{entry.name}` | `{entry.type_name}` | {", ".join(entry.nodes)} | {_setting(entry)} | {entry.qos} | '
              f'{entry.meaning} |' for entry in endpoints]
    return '\n'.join(lines)


def services(endpoints: Iterable[Endpoint]) -> str:
    """A table of services in docs/topics.md."""
    lines = ['| service | type | node | when | meaning |', '|---|---|---|---|---|']
    lines += [f'| `{entry.name}` | `{entry.type_name}` | {", ".join(entry.nodes)} | {_setting(entry)} | '
              f'{entry.meaning} |' for entry in endpoints]
    return '\n'.join(lines)


def _setting(entry: Endpoint) -> str:
    return ', '.join(setting if ' is ' in setting else f'`{setting}`' for setting in entry.when)
