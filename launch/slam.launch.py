"""Map, close loops and optimise the path: ros2 launch segvlad_ros slam.launch.py image:=/camera/image odom:=/odom."""
from segvlad_ros.ros.node.launch_arguments import BASIC, CAMERA, KNOWN_MAP, MAP_TO_WRITE, POSE_GRAPH, LaunchedNode
from segvlad_ros.ros.node.launching import describe_launch

FEEDBACK = ('loop_closure_feedback', 'pose_graph/loop_closure_feedback')
PATH = ('optimized_path', 'pose_graph/path')
NODES = (
    LaunchedNode('map_builder', (*BASIC, *CAMERA, *MAP_TO_WRITE), remappings=(FEEDBACK, PATH)),
    LaunchedNode('localizer', (*BASIC, *KNOWN_MAP), fixed={'source': 'descriptors', 'follow': True}, remappings=(
        ('keyframes', 'map_builder/keyframes'), ('get_keyframe', 'map_builder/get_keyframe'),
        ('removed_keyframes', 'map_builder/removed_keyframes'), FEEDBACK, PATH)),
    LaunchedNode('pose_graph', POSE_GRAPH, remappings=(
        ('loop_closures', 'localizer/loop_closures'), ('matches', 'localizer/matches'))),
)


def generate_launch_description():
    return describe_launch(NODES)
