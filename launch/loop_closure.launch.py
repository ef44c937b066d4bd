"""Map and close loops for a SLAM back-end: map_builder describes each keyframe once, localizer searches it."""
from segvlad_ros.ros.node.launching import BASIC, CAMERA, MAP_TO_WRITE, LaunchedNode, describe_launch

NODES = (
    LaunchedNode('map_builder', (*BASIC, *CAMERA, *MAP_TO_WRITE)),
    LaunchedNode('localizer', BASIC, fixed={'source': 'descriptors', 'follow': True}, remappings=(
        ('keyframes', 'map_builder/keyframes'), ('get_keyframe', 'map_builder/get_keyframe'),
        ('removed_keyframes', 'map_builder/removed_keyframes'))),
)


def generate_launch_description():
    return describe_launch(NODES)
