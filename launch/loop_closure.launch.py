"""Map and close loops for a SLAM back-end: map_builder describes each keyframe once, localizer searches it.

With known_map:=yesterday it closes loops against an earlier map, too.
"""
from segvlad_ros.ros.node.launch_arguments import BASIC, CAMERA, KNOWN_MAP, MAP_TO_WRITE, LaunchedNode
from segvlad_ros.ros.node.launching import describe_launch

NODES = (
    LaunchedNode('map_builder', (*BASIC, *CAMERA, *MAP_TO_WRITE)),
    LaunchedNode('localizer', (*BASIC, *KNOWN_MAP), fixed={'source': 'descriptors', 'follow': True}, remappings=(
        ('keyframes', 'map_builder/keyframes'), ('get_keyframe', 'map_builder/get_keyframe'),
        ('removed_keyframes', 'map_builder/removed_keyframes'))),
)


def generate_launch_description():
    return describe_launch(NODES)
