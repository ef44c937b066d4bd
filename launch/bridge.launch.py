"""Hand loop closures to a SLAM back-end: ros2 launch segvlad_ros bridge.launch.py target:=rtabmap odom:=/odom."""
from segvlad_ros.ros.node.launching import BRIDGE, LaunchedNode, describe_launch

NODES = (LaunchedNode('bridge', BRIDGE),)


def generate_launch_description():
    return describe_launch(NODES)
