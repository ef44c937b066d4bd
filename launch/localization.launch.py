"""Find places in a map: ros2 launch segvlad_ros localization.launch.py map:=office image:=/camera/image_raw."""
from segvlad_ros.ros.node.launch_arguments import BASIC, CAMERA, MAP_TO_LOAD, LaunchedNode
from segvlad_ros.ros.node.launching import describe_launch

NODES = (LaunchedNode('localizer', (*BASIC, *CAMERA, *MAP_TO_LOAD), fixed={'source': 'images'}),)


def generate_launch_description():
    return describe_launch(NODES)
