"""Hand loop closures to a SLAM back-end: ros2 launch segvlad_ros bridge.launch.py target:=rtabmap odom:=/odom."""
from segvlad_ros.ros.node.launch_arguments import BRIDGE, LaunchedNode
from segvlad_ros.ros.node.launching import describe_launch

NODES = (LaunchedNode('bridge', BRIDGE),)


def generate_launch_description():
    return describe_launch(NODES)
