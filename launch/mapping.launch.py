"""Map while driving: ros2 launch segvlad_ros mapping.launch.py map:=office image:=/camera/image_raw odom:=/odom."""
from segvlad_ros.ros.node.launch_arguments import BASIC, CAMERA, MAP_TO_WRITE, LaunchedNode
from segvlad_ros.ros.node.launching import describe_launch

NODES = (LaunchedNode('map_builder', (*BASIC, *CAMERA, *MAP_TO_WRITE)),)


def generate_launch_description():
    return describe_launch(NODES)
