"""Messages of back-ends that are not installed, built from their definitions and checked on the wire (CDR).

The definitions are the fields of pose_graph_tools_msgs (feature/ros2), rtabmap_msgs (ros2) and cslam_common_interfaces
(main), without their comments.
"""
from __future__ import annotations

from functools import partial

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

DEFINITIONS = {
    'pose_graph_tools_msgs/msg/PoseGraph': """
        std_msgs/Header header
        pose_graph_tools_msgs/PoseGraphNode[] nodes
        pose_graph_tools_msgs/PoseGraphEdge[] edges""",
    'pose_graph_tools_msgs/msg/PoseGraphNode': """
        std_msgs/Header header
        int32 robot_id
        uint64 key
        geometry_msgs/Pose pose""",
    'pose_graph_tools_msgs/msg/PoseGraphEdge': """
        std_msgs/Header header
        uint64 key_from
        uint64 key_to
        int32 robot_from
        int32 robot_to
        int32 type
        int32 ODOM = 0
        int32 LOOPCLOSE = 1
        int32 LANDMARK = 2
        int32 REJECTED_LOOPCLOSE = 3
        geometry_msgs/Pose pose
        float64[36] covariance""",
    'rtabmap_msgs/msg/Link': """
        int32 from_id
        int32 to_id
        int32 type
        geometry_msgs/Transform transform
        float64[36] information""",
    'rtabmap_msgs/msg/AddLink_Request': 'rtabmap_msgs/Link link',  # of srv/AddLink
    'rtabmap_msgs/msg/MapGraph': """
        std_msgs/Header header
        geometry_msgs/Transform map_to_odom
        int32[] poses_id
        geometry_msgs/Pose[] poses
        rtabmap_msgs/Link[] links""",
    'rtabmap_msgs/msg/Info': """
        std_msgs/Header header
        int32 ref_id
        int32 loop_closure_id
        int32 proximity_detection_id
        int32 landmark_id
        geometry_msgs/Transform loop_closure_transform
        int32[] wm_state
        int32[] posterior_keys
        float32[] posterior_values
        int32[] likelihood_keys
        float32[] likelihood_values
        int32[] raw_likelihood_keys
        float32[] raw_likelihood_values
        int32[] weights_keys
        int32[] weights_values
        int32[] labels_keys
        string[] labels_values
        string[] stats_keys
        float32[] stats_values
        int32[] local_path
        int32 current_goal_id
        rtabmap_msgs/MapGraph odom_cache""",
    'rtabmap_msgs/msg/Point2f': 'float32 x\nfloat32 y',
    'rtabmap_msgs/msg/Point3f': 'float32 x\nfloat32 y\nfloat32 z',
    'rtabmap_msgs/msg/KeyPoint': """
        rtabmap_msgs/Point2f pt
        float32 size
        float32 angle
        float32 response
        int32 octave
        int32 class_id""",
    'rtabmap_msgs/msg/GlobalDescriptor': 'std_msgs/Header header\nint32 type\nuint8[] info\nuint8[] data',
    'rtabmap_msgs/msg/EnvSensor': 'std_msgs/Header header\nint32 type\nfloat64 value',
    'rtabmap_msgs/msg/GPS': """
        float64 stamp
        float64 longitude
        float64 latitude
        float64 altitude
        float64 error
        float64 bearing""",
    'rtabmap_msgs/msg/LandmarkDetection': """
        std_msgs/Header header
        string landmark_frame_id
        int32 id
        float32 size
        geometry_msgs/PoseWithCovariance pose""",
    'rtabmap_msgs/msg/SensorData': """
        std_msgs/Header header
        sensor_msgs/Image left
        sensor_msgs/Image right
        uint8[] left_compressed
        uint8[] right_compressed
        sensor_msgs/CameraInfo[] left_camera_info
        sensor_msgs/CameraInfo[] right_camera_info
        geometry_msgs/Transform[] local_transform
        sensor_msgs/PointCloud2 laser_scan
        uint8[] laser_scan_compressed
        int32 laser_scan_max_pts
        float32 laser_scan_max_range
        int32 laser_scan_format
        geometry_msgs/Transform laser_scan_local_transform
        uint8[] user_data
        uint8[] grid_ground
        uint8[] grid_obstacles
        uint8[] grid_empty_cells
        float32 grid_cell_size
        rtabmap_msgs/Point3f grid_view_point
        rtabmap_msgs/KeyPoint[] key_points
        rtabmap_msgs/Point3f[] points
        uint8[] descriptors
        rtabmap_msgs/GlobalDescriptor[] global_descriptors
        rtabmap_msgs/EnvSensor[] env_sensors
        sensor_msgs/Imu imu
        geometry_msgs/Transform imu_local_transform
        rtabmap_msgs/LandmarkDetection[] landmarks
        geometry_msgs/Pose ground_truth_pose
        rtabmap_msgs/GPS gps""",
    'rtabmap_msgs/msg/Node': """
        int32 id
        int32 map_id
        int32 weight
        float64 stamp
        string label
        geometry_msgs/Pose pose
        int32[] word_id_keys
        int32[] word_id_values
        rtabmap_msgs/KeyPoint[] word_kpts
        rtabmap_msgs/Point3f[] word_pts
        uint8[] word_descriptors
        rtabmap_msgs/SensorData data""",
    'rtabmap_msgs/msg/MapData': """
        std_msgs/Header header
        rtabmap_msgs/MapGraph graph
        rtabmap_msgs/Node[] nodes""",
    'cslam_common_interfaces/msg/LocalKeyframeMatch': 'uint32 keyframe0_id\nuint32 keyframe1_id',
    'cslam_common_interfaces/msg/InterRobotMatch': """
        uint32 robot0_id
        uint32 robot0_keyframe_id
        uint32 robot1_id
        uint32 robot1_keyframe_id
        float32 weight""",
    'cslam_common_interfaces/msg/InterRobotMatches': """
        uint32 robot_id
        cslam_common_interfaces/InterRobotMatch[] matches""",
    'cslam_common_interfaces/msg/KeyframeRGB': 'uint32 id\nsensor_msgs/Image image',
    'cslam_common_interfaces/msg/KeyframeOdom': """
        uint32 id
        nav_msgs/Odometry odom
        sensor_msgs/NavSatFix gps""",
}

STORE = get_typestore(Stores.ROS2_JAZZY)
for _name, _text in DEFINITIONS.items():
    STORE.register(get_types_from_msg(_text, _name))


def make(name):
    """A message with all fields zero, as rclpy makes them."""
    fields = {}
    for field, (kind, details) in STORE.fielddefs[name][1]:
        fields[field] = _zero(kind.name, details)
    return STORE.types[name](**fields)


def maker(name):
    """What stands for the class of a message: called without arguments it makes one."""
    return partial(make, name)


def _zero(kind, details):
    if kind == 'NAME':
        return make(details)
    if kind == 'BASE':
        return {'string': '', 'bool': False}.get(details[0], 0.0 if details[0].startswith('float') else 0)
    element, count = details[0], details[1] if kind == 'ARRAY' else 0
    if element[0].name == 'BASE' and element[1][0] != 'string':
        return np.zeros(count, element[1][0])
    return [_zero(element[0].name, element[1]) for _ in range(count)]


def over_the_wire(message):
    """What a peer receives: serialised and deserialised as its definition says."""
    name = message.__msgtype__
    return STORE.deserialize_cdr(STORE.serialize_cdr(message, name), name)
